"""Our modules as they are: pytest compiles those of its plugins anew, for assertions, of which there are none here.

It keeps what it compiled, but not where the disk or PYTHONDONTWRITEBYTECODE forbids it, and a job of CI that has just
installed us has nothing kept: then it would take longer than all else that a session of 5,000 tests pays for us.
"""

from __future__ import annotations

import contextlib
import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class Unrewritten:
    """Finds modules of this package before pytest does, from ``begin`` to ``end``."""

    def begin(self) -> None:
        sys.meta_path.insert(0, self)

    def end(self) -> None:
        with contextlib.suppress(ValueError):  # Somebody has put the list back to what it was.
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, path, target) if name.startswith("bers_emit.") else None
