"""The life of alerts: which begins, goes on and ends, step by step and as time goes on."""
