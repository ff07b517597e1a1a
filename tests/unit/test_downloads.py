"""Answers as files: CSV that every spreadsheet reads, NDJSON, and what neither may do."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncGenerator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from bers import Sheet
from bers.redaction import Redactor
from bers.testing.server import Server, serving
from bers.web import downloads
from bers.web.accepting import liked


def request(query: str = "") -> Request:
    return Request({"type": "http", "path": "/api/monitoring/x", "query_string": query.encode(), "headers": []})


async def written(sheet: Sheet, format: downloads.Format, redactor: Redactor | None = None) -> str:
    pieces = downloads.download(request(), sheet, format, redactor or Redactor()).body_iterator
    return b"".join([one.encode() if isinstance(one, str) else bytes(one) async for one in pieces]).decode()


async def test_csv_is_quoted_as_rfc_4180_has_it() -> None:
    rows = [['say "hi"', "a,b", "two\nlines", "plain", 1.5, None, True, {"a": [1, "b"]}]]
    text = await written(Sheet("x", list("abcdefgh"), rows), "csv")
    assert text == (
        "a,b,c,d,e,f,g,h\r\n"
        '"say ""hi""","a,b","two\nlines",plain,1.5,,true,"{""a"":[1,""b""]}"\r\n'
    )  # fmt: skip
    assert list(csv.reader(io.StringIO(text)))[1][:3] == ['say "hi"', "a,b", "two\nlines"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1", "\uff20SUM(A1)"])
async def test_no_text_is_a_formula_and_numbers_stay_numbers(text: str) -> None:
    sheet = Sheet("x", ["text", "number"], [[text, -1.5]])
    (_, row) = csv.reader(io.StringIO(await written(sheet, "csv"), newline=""))
    assert row == ["'" + text, "-1.5"]
    assert json.loads(await written(sheet, "ndjson")) == {"text": text, "number": -1.5}


async def test_ndjson_is_an_object_a_line() -> None:
    sheet = Sheet("x", ["a", "b"], ([n, {"deep": n}] for n in range(120)))
    lines = (await written(sheet, "ndjson")).splitlines()
    assert [json.loads(line) for line in lines] == [{"a": n, "b": {"deep": n}} for n in range(120)]


async def test_a_file_of_nothing_has_its_header() -> None:
    assert await written(Sheet("x", ["a", "b"], []), "csv") == "a,b\r\n"
    assert await written(Sheet("x", ["a", "b"], []), "ndjson") == ""


@pytest.mark.parametrize("secret", ["hunter2-hunter2", 'quo"ted-secret', "com,ma-secret", "new\nline-secret"])
@pytest.mark.parametrize("format", ["csv", "ndjson"])
async def test_a_secret_is_masked_however_it_would_be_written(secret: str, format: downloads.Format) -> None:
    sheet = Sheet("x", ["a", "b"], [[f"x {secret} y", {"deep": [secret]}], ["clean", 1]] * 60)
    text = await written(sheet, format, Redactor([secret]))
    assert "***" in text
    for part in (secret, secret.replace('"', '""'), json.dumps(secret)[1:-1]):
        assert part not in text
    assert text.count("clean") == 60


async def test_rows_are_made_while_they_are_sent() -> None:
    made = list[int]()

    def rows() -> Any:
        for n in range(1000):
            made.append(n)
            yield [n]

    pieces = downloads.download(request(), Sheet("x", ["n"], rows()), "csv", Redactor()).body_iterator
    iterator = aiter(pieces)
    await anext(iterator)
    await anext(iterator)
    assert len(made) == downloads.SLICE


def test_the_name_of_a_file_is_harmless() -> None:
    reply = downloads.download(request(), Sheet('a/../b"\r\nc', [], []), "csv", Redactor())
    name = reply.headers["content-disposition"]
    assert name.startswith('attachment; filename="bers-a-..-b-c-20')
    assert name.endswith('Z.csv"')


def test_what_follows_is_linked() -> None:
    reply = downloads.download(request("format=csv&limit=2"), Sheet("x", [], [], "abc"), "csv", Redactor())
    assert reply.headers["link"] == '</api/monitoring/x?format=csv&limit=2&after=abc>; rel="next"'


@pytest.mark.parametrize(
    ("header", "order"),
    [
        ("text/csv", ["text/csv"]),
        ("text/html, application/xml;q=0.9, */*;q=0.8", ["text/html", "application/xml", "*/*"]),
        ("text/csv;q=0.1, application/json", ["application/json", "text/csv"]),
        ("text/csv;q=0", []),
        ("text/csv;q=x, ,", []),
        ("", []),
    ],
)
def test_what_a_client_likes_is_read_from_accept(header: str, order: list[str]) -> None:
    assert [one.media for one in liked(header)] == order


@pytest.fixture(scope="module")
async def server(home: Path) -> AsyncGenerator[Server]:
    async with serving(home) as found:
        for environment in ("production", "staging"):
            told = {"source": "/ci", "environment": environment}
            await found.emit(
                *({"type": "build-completed", "id": f"{environment}-b{n}", "duration": 4000 + n, **told}
                  for n in range(30)),
                *({"type": "deployment-completed", "id": f"{environment}-{n}", "outcome": "failure",
                   "reason": "=cmd()", **told} for n in range(30)),  # What fails is always kept.
            )  # fmt: skip
        await found.until("metrics/build_performance", lambda data: data["count"] == 60)
        await found.until("records?type=deployment.finished&limit=100", lambda data: len(data) == 60)
        await found.until("alerts", len)  # Of the deployments that failed.
        yield found


PATHS = [
    "metrics", "metrics/current", "metrics/report", "metrics/build_performance", "records", "alerts", "alerts/history",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
async def test_every_query_of_the_store_can_be_had_as_a_file(path: str, server: Server) -> None:
    reply = await server.get(f"{path}?format=csv")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/csv; charset=utf-8; header=present")
    assert 'filename="bers-' in reply.headers["content-disposition"]
    header, *rows = csv.reader(io.StringIO(reply.text, newline=""))
    assert len(set(header)) == len(header) > 3
    assert all(len(row) == len(header) for row in rows)
    reply = await server.get(path, headers={"Accept": "application/x-ndjson"})
    assert reply.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert all(list(line) == header for line in lines)
    assert len(lines) > 0 < len(rows)
    reply = await server.get(path, headers={"Accept": "text/html,*/*;q=0.8"})
    assert reply.json()["success"] is True


async def test_a_file_of_a_metric_says_what_the_answer_says(server: Server) -> None:
    query = "metrics/build_performance?period=5m&step=5m&fields=count,average,p99"
    reply = await server.get(f"{query}&format=csv")
    rows = list(csv.DictReader(io.StringIO(reply.text, newline="")))
    assert list(rows[0]) == ["time", "time_ms", "label_environment", "count", "average_ms", "p99_ms"]
    told = {line["labels"]["environment"]: line["points"] for line in (await server.data(query))["series"]}
    for environment in ("production", "staging"):
        mine = [row for row in rows if row["label_environment"] == environment]
        assert [[float(row[name]) for name in ("time_ms", "count", "average_ms", "p99_ms")] for row in mine] == told[
            environment
        ]
        assert all(row["time"].endswith("Z") for row in mine)


async def test_everything_that_is_kept_can_be_fetched_page_by_page(server: Server) -> None:
    found, path = list[str](), "records?type=deployment.finished&limit=7&format=ndjson"
    for _ in range(20):
        reply = await server.get(path)
        found += [json.loads(line)["id"] for line in reply.text.splitlines()]
        if "link" not in reply.headers:
            break
        path = reply.headers["link"].partition(">")[0].removeprefix("<")
    assert sorted(found) == sorted(f"{environment}-{n}" for environment in ("production", "staging") for n in range(30))
    assert len(found) == 60
    body = (await server.get("records?type=deployment.finished&limit=50")).json()
    rest = (await server.get(f"records?type=deployment.finished&limit=50&after={body['next']}")).json()
    assert (len(body["data"]), len(rest["data"]), rest["next"]) == (50, 10, None)
    assert not {one["id"] for one in body["data"]} & {one["id"] for one in rest["data"]}
    for text in ("nonsense", "00", "0g" * 10):
        error = (await server.get(f"records?after={text}")).json()["error"]
        assert (error["code"], "hand back `next`" in error["message"]) == ("invalid", True)


async def test_every_time_of_a_record_is_there_as_text_and_in_milliseconds(server: Server) -> None:
    record = (await server.get("records?type=deployment.finished&limit=1")).json()["data"][0]
    reply = await server.get("records?type=deployment.finished&limit=1&format=csv")
    (row,) = csv.DictReader(io.StringIO(reply.text, newline=""))
    milliseconds = round(record["received"] * 1000)
    assert row["received_ms"] == str(milliseconds)
    assert datetime.fromisoformat(row["received"]).timestamp() * 1000 == pytest.approx(milliseconds, abs=0.5)


async def test_no_reason_of_an_event_is_a_formula(server: Server) -> None:
    reply = await server.get("records?type=deployment.finished&format=csv")
    reasons = {row["reason"] for row in csv.DictReader(io.StringIO(reply.text, newline=""))}
    assert reasons == {"'=cmd()"}


async def test_another_format_is_refused_with_those_there_are(server: Server) -> None:
    reply = await server.get("metrics?format=xml")
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["known"]) == (422, "invalid", ["csv", "json", "ndjson"])
    assert (await server.get("metrics?format=json")).json()["success"] is True


async def test_a_refusal_is_json_whatever_was_asked_for(server: Server) -> None:
    reply = await server.get("metrics/nope?format=csv")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


async def test_head_of_a_file_has_its_headers(server: Server) -> None:
    reply = await server.client.head(server.url("metrics?format=csv"))
    assert (reply.status_code, reply.text) == (200, "")
    assert "content-disposition" in reply.headers


def test_a_file_is_described(tmp_path: Path) -> None:
    from bers.directory import Route
    from bers.web import openapi
    from bers_builtin.sinks.rest_store import REST_STORE

    routes = [Route(one, "rest-store", lambda: None) for one in REST_STORE.operations]
    described = openapi.document(routes, doors=None)["paths"]["/api/monitoring/metrics/report"]["get"]
    content = described["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/csv", "application/x-ndjson"}
    assert {"format", "period"} <= {one["name"] for one in described["parameters"]}
