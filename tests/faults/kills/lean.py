"""A whole node without its server, that is up quickly: batches of events over a socket, a line each.

``lean.py FOLDER`` takes pipelines.yaml there. SIGHUP reloads, SIGTERM stops it in order. With ``--drain`` it takes
nothing: it brings every sink up to the end of the bus, and exits.
"""

import signal
import sqlite3
import sys
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from bers import plugins
from bers.config import Plan, load
from bers.decoding import Decoder
from bers.errors import Full
from bers.supervisor import Supervisor
from tests.unit.ledger import LEDGER

MAX_LINE = 1 << 24


async def main(folder: Path, drain: bool) -> None:
    catalogue = plugins.load(installed=False).with_specs([("sink", LEDGER)])

    def read() -> Plan:
        return load(folder / "pipelines.yaml", catalogue)

    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals:
        async with Supervisor(read(), reread=read) as node:
            if drain:
                await all_read(node)
                assert not node.counters.gaps(), node.counters.gaps()
                return
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
            async with listener, anyio.create_task_group() as group:
                group.start_soon(listener.serve, partial(take, node))
                print("ready", listener.extra(SocketAttribute.local_port), flush=True)
                async for number in signals:
                    if number == signal.SIGTERM:
                        group.cancel_scope.cancel()
                        return
                    group.start_soon(node.reload)


async def take(node: Supervisor, client: SocketStream) -> None:
    """Take the batches of one emitter, one after another."""
    decoder, lines = Decoder(), BufferedByteReceiveStream(client)
    async with client:
        try:
            while True:
                line = await lines.receive_until(b"\n", MAX_LINE)
                number, body = line.split(b" ", 1)
                decoded = await decoder.decode(body, now=node.clock.time())
                assert not decoded.rejected, decoded.rejected
                try:
                    receipt = await node.intake.submit(decoded.events)
                except Full:
                    await client.send(b"busy %s\n" % number)
                else:
                    await client.send(b"taken %s %d %d\n" % (number, receipt.new, receipt.repeated))
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
            return


async def all_read(node: Supervisor) -> None:
    """Return when every pipeline has read what there is, and nobody has anything to tell."""
    with anyio.fail_after(120):
        while True:
            _, end = await node.bus.span(0)
            untold = await node.state.run(_untold)
            _, still = await node.bus.span(0)
            if not untold and still == end and all(one.position == end for one in node.pipelines.values()):
                return
            await anyio.sleep(0.01)


def _untold(connection: sqlite3.Connection) -> int:
    """How many rows the outbox of the alert engine has."""
    try:
        return int(connection.execute("SELECT count(*) FROM alert_outbox").fetchone()[0])
    except sqlite3.OperationalError:  # There is no alert engine.
        return 0


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), "--drain" in sys.argv)
