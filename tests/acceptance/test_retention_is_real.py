"""After its time and a sweep, no sample is answered, and none is in any file of the node."""

import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Operator
from tests.integration.processes import configure, installed, started, until

CANARIES = {"build_performance": 1234.567890123, "coldstart": 2345.678901234}
"""Numbers that nothing but what was sent can bring about, by what is measured."""
MARK = "a-canary-of-retention"
REJECTS = """\
from bers import Config, Rejected, SinkSpec, Stage, hookimpl


class PickyConfig(Config, frozen=True):
    '''Take everything but canaries.'''


class Picky(Stage[PickyConfig]):
    async def write(self, batch):
        if odd := {n: "a canary" for n, event in enumerate(batch.events) if event.subject == "a-canary-of-retention"}:
            raise Rejected("some are canaries", odd)


@hookimpl
def bers_sinks():
    return [SinkSpec("picky", PickyConfig, Picky)]
"""

TIERS = {
    "processors: [windows, sampling, retention]": "processors: [windows, sampling]",
    "store: {use: rest-store,": (
        "store: {use: rest-store, fold_every: 1s, events_keep: 5s, lasting_keep: 5s, "
        "tiers: [{width: 1s, keep: 5s}, {width: 2s, keep: 8s}],"
    ),
    "  dashboard: {refresh: 5s}": "  dashboard: {refresh: 5s}\n  picky: {}",
    "sinks: [sse, dashboard]": "sinks: [sse, dashboard, picky]",
}
QUIET = {"  host: {use: system-resources, interval: 1s}": "  host: {use: system-resources, interval: 1h}"}
MORE = """\
intake: {snapshot_every: 200ms, forget_after: 5s, journal: {max_age: 5s}}
log: {max_bytes: 16KiB, keep: 1}
"""

ASKED = (
    "metrics", "metrics?period=1h", "metrics/current", "metrics/build_performance?period=1h",
    "metrics/report?period=7d", "records?limit=500", "records?type=*&limit=500", "dashboard/status",
    "alerts", "dead-letters", "/metrics", "metrics/build_performance?period=1h&format=csv",
)  # fmt: skip


def spellings(value: float) -> list[bytes]:
    """Every form in which a number stands in a file: as text, and in 64 bits in either order."""
    return [repr(value).encode(), struct.pack("<d", value), struct.pack(">d", value)]


WANTED = {MARK: [MARK.encode()], **{name: spellings(value) for name, value in CANARIES.items()}}


def inflated(content: bytes) -> Iterator[bytes]:
    """What is compressed in some bytes, wherever it begins."""
    for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08", content):
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            yield inflate.decompress(content[match.start() :], 1 << 20)
        except zlib.error:
            continue  # It only looked like it.


def found(folder: Path) -> dict[str, set[str]]:
    """Which canaries are in which files, as they are or compressed."""
    everywhere: dict[str, set[str]] = {}
    for path in folder.rglob("*"):
        if not path.is_file() or path.suffix in (".py", ".txt", ".yaml"):
            continue
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue  # It has just gone.
        for some in (content, *inflated(content)):
            for name, forms in WANTED.items():
                if any(form in some for form in forms):
                    everywhere.setdefault(str(path.relative_to(folder)), set()).add(name)
    return everywhere


@pytest.mark.parametrize("quiet", [False, True], ids=["busy", "quiet"])
def test_c157_a16_nothing_older_than_its_time_is_answered_or_in_any_file(quiet: bool, tmp_path: Path) -> None:
    site = installed(tmp_path, "picky", REJECTS)
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    configure(tmp_path, TIERS | (QUIET if quiet else {}), more=MORE)
    with started(tmp_path, PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1") as server:
        duration, other = CANARIES.values()
        server.emit(
            {"type": "build.started", "id": "s", "source": "/ci", "subject": MARK, "run": {"id": MARK}},
            {"type": "build.finished", "id": "f", "source": "/ci", "subject": MARK, "duration_ms": duration,
             "run": {"id": MARK}},
            {"type": "custom.thing", "id": "c", "source": "/ci", "subject": MARK, "measures": {"coldstart": other}},
        )  # fmt: skip
        # A search that finds nothing proves nothing: they are answered, and in the store, journal, letters and logs.
        seen = set[str]()

        def was_seen_everywhere() -> bool:
            seen.update(_kinds(found(tmp_path)), answered(server, "metrics/build_performance?period=1h"))
            return seen >= {"journal", "metrics.db", "state.db", "logs", "build_performance"}

        until(was_seen_everywhere)
        until(lambda: server.data("dead-letters"))
        assert server.bers("dead", "drop", "--all").returncode == 0
        _fill_logs(server)
        until(lambda: not found(tmp_path), 60)
        assert not answered(server, *ASKED)
    assert not found(tmp_path)


def _kinds(found: dict[str, set[str]]) -> set[str]:
    parts = [Path(name).parts for name in found]
    return {part.removesuffix("-wal") for path in parts for part in path}


def answered(server: Operator, *paths: str) -> set[str]:
    """Which canaries REST tells of."""
    replies = {path: server.get(path) for path in paths}
    assert {path: reply.text for path, reply in replies.items() if reply.status_code != 200} == {}
    bodies = [reply.content for reply in replies.values()]
    return {name for name, forms in WANTED.items() for body in bodies if any(form in body for form in forms)}


def _fill_logs(server: Operator) -> None:
    """Write so much into the logs that what was in them before is rotated away: they go by size."""
    for n in range(4):
        server.emit(
            *(
                {"type": type, "id": f"{type}-{n}-{i}", "source": "/ci", "subject": "x" * 100}
                for type in ("build.queued", "custom.other")
                for i in range(100)
            )
        )
