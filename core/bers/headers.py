"""Headers of HTTP that an operator names: which there cannot be."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from bers.redaction import Secret

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})


def header_faults(headers: Mapping[str, Secret], ours: Collection[str] = ()) -> Iterator[str]:
    """What is wrong with headers, each fault with its remedy; ``ours``, in lower case, are set by whoever sends."""
    for name, value in headers.items():
        text = value.reveal()
        if not _NAME.fullmatch(name):
            yield f"{name!r} cannot name a header; correct it"
        elif name.lower() in _OURS or name.lower() in ours:
            yield f"header {name!r} is set by us; leave it out"
        elif not (text.isprintable() and text.isascii()):
            yield f"the value of header {name!r} has characters that no header can have; correct it"
