"""Old files brought up to date: edits of the text, so that comments and the order of lines stay."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

from bers.config.located import Document, Steps, parse, spell
from bers.config.runbook import KEYS
from bers.errors import ConfigError
from bers.plain import as_object

VERSION = 1
"""The version of the file's format that is understood."""

OLD = frozenset(KEYS) - {"environment"}
"""Keys of version 0, which spelled things as the runbook does, and had no key that said so."""

_STAGES = ("sources", "processors", "sinks", "pipelines")


@dataclass(frozen=True)
class Migrated:
    """A file as it should be, and what was changed to make it so: nothing where it was so already."""

    text: str
    changes: Sequence[str]


class _Found(NamedTuple):
    """An entry of an old key: the maps around it, from the outermost, each with the number of the entry in it."""

    around: Sequence[tuple[MappingNode, int]]
    steps: Steps
    known: Any
    """What makes changes of its value."""


def migrate(text: str, name: str) -> Migrated:
    """Bring a file up to date. Raise ConfigError where it cannot be read, or only its writer knows what is meant."""
    document = parse(text, name)
    if document.faults:
        raise ConfigError(document.faults)
    version = document.value.get("version", 0)
    if str(version) not in ("0", str(VERSION)):  # In quotes it is none that is understood, and is mended.
        raise ConfigError(
            [document.fault(("version",), f"this bers knows versions up to {VERSION}; install a newer one")]
        )
    changes: list[str] = []
    if document.value and not text.endswith("\n"):
        text += "\n"
    ours = bool(OLD & document.value.keys()) and not any(key in document.value for key in _STAGES)
    if ours:
        text = f"{text}\n{_shipped_stages()}"
        changes.append("the stages and pipelines of the shipped file are added: the old keys meant them")
    if "version" not in document.value:
        text = _with_version(text)
        changes.append(f"version: {VERSION} is added")
    elif version != VERSION:
        text = _put(text, _entry(text, "version"), str(VERSION))
        changes.append(f"version is {VERSION} now")
    while found := next(_old(_compose(text), KEYS, ()), None):
        text, said = _move(text, found, document, over=ours)
        changes += said
    return Migrated(text, changes)


def _shipped_stages() -> str:
    text = files("bers_builtin").joinpath("pipelines.yaml").read_text(encoding="utf-8")
    return text[text.index("\nsources:") + 1 :]


def _compose(text: str) -> MappingNode:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(node, MappingNode), "it was parsed before"
    return node


def _old(
    node: MappingNode, keys: Mapping[str, Any], steps: Steps, around: tuple[tuple[MappingNode, int], ...] = ()
) -> Iterator[_Found]:
    """Every entry that has an old key, and those that are empty or unknown below one."""
    for number, (key_node, value) in enumerate(node.value):
        key = key_node.value
        here, path = (*around, (node, number)), (*steps, key)
        if key not in keys:
            if steps:
                yield _Found(here, path, None)
        elif path == ("environment",):
            continue
        elif isinstance(keys[key], Mapping) and isinstance(value, MappingNode) and value.value:
            yield from _old(value, keys[key], path, here)
        else:
            yield _Found(here, path, keys[key])


