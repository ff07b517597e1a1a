"""Which stage answers which request, whoever asks: a client over REST, or another stage in this process."""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, cast, get_args, get_origin

import msgspec
from msgspec import Meta

from bers.errors import Refused
from bers.operations import AnyOperation, Caller, Operation, Reply, Stream
from bers.schemas import decode, encode
from bers.stages import AnySpec


@dataclass(frozen=True)
class Route:
    """An operation, and who answers it at present."""

    operation: AnyOperation
    owner: str
    """The name of the stage type that offers it."""
    stage: Callable[[], Any | None]
    """The stage that answers; None while it is not declared or not running."""

    @property
    def method(self) -> str:
        return self.operation.method if isinstance(self.operation, Operation) else "GET"

    @property
    def path(self) -> str:
        """The whole path, with its parameters in braces."""
        path = self.operation.path
        return path if path.startswith("/") else f"/api/monitoring/{path}"

    def is_answered(self, surface: str) -> bool:
        """Whether a listener answers it: that for everything does, the others what may be read of theirs."""
        return surface == "control" or (self.method == "GET" and self.operation.surface == surface)

    def read(self, fields: Mapping[str, Any]) -> Any:
        """Make the operation's request of its fields; raise Refused where they do not fit."""
        try:
            return msgspec.convert(fields, self.operation.request, strict=False, dec_hook=decode)
        except msgspec.ValidationError as exc:
            message, _, where = str(exc).partition(" - at ")
            path = where.strip("`").removeprefix("$.") if where else _missing(message)
            name = path.partition(".")[0]
            raise Refused(
                "invalid",
                f"{path or 'the request'}: {_in_words(message, fields.get(name))}",
                hint=_described(self.operation.request, name),
                details=[(path, message)],
            ) from exc

    def answerer(self) -> Any:
        """The stage that answers; raise Refused with the remedy where there is none."""
        stage = self.stage()
        if stage is None:
            raise Refused(
                "unavailable",
                f"{self.owner!r} is not running",
                hint=f"declare {self.owner!r} in pipelines.yaml, or see `bers status` for why it does not run",
            )
        return stage


class Directory:
    """Every route of the loaded specs."""

    def __init__(self) -> None:
        self._routes: list[Route] = []
        self._methods: dict[str, dict[str, Route]] = {}
        """The routes of each path, by method."""
        self._templates: dict[int, list[Sequence[str]]] = {}
        """Paths with parameters in their parts, by how many parts they have, the most specific first."""

    def add(self, route: Route) -> None:
        # A path that is spelled out comes before one with a parameter: `metrics/report` before `metrics/{type}`.
        insort(self._routes, route, key=lambda one: _parameters(one.path.split("/")))
        parts = route.path.split("/")
        if route.path not in self._methods and any(_parameters(parts)):
            insort(self._templates.setdefault(len(parts), []), parts, key=_parameters)
        self._methods.setdefault(route.path, {})[route.method] = route

    def offer(self, specs: Iterable[AnySpec], running: Callable[[str], Any | None]) -> None:
        """Add every operation of these specs, whether a stage of theirs is declared or not.

        ``running`` knows the stage that answers for a type; None while there is none.
        """
        offered: set[int] = set()
        for spec in specs:
            for operation in spec.operations:
                if id(operation) not in offered:  # What is a sink and a source is named twice.
                    offered.add(id(operation))
                    self.add(Route(operation, spec.name, partial(running, spec.name)))

    @property
    def routes(self) -> Sequence[Route]:
        return self._routes

    def match(self, path: str) -> tuple[Mapping[str, Route], dict[str, str]]:
        """The routes of a path by method, and the values of its parameters; nothing where no route has it."""
        if "{" not in path and path in self._methods:
            return self._methods[path], {}
        parts = path.split("/")
        for template in self._templates.get(len(parts), ()):
            values = _fits(template, parts)
            if values is not None:
                return self._methods["/".join(template)], values
        return {}, {}

    async def ask(self, route: Route, fields: Mapping[str, Any], caller: Caller) -> Reply[Any]:
        """Put a request to the stage that answers it. Raise Refused where it cannot be answered."""
        operation = route.operation
        assert not isinstance(operation, Stream), "a stream is opened, not asked"
        request = route.read(fields)
        answer: Any = await operation.handler(route.answerer(), request, caller)
        return cast("Reply[Any]", answer) if isinstance(answer, Reply) else Reply(answer)  # Of whatever it answers.

    async def call(self, method: str, path: str, fields: Mapping[str, Any]) -> Any:
        """Ask from within this process; the answer's data as plain values, as REST shows them."""
        return (await self.whole(method, path, fields))["data"]

    async def whole(self, method: str, path: str, fields: Mapping[str, Any]) -> Any:
        """The same, with what stands beside the data."""
        routes, values = self.match(path if path.startswith("/") else f"/api/monitoring/{path}")
        if method not in routes:
            raise Refused("not_found", f"nobody answers {method} {path}")
        reply = await self.ask(routes[method], {**fields, **values}, Caller("bers"))
        return msgspec.to_builtins({**reply.beside, "data": reply.data}, enc_hook=encode)


def _parameters(parts: Sequence[str]) -> list[bool]:
    """Which parts of a path are a parameter."""
    return [part.startswith("{") for part in parts]


def _fits(template: Sequence[str], parts: Sequence[str]) -> dict[str, str] | None:
    values: dict[str, str] = {}
    for expected, part in zip(template, parts, strict=True):
        if expected.startswith("{"):
            if not part:
                return None
            values[expected[1:-1]] = part
        elif expected != part:
            return None
    return values


def _missing(message: str) -> str:
    return message.rpartition("`")[0].rpartition("`")[2] if "field" in message else ""


_KINDS = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "array": "a list",
    "object": "an object", "null": "nothing",
}  # fmt: skip
"""What msgspec calls the kinds of values, in words."""


def _in_words(message: str, said: Any) -> str:
    """What msgspec says about a field that does not fit, as a person would: what was said, and what would be right."""
    shown = f"{said[:40]!r} is not understood; " if isinstance(said, str) and said else ""
    if message.startswith("Object missing required field"):
        return "it is missing"
    if message.startswith("Invalid enum value"):
        return f"{shown or 'it is '}not one of those that there are".replace("is not understood; not", "is not")
    if message.startswith("Object contains unknown field"):
        return "nothing of that name is known here"
    if found := re.fullmatch(r"Expected `([^`]+)`(?:, got `([^`]+)`)?( [<>].*)?", message):
        kinds = [_KINDS.get(kind, kind) for kind in found[1].split(" | ") if kind != "null"]
        return f"{shown}expected {' or '.join(kinds)}{(found[3] or '').replace('`', '')}"
    return f"{shown}{message[:1].lower()}{message[1:]}" if message.startswith("Expected") else message


def _described(request: type, name: str) -> str:
    """What a field of a request is, as its description says; and what it may be, where that is one of a few."""
    field = next((one for one in msgspec.structs.fields(request) if one.encode_name == name), None)
    if field is None:
        return ""
    told, choices = "", list[str]()
    waiting: list[Any] = [field.type]
    while waiting:
        one = waiting.pop()
        if get_origin(one) is Literal:
            choices += map(str, get_args(one))
        elif get_origin(one) is Annotated:
            told = told or next((meta.description or "" for meta in one.__metadata__ if isinstance(meta, Meta)), "")
            waiting.append(one.__origin__)
        else:
            waiting += [inner for inner in get_args(one) if get_origin(inner) is not None]
    return " ".join(part for part in (told, f"One of: {', '.join(choices)}." if choices else "") if part)
