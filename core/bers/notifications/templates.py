"""Templates of operators, in a sandbox: they see what they are handed, and have bounded time and room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template as Compiled

STEPS = 20_000
"""How many turns of loops and calls one rendering may take: about 20 ms."""

LONGEST = 1 << 20
"""Characters that one rendering may make."""


class Template:
    """Makes a text. Raise ValueError, here or in :meth:`render`, where it cannot."""

    def __init__(self, source: str) -> None:
        self._left = 0
        self._compiled = _compiled(source, self._step)

    def render(self, **names: Any) -> str:
        """The text that the template makes of these names."""
        from jinja2 import TemplateError

        self._left = STEPS
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

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"it takes more than {STEPS} steps")


def _compiled(source: str, step: Callable[[], None]) -> Compiled:
    from jinja2 import StrictUndefined, TemplateError, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        """Counts what may go on for long: turns of loops, calls, and texts that are multiplied."""

        intercepted_binops = frozenset({"*", "**", "%"})

        def call(self, *args: Any, **kwargs: Any) -> Any:
            step()
            return super().call(*args, **kwargs)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "**" or (operator == "*" and not all(isinstance(one, int | float) for one in (left, right))):
                raise ValueError(f"{operator!r} is for numbers that are multiplied")
            return super().call_binop(context, operator, left, right)

    def counted(items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            step()
            yield item

    # What is made here is JSON or plain text and no HTML: `tojson` is what quotes.
    sandbox = Sandbox(undefined=StrictUndefined, autoescape=False)
    sandbox.filters["_counted"] = counted
    try:
        tree = sandbox.parse(source)
        for loop in tree.find_all(nodes.For):
            if not loop.recursive:
                loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
        return sandbox.from_string(tree)
    except TemplateError as exc:
        line = getattr(exc, "lineno", None)
        raise ValueError(f"the template cannot be read{f', line {line}' if line else ''}: {exc}") from exc
