"""Who is told what."""

from typing import Any

import msgspec
import pytest

from bers import Channel, Event
from bers.notifications.notices import label_of
from bers.notifications.routing import group_of, is_told


def channel(**options: Any) -> Channel:
    return msgspec.convert({"name": "team", **options}, Channel)


def event(
    type: str = "alert.firing", *, severity: str = "error", environment: str = "production", **more: Any
) -> Event:
    labels = {"rule": "Build Slow", "severity": severity, **more.pop("labels", {})}
    data = {"labels": {"service": "web", "branch": "main"}}
    return Event("1", "bers:alert-engine", type, 0.0, subject="a-1", environment=environment, labels=labels, data=data)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, True),
        ({"severities": ["critical"]}, False),
        ({"severities": ["critical", "error"]}, True),
        ({"events": ["alert.resolved"]}, False),
        ({"events": ["alert.*"]}, True),
        ({"labels": {"rule": "Build Slow"}}, True),
        ({"labels": {"rule": "Build*"}}, True),
        ({"labels": {"rule": "build*"}}, False),
        ({"labels": {"rule": ["Test*", "Build*"]}}, True),
        ({"labels": {"rule": "!Build*"}}, False),
        ({"labels": {"rule": ["*", "!*Slow"]}}, False),
        ({"labels": {"environment": "production"}}, True),
        ({"labels": {"environment": "staging"}}, False),
        ({"labels": {"branch": "main", "service": "web"}}, True),
        ({"labels": {"branch": "main", "service": "app"}}, False),
        ({"labels": {"nothing": ""}}, True),
        ({"labels": {"nothing": "!"}}, False),
        ({"labels": {"rule": "Build Slo[w]"}}, False),
    ],
)
def test_filters_choose_of_what_a_channel_is_told(options: dict[str, Any], told: bool) -> None:
    assert is_told(channel(**options), event(), knows=False) is told


@pytest.mark.parametrize(
    "options",
    [
        {"severities": ["critical"]},
        {"labels": {"environment": "staging"}},
        {"contact": "secondary"},
    ],
)
def test_whoever_knows_of_an_alert_is_told_of_its_end_whatever_filters_say(options: dict[str, Any]) -> None:
    assert is_told(channel(**options), event("alert.resolved"), knows=True)


def test_whoever_does_not_know_of_an_alert_is_not_told_of_its_end() -> None:
    assert not is_told(channel(), event("alert.resolved"), knows=False)


def test_whoever_wants_ends_alone_is_told_of_ends() -> None:
    ends = channel(events=["alert.resolved"], severities=["error"])
    assert is_told(ends, event("alert.resolved"), knows=False)
    assert not is_told(ends, event("alert.resolved", severity="info"), knows=False)


def test_a34_the_second_contact_is_told_once_it_is_escalated_to_it_and_then_of_all_that_follows() -> None:
    second = channel(contact="secondary")
    to_it = event("alert.escalated", labels={"contact": "secondary"})
    to_another = event("alert.escalated", labels={"contact": "escalation"})
    assert not is_told(second, event(), knows=False)
    assert not is_told(second, to_another, knows=False)
    assert is_told(second, to_it, knows=False)
    assert is_told(second, event("alert.acknowledged"), knows=True)
    assert is_told(second, to_another, knows=True)


@pytest.mark.parametrize("contact", [{}, {"contact": "primary"}])
def test_a34_the_first_contact_is_told_that_it_fires_and_that_it_was_escalated(contact: dict[str, str]) -> None:
    first = channel(**contact)
    assert is_told(first, event(), knows=False)
    assert is_told(first, event("alert.escalated", labels={"contact": "secondary"}), knows=True)


def test_groups_are_what_events_have_in_common() -> None:
    grouped = channel(group={"by": ["rule", "environment", "branch", "missing"]})
    common = {"rule": "Build Slow", "environment": "production", "branch": "main", "missing": ""}
    assert group_of(grouped, event()) == common
    assert group_of(channel(), event()) is None
    assert group_of(channel(group={"by": []}), event()) == {}


def test_what_a_label_is_for_whoever_routes() -> None:
    assert label_of(event(), "severity") == "error"
    assert label_of(event(), "type") == "alert.firing"
    assert label_of(event(), "service") == "web"
    assert label_of(event(), "nothing") == ""
