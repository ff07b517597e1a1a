"""What the resolver reads: `.env` files as Node does, in the order of each dialect, and nothing it should not."""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from bers_builtin.sources.environment_resolver.config import Dialect
from bers_builtin.sources.environment_resolver.dotenv import parse_env
from bers_builtin.sources.environment_resolver.files import ProjectFolder, Unreadable
from bers_builtin.sources.environment_resolver.layers import env_files

TORTURE = r"""# a comment
PLAIN=value
HASH=a#b
URL=https://x/#fragment
SPACES=  padded both sides
SINGLE='single # kept'
DOUBLE="double\nnewline"
LITERAL='no\nnewline'
BACKTICK=`it's "both"`
MULTI="first
second"
EMPTY=
QUOTED_EMPTY=""
export EXPORTED=yes
REFERENCE=${PLAIN}
DEFAULTED=${MISSING:-fallback}
EQUALS=a=b=c
TRAILING='quoted' rest
TWICE=1
TWICE=2
UNCLOSED="never
DOTTED.key-1=x
BACKSLASH="a\"b"
LAST=end
"""

EXPECTED = {
    "PLAIN": "value",
    "HASH": "a",
    "URL": "https://x/",
    "SPACES": "padded both sides",
    "SINGLE": "single # kept",
    "DOUBLE": "double\nnewline",
    "LITERAL": "no\\nnewline",
    "BACKTICK": 'it\'s "both"',
    "MULTI": "first\nsecond",
    "EMPTY": "",
    "QUOTED_EMPTY": "",
    "EXPORTED": "yes",
    "REFERENCE": "${PLAIN}",
    "DEFAULTED": "${MISSING:-fallback}",
    "EQUALS": "a=b=c",
    "TRAILING": "quoted",
    "TWICE": "2",
    "UNCLOSED": "never\nDOTTED.key-1=x\nBACKSLASH=",
    "LAST": "end",
}


def node(texts: list[str]) -> list[dict[str, str]]:
    """What Node makes of the texts, all in one process."""
    if not shutil.which("node"):
        pytest.skip("there is no node to compare with")
    script = (
        "const {parseEnv} = require('util'); if (!parseEnv) process.exit(9);"
        "const texts = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        "console.log(JSON.stringify(texts.map((text) => parseEnv(text))))"
    )
    done = subprocess.run(["node", "-e", script], input=json.dumps(texts), capture_output=True, text=True, check=False)
    if done.returncode == 9:
        pytest.skip("this node has no util.parseEnv")
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, str]] = json.loads(done.stdout)
    return answers


def test_torture_file_gives_these_values() -> None:
    assert dict(parse_env(TORTURE).values) == EXPECTED


@pytest.mark.parametrize("text", [TORTURE, TORTURE.replace("\n", "\r\n"), TORTURE.rstrip("\n")])
def test_torture_file_gives_what_node_gives(text: str) -> None:
    assert dict(parse_env(text).values) == node([text])[0]


def test_two_thousand_random_files_give_what_node_gives() -> None:
    chance = random.Random(7)
    keys = ["A", "B", "C_1", "export D", " E ", "F "]
    values = [
        "",
        "x",
        " x ",
        "a b",
        "'q'",
        '"q\\nr"',
        "`q`",
        "'a\nb'",
        "x # c",
        "'#' # c",
        "#",
        "=",
        "${A}",
        "a'b",
        '"a" b',
    ]
    texts = [
        "".join(
            chance.choice(["# comment\n", "\n", f"{chance.choice(keys)}={chance.choice(values)}\n"])
            for _ in range(chance.randrange(1, 8))
        )
        for _ in range(2000)
    ]
    for text, theirs in zip(texts, node(texts), strict=True):
        assert dict(parse_env(text).values) == theirs, text


def test_lines_that_say_nothing_are_named_by_number_and_never_repeated() -> None:
    parsed = parse_env("A=1\nhunter2\n=x\nB='open\nA=2\n")

    assert parsed.values == {"A": "2", "B": "'open"}
    assert [line for line, _ in parsed.faults] == [2, 3, 4, 5]
    assert "hunter2" not in str(parsed.faults)


@pytest.mark.parametrize(
    ("dialect", "environment", "files"),
    [
        ("vite", "production", ".env.production.local .env.production .env.local .env"),
        ("vite", "staging", ".env.staging.local .env.staging .env.local .env"),
        ("vite", "development", ".env.development.local .env.development .env.local .env"),
        ("vite", "test", ".env.test.local .env.test .env.local .env"),
        ("dotenv-flow", "production", ".env.production.local .env.production .env.local .env .env.defaults"),
        ("dotenv-flow", "staging", ".env.staging.local .env.staging .env.local .env .env.defaults"),
        ("dotenv-flow", "development", ".env.development.local .env.development .env.local .env .env.defaults"),
        ("dotenv-flow", "test", ".env.test.local .env.test .env .env.defaults"),
        ("next", "production", ".env.production.local .env.local .env.production .env"),
        ("next", "staging", ".env.local .env"),
        ("next", "development", ".env.development.local .env.local .env.development .env"),
        ("next", "test", ".env.test.local .env.test .env"),
        ("vite", None, ".env.local .env"),
        ("dotenv-flow", None, ".env.local .env .env.defaults"),
    ],
)
def test_each_dialect_has_its_own_order(dialect: Dialect, environment: str | None, files: str) -> None:
    assert list(env_files(dialect, environment)) == files.split()


def test_a_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert ProjectFolder(tmp_path).read(".env") is None


def test_a_link_inside_the_project_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("A=1")
    (tmp_path / ".env").symlink_to("real")

    assert ProjectFolder(tmp_path).read(".env") == b"A=1"


def test_a_link_that_leaves_the_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("A=1")
    project = tmp_path / "project"
    project.mkdir()
    (project / ".env").symlink_to("../secret")

    with pytest.raises(Unreadable, match="leads out of the project"):
        ProjectFolder(project).read(".env")


def test_a_pipe_is_left_out_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".env")

    with pytest.raises(Unreadable, match="not a regular file") as caught:
        ProjectFolder(tmp_path).read(".env")
    assert caught.value.harmless


def test_a_folder_of_that_name_is_left_out(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()

    with pytest.raises(Unreadable, match="not a regular file"):
        ProjectFolder(tmp_path).read(".env")


def test_a_file_of_one_mebibyte_is_read_and_a_larger_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "fits").write_bytes(b"x" * (1 << 20))
    (tmp_path / "large").write_bytes(b"x" * ((1 << 20) + 1))
    folder = ProjectFolder(tmp_path)

    assert folder.read("fits") == b"x" * (1 << 20)
    with pytest.raises(Unreadable, match="larger than 1 MiB"):
        folder.read("large")


def test_the_sixty_fifth_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1")
    folder = ProjectFolder(tmp_path)
    for _ in range(64):
        folder.read(".env")

    with pytest.raises(Unreadable, match="at most 64"):
        folder.read(".env")
