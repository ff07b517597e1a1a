"""Secrets and addresses of people are planted wherever text comes in, and come out nowhere."""

from __future__ import annotations

import base64
import hmac
import json
import os
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from email.header import decode_header, make_header
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import httpx2
import pytest
from aiosmtpd.controller import Controller

from bers.identity_key import KEY_FILE
from bers_emit.spool import Spool
from tests.acceptance.conftest import BERS, Operator
from tests.acceptance.walking import ENDLESS, walk, ways
from tests.docs.writers.cli import commands
from tests.integration.processes import configure, environ, free_ports, installed, started

PLUGIN = '''\
from collections.abc import Mapping
import os

from bers import (
    Caller, Check, Config, Finding, Nothing, Operation, Refused, Secret, SourceSpec, Stage, hookimpl,
)


class SieveConfig(Config, frozen=True):
    """A plugin that keeps nothing to itself."""

    code: Secret
    note: str = ""


class Sieve(Stage[SieveConfig]):
    async def run(self, emit):
        code = self.config.code.reveal()
        log = self.context.logger
        log.error("signing in with %s", code, extra={"session": {"password": os.environ["PLAIN_WORD"]}, "seen": code})
        try:
            raise ValueError(f"cannot reach https://ada:{os.environ['URL_WORD']}@db.example/x with {code}")
        except ValueError:
            log.exception("it did not go well")
        await emit([
            self.context.event("sieve.told", reason=f"it said {code}", labels={"code": code}, data={"deep": [code]})
        ])
        raise RuntimeError(f"{code} and {os.environ['SIEVE_TOKEN']} and mail to {os.environ['MAIL']}")

    async def check(self):
        return Finding("degraded", f"signed in with {self.config.code.reveal()}", {
            "token": os.environ["PLAIN_WORD"], "mail": os.environ["MAIL"], "nested": [self.config.code.reveal()],
        }, f"change {self.config.code.reveal()}")

    async def broken(self):
        raise RuntimeError(f"the check itself says {self.config.code.reveal()}")

    def tell(self) -> Mapping[str, object]:
        return {"code": self.config.code.reveal(), "mail": os.environ["MAIL"]}

    async def answer(self, ask: Nothing, caller: Caller) -> dict[str, str]:
        return {"said": f"{self.config.code.reveal()} {os.environ['MAIL']}"}

    async def refuse(self, ask: Nothing, caller: Caller) -> dict[str, str]:
        raise Refused("conflict", f"not with {self.config.code.reveal()}", hint=os.environ["MAIL"])

    async def crash(self, ask: Nothing, caller: Caller) -> dict[str, str]:
        raise RuntimeError(f"crashed with {self.config.code.reveal()}")


@hookimpl
def bers_sources():
    return [SourceSpec(
        "sieve", SieveConfig, Sieve, claims=("sieve.*",),
        checks=(
            Check("sieve-check", Sieve.check, interval=1.0), Check("sieve-broken", Sieve.broken, interval=1.0),
        ),
        operations=(
            Operation("GET", "sieve", Sieve.answer, Nothing, dict[str, str], "Answer."),
            Operation("GET", "sieve/refuse", Sieve.refuse, Nothing, dict[str, str], "Refuse."),
            Operation("GET", "sieve/crash", Sieve.crash, Nothing, dict[str, str], "Crash."),
        ),
    )]
'''


def word(number: int) -> str:
    """A secret that no pattern knows: only its name, or where it came from, tells of it."""
    return f"canary{number:02}zq{number * 7919:06}"


def token(number: int) -> str:
    return "ghp_" + f"Canary{number:02}".ljust(36, "x")


def mail(number: int) -> str:
    return f"canary{number:02}@people.example"


