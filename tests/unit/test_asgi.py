"""A node can be asked in this process, without a socket: as plugin authors test the operations of their stages."""

from pathlib import Path

import anyio
import msgspec

from bers import config, plugins
from bers.supervisor import Supervisor
from bers.testing.asgi import request
from bers.web.app import App


async def test_an_app_without_a_node_says_that_it_is_starting() -> None:
    async with request(App({}), "/api/monitoring/health") as reply:
        assert reply.status == 503
        assert msgspec.json.decode(await reply.body())["error"]["message"] == "this server is starting"


async def test_operations_and_streams_are_answered_without_a_socket(tmp_path: Path) -> None:
    document = config.shipped()
    document.put(("data_dir",), str(tmp_path))
    app = App({})
    with anyio.fail_after(20):
        async with Supervisor(config.plan(document, plugins.load(installed=False))) as node:
            app.serve(node)
            await node.settled.wait()
            async with request(app, "/api/monitoring/health/system-resources") as reply:
                assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
                assert msgspec.json.decode(await reply.body())["data"]["name"] == "system-resources"
            build = msgspec.json.encode({"type": "build-completed", "detail": {"duration": 930}})
            async with request(app, "/api/monitoring/events") as stream:
                assert b"event: connected" in await stream.chunks.receive()
                async with request(app, "/api/monitoring/ingest", method="POST", body=build) as reply:
                    assert reply.status == 202
                while b"event: build-completed" not in await stream.chunks.receive():
                    pass
