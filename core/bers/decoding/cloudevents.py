"""CloudEvents 1.0: as JSON, and as a request whose headers are the attributes and whose body is the data."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bers.decoding import cdevents, tekton
from bers.decoding.limits import check_marks
from bers.errors import Refused
from bers.plain import as_object

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
PREFIX = "application/cloudevents"
"""What every content type begins with that says: these are CloudEvents."""

_HEADER = "ce-"
_RESERVED = {"id", "source", "type", "time", "subject"}
"""What a CloudEvent says of itself is not said again by its data."""

_EXTENSIONS = {"correlationid": "chain", "causationid": "cause"}
"""Documented extensions, and what we call them."""

_TEXTS = ("time", "subject", "datacontenttype", "dataschema")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")


def is_one(document: Mapping[str, Any]) -> bool:
    """Whether a document says that it is a CloudEvent, of whatever version."""
    return document.get("specversion") is not None


def claimed(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document of somebody who said that it is a CloudEvent: it is one, or none of ours at all."""
    return document if is_one(document) else {**document, "specversion": ""}


def fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """All that a CloudEvent says, on one level and under our names. Raise ValueError where it is none."""
    found = {name: value for name, value in document.items() if value is not None}  # `null` is the same as not said.
    version = found.pop("specversion", None)
    if version is None or version == "":
        raise ValueError("specversion: is missing; a CloudEvent says '1.0'")
    if version != "1.0":
        raise ValueError(f"specversion: {str(version)[:40]!r} is not supported; send CloudEvents 1.0")
    for name in ("id", "source", "type"):
        if not found.get(name):
            raise ValueError(f"{name}: is missing; every event names it")
    for name in ("id", "source", "type", *_TEXTS):
        if not isinstance(found.get(name, ""), str):
            raise ValueError(f"{name}: expected text")
    for extension, name in _EXTENSIONS.items():
        if extension in found:
            found.setdefault(name, found.pop(extension))
    media = found.pop("datacontenttype", "")
    data = _data(found, media)
    if (inner := as_object(data)) is not None and tekton.is_one(found["type"]):
        return {**found, **tekton.fields(found["type"], inner), "tekton": found["type"]}
    if inner is not None:
        said = _inner(inner)
        time = said.pop("time", None)
        found |= said
        return found if time is None or "time" in found else found | {"time": time}
    if data is not None:
        found["data"] = data
    if media and not is_json(media):
        found["datacontenttype"] = media  # What is kept as it came is of no use to whoever does not know what it is.
    return found


def from_request(headers: Iterable[tuple[bytes, bytes]], content_type: str, body: bytes | bytearray) -> dict[str, Any]:
    """A CloudEvent in binary mode, as one in JSON says the same. Raise Refused where it is none."""
    document: dict[str, Any] = {}
    for raw, value in headers:
        header = raw.decode("latin-1").lower()
        if not header.startswith(_HEADER):
            continue
        name = header.removeprefix(_HEADER)
        if name == "datacontenttype":
            raise _refused(f"{header}: must not be there; Content-Type says what the data are")
        if name in ("data", "data_base64"):
            raise _refused(f"{header}: cannot be an attribute; the body is the data")
        if name in document:
            raise _refused(f"{header}: is there twice")
        try:
            document[name] = unescaped(value)
        except UnicodeDecodeError:
            raise _refused(f"{header}: is not UTF-8 once it is percent-decoded") from None
    document = {name: value for name, value in document.items() if value}
    if content_type:
        document["datacontenttype"] = content_type
    if not body:
        return document
    if is_json(content_type or "application/json"):
        try:
            check_marks(body)
        except ValueError as exc:
            raise Refused("invalid", f"the body {exc}") from None
        try:
            return document | {"data": msgspec.json.decode(body)}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Refused("bad_request", f"the body is not JSON: {exc}") from exc
    if content_type.lower().startswith("text/"):
        try:
            return document | {"data": body.decode()}
        except UnicodeDecodeError:
            pass  # Another alphabet: kept as it is, like every other kind of bytes.
    return document | {"data_base64": base64.b64encode(body).decode()}


def is_binary(headers: Mapping[str, str], media: str) -> bool:
    """Whether a request is a CloudEvent in binary mode."""
    return not media.startswith(PREFIX) and ("ce-specversion" in headers or "ce-type" in headers)


def unescaped(value: bytes) -> str:
    """The text of a header: quotes are taken off, then percent signs are decoded, once. It may not be UTF-8."""
    text = value.decode("latin-1").strip(" \t")
    text = _QUOTED.sub(lambda quoted: _ESCAPED.sub(r"\1", quoted[0][1:-1]), text)
    return _PERCENT.sub(lambda code: bytes([int(code[1], 16)]), text.encode("latin-1")).decode()


def is_json(content_type: str) -> bool:
    """Whether data of that type are JSON."""
    media = content_type.partition(";")[0].strip().lower()
    return media.endswith(("/json", "+json"))


def _data(found: dict[str, Any], media: str) -> Any:
    """Take the data out of what was said, as they are: a text is a text, whatever is in it."""
    encoded = found.pop("data_base64", None)
    if encoded is None:
        return found.pop("data", None)
    if "data" in found:
        raise ValueError("data_base64: must not be there beside data; send one of them")
    try:
        whole = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise ValueError("data_base64: is no base64") from None
    if not is_json(media or "application/json"):
        found["data_base64"] = encoded
        return None
    check_marks(whole)
    try:
        return msgspec.json.decode(whole)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        if not media:  # Nobody said that it were JSON.
            found["data_base64"] = encoded
            return None
        raise ValueError(f"data_base64: is not JSON: {exc}") from None


def _inner(data: dict[str, Any]) -> dict[str, Any]:
    """What data add: a CDEvent's fields under our names, or those of plain JSON."""
    if cdevents.is_one(data):
        found = cdevents.fields(data)  # Its time serves where the CloudEvent has none: not every library sets it.
        return {name: value for name, value in found.items() if name not in ("id", "source", "type")}
    return {name: value for name, value in data.items() if value is not None and name not in _RESERVED}


def _refused(message: str) -> Refused:
    return Refused("bad_request", message, hint="see CloudEvents 1.0, HTTP protocol binding, binary content mode")
