"""The way to one client of a stream, beside a connection that may be slow."""

from collections.abc import Callable

import anyio
from starlette.types import Message

from bers.web.outlet import LINE, Chunks, Outlet


class Line:
    """A connection that takes so much and no more."""

    def __init__(self, room: int) -> None:
        self._room = room
        self.taken: list[bytes] = []
        self.aborted = False

    def write_now(self, data: bytes) -> bool:
        if len(self.taken) == self._room:
            return False
        self.taken.append(data)
        return True

    def abort(self) -> None:
        self.aborted = True

    def when_lost(self, leave: Callable[[], None]) -> None:
        leave()


async def sent(message: Message) -> None:
    pass


async def test_a_frame_for_everybody_is_wrapped_once() -> None:
    lines, chunks, frame = [Line(1) for _ in range(3)], Chunks(), b"data: 1\n\n"
    for line in lines:
        outlet = Outlet({"state": {LINE: line}}, sent, "text/event-stream", chunks)
        assert not outlet.offer(frame), "the answer has not begun"
        await outlet.send(b"first")
        assert outlet.offer(frame)
        assert not outlet.offer(frame), "it is slow"
    assert lines[0].taken == [b"9\r\ndata: 1\n\n\r\n"]
    assert lines[0].taken[0] is lines[1].taken[0] is lines[2].taken[0]


async def test_behind_another_server_nothing_is_written_at_once() -> None:
    outlet = Outlet({}, sent, "text/event-stream", Chunks())
    await outlet.send(b"first")
    assert not outlet.offer(b"second")


async def test_who_does_not_take_the_end_is_cut_off() -> None:
    async def never(message: Message) -> None:
        if not message.get("more_body", True):
            await anyio.sleep_forever()

    line = Line(1)
    outlet = Outlet({"state": {LINE: line}}, never, "text/event-stream", Chunks())
    await outlet.finish()  # Nothing was begun.
    await outlet.send(b"first")
    with anyio.fail_after(30):
        await outlet.finish()
    assert line.aborted
