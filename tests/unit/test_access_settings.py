"""What the file and the environment say of access: who wins, and what is said of faults."""

import pytest

from bers import config, plugins
from bers.access.settings import AccessSettings
from bers.config.located import parse
from bers.errors import ConfigError

CATALOGUE = plugins.load(installed=False)


def planned(text: str = "", **environ: str) -> AccessSettings:
    return config.plan(parse(text, "pipelines.yaml"), CATALOGUE, environ=environ).settings.access


def refused(text: str = "", **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        planned(text, **environ)
    return str(caught.value)


def test_nothing_said_is_open_to_this_machine_with_a_rate_limit() -> None:
    found = planned()
    assert (found.enabled, found.key, found.allowed, found.allow_loopback) == (False, None, [], True)
    assert (found.rate.enabled, found.rate.per_second, found.rate.burst) == (True, 20, 60)
    assert float(found.session.lasts) == 12 * 3600


def test_c110_c111_c112_the_runbooks_variables_are_understood() -> None:
    found = planned(
        BERS_MONITORING_AUTH_ENABLED="true",
        BERS_MONITORING_API_KEY="your-secure-api-key",
        BERS_MONITORING_ALLOWED_IPS="10.0.0.0/8,172.16.0.0/12",
    )
    assert found.enabled and found.allowed == ["10.0.0.0/8", "172.16.0.0/12"]
    assert found.key is not None and found.key.reveal() == "your-secure-api-key"


def test_the_environment_wins_over_the_file() -> None:
    text = "access: {enabled: true, allowed: [192.0.2.0/24], allow_loopback: true, trusted_proxies: [10.0.0.1]}"
    found = planned(text, BERS_MONITORING_AUTH_ENABLED="off", BERS_MONITORING_ALLOW_LOOPBACK="false")
    assert (found.enabled, found.allowed, found.allow_loopback) == (False, ["192.0.2.0/24"], False)
    assert found.trusted_proxies == ["10.0.0.1"]


def test_a_variable_that_is_empty_says_nothing() -> None:
    assert planned("access: {enabled: true}", BERS_MONITORING_AUTH_ENABLED="", BERS_MONITORING_API_KEY="").enabled


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"BERS_MONITORING_AUTH_ENABLED": "maybe"},
            (
                "environment variable BERS_MONITORING_AUTH_ENABLED: access.enabled: 'maybe' is neither true nor false; "
                "write one of them"
            ),
        ),
        (
            {"BERS_MONITORING_ALLOWED_IPS": "10.0.0.0/8, 10.1.2.3/8"},
            (
                "environment variable BERS_MONITORING_ALLOWED_IPS: access.allowed[1]: '10.1.2.3/8' is no network; "
                "did you mean '10.0.0.0/8'?"
            ),
        ),
        (
            {"BERS_MONITORING_API_KEY": "with space"},
            (
                "environment variable BERS_MONITORING_API_KEY: access.key: it is empty, or has other characters than "
                "visible ASCII; write another"
            ),
        ),
    ],
    ids=["switch", "network", "key"],
)
def test_a_fault_in_the_environment_names_the_variable(environ: dict[str, str], message: str) -> None:
    assert refused(**environ) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "access:\n  allowed: [10.0.0.0/8, 10.0.0.0/33]",
            (
                "pipelines.yaml:2:25: access.allowed[1]: '10.0.0.0/33' is no network; "
                "write it as in 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"
            ),
        ),
        (
            "access: {trusted_proxies: [proxy]}",
            (
                "pipelines.yaml:1:28: access.trusted_proxies[0]: 'proxy' is no network; "
                "write it as in 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"
            ),
        ),
        (
            "access: {hosts: ['https://bers.example.com']}",
            (
                "pipelines.yaml:1:18: access.hosts[0]: 'https://bers.example.com' is no name of a host; "
                "write it without scheme, port and path"
            ),
        ),
        (
            "access: {enabledd: true}",
            (
                "pipelines.yaml:1:10: access.enabledd: unknown key 'enabledd'; did you mean 'enabled'? Known: "
                "allow_loopback, allowed, enabled, hosts, key, origins, rate, session, trusted_proxies"
            ),
        ),
    ],
    ids=["network", "proxy", "host", "key"],
)
def test_a_fault_in_the_file_is_located(text: str, message: str) -> None:
    assert refused(text) == message


def test_c154_the_key_is_in_no_fault_and_no_text_of_the_settings() -> None:
    found = planned(BERS_MONITORING_API_KEY="your-secure-api-key")
    assert "your-secure" not in repr(found) and "your-secure" not in str(found)
    assert "with space" not in refused(BERS_MONITORING_API_KEY="with space")
