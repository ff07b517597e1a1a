"""How long a change takes from its commit to a deployment: one definition, for the metric and for DORA's figures."""

from __future__ import annotations

from bers import Outcome
from bers_builtin.sources._runs import SUCCEEDED


def lead_time(outcome: Outcome | None, committed: float | None, finished: float) -> float | None:
    """Milliseconds from a commit to the finish of a deployment that succeeded; None where that is not known.

    A commit that is younger than its deployment has a wrong clock, and says nothing.
    """
    if outcome not in SUCCEEDED or committed is None or committed >= finished:
        return None
    return (finished - committed) * 1000
