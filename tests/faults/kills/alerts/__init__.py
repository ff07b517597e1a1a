"""Kills of a node while alerts fire, are answered and end: who was promised something, and who is told, can rely on it.

``python -m tests.faults.kills.alerts --seed 1 --kills 500`` says what each kill hit, and fails with what is wrong.
"""
