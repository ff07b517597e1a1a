"""The pages of the generated reference, one module each: a writer returns what its page says."""
