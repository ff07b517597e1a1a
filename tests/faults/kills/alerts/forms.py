"""Ways to set up the node that is killed: one that holds nothing back, and one that spares people what it can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tests.faults.kills.alerts.services import FOR

ESCALATED_AFTER = 1.0
MOST_FIRINGS, FIRINGS_WITHIN = 4, 3.0
CONTACT = "secondary"
CRITICAL = "Down"


class Form(NamedTuple):
    """How alerts are told, and what people silence."""

    name: str
    engine: str
    silenced: Sequence[str]
    spares: bool
    """Whether alerts are held back, held together, and handed on."""


PLAIN = Form(
    "plain",
    """
    rate_limiting: {max_alerts: 1000000}
    flapping: {enabled: false}
    escalation: []""",
    ("Busy", "Failing", "Down"),
    spares=False,
)
"""Nobody is spared and nothing is held back: no rate limit, no deduplication."""

SPARING = Form(
    "sparing",
    f"""
    rate_limiting: {{max_alerts: {MOST_FIRINGS}, window: {FIRINGS_WITHIN:g}s}}
    flapping: {{transitions: 3, window: 20s, steady: 2s}}
    escalation: [{{after: {ESCALATED_AFTER:g}s, contact: {CONTACT}, severities: [info, warning, error, critical]}}]""",
    ("Busy", "Failing"),  # A person's word holds for what is critical too, and this is about what nobody said.
    spares=True,
)

FORMS = {form.name: form for form in (PLAIN, SPARING)}

_PIPELINES = """
version: 1
server: {{health: 0, metrics: 0, control: 0}}
access: {{rate: {{per_second: 100000, burst: 100000}}}}
intake: {{snapshot_every: 150ms, journal: {{max_bytes: 1MiB}}}}
sinks:
  store: {{use: rest-store, primary: true, commit_every: 20ms, events_keep: 365000d}}
  alert-engine:
    defaults: false
    commit_every: 40ms
    deduplication: {{enabled: false}}{engine}
    rules:
      - {{name: Down, severity: critical, event: service-is.down, clears: {{event: service-is.up}}, group: [subject]}}
      - {{name: Crash, event: service-is.crashed, group: [subject]}}
      - {{name: Failing, event: service-is.tried, consecutive: 3, group: [subject]}}
      - {{name: Slow, metric: build_performance, above: 5s, for: {lasting:g}s, group: [subject]}}
      - {{name: Busy, metric: validation_duration, above: 5s, aggregate: max, window: 2s, group: [subject]}}
  webhooks:
    channels:
      - name: receiver
        url: http://127.0.0.1:{receiver}/
        events: [alert.*]
        allow_internal: true
        timeout: 300ms
        retries: {retries}
      - name: digest
        url: http://127.0.0.1:{digest}/
        allow_internal: true
        timeout: 300ms
        retries: {retries}
        group: {{by: [rule], wait: 100ms, every: 300ms, most: 20}}
      - name: second
        contact: {contact}
        url: http://127.0.0.1:{second}/
        allow_internal: true
        timeout: 300ms
        retries: {retries}
  email:
    channels:
      - name: team
        host: 127.0.0.1
        port: {mailbox}
        encryption: none
        allow_internal: true
        sender: bers@example.org
        to: [team@example.org]
        subject: "{{{{ event.id }}}} {{{{ event.type }}}} {{{{ event.subject }}}}"
        timeout: 1s
        retries: {retries}
  command:
    channels:
      - name: pager
        command: {command}
        severities: [critical]
        timeout: 1s
        retries: {retries}
pipelines:
  details: {{sources: [unmapped, alert-engine], sinks: [store]}}
  alerts: {{sources: [unmapped], sinks: [alert-engine]}}
  notify: {{sources: [alert-engine], sinks: [webhooks, email, command]}}
"""
"""Whoever is told is tried for ever."""

_RETRIES = "{attempts: 1000000, initial: 20ms, max: 150ms}"


def pipelines(form: Form, *, receiver: int, digest: int, second: int, mailbox: int, command: Sequence[str]) -> str:
    """The configuration of a node that tells whoever listens on these ports, and runs a program."""
    return _PIPELINES.format(
        engine=form.engine,
        lasting=FOR,
        retries=_RETRIES,
        contact=CONTACT,
        receiver=receiver,
        digest=digest,
        second=second,
        mailbox=mailbox,
        command=list(command),
    )
