"""A body that becomes a thousand times larger costs a server twice its limit of memory at most, and is told why."""

import gzip
import os
import zlib
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest
import zstandard

from tests.acceptance.conftest import Operator
from tests.integration.processes import configure, started

LIMIT = 16 << 20
HUGE = 1 << 30 if os.environ.get("BERS_TEST_LONG") else 128 << 20


def many(content: bytes, encoding: str, size: int = HUGE) -> bytes:
    """So many bytes of the same, compressed."""
    pieces: list[bytes] = []
    block = content * ((1 << 20) // len(content))
    if encoding == "zstd":
        packer = zstandard.ZstdCompressor().compressobj()
        pieces = [packer.compress(block) for _ in range(size >> 20)] + [packer.flush()]
    else:
        deflate = zlib.compressobj(9, wbits=zlib.MAX_WBITS | (16 if encoding == "gzip" else 0))
        pieces = [deflate.compress(block) for _ in range(size >> 20)] + [deflate.flush()]
    return b"".join(pieces)


def peak(process: psutil.Process) -> int:
    """The most memory that a process had since it was forgotten last, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def forget_peak(process: psutil.Process) -> None:
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("bombs")
    configure(folder)
    with started(folder) as operator:
        yield operator


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize(
    ("content", "size", "status"),
    [(b" ", HUGE, 413), (b" ", LIMIT, 400), (b"[", LIMIT, 400), (b"{},", HUGE, 413), (b'{"a":', LIMIT, 422)],
    ids=["spaces without end", "spaces", "depth", "objects", "deep objects"],
)  # fmt: skip
def test_b11_a_bomb_costs_twice_its_limit_at_most(
    content: bytes, size: int, status: int, encoding: str, server: Operator
) -> None:
    process = psutil.Process(server.process.pid)
    body = many(content, encoding, size)
    assert len(body) < 2 << 20
    forget_peak(process)
    before = peak(process)
    reply = server.post("ingest", content=body, headers={"Content-Encoding": encoding})
    assert reply.status_code == status, reply.text
    assert reply.json()["error"]["message"]
    assert peak(process) - before <= 2 * LIMIT


def test_b11_what_is_packed_twice_is_not_unpacked(server: Operator) -> None:
    body = gzip.compress(many(b" ", "gzip"))
    reply = server.post("ingest", content=body, headers={"Content-Encoding": "gzip, gzip"})
    assert reply.status_code == 415
    reply = server.post("ingest", content=body, headers={"Content-Encoding": "gzip"})
    assert reply.status_code == 400


@pytest.mark.parametrize("count", [5_000_000, 10_001], ids=["numbers", "objects"])
def test_b11_more_events_than_may_be_cost_no_more_than_their_bytes(count: int, server: Operator) -> None:
    process = psutil.Process(server.process.pid)
    body = b"[" + (b"0," if count > 10_001 else b"{},") * (10 << 20 >> 2) + b"0]"
    forget_peak(process)
    before = peak(process)
    reply = server.post("ingest", content=body[: 10 << 20])
    assert reply.status_code in (400, 413), reply.text
    assert peak(process) - before <= 2 * LIMIT
