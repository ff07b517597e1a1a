"""DORA's five figures, out of the deployments, rollbacks, incidents and changes that the store keeps."""
