"""Where templates of others are rendered: whatever they say, it ends soon, and takes little room."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, cast

from jinja2 import StrictUndefined, Undefined, nodes
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

STEPS = 20_000
"""How many turns of loops and calls one rendering may take: about 20 ms."""

PARTS = 200_000
"""How many values may be put into lists, and looked at in them."""

ROOM = 8 << 20
"""Characters that may be made on the way to what is rendered."""

WIDEST = 1000
"""The largest number that says how wide or how often something is."""

_LONGEST_PATTERN = 1000
_DROPPED = (
    # They make much of little, or something else each time.
    *("center", "pprint", "random", "urlize", "wordwrap", "xmlattr"),
    *("cycler", "joiner", "lipsum"),
)
_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(
        {
            *("capitalize", "casefold", "count", "endswith", "find", "format", "format_map", "index", "isalnum"),
            *("isalpha", "isdigit", "islower", "isspace", "isupper", "join", "lower", "lstrip", "partition"),
            *("removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip"),
            *("split", "splitlines", "startswith", "strip", "swapcase", "title", "upper"),
        }
    ),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    dict: frozenset({"get", "items", "keys", "values"}),
}
_SHALLOW = frozenset({"count", "d", "default", "first", "last", "length"})
"""Filters that do not look into what they are given."""

_WIDE = re.compile(r"\d{4}|\*|\{[^{}]*\{")
"""What asks a pattern for a very wide field, or one as wide as some value says."""


class Budget:
    """What is left to one rendering. Whoever spends more than there is gets a ValueError."""

    def __init__(self) -> None:
        self.renew()
        self.cost = 0
        """What the template itself has of characters: each turn may make all of them."""

    def renew(self) -> None:
        self._steps, self._parts, self.room = STEPS, PARTS, ROOM

    def step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise ValueError(f"it takes more than {STEPS} steps")
        self.make(self.cost)

    def make(self, characters: int) -> None:
        self.room -= characters
        if self.room < 0:
            raise ValueError(f"it makes more than {ROOM} characters on its way")

    def look(self, value: Any) -> None:
        """Spend what it takes to look at all that is in a value, as often as it is in there."""
        if isinstance(value, Namespace):
            raise ValueError("a Namespace is no text")
        if isinstance(value, str):
            self.make(len(value))
        elif isinstance(value, Mapping | list | tuple):
            mapped = cast("Mapping[Any, Any]", value) if isinstance(value, Mapping) else None
            found: Iterable[Any] = cast("Sequence[Any]", value) if mapped is None else mapped.values()
            self._parts -= len(cast("Sequence[Any]", value))
            if self._parts < 0:
                raise ValueError(f"it looks at more than {PARTS} values")
            for one in found:
                self.look(one)

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.step()
            yield item


class Sandbox(ImmutableSandboxedEnvironment):
    """Sees what it is handed, changes nothing, and spends from a budget."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, budget: Budget, *, strict: bool) -> None:
        # What is made is JSON or plain text and no HTML: `tojson` is what quotes.
        super().__init__(
            undefined=StrictUndefined if strict else Undefined, autoescape=False, finalize=self._told, optimized=False
        )
        self._budget = budget
        names, filters = cast("dict[str, Any]", self.globals), cast("dict[str, Any]", self.filters)
        for name in _DROPPED:
            names.pop(name, None)
            filters.pop(name, None)
        guards: dict[str, Callable[..., None]] = {
            "replace": self._replaces, "join": self._joins, "indent": self._indents, "format": self._formats,
        }  # fmt: skip
        for name, filter in list(filters.items()):
            filters[name] = self._guarded(filter, guards.get(name), shallow=name in _SHALLOW)
        filters |= {"_counted": budget.counted, "_joined": self._joined, "_looked": self._looked}
        names["range"] = self._range

    def parsed(self, source: str) -> nodes.Template:
        """The template as a tree in which everything that may go on for long is counted."""
        self._budget.cost = len(source)
        return cast("nodes.Template", _Counting().visit(self.parse(source)))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        __self._budget.step()
        if isinstance(__obj, LoopContext):  # A loop that calls itself.
            args = (__self._budget.counted(args[0]), *args[1:])
        owner = getattr(__obj, "__self__", None)
        for kind, known in _METHODS.items():
            if isinstance(owner, kind):
                name = getattr(__obj, "__name__", "")
                if name not in known:
                    raise ValueError(f"{kind.__name__}.{name} is not for templates")
                if name in ("replace", "join"):
                    (__self._replaces if name == "replace" else __self._joins)(owner, *args, **kwargs)
                break
        else:
            if isinstance(owner, int | float | bytes | type):
                raise ValueError(f"{getattr(__obj, '__name__', 'it')!r} is not for templates")
        found = super().call(__context, __obj, *args, **kwargs)
        return found if isinstance(found, Namespace) else __self._looked(found)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        numbers = all(isinstance(one, int | float) for one in (left, right))
        if operator == "**" or (operator == "*" and not numbers):
            raise ValueError(f"{operator!r} is for numbers that are multiplied")
        if operator == "%" and isinstance(left, str):
            self._formats(left, right)
        found = super().call_binop(context, operator, left, right)
        if isinstance(found, int) and found.bit_length() > 256:
            raise ValueError("it makes a number that nobody can read")
        return self._looked(found)

    def wrap_str_format(self, value: Any) -> Any:
        found = super().wrap_str_format(value)
        if found is None:
            return None

        def guarded(*args: Any, **kwargs: Any) -> str:
            self._formats(value.__self__, args, kwargs)
            return found(*args, **kwargs)

        return guarded

    # What is spent, and what is refused before it is made.

    def _told(self, value: Any) -> Any:
        """What stands in the text; whatever is no plain value does not belong there."""
        if not isinstance(value, str | int | float | Mapping | list | tuple | Undefined | None):
            raise ValueError(f"a {type(value).__name__} is no text")
        return self._looked(value)

    def _looked(self, value: Any) -> Any:
        self._budget.look(value)
        return value

    def _joined(self, pieces: Sequence[Any]) -> str:
        return str(self._looked("".join(str(self._told(piece)) for piece in pieces)))

    def _range(self, *args: int) -> range:
        found = range(*args)
        if len(found) > STEPS:
            raise ValueError(f"it takes more than {STEPS} steps")
        self._budget.look([None] * len(found))
        return found

    def _guarded(self, filter: Callable[..., Any], guard: Callable[..., None] | None, *, shallow: bool) -> Any:
        handed = 1 if hasattr(filter, "jinja_pass_arg") else 0

        @wraps(filter)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            own = args[handed:]
            for one in (*own[1:], *kwargs.values()):
                if isinstance(one, int) and abs(one) > WIDEST:
                    raise ValueError(f"{one} is more than {WIDEST}")
            if not shallow:
                self._budget.look(own[0])
            if own and not isinstance(own[0], str | int | float | Mapping | list | tuple | Undefined | None):
                if not isinstance(own[0], Iterable):
                    raise ValueError(f"a {type(own[0]).__name__} is nothing to look at")
                own = (self._budget.counted(cast("Iterable[Any]", own[0])), *own[1:])
            if guard:
                guard(*own, **kwargs)
            found = filter(*args[:handed], *own, **kwargs)
            return found if shallow else self._looked(found)

        return guarded

    def _replaces(self, text: Any, old: Any, new: Any, *_: Any, **__: Any) -> None:
        found = str(text).count(str(old))
        self._afford(found * len(str(new)))

    def _joins(self, *args: Any, **kwargs: Any) -> None:
        words = [one for one in (*args, *kwargs.values()) if isinstance(one, str)]
        lists = [len(cast("Sequence[Any]", one)) for one in args if isinstance(one, str | Mapping | list | tuple)]
        most = max(lists, default=0)
        self._afford(max(map(len, words), default=0) * (most if len(lists) == len(args) else WIDEST))

    def _indents(self, text: Any, width: Any = 4, *_: Any, **__: Any) -> None:
        wide = len(width) if isinstance(width, str) else int(width)
        self._afford(wide * (1 + str(text).count("\n")))

    def _formats(self, pattern: Any, *values: Any, **named: Any) -> None:
        text = str(pattern)
        if len(text) > _LONGEST_PATTERN or _WIDE.search(text):
            raise ValueError("a pattern asks for more room than a text has")
        before = self._budget.room
        self._looked([values, named])
        self._afford((before - self._budget.room) * (1 + text.count("{") + text.count("%")))

    def _afford(self, characters: int) -> None:
        if characters > self._budget.room:
            raise ValueError(f"it makes more than {ROOM} characters on its way")


class _Counting(NodeTransformer):
    """Has turns counted, and looks at what is put together."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.iter = _filtered(cast("nodes.Expr", node.iter), "_counted")  # jinja2 says that it is any node.
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "_joined")

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "_looked")

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "_looked")

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "_looked") if node.ctx == "load" else node


def _filtered(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
