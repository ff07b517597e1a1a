"""Many clients of the live stream, some of whom do not read: the others miss nothing, and these are let go."""

from collections import defaultdict
from functools import partial
from pathlib import Path
from random import Random

import psutil

from tests.bench.crowd import gathered, subject
from tests.integration.processes import configure, started, until

READING, STALLED = 37, 3
PROBES = 60


def test_who_does_not_read_is_let_go_and_nobody_else_misses_anything(tmp_path: Path) -> None:
    configure(tmp_path, {"  sse: {}": "  sse: {stall: 10s, buffer: 8}"})
    with started(tmp_path) as server, gathered(server.url("events?types=build.finished")) as crowd:

        def told() -> dict[str, int]:
            found: dict[str, int] = server.data("dashboard/status")["details"]["sse"]
            return found

        def connections() -> int:
            """How many there are at the port of everything; the one that asks is closed by then."""
            port = server.ports["control"]
            open = psutil.Process(server.process.pid).net_connections("tcp")
            return sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port for one in open)

        crowd.join(READING)
        crowd.join(STALLED, small=True)
        crowd.stall()
        until(lambda: told() == {"clients": READING + STALLED, "slow": 0, "skipped": 0, "ended": 0})

        rng, sent = Random(7), 0
        heard: defaultdict[int, list[int]] = defaultdict(list)

        def all_heard(to: int) -> bool:
            for one in crowd.report().heard:
                heard[one.client].append(one.probe)
            return len(heard) == READING and all(len(probes) >= to for probes in heard.values())

        while sent < PROBES:  # More than the system, the server and the queue keep for who does not read.
            some = range(sent, min(PROBES, sent + rng.randrange(1, 6)))
            server.emit(
                *(
                    {
                        "type": "build.finished", "source": "ci", "id": subject(n), "subject": subject(n),
                        "outcome": "success", "duration_ms": 900, "data": {"log": "x" * 6000},
                    }
                    for n in some
                )
            )  # fmt: skip
            sent = some.stop
            until(partial(all_heard, sent), 60)
        assert list(heard.values()) == [list(range(PROBES))] * READING

        until(lambda: told()["ended"] == STALLED, 60)
        until(lambda: told()["clients"] == READING and told()["slow"] == 0)
        assert told()["skipped"] > 0 and told()["ended"] == STALLED
        until(lambda: connections() <= READING + 1)  # And one that asks.
        server.emit({"type": "build.finished", "source": "ci", "id": "last", "subject": subject(PROBES)})
        until(lambda: all_heard(PROBES + 1), 60)
        assert crowd.report().ended == 0
    assert "ASGI" not in (tmp_path / "logs" / "monitoring.log").read_text()