# What the server's environment holds, by the name of the variable.
ENVIRONMENT = {
    "SIEVE_CODE": word(1),
    "PLAIN_WORD": word(2),
    "URL_WORD": word(3),
    "SIEVE_TOKEN": word(4),
    "MAIL": mail(5),
    "HOOK_TOKEN": word(6),
    "BERS_MONITORING_API_KEY": word(7),
    "DEPLOY_PASSWORD": word(8),
    "PROGRAM_WORD": word(77),
    "GITHUB_HOOK": word(79),
    "GITLAB_HOOK": word(80),
    "SIGNING_KEY": "whsec_" + base64.b64encode(b"canary78 signs with this long key").decode(),
    "ODD_SECRET": 'canary09 "quo/ted" +&<x>',
}
FILE = word(10)
LITERAL = word(11)
HOOK_PATH = word(12)
PROBE_WORD = word(13)
QUERY_WORD = word(14)
ANNOTATION = token(15)
PEM = "-----BEGIN PRIVATE KEY-----\ncanary16MIIE\n-----END PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.canary17eyJzdWIiOiIx.canary17signature"

EVENTS: list[dict[str, Any]] = [
    {"labels": {"user": mail(20), "password": word(21), token(22): "a key is a secret too"}},
    {"labels": {mail(23): "x"}, "data": {"nested": [{"deeper": {"api_key": word(24)}}, mail(25), token(26)]}},
    {"reason": f"clone of https://ada:{word(27)}@git.example/x.git failed; ask {mail(28)}"},
    {"subject": f"run of {mail(29)}"},
    {"source": f"https://ci:{word(30)}@ci.example/job"},
    {"id": f"id-{token(31)}"},
    {"run": {"system": "ci", "url": f"https://ci.example/job?token={word(32)}", "job": mail(33)}},
    {"vcs": {"repository": f"https://bot:{word(34)}@git.example/x.git", "ref": token(35)}},
    {"service": mail(36), "version": token(37), "artifact": f"pkg:npm/x?access_token={word(38)}"},
    {"environment": mail(39)},
    {"chain": token(40)},
    {"measures": {token(41): 1.0}},
    {"type": f"custom.{ENVIRONMENT['SIEVE_TOKEN']}"},
    {"reason": f"Authorization: Bearer canary42{'b' * 20}"},
    {"reason": PEM, "data": {"jwt": JWT}},
    {"data": {"cookies": {"session": word(43)}, "text": "glpat-canary44" + "c" * 16}},
    {"reason": "AKIACANARY45" + "D" * 8},
    {"data": {"header": "Basic " + base64.b64encode(f"ada:{ENVIRONMENT['DEPLOY_PASSWORD']}".encode()).decode()}},
    {"data": {"url": f"https://x.example/{quote(ENVIRONMENT['ODD_SECRET'], safe='')}"}},
    {"reason": f"it said {ENVIRONMENT['ODD_SECRET']} and {ENVIRONMENT['HOOK_TOKEN']} and {FILE} and {LITERAL}"},
    {"detail": {"environment": "production", "token": word(46), "mail": mail(47)}},
    {"type": "service.failed", "outcome": "failure", "subject": mail(48), "reason": f"xoxb-canary49-{'e' * 12}"},
    {
        "type": "service.grouped",
        "labels": {"user": mail(63), "secret": word(64)},
        "service": token(65),
        "reason": f"{mail(66)} said {token(67)}",
        "environment": mail(68),
        "subject": token(69),
    },
]

# What is no event, and is refused with an error that may repeat it.
BROKEN = [
    {"type": f"build.finished {mail(50)}", "id": token(51), "source": "/x"},
    {"type": "custom.x", "source": "/x", "time": token(52)},
    {"type": "custom.x", "source": "/x", "measures": {token(53) + "!": 1}},
    {"type": "custom.x", "source": "/x", "labels": {token(54): 5}},
    {"type": "custom.x", "source": "/x", "outcome": token(55)},
]

