"""Names of built files without what their content adds to them, so that the next build has them too."""

from __future__ import annotations

import re

_HASH = re.compile(r"(?<=[.\-_])[A-Za-z0-9_-]{8,}?(?=\.[A-Za-z]|$)")
_HEX = re.compile(r"(?=.*\d)(?:[0-9a-f]{8,64})")
_WORDS = re.compile(r"(?:[A-Z]?[a-z]+)+")


def normalized(name: str) -> str:
    """The name without what its content adds to it: ``index-B3vZRz9l.js`` is ``index-*.js`` in every build."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + _HASH.sub(lambda found: "*" if _is_hash(found[0]) else found[0], file)


def _is_hash(text: str) -> bool:
    """Whether no person would have named it so. Bundlers write hex, base32 in capitals, or base64 of eight letters."""
    if _HEX.fullmatch(text):
        return True
    if len(text) != 8:
        return len(text) >= 16 and text.isalnum() and not _WORDS.fullmatch(text) and any(map(str.isdigit, text))
    upper, lower = sum(map(str.isupper, text)), sum(map(str.islower, text))
    if not lower:
        return upper > 0
    return upper > 0 and (upper + lower < 8 or upper > 2)
