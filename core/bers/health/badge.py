"""Badges: a small picture of how a check is, for a README or a wiki; made here, without scripts and fonts of others."""

from __future__ import annotations

from html import escape

from bers.checks import Status

_COLOURS: dict[Status, str] = {
    "healthy": "#2c7a3f", "degraded": "#96660b", "unhealthy": "#b3261e", "unknown": "#5c6370",
}  # fmt: skip
"""White text on each of them can be read: 4.5 to 1 at least."""

_GOOD, _FAIR = 99.9, 99.0
"""Per cent: what is green, and what is not red yet."""

_NARROW, _WIDE = "ijlI1.,:;|!'()[]ft ", "mwMW@%"
_HEIGHT = 20
_PADDING = 6


def status_badge(label: str, status: Status) -> bytes:
    """How a check is."""
    return _svg(label, status, _COLOURS[status])


def availability_badge(label: str, percent: float | None) -> bytes:
    """How much of the time a check was well."""
    if percent is None:
        return _svg(label, "unknown", _COLOURS["unknown"])
    # Rounded down: 99.999 % is not 100 %.
    told = "100 %" if percent >= 100 else f"{int(percent * 100) / 100:g} %"
    word: Status = "healthy" if percent >= _GOOD else "degraded" if percent >= _FAIR else "unhealthy"
    return _svg(label, told, _COLOURS[word])


def _svg(label: str, message: str, colour: str) -> bytes:
    left, right = _width(label) + 2 * _PADDING, _width(message) + 2 * _PADDING
    name, said = escape(_shown(label)), escape(_shown(message))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{_HEIGHT}" role="img" '
        f'aria-label="{name}: {said}"><title>{name}: {said}</title>'
        f'<rect width="{left + right}" height="{_HEIGHT}" rx="3" fill="#3b4048"/>'
        f'<path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v{_HEIGHT - 6}a3 3 0 0 1-3 3H{left}z" fill="{colour}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="{left / 2:g}" y="14" textLength="{left - 2 * _PADDING}">{name}</text>'
        f'<text x="{left + right / 2:g}" y="14" textLength="{right - 2 * _PADDING}">{said}</text></g></svg>'
    ).encode()


def _shown(text: str) -> str:
    return text if len(text) <= 64 and text.isprintable() else "".join(filter(str.isprintable, text))[:64]


def _width(text: str) -> int:
    """About how wide it is; it is stretched to just that."""
    return round(sum(4.0 if one in _NARROW else 10.0 if one in _WIDE else 7.0 for one in _shown(text)))