PLANTED = sorted(
    {
        *ENVIRONMENT.values(), FILE, LITERAL, HOOK_PATH, PROBE_WORD, QUERY_WORD, ANNOTATION, "canary16MIIE", "canary17",
        *(word(n) for n in (21, 24, 27, 30, 32, 34, 38, 43, 46, 64)),
        *(mail(n) for n in (20, 23, 25, 28, 29, 33, 36, 39, 47, 48, 50, 56, 57, 63, 66, 68, 70, 72, 73, 81, 84)),
        *(token(n) for n in (22, 26, 31, 35, 37, 40, 41, 51, 52, 53, 54, 55, 58, 59, 60, 61, 65, 67, 69, 71, 75, 76)),
        *(token(n) for n in (82, 83, 85, 86, 87)),
        "canary42", "canary44", "CANARY45", "canary49", "canary62",
        base64.b64encode(f"ada:{ENVIRONMENT['DEPLOY_PASSWORD']}".encode()).decode(),
        quote(ENVIRONMENT["ODD_SECRET"], safe=""),
    }
)  # fmt: skip

WALKED = f"{token(71)} {mail(70)}"
"""What is handed in wherever any route takes text."""

CHANNELS = [
    ("webhooks", "chat", "delivered"), ("webhooks", "slack", "delivered"), ("webhooks", "manager", "delivered"),
    ("email", "people", "delivered"), ("command", "program", "failed"),
]  # fmt: skip
"""Every channel of every sink, and what becomes of what it is to be told."""

READING: Sequence[Sequence[str]] = [
    ["status"], ["status", "--json"], ["alerts", "list"], ["alerts", "list", "--json"], ["check"], ["check", "--json"],
    ["config", "show"], ["config", "show", "--json"], ["graph"], ["graph", "--live"], ["doctor"], ["plugins", "list"],
    ["report"], ["top", "--once"], ["explain", "event-3"], ["explain", "shown", "--json"], ["dead", "list"],
    ["stages", "list"], ["metrics"], ["dora"], ["openapi"], ["schema"], ["keys", "list"],
    ["alerts", "show", "ID"], ["alerts", "log", "ID"], ["silence", "list"], ["silence", "list", "--json"],
    ["audit", "list"], ["audit", "list", "--json"], ["audit", "verify"], ["notify", "list"], ["health", "list"],
    ["health", "show", "sieve-check"], ["health", "history"],
    ["rules", "list"], ["rules", "list", "--json"], ["rules", "backtest", "--since", "1h"],
    ["notify", "deliveries"], ["notify", "test", "chat"], ["journal", "inspect"], ["journal", "export"],
]  # fmt: skip
"""Commands that say something about what there is; the others are in the next list, and no command is in neither."""

SILENT = {
    "alerts ack", "alerts acknowledge", "alerts resolve", "alerts unack", "alerts unacknowledge", "backup create",
    "backup restore", "backup verify", "config migrate", "dead drop", "dead replay", "dead show", "dev", "emit",
    "env detect", "health reset", "journal verify", "keys create", "keys revoke", "notify give-up", "notify reset",
    "notify retry", "plugins show", "reload", "restart", "rules check", "rules test", "run",
    "silence add", "silence end", "stages restart", "start", "stop", "tap",
}  # fmt: skip
"""They do something, or say what REST says anyway, or what has nothing to do with what there is."""


SEEN = f"canary-shown-{os.getpid()}"
"""What is no secret, and has to come out: a search that finds nothing proves nothing."""


class Listener:
    """Somebody who is told of alerts: what it was sent, headers aside, which are meant for it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                listener.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                sent = self.headers["Authorization"]
                # The first time it says no, and repeats what it was sent, as some do.
                self.send_response(200 if len(listener.bodies) > 1 else 500)
                self.end_headers()
                self.wfile.write(f"no {sent} {HOOK_PATH}".encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture(scope="module")
def listener() -> Generator[Listener]:
    listener = Listener()
    thread = threading.Thread(target=listener.server.serve_forever)
    thread.start()
    yield listener
    listener.server.shutdown()
    listener.server.server_close()
    thread.join()


class Mailbox:
    """Somebody who gets mail: what is in it, addressees aside, who have to be there."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = message_from_bytes(envelope.content)
        parts = [part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()]
        subject = str(make_header(decode_header(message["Subject"])))
        self.texts += [subject.encode(), *(part for part in parts if isinstance(part, bytes))]
        return "250 OK"


