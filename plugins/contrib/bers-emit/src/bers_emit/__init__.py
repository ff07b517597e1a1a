"""Report builds, tests and deployments to BERS Monitoring: never an error, never a wait, nothing lost.

from bers_emit import build, emit, phase

with build("chat-widget", environment="production") as b:
    with phase("bundle"):
        ...
    b.measure("bundle.size", 412_331, kind="raw")
emit("deployment.finished", service="chat", outcome="success", duration_ms=94_000)
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bers_emit.activities import Activity, build, deployment, phase, suite
    from bers_emit.emitter import Emitter, aemit, emit, flush
    from bers_emit.runs import run

__version__ = "1.0.0"
__all__ = ["Activity", "Emitter", "aemit", "build", "deployment", "emit", "flush", "phase", "run", "suite"]

_HOMES: dict[str, str] = dict.fromkeys(("Activity", "build", "deployment", "phase", "suite"), "activities")
_HOMES.update(Emitter="emitter", aemit="emitter", emit="emitter", flush="emitter", run="runs")


def __getattr__(name: str) -> object:
    """Import what is asked for: ``bers-emit --help`` needs none of it, and it would be half of its time."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
