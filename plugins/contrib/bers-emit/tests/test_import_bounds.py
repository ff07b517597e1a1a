"""Whatever is in a file: it is refused quickly and in little memory, and never brings anything else with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
MEBIBYTE = 1 << 20


def bomb(path: Path, name: str) -> None:
    texts = {
        "entities": f'<!DOCTYPE a [<!ENTITY l0 "lol">{LAUGHS}]><testsuites>&l9;</testsuites>',
        "another file": '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><testsuites name="&f;"/>',
        "depth": "<testsuites>" + "<a>" * 1_000_000,
        "attributes": "<testsuites " + " ".join(f'a{n}="1"' for n in range(500_000)) + "/>",
        "a long tag": f'<testsuites name="{"x" * 20 * MEBIBYTE}"/>',
        "a long comment": f"<testsuites><!--{'x' * 20 * MEBIBYTE}--></testsuites>",
        "json depth": "{" + '"a":{' * 1_000_000,
        "json lists": "[" * 1_000_000,
    }
    path.write_text(texts.get(name, ""))
    if name == "200 MB":
        path.write_text("<testsuites>")
        os.truncate(path, 200_000_000)  # Its zeros take no room on the disk, and are read like any others.
    if name == "a pipe":
        path.unlink()
        os.mkfifo(path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("entities", "junit"),
        ("entities", "coverage"),
        ("another file", "junit"),
        ("another file", "coverage"),
        ("depth", "junit"),
        ("attributes", "junit"),
        ("a long tag", "junit"),
        ("a long comment", "coverage"),
        ("json depth", "jest"),
        ("json lists", "coverage"),
        ("200 MB", "junit"),
        ("200 MB", "coverage"),
        ("200 MB", "webpack"),
        ("200 MB", "bep"),
        ("a pipe", "junit"),
    ],
)
def test_a_bomb_is_refused_within_a_second_and_50_mb(name: str, kind: str, tmp_path: Path) -> None:
    bomb(tmp_path / "bomb", name)
    script = (
        "import json, resource, sys, time\n"
        "from bers_emit.imports import events\n"
        "from bers_emit.imports.documents import Unreadable\n"
        "began = time.process_time()\n"
        "try:\n"
        "    events.read(sys.argv[1], [sys.argv[2]])\n"
        "except Unreadable as exc:\n"
        "    said = str(exc)\n"
        "used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(json.dumps([said, time.process_time() - began, used * (1 if sys.platform == 'darwin' else 1024)]))\n"
    )
    # A child of ours would count as its own what we have at most: this one is the child of a shell.
    done = subprocess.run(
        ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", script, kind, str(tmp_path / "bomb")],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    said, seconds, memory = json.loads(done.stdout)
    assert str(tmp_path / "bomb") in said
    assert "\n" not in said and len(said) < 300
    assert seconds < 1
    assert memory < 50_000_000


def test_the_worker_that_a_server_trusts_with_it_has_limits(tmp_path: Path) -> None:
    worker = [sys.executable, "-m", "bers_emit.imports.worker"]
    lists = b"[" + b"[]," * 12 * MEBIBYTE + b"[]]"  # 36 MiB, which would be 2 GiB of objects.
    done = subprocess.run([*worker, "jest"], input=lists, capture_output=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("bers-emit import: -: ")
    good = b'<testsuites><testsuite><testcase name="a"/></testsuite></testsuites>'
    done = subprocess.run([*worker, "junit", "--suite=u"], input=good, capture_output=True, check=True)
    [event] = json.loads(done.stdout)
    assert (event["type"], event["labels"]) == ("testsuiterun.finished", {"suite": "u"})
