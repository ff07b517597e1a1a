"""What the options of the command line may hold; each names the remedy for what it cannot read."""

from __future__ import annotations

import json
import re
from argparse import ArgumentTypeError

from bers_emit import durations, event

_TIME = r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)"


def duration(text: str) -> float:
    try:
        return durations.seconds(text)
    except ValueError as exc:
        raise ArgumentTypeError(str(exc)) from exc


def time(text: str) -> str:
    if not re.fullmatch(_TIME, text):
        raise ArgumentTypeError(f"{text!r} is no time; write RFC 3339 with a zone: 2026-01-31T12:00:00Z")
    return text


def measure(text: str) -> tuple[str, float]:
    name, value = label(text)
    number = event.number(value)
    if number is None:
        raise ArgumentTypeError(f"{text!r} holds no number; write NAME=NUMBER: bundle.size=4097")
    return name, number


def label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ArgumentTypeError(f"{text!r} is no pair; write NAME=VALUE")
    return name, value


def validation(text: str) -> str:
    if not re.fullmatch(".+-validation", text):
        raise ArgumentTypeError(f"{text!r} is not understood; write ENVIRONMENT-validation: staging-validation")
    return text


def data(text: str) -> object:
    try:
        if text.startswith("@"):
            with open(text[1:], encoding="utf-8") as file:
                read = file.read()
        else:
            read = text
        parsed: object = json.loads(read)
        return parsed
    except OSError as exc:
        raise ArgumentTypeError(f"{text!r} cannot be read ({exc.strerror or exc}); write JSON, or @FILE") from exc
    except ValueError as exc:
        raise ArgumentTypeError(f"{text[:80]!r} is no JSON ({exc}); write JSON, or @FILE") from exc
