"""What a command leaves behind becomes part of what is told of it, and never changes how it ends."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, Callable

import pytest

from bers_emit.asset_names import normalized
from bers_emit.imports.assets import gzipped
from bers_emit.testing import Receiver

WRAPPED = [sys.executable, "-m", "bers_emit", "run"]
CASES = '<testcase name="a"/><testcase name="b"><failure/></testcase>'
JUNIT = f'<testsuites name="unit"><testsuite>{CASES}</testsuite></testsuites>'
Wrapped = Callable[..., "tuple[subprocess.CompletedProcess[str], dict[str, Any]]"]
LCOV = "SF:a.py\nDA:1,1\nDA:2,0\nend_of_record\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "project"
    home.mkdir()
    monkeypatch.chdir(home)
    return home


def run(*arguments: str, code: int = 0) -> str:
    """Run a script under ``bers-emit run``; what was said on standard error."""
    *options, script = arguments
    done = subprocess.run([*WRAPPED, *options, "--", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == code
    return done.stderr


def test_tests_and_coverage_are_part_of_the_end_of_a_test_run(receiver: Receiver, folder: Path) -> None:
    script = f"echo '{JUNIT}' > out.xml; printf '{LCOV}' > lcov.info; exit 1"
    assert run("--kind", "test", "--name", "unit", "--junit", "*.xml", "--coverage", "lcov.info", script, code=1) == ""
    assert [event["type"] for event in receiver.events] == ["testsuiterun.started", "testsuiterun.finished"]
    finished = receiver.events[1]
    assert (finished["outcome"], finished["labels"]) == ("failure", {"suite": "unit"})
    told = {name: of for name, of in finished["measures"].items() if name.startswith(("tests.", "coverage."))}
    assert told == {
        "tests.total": 2, "tests.passed": 1, "tests.failed": 1, "tests.errored": 0, "tests.skipped": 0,
        "coverage.lines": 50.0,
    }  # fmt: skip
    assert finished["data"]["failed"] == ["b"]
    assert finished["data"]["command"] == "sh"


def test_of_another_command_they_are_events_of_its_subject(receiver: Receiver, folder: Path) -> None:
    script = f"echo '{JUNIT}' > out.xml; printf '{LCOV}' > lcov.info"
    assert run("--kind", "build", "--junit", "*.xml", "--coverage", "lcov.info", script) == ""
    started, tests, covered, finished = receiver.events
    assert [one["subject"] for one in (started, tests, covered)] == [finished["subject"]] * 3
    assert (tests["type"], covered["type"]) == ("testsuiterun.finished", "coverage.reported")
    assert not any(name.startswith(("tests.", "coverage.")) for name in finished["measures"])


def test_what_was_there_before_is_not_its_work(receiver: Receiver, folder: Path) -> None:
    (folder / "old.xml").write_text(JUNIT)
    said = run("--kind", "test", "--junit", "*.xml", "true")
    assert said == "bers-emit: --junit: the command wrote no file that fits *.xml\n"
    assert "tests.total" not in receiver.of("testsuiterun.finished")[0]["measures"]
    # Written again with the same content, and put in place as a copy with its old time, it is.
    stamp = folder / "stamp"
    stamp.write_text("")
    os.utime(stamp, (1_000_000_000, 1_000_000_000))
    assert run("--kind", "test", "--junit", "*.xml", "cp old.xml new; touch -r stamp new; mv new old.xml") == ""
    assert receiver.of("testsuiterun.finished")[1]["measures"]["tests.total"] == 2


@pytest.mark.parametrize("code", [0, 3])
def test_what_cannot_be_read_is_said_in_a_line_and_changes_nothing(code: int, receiver: Receiver) -> None:
    said = run(
        "--kind", "test", "--junit", "*.xml", "--coverage", "c", f"echo '<' > a.xml; echo x > c; exit {code}", code=code
    )
    assert [line.partition(":")[0] for line in said.splitlines()] == ["bers-emit"] * 2
    assert "--junit: a.xml: is no XML" in said and "--coverage: c: is no coverage" in said
    [finished] = receiver.of("testsuiterun.finished")
    assert finished["outcome"] == ("failure" if code else "success")


def test_nothing_is_looked_at_where_nobody_is_told(folder: Path) -> None:
    assert run("--kind", "build", "--junit", "*.xml", "--bundle", "dist/**", "--npm-timing", "env > seen") == ""
    assert "npm_config" not in (folder / "seen").read_text()


def test_a_command_that_cannot_start_leaves_nothing(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = set(os.listdir(tmp_path))
    done = subprocess.run([*WRAPPED, "--npm-timing", "--junit", "*.xml", "--", "no-such-command"], check=False)
    assert done.returncode == 127
    assert set(os.listdir(tmp_path)) - before <= {"spool"}


PAGE = (
    '<!doctype html><link rel="stylesheet" href="/app/a/main-C0ffee12.css"><script src="./a/main-B3vZRz9l.js"></script>'
)


def test_a_bundle_has_sizes_and_names_that_outlive_its_hashes(receiver: Receiver, folder: Path) -> None:
    script = "console.log('hello, hello, hello');" * 50
    (folder / "make.py").write_text(
        "import os\n"
        "os.makedirs('dist/a')\n"
        f"files = {{'index.html': {PAGE!r}, 'a/main-B3vZRz9l.js': {script!r}, 'a/main-C0ffee12.css': 'a{{}}',\n"
        "  'a/lazy-DV0Dn0Dr.js': '1', 'a/lazy-Zq81xKpW.js': '2', 'a/main-B3vZRz9l.js.map': 'x' * 9999}\n"
        "for name, text in files.items(): open('dist/' + name, 'w').write(text)\n"
    )
    assert run("--kind", "build", "--bundle", "dist/**", f"{sys.executable} make.py") == ""
    [finished] = receiver.of("build.finished")
    sizes = {name: os.path.getsize(folder / "dist" / name) for name in ("index.html", "a/main-B3vZRz9l.js")}
    zipped = [
        len(gzip.compress(path.read_bytes(), 6)) for path in (folder / "dist").rglob("*.*") if path.suffix != ".map"
    ]
    told = finished["measures"]
    assert (told["bundle.assets"], told["bundle.raw"]) == (5, sum(sizes.values()) + 5)
    assert told["bundle.gzip"] == sum(zipped)
    assert told["bundle.initial"] == sizes["a/main-B3vZRz9l.js"] + 3
    assets = {one["name"]: one for one in finished["data"]["assets"]}
    assert set(assets) == {"index.html", "a/main-*.js", "a/main-*.css", "a/lazy-*.js"}
    assert assets["a/main-*.js"]["entry"] and assets["a/main-*.css"]["initial"]
    assert (assets["a/lazy-*.js"]["files"], assets["a/lazy-*.js"]["raw"]) == (2, 2)
    assert "entry" not in assets["a/main-*.css"] and "initial" not in assets["a/lazy-*.js"]


def test_what_an_earlier_build_left_is_not_counted_and_that_is_said(receiver: Receiver, folder: Path) -> None:
    (folder / "dist").mkdir()
    (folder / "dist/old.js").write_text("old")
    said = run("--kind", "build", "--bundle", "dist/**", "echo 1 > dist/new.js")
    assert said == (
        "bers-emit: --bundle: 1 more files fit and were there before; they are not counted: empty the folder first\n"
    )
    told = receiver.of("build.finished")[0]["measures"]
    assert (told["bundle.raw"], told["bundle.assets"]) == (2, 1)
    run("--kind", "build", "--bundle", "dist/**/*.js", "mkdir dist/a; echo 1 > dist/a/b.js")
    (asset,) = receiver.of("build.finished")[1]["data"]["assets"]
    asset.pop("brotli", None)  # It is told where there is something that measures it.
    assert asset == {"name": "a/b.js", "files": 1, "raw": 2, "gzip": 22}
    assert "bundle.initial" not in told  # No page says what is loaded at once.


@pytest.mark.parametrize("by", ["module", "program"])
def test_brotli_sizes_are_those_of_the_module_or_the_program(
    by: str, receiver: Receiver, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brotli = pytest.importorskip("brotli")
    if by == "program":
        without_brotli(tmp_path, monkeypatch)
        program = tmp_path / "bin" / "brotli"
        program.write_text(PROGRAM)
        program.chmod(0o700)
    text = "".join(f"const part{number} = {number * number};\n" for number in range(500)).encode()
    (folder / "app.js").write_bytes(text)
    assert run("--kind", "build", "--bundle", "dist/**", "mkdir dist; cp app.js dist/; echo 1 > dist/b.js") == ""
    finished = receiver.of("build.finished")[0]
    sizes = {asset["name"]: asset["brotli"] for asset in finished["data"]["assets"]}
    assert sizes == {name: len(brotli.compress(body, quality=6)) for name, body in (("app.js", text), ("b.js", b"1\n"))}
    assert finished["measures"]["bundle.brotli"] == sum(sizes.values())


# One that understands what ours is called with; isolated, it finds the module that is hidden from us.
PROGRAM = f"""#!{sys.executable} -I
import sys
import brotli
assert sys.argv[1:5] == ["-q", "6", "-c", "-f"], sys.argv
with open(sys.argv[5], "rb") as file:
    sys.stdout.buffer.write(brotli.compress(file.read(), quality=6))
