"""What has to hold for any bytes at all: the one list of facts for hypothesis, and for the coverage-guided fuzzer."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from bers import (
    ConfigError,
    Context,
    Delivery,
    Duration,
    Event,
    Interval,
    Percent,
    Refused,
    Size,
    Table,
    Window,
    as_cloudevent,
    format_duration,
    format_value,
    period,
    quantity,
    redact_text,
    units,
)
from bers.claims import Owners
from bers.config import plan
from bers.config.located import parse
from bers.decoding import Decoded, Decoder
from bers.decoding.limits import FIRST_TIME, LAST_TIME, MAX_NUMBER
from bers.decoding.vocabulary import RESERVED, TYPE
from bers.formats import AnyFormat
from bers.frames import Frame
from bers.journal import Journal
from bers.plugins import Catalogue, load
from bers.schemas import decode
from bers.stages import Receiver
from bers.testing import step
from bers_builtin.sinks.sse.frames import Frame as SseFrame
from bers_builtin.sinks.sse.frames import event_frame
from bers_builtin.sources.build import BUILD
from bers_builtin.sources.deployment import DEPLOYMENT
from bers_builtin.sources.github import GITHUB, Github, GithubConfig
from bers_builtin.sources.gitlab import GITLAB, Gitlab, GitlabConfig
from bers_builtin.sources.validation import VALIDATION

T = TypeVar("T")
NOW = 1_700_000_000.0
MOST = 90
"""Events in a body: fewer than the decoder decodes before it lets others have their turn, so that no loop is needed."""


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    finally:
        work.close()
    raise AssertionError("it waits")


# Intake.


def decoding(body: bytes) -> Decoded | None:
    """A body is refused or decoded; what is decoded can be kept, told, measured, and read again as the same."""
    decoder = Decoder(max_event=64 << 10, max_events=MOST)
    try:
        first = at_once(decoder.decode(body, now=NOW))
    except Refused as exc:
        _check_reason(exc.reason, "bad_request", "too_large")
        return None
    again = at_once(decoder.decode(body, now=NOW))  # Its words are known now: this may be the fast way.
    assert [_without_id(one) for one in again.events] == [_without_id(one) for one in first.events]
    assert again.rejected == first.rejected
    for rejection in first.rejected:
        assert rejection.error and msgspec.json.encode(rejection)
    for event in first.events:
        _check_event(event)
    _check_sources(first.events)
    return first


def binary(request: bytes) -> Decoded | None:
    """A CloudEvent in binary mode is refused or decoded: lines ``NAME: VALUE``, an empty one, and the body.

    ``NAME`` is a header's, and ``content-type`` without ``ce-``.
    """
    head, _, body = request.partition(b"\n\n")
    lines = [line.partition(b": ") for line in head.split(b"\n")]
    headers = [(b"ce-" + name.lower(), value) for name, _, value in lines if name != b"content-type"]
    media = next((value.decode("latin-1") for name, _, value in lines if name == b"content-type"), "")
    decoder = Decoder(max_event=64 << 10, max_events=MOST)
    try:
        first = decoder.binary(headers, media, body, now=NOW)
    except Refused as exc:
        _check_reason(exc.reason, "bad_request")
        return None
    assert len(first.events) + len(first.rejected) == 1
    for event in first.events:
        _check_event(event)
    _check_sources(first.events)
    return first


def webhooks(body: bytes) -> None:
    """Whatever a code host could send is none of its webhooks, or is read into documents that are events or refused."""
    for format, stage, headers in _hooks():
        for media in format.media:
            delivery = Delivery(headers, body, media, NOW)
            if format.verify:
                with suppress(Refused):
                    format.verify(stage, delivery)
                    raise AssertionError("nobody signed this")
            try:
                found = format.decode(stage, delivery)
                assert not isinstance(found, Awaitable), "these read at once"
                documents = list(found)
            except ValueError:
                continue
            decoder = Decoder(max_event=64 << 10, max_events=MOST)
            decoded = at_once(decoder.read(documents, now=NOW, size=len(body)))
            for event in decoded.events:
                _check_event(event)
                assert event.origin.startswith(f"{format.name}/")
            _check_sources(decoded.events)


@cache
def _hooks() -> Sequence[tuple[AnyFormat, object, Mapping[str, str]]]:
    signing = "whsec_a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5"
    github = {"secrets": ["a secret of some length"], "workflows": {"e2e*": "validation"}}
    gitlab = {"secrets": [signing], "environments": {"*": "production"}}
    stages = [
        Github(msgspec.convert(github, GithubConfig, dec_hook=decode), Context("github")),
        Gitlab(msgspec.convert(gitlab, GitlabConfig, dec_hook=decode), Context("gitlab")),
    ]
    kinds = ("deployment", "deployment_status", "workflow_run", "workflow_job", "pull_request", "push", "check_run")
    signed = {"webhook-id": "1", "webhook-timestamp": "1700000000", "webhook-signature": "v1,AAAA"}
    return [
        *(
            (GITHUB.formats[0], stages[0], {"x-github-event": kind, "x-hub-signature-256": "sha256=0"})
            for kind in kinds
        ),
        (GITLAB.formats[0], stages[1], signed),
    ]


def _check_reason(reason: str, *expected: str) -> None:
    assert reason in expected


def _without_id(event: Event) -> Event:
    """An id that we gave is another one each time."""
    return msgspec.structs.replace(event, id="") if event.id.rpartition("-")[2].isdigit() else event


def _check_event(event: Event) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([event]), type=list[Event]) == [event]
    assert TYPE.fullmatch(event.type) and not event.type.startswith(RESERVED)
    assert event.id and event.source and not event.source.startswith("bers:")
    assert FIRST_TIME <= event.time <= LAST_TIME
    assert 1 <= event.weight <= 1_000_000
    assert (event.cause, event.received, event.seq) == ("", 0.0, 0), "these are ours to set"
    assert event.duration_ms is None or 0 <= event.duration_ms <= MAX_NUMBER
    for name, value in event.measures.items():
        window = Window.of((name, (), 0.0, 1.0), value, event.time, 1, event.weight)
        for _ in range(10):
            window.add(value, event.time, 2, event.weight)
            window.merge(window.copy())
        assert all(map(math.isfinite, (window.sum, window.min, window.max, window.last, window.quantile(0.5))))
    msgspec.json.encode(as_cloudevent(event))
    sse(event)


def _check_sources(events: Sequence[Event]) -> None:
    """No source raises for what an emitter may send; what it makes can be kept, too."""
    table = Table()
    for event in events:
        receiver = _RECEIVERS.get(_OWNERS.of(event.type))
        if receiver:
            out = receiver.receive(event, table)
            assert (out[0].source, out[0].id) == (event.source, event.id)
            msgspec.msgpack.encode(out)
            assert all(math.isfinite(value) for one in out for value in one.measures.values())


def _receivers() -> Mapping[str, Receiver]:
    found: dict[str, Receiver] = {}
    for spec in (BUILD, VALIDATION, DEPLOYMENT):
        opened = step(spec).open()
        found[spec.name] = at_once(opened.__aenter__())  # They read, all three.
    return found


_OWNERS = Owners({claim: spec.name for spec in (BUILD, VALIDATION, DEPLOYMENT) for claim in spec.claims})
_RECEIVERS = _receivers()


# Text of operators and clients.


def reading_units(text: str) -> None:
    """Text is a value, or a ValueError; a value is finite, and written out and read again it is the same."""
    for kind in (Duration, Interval, Size, Percent):
        with suppress(ValueError):
            value = kind(text)
            assert math.isfinite(value)
            assert kind is Percent or value >= 0
            if kind is not Percent:
                assert math.isclose(kind(str(value)), value, rel_tol=1e-9), (text, str(value))
            units.decode(kind, text)
    for unit in ("ms", "s", "By", "By/s", "%", "1", "{build}"):
        with suppress(ValueError):
            number = quantity(text, unit)
            assert math.isfinite(number)
            assert format_value(number, unit)
    with suppress(ValueError):
        seconds = period(text)
        assert 0 < seconds <= 400 * 86400
        assert math.isclose(period(format_duration(seconds)), seconds, rel_tol=1e-9), (text, format_duration(seconds))
    assert isinstance(redact_text(text), str)


def configuring(text: str) -> None:
    """A file is a plan, or a ConfigError that says where; nothing else, whatever stands in it."""
    try:
        document = parse(text, "pipelines.yaml")
    except ConfigError as exc:
        _check_faults(exc)
        return
    msgspec.json.encode(document.value)
    try:
        plan(document, _catalogue(), environ={})
    except ConfigError as exc:
        _check_faults(exc)


def _check_faults(error: ConfigError) -> None:
    assert error.faults and all(fault.path and fault.message for fault in error.faults)


_CATALOGUES: list[Catalogue] = []


def _catalogue() -> Catalogue:
    if not _CATALOGUES:
        _CATALOGUES.append(load(installed=False))
    return _CATALOGUES[0]


# The stream.


class Message(NamedTuple):
    """What a client gets to see of a frame."""

    event: str
    data: str
    id: str


def sse(event: Event) -> None:
    """Whatever an event holds, a client reads exactly one message from its frame, with what we meant to say."""
    for frame in (event_frame(event, 7), SseFrame(7, "events", {"counts": {event.type: 1}, "note": event.reason})):
        for data, name in ((frame.named, frame.name), (frame.unnamed, "message")):
            (message,) = messages(data)
            assert (message.event, message.id) == (name, "7")
            document = msgspec.json.decode(message.data)
            if isinstance(frame.content, Event):
                assert document == msgspec.json.decode(msgspec.json.encode(as_cloudevent(event)))


def messages(stream: bytes) -> Iterator[Message]:
    """Read a stream as browsers do: WHATWG HTML, 9.2.6, "Interpreting an event stream"."""
    text = stream.decode("utf-8", errors="replace").removeprefix("\ufeff")
    event, data, last = "", "", ""
    for line in _lines(text):
        if not line:
            if data:
                yield Message(event or "message", data.removesuffix("\n"), last)
            event, data = "", ""
            continue
        if line.startswith(":"):
            continue
        field, colon, value = line.partition(":")
        value = value.removeprefix(" ") if colon else ""
        if field == "event":
            event = value
        elif field == "data":
            data += value + "\n"
        elif field == "id" and "\0" not in value:
            last = value


def _lines(text: str) -> Iterator[str]:
    """Lines end with CRLF, LF or CR, and with nothing else that Python would take for an end; the rest is no line."""
    line: list[str] = []
    previous = ""
    for character in text:
        if character == "\n" and previous == "\r":
            previous = character
            continue
        if character in "\r\n":
            yield "".join(line)
            line.clear()
        else:
            line.append(character)
        previous = character


# The journal.


def damaging(script: bytes) -> None:
    """Opening never raises, every whole frame is read in order, and what is added afterwards is there, too.

    The script says how large six frames are, and then what is written over them where: pairs of a place and bytes.
    """
    with tempfile.TemporaryDirectory(dir=_SHARED if os.access(_SHARED, os.W_OK) else None) as folder:
        _damage(Path(folder), script)


def _damage(folder: Path, script: bytes) -> None:
    sizes, script = script[:6].ljust(6, b"\x07"), script[6:]
    written: list[Frame] = []
    spans: list[tuple[int, int]] = []
    at = 0
    journal = Journal(folder)
    for number, size in enumerate(sizes):
        frame = Frame(number * 2, number * 2 + 2, bytes(range(size)))
        journal.add(frame)
        written.append(frame)
        spans.append((at, at := at + 24 + size))
    journal._write(journal._waiting)  # pyright: ignore[reportPrivateUsage]  # Without a loop: this is what syncs.
    journal.close()
    (file,) = folder.glob("*.log")
    original = file.read_bytes()
    assert len(original) == at
    changed = bytearray(original)
    while len(script) >= 4:
        place, length = int.from_bytes(script[:2], "big"), script[2] % 40
        piece, script = script[3 : 3 + length], script[3 + length :]
        place %= len(changed) + 20  # Behind the end, too.
        changed[place : place + len(piece)] = piece
    if script:
        del changed[len(changed) - script[0] % (len(changed) + 1) :]
    file.write_bytes(changed)
    whole = [frame for frame, (a, b) in zip(written, spans, strict=True) if bytes(changed[a:b]) == original[a:b]]
    start, end = spans[-1]
    if whole == written[:-1] and len(changed) == end and bytes(changed[start + 4 :]) == original[start + 4 :]:
        whole = list(written)  # The length alone of the last one: nothing else can follow it, so that is mended.
    for added in (1, 2):
        opened = Journal(folder)
        assert opened.end == (whole[-1].end if whole else 0)
        assert opened._read(0, 1 << 20) == whole  # pyright: ignore[reportPrivateUsage]
        frame = Frame(opened.end, opened.end + 1, b"new %d" % added)
        opened.add(frame)
        opened._write(opened._waiting)  # pyright: ignore[reportPrivateUsage]
        opened.close()
        whole.append(frame)


_SHARED = Path("/dev/shm")  # A disk would be asked to be sure of it, thousands of times.


# For the fuzzer.


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(data.decode("utf-8", errors="replace"))


def _streaming(data: bytes) -> None:
    text = data.decode("utf-8", errors="replace")
    sse(Event(text or "e", text or "/ci", "build.finished", NOW, subject=text, reason=text, data={text: text}))


TARGETS: Mapping[str, Callable[[bytes], object]] = {
    "decoding": decoding,
    "binary": binary,
    "webhooks": webhooks,
    "units": _text(reading_units),
    "configuration": _text(configuring),
    "stream": _streaming,
    "journal": damaging,
}
"""What has to hold, by the name that ``coverage_guided.py`` knows it by."""
