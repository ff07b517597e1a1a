"""Two databases that teams run today, given the same samples and asked the same questions, where they are installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2
import msgspec
import psutil

from tests.bench.mixed import Line

REPEATS = 7
"""How often a question is asked; the median is told."""


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


class Peer(NamedTuple):
    """A database that answers PromQL, filled and running."""

    name: str
    version: str
    url: str
    bytes: int
    """What it takes on disk, with everything merged."""
    pid: int

    def values(self, query: str, *, start: int, end: int) -> dict[str, list[float]]:
        """Every stored sample of a selector, by the series' number."""
        with httpx2.Client(timeout=300) as client:
            reply = client.get(
                f"{self.url}/api/v1/query", params={"query": f"{query}[{end - start + 1}s]", "time": str(end)}
            )
        result = msgspec.json.decode(reply.content)["data"]["result"]
        return {one["metric"]["number"]: [float(value) for _, value in one["values"]] for one in result}


@contextmanager
def prometheus(lines: Iterable[Line], folder: Path, *, start: int, step: int) -> Generator[Peer | None]:
    """Prometheus with blocks that its own tool made of the samples; None where it is not installed."""
    if not (shutil.which("prometheus") and shutil.which("promtool")):
        yield None
        return
    text, data = folder / "samples.txt", folder / "data"
    with text.open("w") as file:
        for kind, of_kind in _by_kind(lines):
            file.write(f"# TYPE bench_{kind} gauge\n")
            for line in of_kind:
                name = f'bench_{kind}{{number="{line.number}"}}'
                file.writelines(f"{name} {value!r} {start + n * step}\n" for n, value in enumerate(line.values))
        file.write("# EOF\n")
    _run("promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(text), str(data))
    text.unlink()
    size, config = _size(data), folder / "prometheus.yml"
    config.write_text("{}\n")
    port = free_port()
    command = (
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}", "--storage.tsdb.retention.time=10y",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error", "--query.max-samples=200000000",
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with running(command, f"{url}/-/ready") as pid:
        yield Peer("Prometheus", version("prometheus"), url, size, pid)


@contextmanager
def victoria_metrics(lines: Iterable[Line], folder: Path, *, start: int, step: int) -> Generator[Peer | None]:
    """VictoriaMetrics, given the samples by its import and told to merge them; None where it is not installed."""
    if not shutil.which("victoria-metrics"):
        yield None
        return
    data, port = folder / "data", free_port()
    url = f"http://127.0.0.1:{port}"
    command = (
        "victoria-metrics", f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=10y",
        "-search.disableCache", "-search.maxSamplesPerQuery=1000000000", "-loggerLevel=ERROR",
    )  # fmt: skip
    with running(command, f"{url}/health") as pid:
        with httpx2.Client(timeout=300) as client:
            for kind, number, values in lines:
                row = {
                    "metric": {"__name__": f"bench_{kind}", "number": str(number)},
                    "values": values,
                    "timestamps": [(start + n * step) * 1000 for n in range(len(values))],
                }
                assert client.post(f"{url}/api/v1/import", content=msgspec.json.encode(row) + b"\n").is_success
            for order in ("force_flush", "force_merge"):
                assert client.get(f"{url}/internal/{order}").is_success
            while _merging(client.get(f"{url}/metrics").text):
                time.sleep(0.2)
        yield Peer("VictoriaMetrics", version("victoria-metrics"), url, _size(data), pid)


def _by_kind(lines: Iterable[Line]) -> Iterator[tuple[str, list[Line]]]:
    """What is of one kind together, as the exposition wants it."""
    kinds: dict[str, list[Line]] = {}
    for line in lines:
        kinds.setdefault(line.kind, []).append(line)
    yield from kinds.items()


@contextmanager
def running(command: Iterable[str], ready: str) -> Generator[int]:
    process = subprocess.Popen(tuple(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: _answers(ready), process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def _until(true: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not true():
        assert process.poll() is None, f"{process.args!r} ended"
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url).is_success
    except httpx2.TransportError:
        return False


def _merging(metrics: str) -> bool:
    active = [line for line in metrics.splitlines() if line.startswith("vm_active_merges{")]
    return any(float(line.rpartition(" ")[2]) for line in active)


def _size(folder: Path) -> int:
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


def version(package: str) -> str:
    """Which package of the system it is; not every build says its version itself."""
    if not shutil.which("dpkg-query"):
        return "unknown"
    done = subprocess.run(
        ("dpkg-query", "-W", "-f", "${Version}", package), check=False, capture_output=True, text=True
    )
    return done.stdout.partition("+")[0] or "unknown"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
