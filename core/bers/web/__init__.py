"""The server: REST, streams and pages of one node, on three ports."""
