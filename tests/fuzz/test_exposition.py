"""Whatever stages and reasons are called, `/metrics` is what Prometheus can read, and says what was counted."""

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

from bers.counters import Counters
from bers.testing.server import serving

ALPHABET = [
    "\\",
    '"',
    "\n",
    "\r",
    "\0",
    "{",
    "}",
    ",",
    "=",
    " ",
    "#",
    "n",
    "a",
    "ä",
    "\u2028",
    "\U0001f600",
    "\x1f",
    "\x85",
]
NAMES = 5000 if os.environ.get("BERS_TEST_LONG") else 500


async def test_labels_of_any_text_are_read_back_as_they_were(tmp_path: Path) -> None:
    rng = random.Random(7)
    names = {"".join(rng.choices(ALPHABET, k=rng.randint(1, 12))): n for n in range(1, NAMES)}
    async with serving(tmp_path) as server:
        counters: Counters = server.node.supervisor.counters
        for name, number in names.items():
            edge = counters.edge(name)
            edge.taken = edge.out = number
            edge.dropped[name[::-1]] = 0
        samples = list(read((await server.get("/metrics", "metrics")).text))
    taken = {labels["stage"]: value for name, labels, value in samples if name == "bers_stage_taken_total"}
    assert {name: taken[name] for name in names} == names
    dropped = {(one["stage"], one["reason"]) for name, one, _ in samples if name == "bers_stage_dropped_total"}
    assert {(name, name[::-1]) for name in names} <= dropped


def read(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Read the text format 0.0.4 by its grammar: lines end with a line feed, and with nothing else."""
    assert text.endswith("\n")
    described: set[str] = set()
    for line in text[:-1].split("\n"):
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in described and kind in ("counter", "gauge", "histogram", "summary", "untyped")
            described.add(name)
        elif not line.startswith("#"):
            end = next(at for at, one in enumerate(line) if not (one.isascii() and (one.isalnum() or one in "_:")))
            name, rest = line[:end], line[end:]
            labels, rest = _labels(rest) if rest.startswith("{") else ({}, rest)
            assert re.sub("_(sum|count)$", "", name) in described and rest.startswith(" "), line
            yield name, labels, float(rest[1:])


def _labels(text: str) -> tuple[dict[str, str], str]:
    found: dict[str, str] = {}
    at = 1
    while text[at] != "}":
        equals = text.index('="', at)
        name, at = text[at:equals], equals + 2
        assert name.isidentifier() and name not in found
        value: list[str] = []
        while text[at] != '"':
            if text[at] == "\\":
                at += 1
                value.append({"\\": "\\", '"': '"', "n": "\n"}[text[at]])
            else:
                value.append(text[at])
            at += 1
        found[name] = "".join(value)
        at += 1
        if text[at] == ",":
            at += 1
    return found, text[at + 1 :]
