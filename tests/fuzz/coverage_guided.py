"""A fuzzer that follows coverage: ``coverage_guided.py TARGET --seconds 60``; ``make fuzz`` runs every target.

What it finds is written to the folder of ``--artifacts``, as bytes that ``--again FILE`` tries once more. It needs
atheris, which ``make fuzz`` installs, and which is no dependency of this project.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

SEEDS: dict[str, Sequence[bytes]] = {
    "decoding": [
        (
            b'[{"type":"build.finished","id":"a","source":"/ci","time":1700000000,"duration_ms":5,"outcome":"success",'
            b'"measures":{"a.b":3},"labels":{"x":"y"},"vcs":{"revision":"c"},"run":{"id":"1"},"weight":2}]'
        ),
        (
            b'{"specversion":"1.0","id":"1","source":"/x","type":"dev.cdevents.build.finished.0.2.0","data":{"context":'
            b'{"version":"0.4.1","id":"1"},"subject":{"id":"s","content":{"outcome":"success"}},"customData":{}}}'
        ),
        b'{"type":"build-completed","detail":{"duration":5200,"coverage":{"lines":80},"tests":{"total":3}}}',
    ],
    "binary": [
        (
            b'specversion: 1.0\nid: 1\nsource: /x\ntype: build.finished\nsubject: "a b"%20%E2%82%AC\n'
            b'content-type: application/json\n\n{"outcome":"success","durationMs":5}'
        ),
        (
            b'specversion: 1.0\nid: 1\nsource: /x\ntype: dev.tekton.event.pipelinerun.failed.v1\n\n{"pipelineRun":{'
            b'"metadata":{"name":"a","uid":"u","labels":{"bers/kind":"build"}},"status":{"startTime":"2026-11-23T08:00:00Z",'
            b'"completionTime":"2026-11-23T08:01:00Z","conditions":[{"type":"Succeeded","reason":"Cancelled"}]}}}'
        ),
    ],
    "webhooks": [
        (
            b'{"action":"completed","repository":{"html_url":"https://x/y","full_name":"x/y","default_branch":"main"},'
            b'"workflow_run":{"id":1,"name":"CI","conclusion":"success","run_started_at":"2026-11-23T08:00:00Z",'
            b'"updated_at":"2026-11-23T08:01:00Z","head_commit":{"timestamp":"2026-11-23T07:00:00Z"}}}'
        ),
        (
            b'{"object_kind":"pipeline","object_attributes":{"id":1,"status":"success","duration":63,'
            b'"created_at":"2026-11-23 08:00:00 UTC","finished_at":"2026-11-23 09:01:00 +0100"},"project":{"name":"y"}}'
        ),
    ],
    "units": [b"5m", b"350ms", b"16MiB", b"80%", b"1.5e3s", b"300000"],
    "configuration": [(ROOT / "pipelines.yaml").read_bytes(), b"version: 1\nsources: {build: {}}\n"],
    "stream": [b"a\r\ndata: x\n\nid: 9", "\u2028\0\ufeff".encode()],
    "journal": [b"\x05\x10\x20\x05\x30\x05\x00\x20\x02??", b"\x05\x10\x20\x05\x30\x05\x05"],
}


def main() -> None:
    arguments = _arguments()
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        sys.exit("atheris is not installed; `make fuzz` installs it")
    logging.disable()  # Damage is told of, and here there is nothing else.
    with atheris.instrument_imports(include=["bers", "bers_builtin", "yaml"]):
        properties = importlib.import_module("tests.fuzz.properties")
    holds: Callable[[bytes], object] = properties.TARGETS[arguments.target]
    if arguments.again:
        holds(arguments.again.read_bytes())
        return
    corpus = arguments.corpus / arguments.target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[arguments.target]):
        (corpus / f"seed-{number}").write_bytes(seed)
    arguments.artifacts.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={arguments.seconds}",
        "-max_len=4096",
        "-timeout=10",  # An input that takes longer is a finding.
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        f"-artifact_prefix={arguments.artifacts}/{arguments.target}-",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], _tries(holds))
    atheris.Fuzz()


def _tries(holds: Callable[[bytes], object]) -> Callable[[bytes], None]:
    def once(data: bytes) -> None:
        holds(data)

    return once


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(SEEDS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, default=Path("dist/fuzz/corpus"), help="What it has learned so far.")
    parser.add_argument(
        "--artifacts", type=Path, default=Path("dist/fuzz/found"), help="Where it writes what it finds."
    )
    parser.add_argument("--again", type=Path, help="Try what was found once more, instead of looking for more.")
    return parser.parse_args()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # It is run as a script.
    main()
