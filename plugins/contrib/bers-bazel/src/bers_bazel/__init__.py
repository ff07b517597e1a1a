"""Builds and tests of Bazel, from the files that `bazel build --build_event_json_file=FILE` writes."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import bers
import msgspec
from anyio import lowlevel, to_thread
from msgspec import Meta

PIECE, SLICE, OLD, PATIENCE = 8 << 20, 200, 86_400.0, 10.0
EXITS: dict[int, bers.Outcome] = {0: "success", 1: "failure", 2: "failure", 3: "success", 4: "success", 8: "cancel"}
ABORTS: dict[str, bers.Outcome] = {"USER_INTERRUPTED": "cancel", "TIME_OUT": "timeout"}
STATUS = {"PASSED": "passed", "FLAKY": "passed", "FAILED": "failed", "TIMEOUT": "failed", "NO_STATUS": "skipped"}


class BazelConfig(bers.Config, frozen=True):
    """Report builds and tests of Bazel, from the files of its Build Event Protocol in JSON."""

    path: Annotated[str, Meta(min_length=1, description="The file that Bazel writes, or a folder of such, `*.json`.")]
    interval: Annotated[bers.Interval, Meta(description="The time between two looks.")] = bers.Interval("1s")


class Build(msgspec.Struct):
    """What one file has told so far, in whatever order."""

    inode: int
    read: int = 0
    announced: set[bytes] = set()
    posted: set[bytes] = set()
    run: tuple[str, str, float] = "", "", 0.0  # Its uuid, its source, and when it began.
    code: int | None = None
    ended: float = 0.0
    why: str = ""
    aborted: str = ""
    labels: dict[str, str] = {}
    measures: dict[str, float] = {}
    tests: dict[str, str] = {}
    spans: list[float] = []
    told: set[str] = set()
    level: int = 30  # A warning at first: a file of something else altogether would tell of every line.

    def take(self, event: dict[str, Any]) -> None:
        id = event.get("id", {})
        self.announced.update(msgspec.json.encode(child, order="sorted") for child in event.get("children", ()))
        self.posted.add(msgspec.json.encode(id, order="sorted"))
        if found := event.get("started"):
            name = Path(found["workspaceDirectory"]).name[:100]
            self.run = str(found["uuid"])[:100], f"/bazel/{name}", moment(found, "startTime")
            self.labels = {"tool": "bazel", "command": str(found.get("command", ""))[:100]}
        if found := event.get("finished"):
            self.ended, exit = moment(found, "finishTime"), found.get("exitCode", {})
            self.code, self.why = int(exit.get("code", 0)), str(exit.get("name", ""))  # Zero is left out.
        if found := event.get("buildMetrics"):
            times, cache = found.get("timingMetrics", {}), found.get("actionSummary", {})
            phases = {f"phase.{name}": times.get(f"{name}PhaseTimeInMs") for name in ("analysis", "execution")}
            self.measures = {name: float(int(taken)) for name, taken in phases.items() if taken}
            hits, misses = (int(cache.get("actionCacheStatistics", {}).get(one, 0)) for one in ("hits", "misses"))
            self.measures |= {"cache.hit_rate": 100 * hits / (hits + misses)} if hits + misses else {}
        if "testSummary" in id:
            found = event.get("testSummary", {"overallStatus": "INCOMPLETE"})  # `aborted` may stand for any event.
            self.tests[id["testSummary"]["label"]] = str(found.get("overallStatus", "NO_STATUS"))
            self.spans += filter(None, (moment(found, name) for name in ("firstStartTime", "lastStopTime")))
        elif found := event.get("testResult"):
            self.tests.setdefault(id["testResult"]["label"], str(found.get("status", "NO_STATUS")))
        if found := event.get("aborted"):
            self.aborted = self.aborted or f"{found.get('reason', 'UNKNOWN')}: {found.get('description', '')}"
            self.code = -1 if "buildFinished" in id else self.code

    def events(self, waited: bool) -> Iterator[bers.Event]:
        (uuid, source, began), labels = self.run, self.labels
        if uuid:
            yield bers.Event(f"{uuid}/started", source, "build.started", began, subject=uuid, labels=labels)
        if not uuid or self.code is None or not (waited or self.announced <= self.posted):
            return  # All that was announced has to come; or for a while nothing has come.
        outcome = EXITS.get(self.code) or ABORTS.get(self.aborted.partition(":")[0], "error")
        yield bers.Event(
            f"{uuid}/finished", source, "build.finished", ended := self.ended or max(self.spans, default=began),
            reason=f"{self.why} {self.aborted}".strip()[:4096] if outcome != "success" else None, labels=labels,
            subject=uuid, outcome=outcome, duration_ms=round(max(0.0, ended - began) * 1e3, 3), measures=self.measures,
        )  # fmt: skip
        if self.tests:
            counts = Counter(f"tests.{STATUS.get(status, 'errored')}" for status in self.tests.values())
            counts["tests.flaky"] = list(self.tests.values()).count("FLAKY")
            yield bers.Event(
                f"{uuid}/tests", source, "testsuiterun.finished", ended, subject=f"{uuid}/tests",
                outcome="failure" if counts["tests.failed"] + counts["tests.errored"] else "success",
                duration_ms=round((max(self.spans) - min(self.spans)) * 1000, 3) if self.spans else None,
                measures={name: float(count) for name, count in counts.items()}, labels={"suite": "bazel"},
            )  # fmt: skip


class Bazel(bers.Stage[BazelConfig]):
    async def run(self, emit: bers.Emit) -> None:
        builds = dict[Path, Build]()
        while True:
            for path in await to_thread.run_sync(self._files):
                try:
                    builds[path] = await self._follow(path, builds.get(path), emit)
                except (OSError, bers.Full) as exc:
                    self.context.logger.warning("%s is read again in a while: %s", path, exc)
            await self.context.clock.sleep(self.config.interval)

    def _files(self) -> list[Path]:
        path, since = Path(self.config.path), self.context.clock.time() - OLD  # What is older was told.
        found = path.glob("*.json") if path.is_dir() else [path]
        return sorted(one for one in found if one.is_file() and one.stat().st_mtime > since)  # A pipe would hold us.

    async def _follow(self, path: Path, build: Build | None, emit: bers.Emit) -> Build:
        about = await to_thread.run_sync(path.stat)
        if build is None or about.st_ino != build.inode or about.st_size < build.read:  # The next build has begun.
            build = Build(about.st_ino)
        while lines := await to_thread.run_sync(piece, path, build.read):
            for number, line in enumerate(lines.splitlines()):
                if not number % SLICE:
                    await lowlevel.checkpoint()
                try:
                    build.take(msgspec.json.decode(line))
                except (msgspec.DecodeError, AttributeError, KeyError, TypeError, ValueError, ArithmeticError) as exc:
                    level, build.level = build.level, 10
                    self.context.logger.log(level, "%s, behind byte %d: no event: %.200s", path, build.read, exc)
            build.read += len(lines)
        events = build.events(waited=self.context.clock.time() - about.st_mtime >= PATIENCE)
        if news := [one for one in events if one.id not in build.told]:
            await emit(news, durable=True)
            build.told.update(one.id for one in news)
        return build


def piece(path: Path, at: int) -> bytes:
    with path.open("rb") as file:
        found = os.pread(file.fileno(), PIECE, at)
    return found[: found.rfind(b"\n") + 1]  # Whole lines: what has no end yet is read when it has.


def moment(told: Mapping[str, Any], name: str) -> float:
    """A time that Bazel tells in milliseconds or, in newer versions, as text; 0 where it does not."""
    millis, text = told.get(f"{name}Millis"), told.get(name)
    at = int(millis) / 1000 if millis else msgspec.convert(text, datetime).timestamp() if text else 0.0
    return at if 0 <= at < 253_402_300_800 else 0.0  # No calendar goes beyond the year 9999.


@bers.hookimpl
def bers_sources() -> list[bers.SourceSpec[Any]]:
    return [bers.SourceSpec("bazel", BazelConfig, Bazel, brings=("build.*", "testsuiterun.*"))]
