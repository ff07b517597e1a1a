"""What the store answers: metrics, the report, event details, and how it is itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, floor
from pathlib import Path

from bers import Caller, Context, Event, Finding, Metric, Nothing, Refused, Reply, Window, rfc3339

from . import answers, details, file, report
from .answers import (
    POINTS,
    RECORDS,
    AskMetric,
    AskMetrics,
    AskRecords,
    AskReport,
    Cleared,
    Line,
    MetricAnswer,
    MetricSummary,
    Point,
)
from .config import RestStoreConfig
from .dora.answers import AskDora, DoraAnswer
from .dora.asking import Dora
from .pace import Pace
from .reading import Span, lately, span_of
from .report import Report, Reported
from .store import Store

LATE = 5.0
"""Seconds after which data that is not committed is a fault."""
LINES = 50
"""How many series one answer tells."""
LONGEST = 50_000
"""How many windows of each series one question may read for its points."""


class RestStore(Store):
    """The store with its operations and its check."""

    def __init__(self, config: RestStoreConfig, context: Context) -> None:
        super().__init__(config, context)
        self._dora = Dora(self._database, config, context)

    async def dora(self, ask: AskDora, _: Caller) -> DoraAnswer:
        return await self._dora.answer(ask)

    async def metrics(self, ask: AskMetrics, _: Caller) -> Reply[dict[str, MetricSummary]]:
        period = answers.seconds(ask.period)
        figures = {name: await self._summary(metric, period) for name, metric in self.context.metrics.items()}
        return Reply(figures, {"bufferUtilization": self.utilization()})

    async def metric(self, ask: AskMetric, _: Caller) -> MetricAnswer:
        metric = self.context.metrics.find(ask.type)
        if not 1 <= ask.points <= POINTS:
            raise Refused("invalid", f"points: {ask.points} is out of range; ask for 1 to {POINTS}")
        now = self.context.clock.time()
        end = now if ask.to is None else ask.to / 1000
        start = end - answers.seconds(ask.period) if ask.from_ is None else ask.from_ / 1000
        if not 0 <= start < end:
            raise Refused("invalid", "from: it must lie before to, both in milliseconds since 1970")
        wanted = answers.labels_of(ask.labels).items()
        chosen = [one for one in self._registry.by_metric(ask.type) if wanted <= dict(one.labels).items()]
        tiers = self._registry.tiers
        if ask.from_ is None and ask.to is None:
            span = lately(chosen, tiers, end - start, now)
        else:
            span = span_of(chosen, tiers, start, end, now)
        if span.size > LONGEST:
            raise Refused(
                "invalid",
                f"{span.size} windows of {span.width:g} s are more than the {LONGEST} that a question may read",
                hint="ask for a shorter period, or keep a coarser tier of this metric",
            )
        least = ceil(span.size / ask.points) * span.width
        step = (
            max(span.width, ceil(answers.seconds(ask.step) / span.width) * span.width)
            if ask.step is not None
            else least
        )
        if step < least:
            raise Refused(
                "invalid",
                f"step: {ask.step!r} makes {(span.end - span.start) / step:.0f} points; {ask.points} may be at most",
                hint=f"ask for a step of {least:g}s or more, for a shorter period, or for up to {POINTS} points",
            )
        summary = answers.summarize(metric, chosen, await self._reader.totals(span), now, end - start)
        lines = await self._reader.points(span, step)
        most = sorted(lines, key=lambda one: sum(w.count for w in lines[one].values()), reverse=True)
        pace = Pace()
        return MetricAnswer(
            **{name: getattr(summary, name) for name in MetricSummary.__struct_fields__},
            from_=round(span.start * 1000),
            to=round(span.end * 1000),
            width_ms=round(span.width * 1000),
            step_ms=round(step * 1000),
            series_count=len(lines),
            series=[Line(dict(one.labels), await _points(lines[one], step, pace)) for one in most[:LINES]],
        )

    async def report(self, ask: AskReport, _: Caller) -> Report:
        catalog, period = self.context.metrics, answers.seconds(ask.period)
        figures = {name: await self._reported(metric, period) for name, metric in catalog.items()}
        advice = report.recommendations(catalog, figures)
        return Report(
            round(self.context.clock.time() * 1000),
            ask.period,
            round(period * 1000),
            self.context.environment,
            figures,
            report.baselines(catalog, figures),
            advice,
            report.summary(figures, advice),
        )

    async def clear_cache(self, _: Nothing, __: Caller) -> Cleared:
        return Cleared(*self._cache.clear())

    async def records(self, ask: AskRecords, _: Caller) -> list[answers.Record]:
        if not 1 <= ask.limit <= RECORDS:
            raise Refused("invalid", f"limit: {ask.limit} is out of range; ask for 1 to {RECORDS}")
        now, since = self.context.clock.time(), ask.since / 1000
        bodies = await self._database.run(
            lambda connection: (
                details.of_id(connection, self._losses, ask.id, ask.source, now, ask.limit)
                if ask.id
                else details.newest(
                    connection, self._losses, ask.type, subject=ask.subject, since=since, now=now, limit=ask.limit
                )
            )
        )
        return details.as_records(bodies)

    async def explain(self, event: Event) -> Sequence[str]:
        if any((source, id) == (event.source, event.id) for source, id, *_ in self._events):
            return ["Its details wait to be committed."]
        expires = await self._database.run(lambda connection: details.expiry(connection, event))
        if expires is None:
            return ["It keeps no details of the event."]
        return [f"It keeps the details of the event until {rfc3339(expires)}."]

    async def check(self) -> Finding:
        segments, pages, events, positions = await self._database.run(
            lambda connection: file.figures(connection, self.context.stage_id)
        )
        utilization = self.utilization()
        found = {
            "bufferUtilization": utilization,
            "segments": segments,
            "pages": pages,
            "events": events,
            "series": len(self._registry),
            "bytes": _bytes(self.path),
            "positions": positions,
            "losses": self._losses.told(),
            "disk": self._cap.told(),
        }
        waited = 0.0 if self._since is None else self.context.clock.monotonic() - self._since
        if self._failure:
            return Finding(
                "degraded", f"the last commit failed: {self._failure}", found, f"free the disk of {self.path}"
            )
        if waited > LATE:
            return Finding(
                "degraded",
                f"data waits for a commit since {waited:.0f} s",
                found,
                f"look whether the disk of {self.path} is slow or full",
            )
        for trouble, remedy in self.troubles():
            return Finding("degraded", trouble, found, remedy)
        return Finding("healthy", f"{len(self._registry)} series in {pages} pages", found)

    async def _summary(self, metric: Metric, period: float) -> MetricSummary:
        now = self.context.clock.time()
        series = self._registry.by_metric(metric.name)
        totals = await self._reader.totals(lately(series, self._registry.tiers, period, now))
        return answers.summarize(metric, series, totals, now, period)

    async def _before(self, metric: Metric, period: float, span: Span) -> MetricSummary:
        """The period before a span: it ends with the last whole window before it."""
        now = self.context.clock.time()
        series = self._registry.by_metric(metric.name)
        before = span_of(series, self._registry.tiers, span.start - period, span.start, now)
        end = floor(span.start / before.width) * before.width
        return answers.summarize(metric, series, await self._reader.totals(replace(before, end=end)), now, period)

    async def _reported(self, metric: Metric, period: float) -> Reported:
        now = self.context.clock.time()
        series = self._registry.by_metric(metric.name)
        span = lately(series, self._registry.tiers, period, now)
        totals = await self._reader.totals(span)
        summary = answers.summarize(metric, series, totals, now, period)
        figure = Reported(
            **{name: getattr(summary, name) for name in MetricSummary.__struct_fields__},
            width_ms=round(span.width * 1000),
            coverage=min(100.0, totals.filled / span.size * 100),
        )
        figure.previous = report.compare(figure, await self._before(metric, period, span))
        return figure


async def _points(windows: Mapping[int, Window], step: float, pace: Pace) -> list[Point]:
    points: list[Point] = []
    for number, window in sorted(windows.items()):
        mean, p95 = answers.mean(window), window.quantile(0.95)
        points.append((round(number * step * 1000), window.count, mean, window.min, window.max, p95))
        await pace()
    return points


def _bytes(path: Path) -> int:
    """What a database takes on disk, with its log."""
    return sum(one.stat().st_size for one in (path, path.with_name(path.name + "-wal")) if one.exists())
