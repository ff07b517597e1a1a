"""The pytest plugin: a session reports as a test suite, while it runs and when it ends. Inert until it is asked."""

from __future__ import annotations

import contextlib
import os

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ELSEWHERE = "http://127.0.0.1:3003"
"""Where `--bers` reports to if BERS_EMIT_URL says nothing."""

_NAME = "bers-emit-reporter"
# Sessions of these run no test: they say what there is.
_LOOKING = ("collectonly", "setupplan", "setuponly", "showfixtures", "show_fixtures_per_test", "cacheshow")


def pytest_addoption(parser: pytest.Parser) -> None:
    if _taken(parser, "--bers"):
        return
    with contextlib.suppress(Exception):  # Somebody else has such an option: the session goes before us.
        group = parser.getgroup("bers", "reporting to BERS Monitoring")
        group.addoption(
            "--bers",
            action="store_true",
            default=False,
            help="Report this session, to BERS_EMIT_URL, else to " + ELSEWHERE + ". With BERS_EMIT_URL set, sessions "
            "report without this, unless they run inside a test of another one.",
        )
        group.addoption(
            "--bers-suite",
            metavar="NAME",
            default=None,
            help="What the suite is called; default is the name of the root directory.",
        )
        group.addoption(
            "--bers-cases",
            choices=("all", "failed", "none"),
            default="failed",
            help="Which tests report by themselves: all, failed (default) or none. All are counted.",
        )


def _taken(parser: pytest.Parser, option: str) -> bool:
    """Whether another plugin has such an option: pytest 8 sees that only when it is too late to go without ours."""
    with contextlib.suppress(Exception):
        groups = [*getattr(parser, "_groups", ()), getattr(parser, "_anonymous", None)]
        return any(option in known.names() for group in groups for known in getattr(group, "options", ()))
    return False


def pytest_configure(config: pytest.Config) -> None:
    with contextlib.suppress(Exception):  # Whatever it is: without us the session is as it always was.
        url = _address(config, os.environ)
        if url:
            from bers_emit.pytest_plugin.unrewritten import Unrewritten

            imports = Unrewritten()
            imports.begin()
            config.add_cleanup(imports.end)
            from bers_emit.pytest_plugin.reporter import Reporter

            suite = config.getoption("--bers-suite") or config.rootpath.name
            reporter = Reporter(config, url, suite, str(config.getoption("--bers-cases")))
            config.pluginmanager.register(reporter, _NAME)


def _address(config: pytest.Config, environ: Mapping[str, str]) -> str:
    """The server to report to; empty where nothing is to be reported."""
    if hasattr(config, "workerinput"):  # A worker of xdist: its controller sees every report.
        return ""
    if any(getattr(config.option, name, False) for name in _LOOKING):
        return ""
    if config.getoption("--bers", False):
        return environ.get("BERS_EMIT_URL") or ELSEWHERE
    if "PYTEST_CURRENT_TEST" in environ:  # A session inside a test is its subject, and nobody's suite.
        return ""
    return environ.get("BERS_EMIT_URL", "")
