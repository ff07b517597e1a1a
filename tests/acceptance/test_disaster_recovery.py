"""What the runbook says is there again after the worst: the service, its rules and channels, its page."""

import re
import shutil
from pathlib import Path

from bers_builtin import dashboard
from tests.acceptance.receiving import receiving
from tests.integration.processes import configure, started, until

SOURCES = Path(dashboard.__file__).parent / "web" / "src"

RULE = """  alert-engine:
    rules: [{name: Release Slow, severity: error, metric: deployment_performance, above: 7s}]
"""


def test_c180_c182_rules_and_channels_are_those_of_the_configuration_though_all_data_is_lost(tmp_path: Path) -> None:
    with receiving() as told:
        channel = f"  webhooks: {{channels: [{{name: team, url: '{told.url}', allow_internal: true}}]}}"
        configure(tmp_path, {"  alert-engine: {}": RULE.rstrip("\n"), "  webhooks: {}": channel})
        slow = {"type": "deployment.finished", "outcome": "success", "duration_ms": 8000}
        for attempt in (1, 2):
            with started(tmp_path) as server:
                rules = [rule["name"] for rule in server.data("alerts/rules")]
                assert "Release Slow" in rules and "Build Performance Degraded" in rules
                assert server.data("alerts") == []
                server.emit(slow)
                (alert,) = server.until("alerts", len)
                assert alert["rule"] == "Release Slow"
                told.until(*["alert.firing"] * attempt, seconds=20)
                server.process.kill()
                server.process.wait()
            shutil.rmtree(tmp_path / ".bers")


def test_c183_a_page_without_any_memory_of_its_own_shows_everything_again(tmp_path: Path) -> None:
    configure(tmp_path)
    with started(tmp_path) as server:
        server.emit({"type": "build-completed", "detail": {"duration": 5432, "environment": "production"}})
        server.until("alerts", len)
        server.until("metrics/build_performance", lambda data: data["current"] == 5432)
        before = _shown(server.get("/").text)
        assert before == {"Build Performance Degraded", "5.43 s"}
        server.process.kill()
        server.process.wait()
    with started(tmp_path) as server:
        page = until(lambda: text if _shown(text := server.get("/").text) == before else None)
        assert "Build Performance Degraded" in page
        scripts = re.findall(r'src="(/assets/[^"]+)"', page)
        assert scripts
        for path in scripts:  # What a browser keeps may be gone: the page asks the API for all of it.
            assert not re.search("indexedDB|caches\\.", server.get(path).text)
        sources = {file.name: file.read_text(encoding="utf-8") for file in SOURCES.rglob("*.ts")}
        assert {name for name, text in sources.items() if re.search("(local|session)Storage", text)} == {
            "kept.ts",
            "first.ts",
        }
        users = [text for text in sources.values() if '/kept"' in text]
        names = {name for text in users for name in re.findall(r"\b(?:recall|remember)\(\"(\w+)\"", text)}
        assert names == {"theme", "operator", "letters"}, "what the reader chose, and nothing that was measured"
        drafts = {name for text in users for name in re.findall(r"\b(?:draft|keepDraft)\((\w+)\(", text)}
        assert drafts == {"draftOf"}, "a rule that is being written"


def _shown(page: str) -> set[str]:
    """The alert and the value of the build, wherever they stand on the page."""
    return set(re.findall(r"Build Performance Degraded|\b5\.43 s\b", page))
