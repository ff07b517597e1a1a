"""From the units of OpenTelemetry's metrics (UCUM) to those of the catalogue."""

from __future__ import annotations

from typing import Final

_MILLISECONDS: Final = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3, "min": 6e4, "h": 3.6e6, "d": 8.64e7}
_BYTES: Final = {
    "By": 1.0, "kBy": 1e3, "MBy": 1e6, "GBy": 1e9, "TBy": 1e12,
    "KiBy": 2.0**10, "MiBy": 2.0**20, "GiBy": 2.0**30, "TiBy": 2.0**40, "bit": 0.125,
}  # fmt: skip
_SHARES: Final = {"1": 100.0, "%": 1.0}


def factor(unit: str, wanted: str) -> float | None:
    """What to multiply a value in ``unit`` with to have it in ``wanted``; None where they measure different things.

    A value without a unit is taken to be in the one that is wanted.
    """
    if unit in ("", wanted):
        return 1.0
    if wanted in ("ms", "s"):
        found = _MILLISECONDS.get(unit)
        return found and (found / 1e3 if wanted == "s" else found)
    if wanted == "By":
        return _BYTES.get(unit)
    if wanted == "By/s":
        return _BYTES.get(unit.removesuffix("/s")) if unit.endswith("/s") else None
    if wanted == "%":
        return _SHARES.get(unit)
    if wanted == "1" and unit == "%":
        return 0.01
    return 1.0 if unit == "1" or unit.startswith("{") else None
