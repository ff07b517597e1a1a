"""Who may ask what: keys, sessions, addresses, rates, and the gate that puts them together."""
