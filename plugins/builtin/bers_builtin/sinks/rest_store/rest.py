"""What the store answers: metrics, the report, event details, and how it is itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import floor

from msgspec.structs import asdict

from bers import Caller, Context, Event, Finding, Metric, Nothing, Refused, Reply, as_cdevent, format_duration, rfc3339

from . import asked, bounds, details, file, lines, pages, report
from .answers import (
    LINES,
    POINTS,
    RECORDS,
    STANDINGS,
    AskCurrent,
    AskForget,
    AskMetric,
    AskMetrics,
    AskRecords,
    AskReport,
    Cleared,
    Forgotten,
    MetricAnswer,
    MetricSummary,
    Record,
    Standing,
)
from .bounds import Heavy
from .config import RestStoreConfig
from .details import EventRow
from .dora.answers import AskDora, DoraAnswer
from .dora.asking import Dora
from .figures import alive, coverage, summarize, tier_name
from .looking import looking
from .pace import Pace
from .partials import Series
from .reading import Span, lately, span_of
from .reading_on import read_on
from .report import Report, Reported
from .runs import AskRuns, Runs, RunTold
from .store import Store
from .troubles import troubles

LATE = 5.0
"""Seconds after which data that is not committed is a fault."""
STANDING = 1_000
"""Up to how many series of a metric have percentiles of their own among the current values."""
DAY = 86_400.0


class RestStore(Store):
    """The store with its operations and its check."""

    def __init__(self, config: RestStoreConfig, context: Context) -> None:
        super().__init__(config, context)
        self._heavy = Heavy()
        self._looking = Heavy()
        """Gives turns to those who look for events by conditions."""
        self._dora = Dora(self._database, config, context, self._era)
        self._runs = Runs(self._database, self._losses, context, self._looking)

    async def dora(self, ask: AskDora, _: Caller) -> DoraAnswer:
        return await self._dora.answer(ask)

    async def sweep(self) -> None:
        await super().sweep()
        await self._dora.rest()

    async def metrics(self, ask: AskMetrics, _: Caller) -> Reply[dict[str, MetricSummary]]:
        period = asked.seconds(ask.period)
        spans = {name: self._lately(name, period) for name in self.context.metrics}
        async with self._heavy.turn(sum(map(bounds.windows, spans.values()))):
            figures = {
                name: await self._summary(metric, spans[name], period) for name, metric in self.context.metrics.items()
            }
        return Reply(figures, {"bufferUtilization": self.utilization()})

    async def metric(self, ask: AskMetric, _: Caller) -> MetricAnswer:
        metric = self.context.metrics.find(ask.type)
        most, limit = asked.number(ask.points, "points", POINTS), asked.number(ask.limit, "limit", LINES)
        figures = asked.figures(ask.fields)
        of_lines = figures if ask.line_fields is None else asked.figures(ask.line_fields, "lineFields")
        now = self.context.clock.time()
        end = now if ask.to is None else ask.to / 1000
        start = end - asked.seconds(ask.period) if ask.from_ is None else ask.from_ / 1000
        if not 0 <= start < end:
            raise Refused("invalid", "from: it must lie before to, both in milliseconds since 1970")
        chosen = self._chosen(ask.type, ask.labels)
        if ask.from_ is None and ask.to is None:
            span = lately(chosen, self._registry.tiers, end - start, now)
        else:
            span = span_of(chosen, self._registry.tiers, start, end, now)
        span = bounds.afford(span, start, end, now)
        bounds.check(span)
        groups = lines.grouped(chosen, asked.grouping(ask.by, metric.labels))
        step = None if ask.step is None else asked.seconds(ask.step, "step")
        step = bounds.step_for(span, step, most, max(1, min(limit, len(groups))))
        async with self._heavy.turn(bounds.windows(span)):
            found = await lines.read(self._reader, span, groups, lines.Wanted(step, figures, of_lines, limit, now))
            summary = summarize(metric, chosen, found.totals, now, end - start)
        return MetricAnswer(
            **asdict(summary),
            from_=round(span.start * 1000),
            to=round(span.end * 1000),
            width_ms=round(span.width * 1000),
            tier=tier_name(span.width),
            step_ms=round(step * 1000),
            fields=["start", *figures],
            line_fields=["start", *of_lines],
            series_count=found.found,
            series=found.kept,
            overall=found.overall,
        )

    async def current(self, ask: AskCurrent, _: Caller) -> Reply[dict[str, list[Standing]]]:
        now, period = self.context.clock.time(), asked.seconds(ask.period)
        chosen: dict[str, list[Series]] = {}
        spans: dict[str, Span] = {}
        room, left_out = asked.number(ask.limit, "limit", STANDINGS), 0
        for name in self.context.metrics:
            kept = alive(self._registry.by_metric(name), now)
            chosen[name] = kept[:room]
            left_out += max(0, len(kept) - room)
            room -= len(chosen[name])
            if 0 < len(chosen[name]) <= STANDING:
                span = lately(chosen[name], self._registry.tiers, period, now)
                spans[name] = bounds.afford(span, now - period, now, now, bounds.LIGHT)
        async with self._heavy.turn(sum(map(bounds.windows, spans.values()))):
            told = {name: await self._standing(series, spans.get(name)) for name, series in chosen.items()}
        return Reply(told, {"leftOut": left_out})

    async def report(self, ask: AskReport, _: Caller) -> Report:
        catalog, period, now = self.context.metrics, asked.seconds(ask.period), self.context.clock.time()
        spans = {name: self._lately(name, period) for name in catalog}
        async with self._heavy.turn(2 * sum(map(bounds.windows, spans.values()))):
            figures = {name: await self._reported(metric, spans[name], period) for name, metric in catalog.items()}
        advice = report.recommendations(catalog, figures, now)
        return Report(
            round(now * 1000),
            ask.period,
            round(period * 1000),
            self.context.environment,
            figures,
            report.baselines(catalog, figures),
            advice,
            report.summary(figures, advice),
        )

    async def forget_metric(self, ask: AskForget, _: Caller) -> Forgotten:
        self.context.metrics.find(ask.type)
        if ask.before / 1000 > self.context.clock.time():
            raise Refused("invalid", f"before: {ask.before} lies in the future; windows are deleted of what has been")
        chosen = self._chosen(ask.type, ask.labels)
        try:
            gone = await self.forget(chosen, ask.before / 1000)
        except (sqlite3.Error, OSError) as exc:
            raise Refused(
                "unavailable",
                f"{self.path} cannot be written: {exc}; some of it may be deleted",
                hint="free the disk, and ask again",
            ) from exc
        return Forgotten(ask.type, ask.before, len(chosen), gone)

    async def clear_cache(self, _: Nothing, __: Caller) -> Cleared:
        return Cleared(*self._cache.clear())

    async def records(self, ask: AskRecords, _: Caller) -> Reply[list[Record]]:
        limit = asked.number(ask.limit, "limit", RECORDS)
        now, since, until = self.context.clock.time(), ask.since / 1000, ask.until / 1000

        newest = partial(
            details.newest, losses=self._losses, pattern=ask.type, subject=ask.subject, since=since, until=until,
            now=now,
        )  # fmt: skip
        events: list[Event]
        more: str | None = None
        async with looking(ask.where, self._looking) as look:
            if ask.id:
                found = await self._database.read(
                    lambda connection: details.of_id(connection, self._losses, ask.id, ask.source, now, limit)
                )
                events = [details.decoded(body) for _, body in found if body is not None]
            else:
                events, more = await read_on(self._database, newest, look, details.place(ask.after), limit)
        render = as_cdevent if ask.format == "cdevents" else details.told
        pace, told = Pace(), list[Record]()
        for event in events:
            told.append(render(event))
            await pace()
        return Reply(told, {"next": more})

    async def runs(self, ask: AskRuns, _: Caller) -> Reply[list[RunTold]]:
        return await self._runs.answer(ask)

    async def explain(self, event: Event) -> Sequence[str]:
        if any((source, id) == (event.source, event.id) for source, id, *_ in self._events):
            return ["Its details wait to be committed."]
        expires = await self._database.run(lambda connection: details.expiry(connection, event))
        if expires is None:
            return ["It keeps no details of the event."]
        return [f"It keeps the details of the event until {rfc3339(expires)}."]

    async def check(self) -> Finding:
        segments, parts, events, positions = await self._database.run(
            lambda connection: file.figures(connection, self.context.stage_id)
        )
        utilization = self.utilization()
        found = {
            "bufferUtilization": utilization,
            "segments": segments,
            "pages": parts,
            "events": events,
            "series": len(self._registry),
            "bytes": file.disk_bytes(self.path),
            "positions": positions,
            "losses": self._losses.told(),
            "disk": self._cap.told(),
        }
        waited = 0.0 if self._since is None else self.context.clock.monotonic() - self._since
        if self._unwritten:
            since, why = self._unwritten.longest
            lasted = format_duration(round(self.context.clock.monotonic() - since))
            message = f"{self.path} cannot be written, for {lasted} already, and what comes waits in memory: {why}"
            return Finding("degraded", message, found, f"make room on the disk of {self.path}; it goes on by itself")
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
        for trouble, remedy in troubles(self.path, self._losses, self._cap, self.context.clock.time()):
            return Finding("degraded", trouble, found, remedy)
        return Finding("healthy", f"{len(self._registry)} series in {parts} pages", found)

    def _committed_details(self, rows: Sequence[EventRow]) -> None:
        self._dora.heard(rows)

    def _era(self) -> object:
        """Another one as soon as details were deleted before their time, or are in another file."""
        return self._cap.evicted.get("lasting"), len(self._losses.known), id(self._database.salvaged)

    def _chosen(self, metric: str, labels: str) -> list[Series]:
        """The series that a question means."""
        wanted = asked.wanted(labels)
        return [one for one in self._registry.by_metric(metric) if all(want.holds(one.labels) for want in wanted)]

    def _lately(self, metric: str, period: float) -> Span:
        """The last so many seconds of all series, from a tier that can be afforded."""
        now, series = self.context.clock.time(), self._registry.by_metric(metric)
        return bounds.afford(lately(series, self._registry.tiers, period, now), now - period, now, now)

    async def _summary(self, metric: Metric, span: Span, period: float) -> MetricSummary:
        now, series = self.context.clock.time(), self._registry.by_metric(metric.name)
        return summarize(metric, series, await self._reader.totals(span), now, period)

    async def _standing(self, series: Sequence[Series], span: Span | None) -> list[Standing]:
        told = {
            one: Standing(
                labels=dict(one.labels), value=one.last, last_updated=round(one.seen[0] * 1000), count=one.count,
                sum=one.sum,
            )
            for one in series
        }  # fmt: skip
        pace = Pace()
        for one, windows in (await self._reader.points(span, span.width)).items() if span else ():
            if whole := await pages.together(windows.values(), pace):
                found = told[one]
                found.p50, found.p95, found.p99 = (whole.quantile(share) for share in (0.5, 0.95, 0.99))
        return list(told.values())

    async def _reported(self, metric: Metric, span: Span, period: float) -> Reported:
        now, series = self.context.clock.time(), self._registry.by_metric(metric.name)
        totals = await self._reader.totals(span)
        summary = summarize(metric, series, totals, now, period)
        figure = Reported(
            **asdict(summary),
            width_ms=round(span.width * 1000),
            tier=tier_name(span.width),
            coverage=coverage(totals, span),
        )
        before = self._before(metric.name, span, period)
        figure.previous = report.compare(figure, totals, await self._reader.totals(before), before, now)
        if not figure.count and figure.last_updated is not None:
            usual = await self._usual(metric.name, figure.last_updated / 1000, period)
            figure.expected = max(figure.previous.count, usual)
        return figure

    def _before(self, metric: str, span: Span, period: float) -> Span:
        """The period before a span: it ends with the last whole window before it."""
        now, series = self.context.clock.time(), self._registry.by_metric(metric)
        before = span_of(series, self._registry.tiers, span.start - period, span.start, now)
        before = bounds.afford(before, span.start - period, span.start, now)
        return replace(before, end=floor(span.start / before.width) * before.width)

    async def _usual(self, metric: str, last: float, period: float) -> float:
        """How many samples a period had, on the day that ended with the newest one."""
        now, series = self.context.clock.time(), self._registry.by_metric(metric)
        day = bounds.afford(span_of(series, self._registry.tiers, last - DAY, last, now), last - DAY, last, now)
        whole = (await self._reader.totals(day)).whole
        return whole.count * period / DAY if whole else 0.0
