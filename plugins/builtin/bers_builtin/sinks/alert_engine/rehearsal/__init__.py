"""The engine without a node: tests of rules, and what rules would have done in the past."""
