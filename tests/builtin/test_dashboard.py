import gzip
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from bers import Batch, Caller, Catalog, Context, Event, Metric, Nothing, Operation, Outcome, Page, Refused
from bers.testing import VirtualClock, check_spec, step
from bers_builtin import dashboard
from bers_builtin.dashboard import DASHBOARD, Dashboard
from bers_builtin.dashboard.asked import AskAlertsView, AskAsset, AskMetricView, AskRunsView
from bers_builtin.dashboard.stage import VIEWS
from bers_builtin.dashboard.view import KINDS, Record, indicators, runs, uptime_text

NOW = 1_700_000_000.0
CATALOG = Catalog(
    [
        Metric("build_performance", "ms", "How long builds take.", target=30_000),
        Metric("test_coverage", "%", "Covered.", target=95, better="higher"),
        Metric("system_cpu_usage", "%", "Busy."),
    ]
)
EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


def record(type: str, at: float, subject: str, outcome: Outcome | None = None, **fields: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "type": type, "id": f"{subject}-{at}", "subject": subject, "outcome": outcome,
            "timestamp": round((NOW + at) * 1000), **fields}  # fmt: skip


ANSWERS: dict[str, Any] = {
    "health": {
        "timestamp": int(NOW * 1000),
        "overallStatus": "degraded",
        "severity": "warning",
        "version": "1.0.0",
        "uptime": 93_600_000,
        "environment": "production",
        "checks": [
            {"name": "environment-resolver", "status": "healthy", "message": "production, from NODE_ENV"},
            {"name": "system-resources", "status": "degraded", "message": "memory 84 %", "remediation": "Stop it."},
        ],
    },
    "availability": {"percent": 99.93, "target": 99.9, "budgetMinutes": 43.2, "leftMinutes": 40.0},
    "metrics": {
        "build_performance": {"type": "build_performance", "unit": "ms", "current": 930.0, "p95": 2400.0,
                              "target": 30_000.0, "healthStatus": "healthy", "trend": "stable"},
        "test_coverage": {"unit": "%", "current": 93.1, "p95": 95.2, "target": 95.0, "healthStatus": "unhealthy"},
        "system_cpu_usage": {"unit": "%", "current": 7.25, "p95": 12.0, "target": None, "healthStatus": "healthy"},
    },
    "alerts": [
        {"id": "a-1", "title": "Build Performance Degraded", "message": "build took 6.1 s, more than 5 s",
         "severity": "error", "status": "active", "timestamp": int(NOW * 1000)},
    ],
    "records build.*": [
        record("build.finished", 2, "chat/4711", "success", duration_ms=930.0, environment="production"),
        record("build.started", 1, "chat/4711"),
        record("build.started", 3, "chat/4712"),
        record("build.measured", 4, "chat/4712"),
    ],
    "records testsuiterun.*": [record("testsuiterun.finished", 5, "unit", "failure", duration_ms=18_200.0)],
    "records validation.*": [],
    "records deployment.*": [record("deployment.lost", 6, "staging/9")],
}  # fmt: skip


def context(answers: Mapping[str, Any], clock: VirtualClock | None = None) -> Context:
    async def call(method: str, path: str, fields: Mapping[str, Any]) -> Any:
        answer = answers.get(f"{path} {fields['type']}" if path == "records" else path)
        if answer is None:
            raise Refused("unavailable", f"no sink answers {path}; declare rest-store")
        if isinstance(answer, Exception):
            raise answer
        if answer == "hang":
            await anyio.sleep_forever()
        return answer

    return Context("dashboard", clock=clock or VirtualClock(NOW), metrics=CATALOG, call=call)


async def page(answers: Mapping[str, Any], events: Sequence[Event] = (), **options: object) -> str:
    async with step(DASHBOARD, context=context(answers), **options).open() as stage:
        assert isinstance(stage, Dashboard)
        await stage.write(Batch(events, end=len(events)))
        return (await stage.overview(Nothing(), Caller())).body.decode()


async def script() -> str:
    async with step(DASHBOARD, context=context(ANSWERS)).open() as stage:
        assert isinstance(stage, Dashboard)
        (name,) = [
            str(attrs["src"]).removeprefix("/assets/")
            for _, attrs in _Text(await page(ANSWERS)).tags
            if attrs.get("type") == "module"
        ]
        return (await stage.asset(AskAsset(name), Caller())).body.decode()


