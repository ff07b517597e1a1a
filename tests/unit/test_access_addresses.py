"""Where a request comes from: addresses as they are meant, networks, and what may be believed of proxies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bers.access.addresses import address, client, group, is_loopback, networks, within

RUNBOOK = ["10.0.0.0/8", "172.16.0.0/12"]


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("10.0.0.0", True),
        ("10.255.255.255", True),
        ("11.0.0.0", False),
        ("172.16.0.1", True),
        ("172.31.255.255", True),
        ("172.32.0.0", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:0a01:0203", True),
        ("::ffff:192.0.2.1", False),
        ("::10.1.2.3", False),
        ("2001:db8::1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_c112_the_runbooks_networks_hold_what_they_say(text: str, inside: bool) -> None:
    found = address(text)
    assert found is not None
    assert within(found, networks(RUNBOOK, "allowed")) is inside


@pytest.mark.parametrize(
    ("text", "one", "inside"),
    [
        ("2001:db8::/32", "2001:db8:ffff::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("::ffff:10.0.0.0/104", "10.9.9.9", True),
        ("::ffff:10.0.0.0/104", "11.9.9.9", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("::/0", "10.0.0.1", False),
        ("0.0.0.0/0", "::ffff:10.0.0.1", True),
        ("0.0.0.0/0", "2001:db8::1", False),
    ],
)
def test_a25_networks_of_both_families_are_understood(text: str, one: str, inside: bool) -> None:
    found = address(one)
    assert found is not None
    assert within(found, networks([text], "allowed")) is inside


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("10.1.2.3/8", "did you mean '10.0.0.0/8'?"),
        ("2001:db8::1/32", "did you mean '2001:db8::/32'?"),
        ("10.0.0.0/33", "write it as in 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"),
        ("example.com", "write it as in 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"),
        ("", "write it as in 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"),
    ],
)
def test_a_network_that_is_none_is_named_with_its_place_and_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ValueError) as caught:
        networks(["10.0.0.0/8", text], "allowed")
    assert str(caught.value) == f"allowed[1]: {text!r} is no network; {remedy}"


PROXIES = networks(["10.0.0.0/24", "2001:db8:1::/64"], "trusted_proxies")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "found"),
    [
        ("198.51.100.9", [], "198.51.100.9"),
        ("198.51.100.9", ["127.0.0.1"], "198.51.100.9"),  # Not a proxy of ours: what it says means nothing.
        ("10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["127.0.0.1, 203.0.113.5"], "203.0.113.5"),  # What stands left of it the client wrote.
        ("10.0.0.1", ["127.0.0.1", "203.0.113.5"], "203.0.113.5"),  # Two headers are one list.
        ("10.0.0.1", ["203.0.113.5, 10.0.0.2"], "203.0.113.5"),  # Two proxies of ours in a row.
        ("10.0.0.1", ["10.0.0.7, 10.0.0.2"], "10.0.0.7"),  # Asked for by a proxy itself.
        ("::ffff:10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("2001:db8:1::9", ["2001:db8:2::1"], "2001:db8:2::1"),
        ("10.0.0.1", ["[2001:db8:2::1]:4711"], "2001:db8:2::1"),
        ("10.0.0.1", ["203.0.113.5:4711"], "203.0.113.5"),
        ("10.0.0.1", ["::ffff:203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["unknown"], ""),
        ("10.0.0.1", ["127.0.0.1, garbage"], ""),
        ("10.0.0.1", [""], ""),
        ("10.0.0.1", [], "10.0.0.1"),
    ],
)
def test_a25_x_forwarded_for_is_believed_from_trusted_proxies_alone(
    peer: str, forwarded_for: list[str], found: str
) -> None:
    assert client(peer, forwarded_for, [], PROXIES) == found


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("198.51.100.9", ["for=127.0.0.1"], "198.51.100.9"),
        ("10.0.0.1", ["for=203.0.113.5;proto=https;by=10.0.0.1"], "203.0.113.5"),
        ("10.0.0.1", ['For="[2001:db8:2::1]:4711"'], "2001:db8:2::1"),
        ("10.0.0.1", ["for=127.0.0.1, for=203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["for=127.0.0.1", "proto=https; for=203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["for=_hidden"], ""),
        ("10.0.0.1", ["for=unknown"], ""),
    ],
)
def test_a25_forwarded_is_understood_too(peer: str, forwarded: list[str], found: str) -> None:
    assert client(peer, [], forwarded, PROXIES) == found


def test_a_header_that_the_proxy_passes_on_unread_does_not_help_its_author() -> None:
    assert client("10.0.0.1", ["203.0.113.5"], ["for=127.0.0.1"], PROXIES) == ""
    assert client("10.0.0.1", ["127.0.0.1"], ["for=203.0.113.5"], PROXIES) == ""
    assert client("10.0.0.1", ["203.0.113.5"], ["for=203.0.113.5"], PROXIES) == "203.0.113.5"


@given(st.lists(st.text(max_size=40), max_size=5), st.lists(st.text(max_size=60), max_size=3))
def test_whatever_a_stranger_writes_into_headers_he_is_who_he_is(
    forwarded_for: list[str], forwarded: list[str]
) -> None:
    assert client("198.51.100.9", forwarded_for, forwarded, PROXIES) == "198.51.100.9"


@given(st.lists(st.text(max_size=40), max_size=5))
def test_whatever_stands_left_of_what_our_proxy_wrote_means_nothing(spoofed: list[str]) -> None:
    assert client("10.0.0.1", [",".join([*spoofed, "203.0.113.5"])], [], PROXIES) == "203.0.113.5"


def test_an_ipv6_host_is_counted_as_its_network_and_an_ipv4_host_by_itself() -> None:
    assert group("2001:db8:1:2:3:4:5:6") == group("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert group("192.0.2.7") != group("192.0.2.8")


@pytest.mark.parametrize(
    ("text", "here"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_what_this_machine_itself_is_called(text: str, here: bool) -> None:
    assert is_loopback(text) is here
