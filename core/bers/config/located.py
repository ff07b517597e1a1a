"""YAML as plain values that still know where in the file they stood."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from bers.errors import ConfigError, Fault

Steps: TypeAlias = tuple[str | int, ...]

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_VALUES = 100_000


_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")

# YAML 1.2's core schema, rather than 1.1's: `on` and `yes` are text, and so is `10:30`.
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None, "true": True, "True": True, "TRUE": True,
          "false": False, "False": False, "FALSE": False}  # fmt: skip


@dataclass
class Document:
    """A parsed file: its values, and the place of each by path."""

    name: str
    value: Any
    places: dict[Steps, tuple[int, int]] = field(default_factory=dict[Steps, tuple[int, int]])
    faults: list[Fault] = field(default_factory=list[Fault])
    substituted: set[Steps] = field(default_factory=set[Steps])
    """Where text came from elsewhere: it may stand for a number or a switch, which a variable cannot say otherwise."""
    secrets: set[str] = field(default_factory=set[str])
    """What came from elsewhere and is a secret."""
    origins: dict[Steps, str] = field(default_factory=dict[Steps, str])
    """What came from outside the file, and from where."""

    def fault(self, steps: Steps, message: str) -> Fault:
        """Something wrong at a path: at its own place, or at that of the nearest thing around it."""
        for length in range(len(steps), -1, -1):
            if origin := self.origins.get(steps[:length]):
                return Fault(spell(steps), message, origin)
            if place := self.places.get(steps[:length]):
                return Fault(spell(steps), message, f"{self.name}:{place[0]}:{place[1]}")
        return Fault(spell(steps), message, self.name)

    def put(self, steps: Steps, value: Any) -> None:
        """Set the value at a path, making what is missing on the way there."""
        here = self.value
        for step in steps[:-1]:
            if not isinstance(here.get(step), dict):
                here[step] = {}
            here = here[step]
        here[steps[-1]] = value


def spell(steps: Steps) -> str:
    """Write a path as people do: ``sinks.store.rules[3].above``."""
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "$"


def steps_of(text: str) -> Steps:
    """Read a path as :func:`spell` writes it; steps that are not known by number are left out."""
    found: list[tuple[str, str]] = _STEP.findall(f".{text}" if text not in ("", "$") else "")
    return tuple(name or int(index) for name, index in found if index != "...")


def parse(text: str, name: str) -> Document:
    """Read YAML with keys at its top. Raise ConfigError where it is none; keys given twice are noted as faults."""
    document = parse_any(text, name)
    if not isinstance(document.value, dict):
        message = "expected keys such as `sources:`; found a single value or a list"
        raise ConfigError([document.fault((), message)])
    return document


def parse_any(text: str, name: str) -> Document:
    """The same of YAML with anything at its top; where there is nothing at all, it has no keys."""
    if len(text) > MAX_BYTES:
        raise ConfigError([Fault("$", f"the file has more than {MAX_BYTES} characters", name)])
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        problem = " ".join(part for part in (exc.context, exc.problem) if part)
        line = next(iter(text.splitlines()[mark.line :]), "") if mark else ""  # It may be behind the last one.
        raise ConfigError([Fault("$", f"not YAML: {problem}; {_remedy(problem, line)}", place)]) from exc
    except yaml.YAMLError as exc:
        raise ConfigError([Fault("$", f"not YAML: {' '.join(str(exc).split())}", name)]) from exc
    except RecursionError as exc:
        raise ConfigError([Fault("$", f"nested more than {MAX_DEPTH} levels deep", name)]) from exc
    finally:
        if loader:
            loader.dispose()
    document = Document(name, None)
    document.value = _value(document, node, ()) if node else {}
    return document


def _remedy(problem: str, line: str) -> str:
    if "'\\t'" in problem:
        return "indent with spaces"
    if "${" in line and "flow" in problem:
        return "within { } and [ ], put what has a ${...} in it in quotes"
    if "another document" in problem:
        return "take the --- out, or keep the second in a file of its own"
    return "check indentation and quotes"


def read(path: Path) -> Document:
    """Read a YAML file; raise ConfigError if it cannot be read."""
    return parse(text_of(path), str(path))


def text_of(path: Path) -> str:
    """What a file says; raise ConfigError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError(
            [Fault("$", f"cannot be read: {exc.strerror}; name a file that this user may read", str(path))]
        ) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError([Fault("$", f"is not UTF-8 at byte {exc.start}; save it as UTF-8", str(path))]) from exc


def _value(document: Document, node: Node, steps: Steps) -> Any:
    document.places[steps] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if len(steps) > MAX_DEPTH:
        document.faults.append(document.fault(steps, f"nested more than {MAX_DEPTH} levels deep"))
        return None
    if len(document.places) > MAX_VALUES:  # An alias of aliases is short to write and endless to spell out.
        raise ConfigError([document.fault(steps, f"more than {MAX_VALUES} values, aliases spelled out")])
    if isinstance(node, MappingNode):
        return _mapping(document, node, steps)
    if isinstance(node, SequenceNode):
        return [_value(document, inner, (*steps, n)) for n, inner in enumerate(node.value)]
    assert isinstance(node, ScalarNode)
    if not node.tag.startswith("tag:yaml.org,2002:") or "/" in node.tag:  # Python's own tags have a slash.
        document.faults.append(document.fault(steps, f"tag {node.tag!r} is not allowed; write the plain value"))
        return None
    return _scalar(node.value) if node.style is None else node.value


def _mapping(document: Document, node: MappingNode, steps: Steps) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, ScalarNode) else None
        if key is None or key == "<<":
            what = "merge keys (<<) are" if key else "a list or a map as key is"
            document.faults.append(document.fault(steps, f"{what} not allowed; write the keys out"))
            continue
        here = (*steps, key)
        if key in result:
            first = document.places[here][0]
            _value(document, value_node, here)
            document.places[here] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            document.faults.append(
                document.fault(here, f"key {key!r} stands here and in line {first}; remove one of them")
            )
            continue
        value = _value(document, value_node, here)
        # The key is where a reader looks, not the value behind it.
        document.places[here] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        result[key] = value
    return result


def _scalar(text: str) -> Any:
    """What plain text means, by YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and len(text) < 19:  # More than 64 bits is no number that anything here could use.
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
