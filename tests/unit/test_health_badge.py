"""Badges are small pictures that carry nothing but what they say."""

from xml.etree import ElementTree

import pytest

from bers import Status
from bers.health.badge import availability_badge, status_badge

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("status", ["healthy", "degraded", "unhealthy", "unknown"])
def test_a_badge_says_what_it_is_about_and_how_that_is(status: Status) -> None:
    root = ElementTree.fromstring(status_badge("provider-health", status))
    assert root.get("role") == "img" and root.get("aria-label") == f"provider-health: {status}"
    assert [one.text for one in root.iter(f"{SVG}text")] == ["provider-health", status]
    assert root.findtext(f"{SVG}title") == f"provider-health: {status}"


def test_what_a_name_brings_along_is_text_and_nothing_else() -> None:
    name = '<script>alert("1")</script>&\x1b' + "x" * 200
    root = ElementTree.fromstring(status_badge(name, "healthy"))
    assert {one.tag.removeprefix(SVG) for one in root.iter()} == {"svg", "title", "rect", "path", "g", "text"}
    assert (root.findtext(f"{SVG}title") or "").startswith('<script>alert("1")</script>&xxx')
    assert len(status_badge(name, "healthy")) < 1500


def test_a_share_is_rounded_down_and_green_only_where_it_is_good() -> None:
    def said(percent: float | None) -> tuple[str, str]:
        root = ElementTree.fromstring(availability_badge("web 30d", percent))
        return [one.text or "" for one in root.iter(f"{SVG}text")][1], root.find(f"{SVG}path").get("fill", "")  # type: ignore[union-attr]

    good, fair, bad, none = (said(one)[1] for one in (100.0, 99.5, 42.0, None))
    assert len({good, fair, bad, none}) == 4
    assert said(100.0)[0] == "100 %" and said(99.9999)[0] == "99.99 %"
    assert said(99.95) == ("99.95 %", good) and said(98.999)[0] == "98.99 %" and said(None)[0] == "unknown"
