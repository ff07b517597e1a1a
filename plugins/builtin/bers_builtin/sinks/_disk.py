"""What sinks do about a disk that does not let them write: they try again by and by."""

from __future__ import annotations

from bers import persist

__all__ = ["AGAIN", "persist"]

AGAIN = 1.0
"""Seconds between two attempts, while the disk does not let us."""
