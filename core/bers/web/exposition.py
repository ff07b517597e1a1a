"""The two formats in which Prometheus reads values: its own text (0.0.4), and OpenMetrics (1.0.0)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

from bers.web.accepting import liked

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Kind: TypeAlias = Literal["gauge", "counter", "summary"]

_UNITS = ("bytes_per_second", "seconds", "bytes", "ratio")


class Sample(NamedTuple):
    """One value of a family, by its labels; ``suffix`` is what its name has beside the family's."""

    value: float
    labels: Mapping[str, object] = {}
    suffix: str = ""


class Family(NamedTuple):
    """Everything of one name. A counter's is told without ``_total``."""

    name: str
    kind: Kind
    help: str
    samples: Iterable[Sample]


def unit_of(name: str) -> str:
    """The base unit that a name ends in; empty where there is none."""
    return next((unit for unit in _UNITS if name.endswith(f"_{unit}")), "")


def media(accept: str) -> str:
    """The format that a client likes best; OpenMetrics where it says that it can read it."""
    for one in liked(accept):
        if one.media == "application/openmetrics-text" and one.parameters.get("version", "1.0.0") == "1.0.0":
            return OPEN
        if one.media in ("text/plain", "text/*", "*/*"):
            break
    return TEXT


def render(families: Iterable[Family], media: str) -> str:
    """The whole page."""
    openly = media == OPEN
    lines = [line for family in families for line in _family(family, openly)]
    return "\n".join([*lines, *(["# EOF"] if openly else ()), ""])


def label(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _family(family: Family, openly: bool) -> Iterator[str]:
    # In the older format a counter's whole name is described, in the newer one what stands in front of `_total`.
    total = "_total" if family.kind == "counter" else ""
    name = family.name if openly else family.name + total
    yield f"# TYPE {name} {family.kind}"
    if openly and (unit := unit_of(family.name)):
        yield f"# UNIT {name} {unit}"
    yield f"# HELP {name} {label(family.help) if openly else _help(family.help)}"
    for value, labels, suffix in family.samples:
        inside = ",".join(f'{key}="{label(str(text))}"' for key, text in labels.items())
        yield (
            f"{family.name}{total}{suffix}{{{inside}}} {_number(value)}"
            if inside
            else (f"{family.name}{total}{suffix} {_number(value)}")
        )


def _help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _number(value: float) -> str:
    """As short as it can be without being another one."""
    return str(value) if isinstance(value, int) else f"{value:.15g}"
