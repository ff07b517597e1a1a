"""Templates of operators, in a sandbox: they see what they are handed, and have bounded time and room."""

from __future__ import annotations

from typing import Any

LONGEST = 1 << 20
"""Characters that one rendering may make."""


class Template:
    """Makes a text. Raise ValueError, here or in :meth:`render`, where it cannot."""

    def __init__(self, source: str, *, strict: bool = True) -> None:
        """What is not there is an error if ``strict``, and else an empty text."""
        from jinja2 import TemplateError, meta  # Not imported for nothing: it is needed where there is a template.

        from bers.notifications.sandbox import Budget, Sandbox

        self._budget = Budget()
        sandbox = Sandbox(self._budget, strict=strict)
        try:
            self.names = frozenset(meta.find_undeclared_variables(sandbox.parse(source)) - sandbox.globals.keys())
            """What it wants to be handed."""
            self._compiled = sandbox.from_string(sandbox.parsed(source))
        except (RecursionError, SyntaxError) as exc:  # Python nests neither blocks nor indentation without end.
            raise ValueError("the template cannot be read: too much in it stands in something else") from exc
        except TemplateError as exc:
            line = getattr(exc, "lineno", None)
            raise ValueError(f"the template cannot be read{f', line {line}' if line else ''}: {exc}") from exc

    def render(self, **names: Any) -> str:
        """The text that the template makes of these names."""
        from jinja2 import TemplateError

        self._budget.renew()
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._compiled.generate(**names):
                pieces.append(piece)
                size += len(piece)
                if size > LONGEST:
                    raise ValueError(f"it makes more than {LONGEST} characters")
        except RecursionError as exc:
            raise ValueError("it calls itself without end") from exc
        except (TemplateError, TypeError, ArithmeticError, LookupError, AttributeError, MemoryError) as exc:
            raise ValueError(str(exc) or type(exc).__name__) from exc
        return "".join(pieces)
