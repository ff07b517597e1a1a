import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

import anyio
import msgspec
import pytest

from bers import Batch, Caller, Catalog, Context, Event, Metric, Nothing, Operation, Outcome, Page, Refused
from bers.testing import VirtualClock, check_spec, step
from bers_builtin.dashboard import DASHBOARD, Dashboard
from bers_builtin.dashboard.view import Record, indicators, runs, uptime_text

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
    "metrics": {
        "build_performance": {"type": "build_performance", "unit": "ms", "current": 930.0, "p95": 2400.0,
                              "target": 30_000.0, "healthStatus": "healthy"},
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
        return (await stage.page(Nothing(), Caller())).body.decode()


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
    assert "Build 930 ms 2.4 s ≤ 30 s on target" in text
    assert "Test coverage 93.1 % 95.2 % ≥ 95 % off target" in text
    assert "CPU 7.25 % 12 % – no target" in text
    assert "Error rate – – – no data" in text
    assert "error Build Performance Degraded build took 6.1 s, more than 5 s active since 2023-11-14 22:13:20" in text
    assert "degraded system-resources memory 84 % Stop it." in text


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
    assert "Not available: no sink answers health; declare rest-store" in html
    assert "Build Performance Degraded" in html


async def test_an_answer_that_does_not_come_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bers_builtin.dashboard.stage.PATIENCE", 0.05)
    with anyio.fail_after(2):
        assert "GET alerts did not answer within 0.05 s" in await page(ANSWERS | {"alerts": "hang"})


async def test_malicious_text_is_shown_as_text() -> None:
    evil = msgspec.json.decode(msgspec.json.encode(ANSWERS).replace(b"chat/4711", b"EVIL"))
    evil["alerts"][0] |= {"title": EVIL, "message": EVIL, "severity": EVIL, "id": EVIL}
    evil["health"]["checks"][0] |= {"name": EVIL, "status": EVIL}
    evil["health"] |= {"environment": EVIL, "overallStatus": EVIL}
    evil["records build.*"][0] |= {"subject": EVIL, "outcome": EVIL, "environment": EVIL}
    parsed = _Text(await page(evil, title=EVIL[:100]))
    assert EVIL in parsed.text
    assert [attrs.get("src") for tag, attrs in parsed.tags if tag == "script"] == ["/assets/live.js"]
    assert "img" not in {tag for tag, _ in parsed.tags}
    assert not [name for _, attrs in parsed.tags for name in attrs if name.startswith("on")]


async def test_the_page_holds_to_its_content_security_policy() -> None:
    parsed = _Text(await page(ANSWERS))
    assert "style" not in {tag for tag, _ in parsed.tags}
    assert not [attrs for _, attrs in parsed.tags if "style" in attrs]
    asked = [attrs.get("src") or attrs.get("href") or "/" for tag, attrs in parsed.tags if tag in ("script", "link")]
    assert asked == ["/assets/icon.svg", "/assets/style.css", "/assets/live.js"]


async def test_every_asset_that_the_page_asks_for_is_answered() -> None:
    paths = {one.path: one for one in DASHBOARD.operations if isinstance(one, Operation)}
    assert {path for path, one in paths.items() if one.public} == {
        "/assets/live.js", "/assets/style.css", "/assets/icon.svg",
    }  # fmt: skip
    async with step(DASHBOARD, context=context(ANSWERS)).open() as stage:
        for one in paths.values():
            assert isinstance(await one.handler(stage, Nothing(), Caller()), Page)
        script = await stage.script(Nothing(), Caller())
        assert script.media.startswith("text/javascript")
        for unsafe in (b"innerHTML", b"insertAdjacentHTML", b"document.write", b"eval("):
            assert unsafe not in script.body
        assert b"addEventListener" in script.body


async def test_c144_the_refresh_is_the_polling_interval() -> None:
    assert 'data-refresh="5000"' in await page(ANSWERS)
    slower = await page(ANSWERS, refresh="10s")
    assert 'data-refresh="10000"' in slower
    assert '<meta http-equiv="refresh" content="10">' in slower


async def test_every_id_that_the_script_looks_for_is_on_the_page() -> None:
    parsed = _Text(await page(ANSWERS))
    ids = {attrs.get("id") for _, attrs in parsed.tags}
    async with step(DASHBOARD, context=context(ANSWERS)).open() as stage:
        script = (await stage.script(Nothing(), Caller())).body.decode()
    wanted = set(re.findall(r'(?:byId|found)\("([a-z-]+)"\)', script)) | {"no-build", "no-validation", "no-deployment"}
    assert len(wanted) > 10
    assert wanted <= ids


def test_a_run_that_is_told_late_that_it_began_stays_finished() -> None:
    finished = Record("build.finished", 1000, "2", "b-1", "success")
    assert [row.outcome for row in runs([finished, Record("build.started", 2000, "1", "b-1")])] == ["success"]


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
