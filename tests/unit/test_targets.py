"""Where requests may go: nowhere that credentials are kept, and inside only where somebody said so."""

import socket
from ipaddress import ip_address
from unittest.mock import Mock

import pytest

from bers import Blocked, Target
from bers.targets import is_internal, is_metadata


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fe80::1",
        "64:ff9b:1::a9fe:a9fe", "::a9fe:a9fe",
        "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192",
    ],
)  # fmt: skip
def test_metadata_addresses_are_known(address: str) -> None:
    assert is_metadata(ip_address(address))


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "fd00:ec2::253", "93.184.216.34"])
def test_other_addresses_are_none(address: str) -> None:
    assert not is_metadata(ip_address(address))


@pytest.mark.parametrize("address", ["64:ff9b:1::7f00:1", "::7f00:1", "fec0::1", "::", "::1", "64:ff9b::a00:1"])
def test_places_inside_are_known_however_ipv6_says_them(address: str) -> None:
    assert is_internal(ip_address(address))


@pytest.mark.parametrize("address", ["64:ff9b::808:808", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_places_outside_are_known_too(address: str) -> None:
    assert not is_internal(ip_address(address))


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "0xa9fea9fe", "[fe80::1]", "[::ffff:a9fe:a9fe]"])
def test_a29_a_metadata_address_is_refused_however_it_is_spelled_and_whatever_is_allowed(host: str) -> None:
    with pytest.raises(ValueError, match="where machines keep their credentials; name another place"):
        Target(f"http://{host}/latest", internal=True, plain=True)


@pytest.mark.anyio
async def test_a29_a_name_that_leads_there_is_refused_when_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443)) for one in ("93.184.216.34", "169.254.169.254")]
    monkeypatch.setattr(socket, "getaddrinfo", Mock(return_value=found))
    with pytest.raises(Blocked, match=r"^x\.example leads to 169\.254\.169\.254, where machines keep"):
        await Target("https://x.example/", internal=True).addresses()


@pytest.mark.anyio
async def test_a29_a_name_that_leads_inside_is_refused_unless_that_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", Mock(return_value=found))
    with pytest.raises(Blocked, match=r"internal address 10\.0\.0\.7; set allow_internal: true"):
        await Target("https://x.example/", internal=False).addresses()
    inside = Target("https://x.example/", internal=True)
    assert await inside.addresses() == ["10.0.0.7"]
    assert inside.at("10.0.0.7") == "https://10.0.0.7:443/"


def test_credentials_in_a_url_are_kept_where_they_are_allowed_and_are_in_no_header() -> None:
    target = Target("http://ada:hunter2@x.example:8080/a?b", internal=True, plain=True, credentials=True)
    assert (target.authority, target.at("10.0.0.7")) == ("x.example:8080", "http://ada:hunter2@10.0.0.7:8080/a?b")
    with pytest.raises(ValueError, match="put them into headers"):
        Target("https://ada:hunter2@x.example/", internal=False)
