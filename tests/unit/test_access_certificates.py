"""The certificate of the listeners: checked before anything starts, and renewed without a restart."""

import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from bers import config, plugins
from bers.config.located import parse
from bers.errors import ConfigError
from bers.testing.server import serving
from tests.unit.certificates import Pair, made, needs_openssl, with_passphrase

pytestmark = needs_openssl

CATALOGUE = plugins.load(installed=False)


def refused(**tls: object) -> str:
    document = parse("server:\n  tls: {}\n", "pipelines.yaml")
    document.put(("server", "tls"), {name: str(value) for name, value in tls.items()})
    with pytest.raises(ConfigError) as caught:
        config.plan(document, CATALOGUE, environ={})
    return str(caught.value)


def changes(pair: Pair, minimum: str = "1.2") -> Sequence[tuple[tuple[str, ...], Any]]:
    tls = {"certificate": str(pair.certificate), "key": str(pair.key), "minimum": minimum}
    return [(("server", "tls"), tls)]


def trusting(pair: Pair) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(pair.certificate))


def shown(port: int) -> str:
    """The certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 5) as raw, context.wrap_socket(raw) as encrypted:
        return ssl.DER_cert_to_PEM_cert(encrypted.getpeercert(binary_form=True) or b"")


def test_what_cannot_be_used_is_named_before_anything_starts(tmp_path: Path) -> None:
    one, two, gone = made(tmp_path, "one"), made(tmp_path, "two"), tmp_path / "gone.crt"
    assert refused(certificate=gone, key=one.key) == (
        f"pipelines.yaml:2:3: server.tls.certificate: '{gone}' cannot be read: No such file or directory; "
        "name a file that is there"
    )
    assert refused(certificate=one.certificate, key=two.key) == (
        f"pipelines.yaml:2:3: server.tls.key: the key in '{two.key}' is not that of '{one.certificate}'; "
        "name the two that belong together"
    )
    assert refused(certificate=one.key, key=one.key).endswith("has no certificate in PEM; name the file that has it")
    assert refused(certificate=one.certificate, key=one.certificate).endswith(
        "has no private key in PEM; name the file that has it"
    )
    assert "has a passphrase; write it without" in refused(certificate=one.certificate, key=with_passphrase(one))
    broken = tmp_path / "broken.crt"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert refused(certificate=broken, key=one.key).startswith(
        f"pipelines.yaml:2:3: server.tls.certificate: '{broken}' cannot be used: "
    )
    assert "unknown value '1.1'" in refused(certificate=one.certificate, key=one.key, minimum="1.1")


async def test_all_three_listeners_speak_tls_and_nothing_older_than_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pair = made(tmp_path, "one")
    async with serving(tmp_path, changes=changes(pair, "1.3"), verify=trusting(pair)) as server:
        for surface in server.node.ports:
            reply = await server.get("/livez", surface)
            assert reply.status_code == 200 and reply.url.scheme == "https"
        old = trusting(pair)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        async with httpx2.AsyncClient(verify=old) as client:
            with pytest.raises(httpx2.ConnectError):
                await client.get(server.url("/livez"))
        with pytest.raises(httpx2.TransportError):
            await server.client.get(server.url("/livez").replace("https", "http"))


async def test_browsers_are_told_to_come_by_tls_again_where_the_name_is_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pair = made(tmp_path, "one")
    hosts = [(("access", "hosts"), ["bers.example.com"])]
    async with serving(tmp_path, changes=[*changes(pair), *hosts], verify=trusting(pair)) as server:
        for host, told in (("bers.example.com:3003", True), ("localhost:3003", False), ("127.0.0.1", False)):
            reply = await server.get("health", headers={"Host": host})
            assert ("strict-transport-security" in reply.headers) is told


async def test_a_renewed_certificate_is_shown_without_a_restart_and_one_that_does_not_fit_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pair, renewed = made(tmp_path, "one"), made(tmp_path, "two")
    with anyio.fail_after(30):
        async with serving(tmp_path, changes=changes(pair), verify=False) as server:
            port = server.node.ports["control"]
            first = pair.certificate.read_text()
            assert await anyio.to_thread.run_sync(shown, port) == first
            pair.certificate.write_bytes(renewed.certificate.read_bytes())
            with pytest.raises(ConfigError) as caught:
                server.node.reload_certificates()  # The key is not yet that of the new one.
            assert "is not that of" in str(caught.value)
            assert await anyio.to_thread.run_sync(shown, port) == first
            pair.key.write_bytes(renewed.key.read_bytes())
            server.node.reload_certificates()
            assert await anyio.to_thread.run_sync(shown, port) == renewed.certificate.read_text()
            assert (await server.get("health")).status_code == 200, "who is connected stays so"
