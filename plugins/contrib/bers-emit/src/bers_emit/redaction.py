"""Secrets never leave the machine: known values and credentials in URLs become ``***``."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|KEY", re.IGNORECASE)
_USERINFO = re.compile(r"://[^/\s?#]*@")  # Begins at a literal, so that a long text without one costs nothing.
_SHORTEST = 8  # A shorter value is more likely a word that texts contain by chance.


class Redaction:
    """Replaces the secrets that the environment held when this was made."""

    def __init__(self, environ: Mapping[str, str], *more: str) -> None:
        """``more`` are secrets besides those of the environment."""
        named = (value for name, value in environ.items() if _SECRET_NAME.search(name))
        values = {value for value in (*named, *more) if len(value) >= _SHORTEST}
        # The longest first: one secret may be part of another.
        self._secrets = sorted(values, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "***")
        if "://" in text and "@" in text:
            text = _USERINFO.sub("://***@", text)
        return text