class _Text(HTMLParser):
    """The text of a page, and the tags and attributes in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())


async def test_spec_keeps_its_promises() -> None:
    await check_spec(DASHBOARD)


async def test_a30_the_first_paint_has_the_values() -> None:
    text = _Text(await page(ANSWERS)).text
    assert "degraded" in text
    assert "Up 1 d 2 h" in text
    assert "Build 930 ms on target P95 2.4 s Target ≤ 30 s Trend steady" in text
    assert "Test coverage 93.1 % off target P95 95.2 % Target ≥ 95 % Trend –" in text
    assert "CPU 7.25 % no target P95 12 % Target – Trend –" in text
    assert "Error rate – no data P95 – Target – Trend –" in text
    assert "Availability 99.9 % on target 40 of 43.2 min left at 99.9 %" in text
    assert "system-resources: memory 84 %. Stop it." in text, "what has to be done"
    assert (
        "error Build Performance Degraded build took 6.1 s, more than 5 s active since 2023-11-14 22:13:20 UTC" in text
    )
    checks = "degraded system-resources memory 84 %. Stop it. healthy environment-resolver production, from NODE_ENV."
    assert checks in text, "the worst first, each a sentence"


async def test_runs_are_joined_and_the_newest_comes_first() -> None:
    text = _Text(await page(ANSWERS)).text
    assert "chat/4712 running – – 2023-11-14 22:13:23 chat/4711 success 930 ms production" in text
    assert "unit failure 18.2 s" in text
    assert "staging/9 lost" in text


async def test_without_a_store_the_runs_that_came_by_are_shown() -> None:
    finished = Event("e-1", "/ci", "build.finished", NOW, subject="b-1", outcome="success", duration_ms=1234.0)
    other = Event("e-2", "/ci", "system.measured", NOW)
    text = _Text(await page({}, [finished, other])).text
    assert "b-1 success 1.23 s" in text
    assert "Test suites Not available: no sink answers records; declare rest-store" in text


async def test_a_section_without_an_answer_says_why_and_the_page_stays() -> None:
    answers = ANSWERS | {"metrics": RuntimeError("our fault"), "health": None}
    html = await page(answers)
    assert "Not available: GET metrics failed; see logs/monitoring.log" in html
    assert "Error rate – no data P95 – Target – Trend –" in _Text(html).text
    assert "Not available: no sink answers health; declare rest-store" in html
    assert "Build Performance Degraded" in html


async def test_an_answer_that_does_not_come_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bers_builtin.dashboard.sections.PATIENCE", 0.05)
    with anyio.fail_after(30):
        assert "GET alerts did not answer within 0.05 s" in await page(ANSWERS | {"alerts": "hang"})


WELL = {**ANSWERS["health"], "checks": [{"name": "storage", "status": "healthy", "message": "all is well"}]}


async def test_that_nothing_has_to_be_done_is_said_only_where_alerts_are_known() -> None:
    known = _Text(await page(ANSWERS | {"health": WELL, "alerts": []})).text
    assert "Nothing has to be done." in known and "Nothing is firing." in known
    unknown = await page(ANSWERS | {"health": WELL, "alerts": None})
    assert "Whether anything is firing is not known." in unknown and "Nothing has to be done." not in unknown


async def test_the_view_of_alerts_says_that_nothing_is_firing_only_where_that_is_known() -> None:
    async with step(DASHBOARD, context=context(ANSWERS | {"alerts": None})).open() as stage:
        assert isinstance(stage, Dashboard)
        text = _Text((await stage.alerts(AskAlertsView(), Caller())).body.decode()).text
    assert "Not available: no sink answers alerts" in text and "Nothing is firing." not in text


@pytest.mark.parametrize(
    ("answers", "said", "sinks"),
    [
        ({"stages": [{"use": "sse", "kind": "sink"}], "sse/channels": Refused("not_found", "nobody answers it")},
         "No channel is told of anything", ""),
        ({"stages": [{"use": "webhooks", "kind": "sink"}], "webhooks/channels": Refused("unavailable", "it is down")},
         "Channels Not available: it is down", "webhooks"),
        ({"stages": Refused("unavailable", "we are stopping")}, "Channels Not available: we are stopping", None),
    ],
)  # fmt: skip
async def test_that_no_channel_is_told_is_said_only_where_that_is_known(
    answers: dict[str, Any], said: str, sinks: str | None
) -> None:
    async with step(DASHBOARD, context=context(ANSWERS | answers)).open() as stage:
        assert isinstance(stage, Dashboard)
        parsed = _Text((await stage.operations(Nothing(), Caller())).body.decode())
    assert said in parsed.text
    assert ("No channel is told of anything" in parsed.text) == (said == "No channel is told of anything")
    (place,) = [attrs for _, attrs in parsed.tags if attrs.get("id") == "channels"]
    assert place.get("data-sinks") == sinks


async def test_malicious_text_is_shown_as_text() -> None:
    evil = msgspec.json.decode(msgspec.json.encode(ANSWERS).replace(b"chat/4711", b"EVIL"))
    evil["alerts"][0] |= {"title": EVIL, "message": EVIL, "severity": EVIL, "id": EVIL}
    evil["health"]["checks"][0] |= {"name": EVIL, "status": EVIL}
    evil["health"] |= {"environment": EVIL, "overallStatus": EVIL}
    evil["records build.*"][0] |= {"subject": EVIL, "outcome": EVIL, "environment": EVIL}
    parsed = _Text(await page(evil, title=EVIL[:100]))
    assert EVIL in parsed.text
    assert len([tag for tag, _ in parsed.tags if tag == "script"]) == 2
    assert "img" not in {tag for tag, _ in parsed.tags}
    assert not [name for _, attrs in parsed.tags for name in attrs if name.startswith("on")]


async def test_the_page_holds_to_its_content_security_policy() -> None:
    parsed = _Text(await page(ANSWERS))
    assert "style" not in {tag for tag, _ in parsed.tags}
    assert not [attrs for _, attrs in parsed.tags if "style" in attrs]
    asked = [attrs.get("src") or attrs.get("href") or "/" for tag, attrs in parsed.tags if tag in ("script", "link")]
    assert len(asked) == 4 and all(re.fullmatch(r"/assets/[\w.-]+\.(svg|css|js)", one) for one in asked)


async def test_every_view_and_asset_that_a_page_names_is_answered() -> None:
    views = [one for one in DASHBOARD.operations if isinstance(one, Operation) and not one.public]
    async with step(DASHBOARD, context=context(ANSWERS)).open() as stage:
        assert isinstance(stage, Dashboard)
        for view in views:
            ask = AskMetricView("build_performance") if "{name}" in view.path else view.request()
            answer = await view.handler(stage, ask, Caller())
            assert isinstance(answer, Page)
            parsed = _Text(answer.body.decode())
            named = [attrs.get("src") or attrs.get("href") or "" for _, attrs in parsed.tags]
            assets = [one.removeprefix("/assets/") for one in named if one.startswith("/assets/")]
            assert len(assets) == 4, view.path
            for name in assets:
                assert (await stage.asset(AskAsset(name), Caller())).max_age > 0
            paths = {path for path, _ in VIEWS.values()}
            assert paths <= {*named} and paths <= {one.path for one in views}
        for wrong in ("", "../stage.py", "sources", "manifest.json", "main.js"):
            with pytest.raises(Refused, match="there is no"):
                await stage.asset(AskAsset(wrong), Caller())
        with pytest.raises(Refused, match="build_performance"):
            await stage.one_metric(AskMetricView("build_performence"), Caller())


async def test_the_view_of_operations_names_what_has_to_be_looked_after() -> None:
    answers = ANSWERS | {
        "config": {"generation": 3, "hash": "466908c10284", "file": "pipelines.yaml", "result": "failed"},
        "dead-letters": [{"id": 7, "pipeline": "notify", "stage": "webhooks", "reason": "gave_up", "records": 2,
                          "lastError": EVIL}],
        "stages": [{"use": "webhooks", "kind": "sink"}, {"use": "sse", "kind": "sink"}, {"use": "x", "kind": "source"}],
        "webhooks/channels": [{"name": "chat", "state": "failing", "lastError": "it answered 503"}],
        "x/channels": [{"name": "none of a sink", "state": "ok"}],
    }  # fmt: skip
    async with step(DASHBOARD, context=context(answers)).open() as stage:
        assert isinstance(stage, Dashboard)
        parsed = _Text((await stage.operations(Nothing(), Caller(scopes=frozenset({"read"})))).body.decode())
    assert "Generation 3, 466908c10284, out of pipelines.yaml. The last attempt: failed." in parsed.text
    assert "7: 2 of notify/webhooks, gave_up" in parsed.text and EVIL in parsed.text
    assert "webhooks: chat failing it answered 503" in parsed.text
    assert "none of a sink" not in parsed.text
    assert "A key with the scope admin sees who changed what." in parsed.text
    (body,) = [attrs for tag, attrs in parsed.tags if tag == "body"]
    assert body["data-may"] == "read"


async def test_each_view_lists_as_the_overview_does_and_says_when_in_a_way_that_the_script_reads() -> None:
    async with step(DASHBOARD, context=context(ANSWERS)).open() as stage:
        assert isinstance(stage, Dashboard)
        alerts = _Text((await stage.alerts(AskAlertsView(), Caller())).body.decode())
        runs = _Text((await stage.runs(AskRunsView(), Caller())).body.decode())
        operations = _Text((await stage.operations(Nothing(), Caller())).body.decode())
    assert "error Build Performance Degraded build took 6.1 s, more than 5 s active since 2023-11-14" in alerts.text
    assert "degraded system-resources memory 84 %. Stop it. healthy environment-resolver" in operations.text
    assert "chat/4711 success 930 ms production 2023-11-14 22:13:22 UTC" in runs.text
    for view, moments in (
        (alerts, {"2023-11-14T22:13:20+00:00"}),
        (runs, {f"2023-11-14T22:13:2{s}+00:00" for s in (2, 3, 5, 6)}),
    ):
        assert moments <= {attrs.get("datetime") for tag, attrs in view.tags if tag == "time"}


async def test_the_script_makes_text_of_what_it_is_told_and_no_markup() -> None:
    text = await script()
    for unsafe in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert unsafe not in text, unsafe
    assert "addEventListener" in text


async def test_the_pages_weigh_less_than_100_kb() -> None:
    async with step(DASHBOARD, context=context(ANSWERS)).open() as stage:
        assert isinstance(stage, Dashboard)
        weight = sum(len(gzip.compress(one.body)) for one in stage.assets.pages.values())
        weight += len(gzip.compress((await page(ANSWERS)).encode()))
        assert weight < 100_000


async def test_c144_the_refresh_is_the_polling_interval() -> None:
    assert 'data-refresh="5000"' in await page(ANSWERS)
    slower = await page(ANSWERS, refresh="10s")
    assert 'data-refresh="10000"' in slower
    assert '<meta http-equiv="refresh" content="10">' in slower


def test_every_id_that_a_view_looks_for_is_on_its_page() -> None:
    web = Path(dashboard.__file__).parent
    base = (web / "pages" / "base.html").read_text()
    for view in (*VIEWS, "metrics"):
        page = (web / "pages" / f"{view}.html").read_text()
        ids = {*re.findall(r'id="([a-z-]+)"', base + page)}
        ids |= {*KINDS} if 'id="{{ kind }}"' in page else set()
        views = web / "web" / "src" / "views"  # A view is a file, or a folder with a file for each idea.
        script = "".join(file.read_text() for file in [*views.glob(f"{view}.ts"), *views.glob(f"{view}/*.ts")])
        wanted = {*re.findall(r'byId\("([a-z-]+)"\)', script)}
        assert wanted and wanted <= ids, view


def test_a_run_that_is_told_late_that_it_began_stays_finished() -> None:
    finished = Record("build.finished", 1000, "2", "b-1", "success")
    assert [row.outcome for row in runs([finished, Record("build.started", 2000, "1", "b-1")])] == ["success"]


def test_a_deployment_that_is_rolled_back_has_ended() -> None:
    began, back = Record("deployment.started", 1000, "1", "d-1"), Record("deployment.rolledback", 2000, "2", "d-1")
    assert back.kind == "deployment"
    assert [row.outcome for row in runs([began, back])] == ["finished"]


def test_at_most_so_many_runs_are_shown() -> None:
    many = [Record("build.finished", at, str(at), f"b-{at}", "success") for at in range(100)]
    assert [row.name for row in runs(many)] == [f"b-{at}" for at in range(99, 91, -1)]


def test_indicators_stand_in_the_runbooks_order_measured_or_not() -> None:
    rows = indicators({}, CATALOG)
    assert [row.title for row in rows] == [
        "Configuration resolution", "Provider initialisation", "Build", "Deployment", "Test coverage", "Error rate",
        "Memory", "CPU",
    ]  # fmt: skip
    assert {row.verdict for row in rows} == {"no data"}
    assert rows[2].target == "≤ 30 s"


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(0, "0 s"), (59_999, "59 s"), (3_600_000, "1 h 0 min"), (90_000_000, "1 d 1 h")]
)
def test_uptime_as_people_say_it(milliseconds: float, text: str) -> None:
    assert uptime_text(milliseconds) == text
