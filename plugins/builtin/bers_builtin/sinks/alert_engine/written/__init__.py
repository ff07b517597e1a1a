"""What is written down: the tables of the engine, and what goes out from them as events."""