"""


def without_brotli(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have neither a module nor a program that can do it."""
    hidden, programs = folder / "hidden", folder / "bin"
    hidden.mkdir()
    programs.mkdir()
    for name in ("brotli", "brotlicffi"):
        (hidden / f"{name}.py").write_text("raise ImportError(__name__)\n")
    for name in ("sh", "mkdir", "cp"):
        (programs / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(hidden), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PATH", str(programs))


def test_where_nothing_compresses_with_brotli_there_are_no_such_sizes(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_brotli(tmp_path, monkeypatch)
    assert run("--kind", "build", "--bundle", "dist/**", "mkdir dist; echo 1 > dist/b.js") == ""
    [finished] = receiver.of("build.finished")
    assert {name for name in finished["measures"] if name.startswith("bundle.")} == {
        "bundle.raw",
        "bundle.gzip",
        "bundle.assets",
    }
    assert finished["data"]["assets"] == [{"name": "b.js", "files": 1, "raw": 2, "gzip": 22}]


def test_measuring_is_no_part_of_the_duration(receiver: Receiver, folder: Path) -> None:
    large = "head -c 20000000 /dev/urandom > dist/a.bin"
    beside: list[float] = []
    while not beside or abs(beside[-1]) > 0.1:  # Until the machine did nothing else between the end and our clock.
        assert len(beside) < 5, beside
        assert run("--kind", "build", "--bundle", "dist/**", f"mkdir -p dist; {large}; date +%s%N > end") == ""
        started, finished = receiver.of("build.started")[-1], receiver.of("build.finished")[-1]
        assert finished["measures"]["bundle.gzip"] > 20_000_000
        begun = datetime.fromisoformat(started["time"].replace("Z", "+00:00")).timestamp()
        beside.append(finished["duration_ms"] / 1000 - (int((folder / "end").read_text()) / 1e9 - begun))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("assets/index-B3vZRz9l.js", "assets/index-*.js"),
        ("index-B3v-Rz9_.js", "index-*.js"),
        ("main-LOKUHSC3.js", "main-*.js"),
        ("main.3f2a1b4c5d6e7f80.js", "main.*.js"),
        ("app.a1b2c3d4.chunk.css", "app.*.chunk.css"),
        ("static/media/logo.6ce24c58023cc2f8fd88fe9d219db6c6.svg", "static/media/logo.*.svg"),
        ("lazyload-settings.js", "lazyload-settings.js"),
        ("jquery-3.7.1.min.js", "jquery-3.7.1.min.js"),
        ("my-component.js", "my-component.js"),
        ("x-MyModule.css", "x-MyModule.css"),
        ("chunk-vendor12.js", "chunk-vendor12.js"),
        ("index.html", "index.html"),
    ],
)
def test_names_without_what_their_content_adds(name: str, expected: str) -> None:
    assert normalized(name) == expected


