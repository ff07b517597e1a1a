"""The examples of the page about testing rules: every file in it passes, and fails as the page says it does."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from bers.cli import cli
from tests.docs.generate import DOCS, ROOT

PAGE = (DOCS / "how-to" / "test-rules.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`(\w+\.yaml)`:\n\n```yaml\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture(autouse=True)
def _in_a_folder_with_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pipelines.yaml").write_text((ROOT / "pipelines.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")


def test_the_page_has_examples() -> None:
    assert FILES.keys() == {"queue.yaml", "deploy.yaml", "node.yaml"}
    assert PAGE.count("```yaml") == len(FILES), "every block of YAML on the page has the name of its file before it"


@pytest.mark.parametrize("name", FILES)
def test_an_example_passes(name: str) -> None:
    done = CliRunner().invoke(cli, ["rules", "test", name])
    assert (done.exit_code, done.stderr) == (0, "")
    assert re.fullmatch(r"[1-9] passed, 0 failed\n", done.stdout)


def test_what_fails_looks_as_the_page_shows_it() -> None:
    file = Path("queue.yaml")
    file.write_text(file.read_text(encoding="utf-8").replace("status: pending", "status: active"), encoding="utf-8")
    done = CliRunner().invoke(cli, ["rules", "test", "queue.yaml", "--junit", "rules.xml"])
    assert done.exit_code == 1
    assert done.stderr + done.stdout in PAGE
    assert Path("rules.xml").read_text(encoding="utf-8").count("<failure") == 1


@pytest.mark.parametrize(
    ("written", "values"),
    [("0+10x5", 6), ("100-5x3", 4), ("7x4", 5), ("_x3", 3)],
)
def test_the_table_of_the_notation_is_right(written: str, values: int) -> None:
    from bers_builtin.sinks.alert_engine.rehearsal.notation import expand

    assert f"`{written}`" in PAGE
    assert len(expand(written)) == values
