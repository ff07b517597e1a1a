"""Kills of a node under load, and losses of power: what was acknowledged is counted once by every durable sink.

``python -m tests.faults.kills --seed 1 --kills 500`` says what each kill hit, and fails with what is wrong.
"""