def test_a_gzip_size_is_that_of_zlib(tmp_path: Path) -> None:
    for n, content in enumerate((b"", b"a", os.urandom(3_000_000), b"abc" * 1_000_000)):
        path = tmp_path / str(n)
        path.write_bytes(content)
        assert gzipped(str(path)) == (len(content), len(gzip.compress(content, 6)))


BACKEND = """
import os, time, zipfile
METADATA = "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\n"
def prepare_metadata_for_build_wheel(folder, settings=None):
    os.mkdir(os.path.join(folder, "tiny-1.dist-info"))
    open(os.path.join(folder, "tiny-1.dist-info/METADATA"), "w").write(METADATA)
    return "tiny-1.dist-info"
def build_wheel(folder, settings=None, metadata=None):
    time.sleep(0.2)
    name = "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr("tiny-1.dist-info/METADATA", METADATA)
        kind = "Root-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: tiny\\n" + kind)
        wheel.writestr("tiny-1.dist-info/RECORD", "")
    return name
"""


@pytest.fixture
def tiny(folder: Path) -> Path:
    """A project that builds itself."""
    project = folder / "tiny"
    project.mkdir()
    (project / "backend.py").write_text(BACKEND)
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "tiny"\nversion = "1"\n'
    )
    return project


def pip() -> list[str]:
    command = [sys.executable, "-m", "pip"]
    if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("this Python has no pip")
    return command


