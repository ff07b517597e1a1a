"""Environment variables that say what pipelines.yaml may say: they win over the file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from bers.config.located import Document, Steps
from bers.errors import Fault

_SWITCH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def _switch(text: str) -> bool:
    try:
        return _SWITCH[text.lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither true nor false; write one of them") from None


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


VARIABLES: Mapping[str, tuple[Steps, Callable[[str], Any]]] = {
    "BERS_MONITORING_AUTH_ENABLED": (("access", "enabled"), _switch),
    "BERS_MONITORING_API_KEY": (("access", "key"), str),
    "BERS_MONITORING_ALLOWED_IPS": (("access", "allowed"), _list),
    "BERS_MONITORING_ALLOW_LOOPBACK": (("access", "allow_loopback"), _switch),
}
"""Every such variable: what it sets, and how it is read. One that is empty says nothing."""


def overlay(document: Document, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Lay the variables over the document; return where a setting came from, by its path.

    What is wrong with a variable is noted as a fault of the document, at the variable.
    """
    said = os.environ if environ is None else environ
    for name, (steps, read) in VARIABLES.items():
        text = said.get(name, "").strip()
        if not text:
            continue
        origin = f"environment variable {name}"
        try:
            value = read(text)
        except ValueError as exc:
            document.faults.append(Fault(".".join(map(str, steps)), str(exc), origin))
            continue
        if isinstance(document.value.get(steps[0], {}), dict):  # Where it is not, that is a fault of its own.
            document.put(steps, value)
            document.origins[steps] = origin
    return {".".join(map(str, steps)): origin for steps, origin in document.origins.items()}
