"""Many senders for test_overload.py, in a process of their own: each sends large batches without a pause.

    python flood.py URL SENDERS SECONDS EVENTS

On stdout, as JSON: how often each status came, how many requests were reset, and how many events were accepted.
"""

import http.client
import json
import sys
import threading
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit


def body(sender: int, first: int, events: int) -> bytes:
    """A batch of plain events, and every third of them with data of many values, which take more memory."""
    batch: list[dict[str, Any]] = []
    for n in range(first, first + events):
        one: dict[str, Any] = {
            "id": f"flood{sender}-{n}", "source": "/flood", "type": "build.measured", "time": time.time(),
            "subject": f"b{n % 1000}", "labels": {"phase": f"phase-{n % 40}"}, "measures": {"build_phase_time": 10.0},
        }  # fmt: skip
        if not n % 3:
            one["data"] = {f"k{k}": {"a": k, "b": f"text {k * n}"} for k in range(10)}
        batch.append(one)
    return json.dumps(batch, separators=(",", ":")).encode()


def send(url: str, sender: int, until: float, events: int, found: Counter[str]) -> None:
    address = urlsplit(url)
    assert address.hostname
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    sent, first = body(sender, 1, events), 1 + events
    while time.monotonic() < until:
        try:
            connection.request("POST", "/api/monitoring/ingest", sent, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            said = reply.read()
        except (OSError, http.client.HTTPException):
            found["reset"] += 1
            connection.close()
            continue
        found[str(reply.status)] += 1
        if reply.status == 202:
            found["accepted"] += json.loads(said)["data"]["accepted"]
            sent, first = body(sender, first, events), first + events
    connection.close()


def main() -> None:
    url, senders, seconds, events = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    found = Counter[str]()
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=send, args=(url, n, until, events, found)) for n in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