WHEEL = ["wheel", "--no-index", "--disable-pip-version-check", "-w", "out", "./tiny"]
TOLD = ["--name", "tiny", "--pip-timing", "--bundle", "out/*.whl"]


def test_pip_wheel_of_a_project(receiver: Receiver, tiny: Path, wrapped: Wrapped) -> None:
    done, finished = wrapped("build", *pip(), *WHEEL, options=TOLD)
    assert done.stderr == ""
    [timed] = receiver.of("build.measured")
    assert (finished["outcome"], timed["labels"], timed["subject"]) == ("success", {"tool": "pip"}, finished["subject"])
    resolve, install = timed["measures"]["dependencies.resolve"], timed["measures"]["dependencies.install"]
    assert install >= 200 and 0 < resolve + install <= finished["duration_ms"]
    assert finished["data"]["assets"][0]["name"] == "tiny-1-py3-none-any.whl"
    assert finished["measures"]["bundle.assets"] == 1


def test_pip_wheel_that_fails_has_its_time_and_no_size(receiver: Receiver, tiny: Path, wrapped: Wrapped) -> None:
    (tiny / "backend.py").write_text(BACKEND.replace("time.sleep(0.2)", "raise OSError()"))
    _, finished = wrapped("build", *pip(), *WHEEL, options=TOLD, code=1)
    assert (finished["outcome"], finished["reason"]) == ("failure", "exit code 1")
    assert "bundle.raw" not in finished["measures"]


def test_uv_is_understood_as_it_really_prints(receiver: Receiver, folder: Path, tiny: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("there is no uv beside this Python")
    command = [str(uv), "pip", "install", "--no-index", "--no-cache", "--python", sys.executable]
    done = subprocess.run([*command, "--target", "out", "./tiny"], capture_output=True, text=True, check=True)
    (folder / "uv.txt").write_text(done.stderr)
    emit = [sys.executable, "-m", "bers_emit", "import", "uv", "uv.txt", "--strict"]
    subprocess.run(emit, check=True)
    [timed] = receiver.of("build.measured")
    assert timed["labels"] == {"tool": "uv"}
    assert set(timed["measures"]) == {"dependencies.resolve", "dependencies.install"}
