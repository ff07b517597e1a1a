"""What other tools have written down, as events: one file for each format."""
