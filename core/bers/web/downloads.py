"""Answers as files: CSV for spreadsheets, NDJSON for programs, written slice by slice while they are sent."""

from __future__ import annotations

import csv
import re
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from io import StringIO
from itertools import islice
from typing import Any, Literal, TypeAlias
from urllib.parse import urlencode
from uuid import uuid4

import msgspec
from anyio.lowlevel import checkpoint
from starlette.requests import Request
from starlette.responses import StreamingResponse

from bers.errors import Refused, unknown
from bers.operations import Operation, Sheet
from bers.redaction import Redactor
from bers.schemas import encode
from bers.web.accepting import liked

Format: TypeAlias = Literal["csv", "ndjson"]

MEDIA: Mapping[Format, str] = {"csv": "text/csv", "ndjson": "application/x-ndjson"}

SLICE = 50
"""How many rows are made at a time: less than a millisecond."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What text begins with that a spreadsheet would calculate; the last four are the first, as wide as Chinese letters."""

_encode = msgspec.json.Encoder(enc_hook=encode).encode


def wanted(operation: Operation[Any, Any, Any], request: Request) -> Format | None:
    """As what an answer is asked for: by `?format=`, or else by Accept; None is JSON. Raise Refused for another."""
    if operation.sheet is None:
        return None
    asked = request.query_params.get("format")
    if asked is None:
        return _accepted(request.headers.get("accept", ""))
    if asked == "json" or asked in operation.shapes:
        return None
    for format in MEDIA:
        if asked == format:
            return format
    known = ["json", *MEDIA, *operation.shapes]
    raise Refused(
        "invalid",
        f"format: {unknown('format', asked[:40], known)}",
        known=known,
        details=[("format", f"it is {', '.join(known[1:])} or json")],
    )


def download(request: Request, sheet: Sheet, format: Format, redactor: Redactor) -> StreamingResponse:
    """The answer as a file. What nobody may read is masked in each slice."""
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"bers-{sheet.name}-{at}.{format}")
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Request-Id": uuid4().hex, "Vary": "Accept"}
    if sheet.after:
        query = urlencode({**request.query_params, "after": sheet.after})
        headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
    pieces = _csv(sheet, redactor) if format == "csv" else _ndjson(sheet, redactor)
    media = "text/csv; charset=utf-8; header=present" if format == "csv" else MEDIA[format]
    return StreamingResponse(pieces, 200, headers, media)


async def _csv(sheet: Sheet, redactor: Redactor) -> AsyncGenerator[str]:
    """As RFC 4180 has it."""
    yield _lines([sheet.header])
    for rows in _slices(sheet.rows, redactor):
        yield _lines([_cell(cell) for cell in row] for row in rows)
        await checkpoint()


async def _ndjson(sheet: Sheet, redactor: Redactor) -> AsyncGenerator[bytes]:
    for rows in _slices(sheet.rows, redactor):
        yield b"".join(_encode(dict(zip(sheet.header, row, strict=True))) + b"\n" for row in rows)
        await checkpoint()


def _slices(rows: Iterable[Sequence[Any]], redactor: Redactor) -> Iterable[Sequence[Sequence[Any]]]:
    rest = iter(rows)
    while some := list(islice(rest, SLICE)):
        # Before cells are quoted: a quote that is doubled would hide a secret.
        encoded = _encode(some)
        yield some if redactor.is_clean(encoded) else redactor.everywhere(msgspec.json.decode(encoded))


def _lines(rows: Iterable[Sequence[Any]]) -> str:
    text = StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A cell of CSV; text that a spreadsheet would calculate is kept from that by an apostrophe."""
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    text = value if isinstance(value, str) else _encode(value).decode()
    return "'" + text if text.startswith(_FORMULA) else text


def _accepted(header: str) -> Format | None:
    """What is liked best of that which there is; JSON where nothing else is named as such."""
    for one in liked(header):
        if one.media in ("application/json", "application/*", "text/*", "*/*"):
            return None
        for format, name in MEDIA.items():
            if one.media == name:
                return format
    return None