def _move(text: str, found: _Found, document: Document, *, over: bool) -> tuple[str, list[str]]:
    """Take an entry out, and put what it means where it belongs: over what is there, if that is only the shipped
    value.
    """
    node, number = found.around[-1]
    value = node.value[number][1]

    def fault(message: str) -> ConfigError:
        return ConfigError([document.fault(found.steps, message)])  # Where it stood before anything was changed.

    if found.known is None:
        raise fault("no version knows this key; remove it, or write what it is to mean")
    if isinstance(found.known, Mapping):
        if not (isinstance(value, MappingNode) or (isinstance(value, ScalarNode) and value.value in ("", "~", "null"))):
            raise fault("expected keys with values; write them one below the other")
        text, _, _ = _cut(text, found.around)
        return text, [f"{spell(found.steps)} is removed: nothing stood in it"]
    raw = text[value.start_mark.index : value.end_mark.index]
    if not isinstance(value, ScalarNode):
        raise fault("expected one value")
    meant = parse(f"x: {raw}", document.name).value["x"]
    try:
        changes = found.known(meant)
    except TypeError:
        raise fault(f"{raw} is no number; write one, and migrate again") from None
    text, comments, trailing = _cut(text, found.around)
    said: list[str] = []
    for steps, new in _at_home(text, changes):
        written = raw if new == meant and type(new) is type(meant) else str(new)
        if steps[-1] == "use":
            text = _insert(text, steps, written, [], "", fault)
            said.append(f"{spell(steps[:-1])} is added, because {spell(found.steps)} is about it")
            continue
        text = _insert(text, steps, written, comments, trailing, fault, over=over)
        said.append(f"{spell(found.steps)}: {raw} is {spell(steps)}: {written} now")
        comments, trailing = [], ""  # They stand beside the first.
    return text, said


def _at_home(text: str, changes: Sequence[tuple[Steps, Any]]) -> Iterator[tuple[Steps, Any]]:
    """The changes, to the stages of this file: whatever it calls them, and with those that it has not."""
    root = parse(text, "").value
    for steps, new in changes:
        if steps[0] not in _STAGES:
            yield steps, new
            continue
        kind, shipped, *rest = map(str, steps)
        use = _USES.get(shipped, shipped)
        declared = as_object(root.get(kind)) or {}
        own = [key for key, options in declared.items() if (as_object(options) or {}).get("use", key) == use]
        if not own:
            yield (kind, shipped, "use"), use
        yield (kind, own[0] if own else shipped, *rest), new


_USES = {"host": "system-resources", "windows": "aggregation"}
"""What the shipped file calls a stage whose type has another name."""


def _cut(text: str, around: Sequence[tuple[MappingNode, int]]) -> tuple[str, list[str], str]:
    """The text without an entry, and without the maps that are empty without it; its comments, and that behind it."""
    depth = len(around) - 1
    while depth > 0 and len(around[depth][0].value) == 1:
        depth -= 1
    node, number = around[depth]
    key, value = node.value[number]
    spans = list(_scalars(_compose(text)))
    if node.flow_style:
        start, stop = key.start_mark.index, value.end_mark.index
        if number + 1 < len(node.value):
            stop = node.value[number + 1][0].start_mark.index
        elif number:
            start = node.value[number - 1][1].end_mark.index
        return text[:start] + text[stop:], [], ""
    lines: list[str] = text.splitlines(keepends=True)
    first, last = int(key.start_mark.line), _last_line(text, value)
    indent = " " * int(key.start_mark.column)
    while first > 0 and lines[first - 1].startswith(f"{indent}#"):
        first -= 1
    offsets = _offsets(lines)
    comments = [
        comment
        for line in range(first, last + 1)
        if (comment := _comment(lines[line], offsets[line], spans)) is not None
    ]
    trailing = comments.pop() if comments and not lines[last].lstrip().startswith("#") and _comment(
        lines[last], offsets[last], spans
    ) is not None else ""  # fmt: skip
    return "".join(lines[:first] + lines[last + 1 :]), comments, trailing


