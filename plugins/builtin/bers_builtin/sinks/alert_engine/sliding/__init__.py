"""Windows that slide over time: what they keep, so that they cost the same however much there is."""
