"""Small stages: `connect`, a source; `only`, a processor; `file`, a sink."""
