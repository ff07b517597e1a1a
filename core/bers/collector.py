"""The garbage collector of a process that is ours, a command or a node: it looks at little, and at what is new."""

import gc

THRESHOLDS = (50_000, 20, 100)
"""How many new containers make it look at them, and how many such looks at what is older, and at everything.

Python's own 700, 10 and 10 take a third of the time of a node: it holds a great many windows for a minute each, none of
them in a cycle. What is in no cycle is freed at once, whatever stands here.
"""


def begin() -> None:
    """Look at little, above all while modules are imported: none is garbage. For whoever owns the process."""
    gc.set_threshold(*THRESHOLDS)


def settle() -> None:
    """Leave aside what is there by now, modules above all; for whoever owns the process, never for a library."""
    gc.collect()
    gc.freeze()
    begin()
