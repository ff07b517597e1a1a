"""Whether a node starts: never open to strangers without somebody having said so."""

import pytest

from bers.access.keys import Key, make
from bers.access.posture import check
from bers.access.settings import AccessSettings
from bers.errors import ConfigError
from bers.redaction import Secret

NOW = 1_700_000_000.0
LIVE = make("ci", ["read"], now=NOW)[0]
EXPIRED = make("ci", ["read"], now=NOW, expires=NOW)[0]
CLOSED = AccessSettings(enabled=True)
OPEN = AccessSettings()


def looked_at(
    settings: AccessSettings,
    *,
    keys: list[Key] | None = None,
    environment: str = "production",
    outside: str = "",
    insecure: bool = False,
    tls: bool = False,
) -> list[str]:
    return check(
        settings, keys or [], now=NOW, environment=environment, outside=outside, tls=tls, insecure=insecure,
        origins={"access.enabled": "environment variable BERS_MONITORING_AUTH_ENABLED"},
    )  # fmt: skip


@pytest.mark.parametrize("keys", [[], [EXPIRED]], ids=["none", "expired"])
@pytest.mark.parametrize("environment", ["production", "development"])
def test_a24_asking_for_a_key_that_nobody_has_is_no_way_to_start(keys: list[Key], environment: str) -> None:
    with pytest.raises(ConfigError) as caught:
        looked_at(CLOSED, keys=keys, environment=environment)
    assert str(caught.value) == (
        "environment variable BERS_MONITORING_AUTH_ENABLED: access.enabled: a key is asked for, and there is none that "
        "could be used; make one with `bers keys create NAME --scope admin`, or set BERS_MONITORING_API_KEY"
    )


def test_a24_production_is_not_open_to_others_unless_somebody_says_so() -> None:
    with pytest.raises(ConfigError) as caught:
        looked_at(OPEN, outside="0.0.0.0")
    assert str(caught.value) == (
        "server.host: others can reach 0.0.0.0, and in production nobody is asked for a key; switch access.enabled on "
        "and make a key, listen on 127.0.0.1, or start with --insecure"
    )
    warned = ["access.enabled: nobody is asked for a key, and others can reach 0.0.0.0; switch it on"]
    assert looked_at(OPEN, outside="0.0.0.0", insecure=True) == warned
    assert looked_at(OPEN, outside="0.0.0.0", environment="staging") == warned


def test_a24_production_on_loopback_starts_with_a_warning() -> None:
    warned = ["access.enabled: nobody is asked for a key; whoever uses this machine may do everything"]
    assert looked_at(OPEN) == warned
    assert looked_at(OPEN, environment="development") == []


def test_a_closed_node_starts_and_nothing_is_to_be_said() -> None:
    assert looked_at(CLOSED, keys=[LIVE]) == []
    assert looked_at(CLOSED, keys=[EXPIRED, LIVE], outside="10.0.0.5", tls=True) == []
    assert looked_at(AccessSettings(enabled=True, key=Secret("your-secure-api-key"))) == []


def test_what_is_weak_is_said() -> None:
    short = AccessSettings(enabled=True, key=Secret("hunter2"))
    assert [one.partition(":")[0] for one in looked_at(short, outside="10.0.0.5")] == ["access.key", "server.tls"]
    unused = AccessSettings(key=Secret("your-secure-api-key"))
    assert [one.partition(":")[0] for one in looked_at(unused, environment="development")] == ["access.key"]
