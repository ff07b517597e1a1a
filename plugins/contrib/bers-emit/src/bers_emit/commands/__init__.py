"""The commands of the command line, one file each; :mod:`bers_emit.cli` lists them."""