def _insert(
    text: str, steps: Steps, value: str, comments: Sequence[str], trailing: str, fault: Any, *, over: bool = False
) -> str:
    """The text with a value at a path; comments stand above it, or above the line that it is put into."""
    node: Node = _compose(text)
    rest = list(map(str, steps))
    empty: ScalarNode | None = None
    column = 0
    while isinstance(node, MappingNode):
        entry = next((one for one in node.value if one[0].value == rest[0]), None)
        if entry is None:
            break
        if len(rest) == 1 and over:
            return _noted(_put(text, entry[1], value), entry[0].start_mark.line, [*comments, trailing])
        if len(rest) == 1:
            raise fault(f"{spell(steps)} is there as well; remove one of them, and migrate again")
        rest.pop(0)
        column = entry[0].start_mark.column
        if isinstance(entry[1], ScalarNode) and entry[1].value in ("", "~", "null"):
            empty = entry[1]
            break
        node = entry[1]
    if empty is None and not isinstance(node, MappingNode):
        raise fault(f"it belongs to {spell(steps)}, where something else stands; move it there by hand")
    lines = text.splitlines(keepends=True)
    if empty is None and isinstance(node, MappingNode) and node.flow_style:
        written = "".join(f"{key}: {{" for key in rest[:-1]) + f"{rest[-1]}: {value}" + "}" * (len(rest) - 1)
        at = node.end_mark.index - 1
        before = text[:at].rstrip() + ", " if node.value else text[:at]
        text = before + written + text[at:]
        return _noted(text, node.start_mark.line, [*comments, trailing])
    if empty is not None:
        at, indent_by = empty.start_mark.line, column + 2
        if empty.value:
            text = text[: empty.start_mark.index].rstrip(" ") + text[empty.end_mark.index :]
            lines = text.splitlines(keepends=True)
    else:
        assert isinstance(node, MappingNode)
        at, indent_by = _last_line(text, node), node.value[0][0].start_mark.column
    made = [f"{' ' * indent_by}{comment}\n" for comment in comments]
    for level, key in enumerate(rest):
        end = f" {value}{f'  {trailing}' if trailing else ''}" if level == len(rest) - 1 else ""
        made.append(f"{' ' * (indent_by + 2 * level)}{key}:{end}\n")
    return "".join([*lines[: at + 1], *made, *lines[at + 1 :]])


def _noted(text: str, line: int, comments: Sequence[str]) -> str:
    """The text with comments above a line."""
    lines = text.splitlines(keepends=True)
    indent = lines[line][: len(lines[line]) - len(lines[line].lstrip(" "))]
    return "".join([*lines[:line], *(f"{indent}{comment}\n" for comment in comments if comment), *lines[line:]])


def _with_version(text: str) -> str:
    """The text with the version before the first key, and before the comment that belongs to it."""
    lines = text.splitlines(keepends=True)
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is None:
        return f"{text}version: {VERSION}\n" if not text or text.endswith("\n") else f"{text}\nversion: {VERSION}\n"
    if isinstance(node, MappingNode) and node.flow_style:
        at = node.start_mark.index + 1
        return f"{text[:at]}version: {VERSION}{', ' if node.value else ''}{text[at:].lstrip(' ')}"
    at = node.start_mark.line
    while at > 0 and lines[at - 1].startswith("#"):
        at -= 1
    return "".join([*lines[:at], f"version: {VERSION}\n", *lines[at:]])


def _entry(text: str, key: str) -> Node:
    value: Node = next(value for name, value in _compose(text).value if name.value == key)
    return value


def _put(text: str, node: Node, value: str) -> str:
    return text[: node.start_mark.index] + value + text[node.end_mark.index :]


def _last_line(text: str, node: Node) -> int:
    """The last line that has something of a node in it: its own end mark is where the next begins."""
    if node.start_mark.index == node.end_mark.index:
        return int(node.start_mark.line)
    before = text[: node.end_mark.index]
    if isinstance(node, CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(text, last[1] if isinstance(node, MappingNode) else last)
    return before.rstrip().count("\n")


def _scalars(node: Node) -> Iterator[tuple[int, int]]:
    """Where the scalars of a document stand, from and to: a # within them begins no comment."""
    if isinstance(node, ScalarNode):
        yield node.start_mark.index, node.end_mark.index
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            yield from _scalars(key)
            yield from _scalars(value)
    else:
        for item in node.value:
            yield from _scalars(item)


def _comment(line: str, offset: int, spans: Sequence[tuple[int, int]]) -> str | None:
    """The comment in a line."""
    for match in re.finditer(r"(?:(?<=\s)|^)#", line):
        at = offset + match.start()
        if not any(start <= at < stop for start, stop in spans):
            return line[match.start() :].rstrip()
    return None


def _offsets(lines: Sequence[str]) -> list[int]:
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    return offsets