@pytest.fixture(scope="module")
def mailbox() -> Generator[tuple[Mailbox, int]]:
    box, port = Mailbox(), free_ports()["control"]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, port
    controller.stop()


@pytest.fixture(scope="module")
def outputs(
    tmp_path_factory: pytest.TempPathFactory, listener: Listener, mailbox: tuple[Mailbox, int]
) -> Mapping[str, bytes]:
    """Everything that a server said while canaries came in at every door, by where it said it."""
    folder = tmp_path_factory.mktemp("canaries")
    site = installed(folder, "sieve", PLUGIN)
    (folder / "secret.txt").write_text(FILE + "\n")
    port = listener.server.server_address[1]
    box, mail_port = mailbox
    spools = tmp_path_factory.mktemp("spools")  # Not among what is looked at: it holds what an emitter wrote.
    _leave(spools)
    _configure(folder, port, mail_port, spools)
    variables = {**ENVIRONMENT, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    found: dict[str, bytes] = {}
    with (
        ThreadPoolExecutor(3) as pool,
        started(folder, **variables) as operator,
        operator.stream() as frames,
        httpx2.stream("GET", operator.url(f"tap?pattern=custom.*&limit={len(EVENTS)}"), timeout=60) as tap,
    ):
        heard = pool.submit(lambda: list(_until_seen(frames)))  # Who does not read for long is not told for long.
        _plant(operator)
        found["tap"] = tap.read()
        found |= {f"answer {n}": reply.content for n, reply in enumerate(_provoked(operator))}
        delivered = list(_delivered(operator))
        found |= {f"delivered {n}": reply.content for n, reply in enumerate(delivered)}
        assert {200, 202, 401, 422} <= {reply.status_code for reply in delivered} <= {200, 202, 400, 401, 415, 422}
        operator.until(
            "records?type=custom.*&limit=500",
            lambda records: any(SEEN in str(record) for record in records),
        )
        alert = operator.until("alerts", lambda alerts: alerts)[0]
        reply = operator.post(
            f"alerts/{alert['id']}/acknowledge", {"operator": mail(56), "notes": f"{mail(57)} {token(58)}"}
        )
        assert reply.status_code == 200, reply.text
        found["acknowledged"] = reply.content
        for sink, channel, status in CHANNELS:
            operator.until(
                f"{sink}/deliveries",
                lambda told, channel=channel, status=status: any(  # type: ignore[misc]
                    (one["channel"], one["status"]) == (channel, status) for one in told
                ),
            )
        known = {"id": alert["id"], "type": "error_rate", "metric": "error_rate", "check": "sieve-check"}
        for name, reply in walk(operator, WALKED, known=known):
            assert reply.status_code != 500 or "sieve" in name, f"{name}: {reply.text}"
            found[name] = reply.content
        found |= {f"GET {path} on {surface}": body for path, surface, body in _read(operator, known)}
        found["stream"] = "\n".join(map(str, heard.result(60))).encode()
        exact = [[alert["id"] if part == "ID" else part for part in command] for command in READING]
        said = pool.map(partial(_said, folder, variables=variables), exact)
        found |= {f"bers {' '.join(command)}": text for command, text in zip(READING, said, strict=True)}
        operator.process.terminate()
        assert operator.process.wait(30) == 0
    found["bers-emit spool status"] = _spool_status(spools)
    assert b"dead            1" in found["bers-emit spool status"]
    broken = folder / "broken.yaml"
    broken.write_text((folder / "pipelines.yaml").read_text().replace("interval: 1s", 'interval: "${env:SIEVE_TOKEN}"'))
    found["bers check of a broken file"] = _said(folder, ["check", "-c", "broken.yaml", "--json"], variables)
    assert b"sources.host.interval" in found["bers check of a broken file"]
    assert len(box.texts) > 3 and (folder / "told.json").stat().st_size
    assert {b"attachments" in body for body in listener.bodies} == {b"groupKey" in body for body in listener.bodies}
    found |= {f"mail {n}": text for n, text in enumerate(box.texts)}
    found |= {f"webhook {n}": body for n, body in enumerate(listener.bodies)}
    for path in sorted(folder.rglob("*")):
        kept = path.suffix in (".yaml", ".txt") or path.is_relative_to(site) or path.name == KEY_FILE
        if path.is_file() and not kept:
            found[f"file {path.relative_to(folder)}"] = path.read_bytes()
    return found


def _leave(folder: Path) -> None:
    """A spool of an emitter that is no more, with an event of which nobody can make anything."""
    spool = Spool.create(str(folder), "left")
    for event in (
        {"type": f"no type {token(87)}", "id": "left-1", "source": "/canaries"},
        {"type": "custom.canary", "id": "left-2", "source": "/canaries", "reason": f"{token(87)} {mail(84)}"},
    ):
        spool.append(json.dumps(event).encode() + b"\n")
    spool.close()


def _spool_status(folder: Path) -> bytes:
    command = [sys.executable, "-m", "bers_emit", "spool", "status"]
    environ = {**os.environ, "BERS_EMIT_SPOOL": str(folder)}
    return subprocess.run(command, env=environ, capture_output=True, timeout=30, check=True).stdout


def _delivered(operator: Operator) -> Iterator[httpx2.Response]:
    """Answers of the doors for what others send in words of their own, to what is signed, and what is not."""
    run = {"id": 7, "name": mail(81), "status": "completed", "conclusion": token(82), "html_url": token(82),
           "updated_at": token(82), "head_sha": token(82)}  # fmt: skip
    github = json.dumps({"action": "completed", "workflow_run": run, "repository": {"name": mail(81)}}).encode()
    signed = "sha256=" + hmac.new(word(79).encode(), github, "sha256").hexdigest()
    for query in ("", "?dry_run=1"):
        for signature in (signed, "sha256=" + "0" * 64, f"sha256={token(83)}"):
            headers = {"X-Hub-Signature-256": signature, "X-GitHub-Event": "workflow_run",
                       "X-GitHub-Delivery": token(83), "Content-Type": "application/json"}  # fmt: skip
            yield httpx2.post(operator.url(f"ingest/github{query}"), content=github, headers=headers)
        for secret in (word(80), token(83)):
            headers = {"X-Gitlab-Token": secret, "Content-Type": "application/json"}
            body = json.dumps({"object_kind": "pipeline", "project": {"name": mail(81)}, "object_attributes": run})
            yield httpx2.post(operator.url(f"ingest/gitlab{query}"), content=body, headers=headers)
        point = {"timeUnixNano": "1795000000000000000", "asDouble": 1}
        metrics = [{"name": f"{token(85)} {mail(84)}", "gauge": {"dataPoints": [point]}},
                   {"name": "build_performance", "unit": token(85), "gauge": {"dataPoints": [point]}}]  # fmt: skip
        sent: dict[str, Any] = {"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}
        yield httpx2.post(operator.url(f"/v1/metrics{query}"), json=sent)
        attributes = [{"key": token(86), "value": {"stringValue": mail(84)}}]
        records = [{"eventName": name, "attributes": attributes, "body": {"stringValue": token(86)}}
                   for name in ("build.finished", token(86), "alert.firing", "")]  # fmt: skip
        sent = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
        yield httpx2.post(operator.url(f"/v1/logs{query}"), json=sent)
        headers = {"ce-specversion": "1.0", "ce-type": token(86), "ce-id": mail(84), "ce-source": token(86)}
        yield httpx2.post(operator.url(f"ingest{query}"), content=b"{}", headers=headers)
        yield httpx2.post(operator.url(f"ingest{query}"), content=b"{}", headers={**headers, "ce-data": token(86)})
    yield httpx2.post(operator.url("/v1/metrics"), content=token(85), headers={"Content-Type": "application/json"})
    yield httpx2.post(operator.url("/v1/logs"), content="{}", headers={"Content-Type": f"text/{mail(84)}"})


def _configure(folder: Path, port: int, mailbox: int, spools: Path) -> None:
    replaced = {
        "  providers: {}": f"""\
  sieve:
    code: ${{env:SIEVE_CODE}}
    note: {LITERAL}x
  github: {{secrets: ["${{env:GITHUB_HOOK}}"]}}
  gitlab: {{secrets: ["${{env:GITLAB_HOOK}}"]}}
  spool: {{folder: {spools}, interval: 100ms}}
  providers:
    interval: 1s
    probes:
      - {{provider: db, kind: http, url: "http://ada:{PROBE_WORD}@127.0.0.1:9/x?token={QUERY_WORD}", required: false}}
      - {{provider: cmd, kind: command, argv: [sh, -c, "echo {token(59)} >&2; exit 3"], required: false}}
      - {{provider: gone, kind: python, callable: "json:loads", required: false}}
""",
        "  webhooks: {}": f"""\
  webhooks:
    channels:
      - name: chat
        url: http://127.0.0.1:{port}/hook/{HOOK_PATH}
        allow_internal: true
        headers: {{Authorization: "Bearer ${{env:HOOK_TOKEN}}", X-Literal: {LITERAL}, X-Odd: "${{env:ODD_SECRET}}"}}
        retries: {{attempts: 5, initial: 50ms}}
      - {{name: slack, format: slack, url: "http://127.0.0.1:{port}/{HOOK_PATH}", allow_internal: true}}
      - name: manager
        format: alertmanager
        url: http://127.0.0.1:{port}/{HOOK_PATH}
        allow_internal: true
        group: {{by: [rule], wait: 0s, every: 1s}}
        secrets: ["${{env:SIGNING_KEY}}"]
""",
        "  sse: {}\n": f"""\
  sse: {{}}
  email:
    channels:
      - {{name: people, host: 127.0.0.1, port: {mailbox}, encryption: none, allow_internal: true,
         sender: {mail(72)}, to: [{mail(73)}], subject: "{{{{ headline }}}}"}}
  command:
    channels:
      - name: program
        command: [sh, -c, "cat >> told.json; echo no $WORD {token(75)} >&2; exit 3", {token(76)}]
        environment: {{WORD: "${{env:PROGRAM_WORD}}"}}
        retries: {{attempts: 2, initial: 50ms}}
""",
        "sinks: [webhooks, ": "sinks: [webhooks, email, command, ",
        "  alert-engine: {}": f"""\
  alert-engine:
    rules:
      - {{name: Grouped, event: service.grouped, group: [user, secret, service, environment, subject]}}
      - name: Service Failed
        event: service.failed
        outcome: failure
        annotations: {{password: "{ANNOTATION}", file: "${{file:secret.txt}}"}}
""",
        "providers, host]\n    processors": "providers, host, sieve, spool]\n    processors",
    }  # fmt: skip
    configure(folder, replaced)


def _plant(operator: Operator) -> None:
    events = [
        {"type": "custom.canary", "id": f"event-{n}", "source": "/canaries", **fields}
        for n, fields in enumerate(EVENTS)
    ]
    for event in events:  # Each alone, and all together: the two are decoded in different ways.
        assert operator.post("ingest", [event]).status_code == 202, event
    operator.emit(*({**event, "id": event["id"] + "-again"} for event in events))
    operator.emit({"type": "custom.canary", "id": "shown", "source": "/canaries", "reason": SEEN})


def _provoked(operator: Operator) -> Iterator[httpx2.Response]:
    """Answers to what is wrong."""
    good = {"type": "custom.canary", "source": "/canaries", "id": "good"}
    for event in BROKEN:
        yield operator.post("ingest", [event])
        yield operator.post("ingest", [good, event])
        yield operator.post("ingest?dry_run=1", [event])
    yield operator.post("ingest?dry_run=1", [{**good, "labels": {"mail": mail(20), "password": word(21)}}])
    plain = {"Content-Type": "application/json"}
    for body in (f"not JSON {token(60)} {mail(20)}", f'{{"type": "{token(60)}', f'"{token(60)}"'):
        yield httpx2.post(operator.url("ingest"), content=body, headers=plain)
    yield httpx2.post(
        operator.url("ingest"), content="x", headers={"Content-Type": f"text/{token(60).lower()}{mail(20)}"}
    )
    yield httpx2.post(operator.url("ingest"), content="x", headers={"Content-Encoding": token(60)})
    for path in (
        f"nothing/{token(61)}", f"nothing/{mail(20)}?token={word(21)}", f"metrics/{token(61)}", f"health/{token(61)}",
        f"alerts/{token(61)}/acknowledge", f"metrics?period={token(61)}", f"records?limit={token(61)}",
        f"alerts?status={mail(20)}", f"metrics/x?by={token(61)}", f"dashboard/status?{token(61)}={mail(20)}",
        "sieve", "sieve/refuse", "sieve/crash",
    ):  # fmt: skip
        yield operator.get(path)
    yield operator.post(f"alerts/{token(61)}/acknowledge", {"operator": "x", "notes": "x"})
    yield operator.post("alerts/x/acknowledge", {token(61): mail(20)})
    yield operator.post("metrics/clear-cache", {"password": token(61)})
    yield httpx2.get(operator.url("events") + f"?types={token(61)}&period={mail(20)}&nothing={token(61)}")


def _read(operator: Operator, known: Mapping[str, str]) -> Iterator[tuple[str, str, bytes]]:
    """Every GET of every listener's description, for people and for programs."""
    every = list(ways(operator))
    for surface in operator.ports:
        more = ["/metrics"] if surface != "health" else []
        described = [way.path for way in every if way.surface == surface and way.method == "get"]
        assert len(described) > 1
        for path in ["/openapi.json", *more, *described]:
            if path.endswith(ENDLESS):
                continue  # They have no end; see the frames, and what was tapped.
            for name, value in known.items():
                path = path.replace(f"{{{name}}}", value)
            yield path, surface, operator.get(path, surface).content
    for path in (
        "records?limit=500&type=*",
        "metrics?period=1h",
        "health/sieve-broken",
        "audit?limit=1000",
        "alerts/history",
        "explain/event-3",
        "explain/shown",
    ):
        yield path, "control", operator.get(path).content


def _until_seen(frames: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    seen = set[str]()
    for name, data in frames:
        yield name, data
        seen.add(name)
        if {"alert_acknowledged"} <= seen:
            return


def _said(folder: Path, command: Sequence[str], variables: Mapping[str, str]) -> bytes:
    said = b""
    for _ in range(5):
        done = subprocess.run(
            [*BERS, *command], cwd=folder, capture_output=True, check=False, timeout=60,
            env=environ(folder, **variables),
        )  # fmt: skip
        said += done.stdout + done.stderr
        if done.returncode in (0, 1):
            return said
        # The server took too long for it, which it may on a busy machine: nothing was told yet.
        assert done.returncode == 3, said.decode()
    raise AssertionError(said.decode())


def test_there_are_fifty_canaries_and_more() -> None:
    assert len(PLANTED) >= 50


def test_what_is_no_secret_comes_out(outputs: Mapping[str, bytes]) -> None:
    where = {name.partition(" ")[0] for name, content in outputs.items() if SEEN.encode() in content}
    assert where >= {"GET", "stream", "file"}


def test_every_command_is_looked_at_or_says_nothing_of_what_there_is() -> None:
    leaves = {name.removeprefix("bers ") for name, one in commands() if not isinstance(one, click.Group)}
    read = {name for name in leaves if any(" ".join(said).startswith(name) for said in READING)}
    assert leaves - read - SILENT == set()


@pytest.mark.parametrize("canary", PLANTED)
def test_c154_c155_c156_a_canary_is_in_no_output(canary: str, outputs: Mapping[str, bytes]) -> None:
    spelled = {canary, canary.lower(), quote(canary), repr(canary)[1:-1], canary.replace('"', '\\"')}
    leaks = {
        name: _around(content, one) for name, content in outputs.items() for one in spelled if one.encode() in content
    }
    assert not leaks


def _around(content: bytes, canary: str) -> bytes:
    at = content.index(canary.encode())
    return content[max(0, at - 120) : at + 60]
