"""Containers out of objects of unknown type: isinstance says that it is a dict, not of what."""

from __future__ import annotations

TYPE_CHECKING = False  # Here and elsewhere: the typing module would cost 5 ms of each start.
if TYPE_CHECKING:
    from collections.abc import Iterable


def pairs(value: object) -> dict[object, object] | None:
    """The value where it is a dict."""
    if isinstance(value, dict):
        return value  # pyright: ignore[reportUnknownVariableType]
    return None


def items(value: object) -> Iterable[object] | None:
    """The value where it is a list, a tuple or a set."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return value  # pyright: ignore[reportUnknownVariableType]
    return None
