"""XML out of files that nobody vouches for: element by element, in bounded memory, and never a bomb."""

from __future__ import annotations

from xml.parsers import expat

from bers_emit.imports.documents import Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from bers_emit.imports.documents import Document

    class Reader(Protocol):
        """Is told of each element as it begins and as it ends."""

        def begin(self, name: str, attributes: Mapping[str, str], depth: int) -> None: ...

        def end(self, name: str, depth: int) -> None: ...


MAX_DEPTH = 64
MAX_TAG = 1 << 20
"""Bytes of one tag with its attributes. What is not complete is looked at again with each piece that comes."""


class Refused(Exception):
    """A document holds what it must not; the message goes on behind the name of its file."""


def read(document: Document, reader: Reader, *, named: bool = False) -> None:
    """Tell the reader what is in a document. Raise Unreadable where it is not well-formed, or more than it may be.

    A document that declares types of its own is refused; one that only names where they are, if ``named``: nobody
    looks there.
    """
    parser = expat.ParserCreate()
    depth = 0

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise Refused(f"is nested more than {MAX_DEPTH} elements deep")
        reader.begin(name.rpartition(":")[2], attributes, depth)

    def end(name: str) -> None:
        nonlocal depth
        reader.end(name.rpartition(":")[2], depth)
        depth -= 1

    def declared(name: str, system: str | None, public: str | None, inside: bool) -> None:
        if inside or not named:
            raise Refused("declares a document type, which may hold anything")

    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = declared
    fed = 0
    try:
        for piece in document.pieces():
            fed += len(piece)
            parser.Parse(piece, False)
            if fed - parser.CurrentByteIndex > MAX_TAG:
                raise Refused(f"has a tag of more than {MAX_TAG} bytes")
        parser.Parse(b"", True)
    except expat.ExpatError as exc:
        raise Unreadable(f"{document.path}: is no XML ({exc})") from exc
    except Refused as exc:
        raise Unreadable(f"{document.path}: {exc}") from None
    except Unreadable:
        raise
    except (LookupError, ValueError) as exc:  # An encoding that Python does not know, or that the content is not in.
        raise Unreadable(f"{document.path}: is no XML ({exc})") from exc


def number(attributes: Mapping[str, str], name: str) -> float | None:
    """A number that an attribute holds, some write with commas between thousands; None where there is none."""
    text = attributes.get(name, "").strip()
    if "," in text and "." in text:
        text = text.replace(",", "")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e15 else None
