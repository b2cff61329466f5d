"""What one would write without splitd: an aiohttp server that runs the whole network on the JPEG that it is sent.

    python -m tests.benchmarks.http_peer server.yaml

Same network, same executor, same decoder and same threads as `splitd server` with that configuration. Prints its port
when it is ready. POST / with a JPEG answers with the first output's float32 values.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import web

from splitd.agent.configuration import ServerConfig, load_config
from splitd.agent.runtime.settings import open_selection
from splitd.calibration.images import prepare_image

MAX_BYTES = 16_000_000


async def serve(config: ServerConfig) -> None:
    """Serve until the process is told to end."""
    selection = open_selection(config)
    selection.settle(lambda share, doing: None)
    engine = selection.engine

    async def infer(request: web.Request) -> web.Response:
        # In the event loop, without a hand-off to a thread: one client, so nothing else waits.
        image = prepare_image(await request.read(), engine.preprocessing)
        (values,) = engine.tail(0, engine.to_input(image[None]))
        return web.Response(body=values.tobytes())

    application = web.Application(client_max_size=MAX_BYTES)
    application.router.add_post("/", infer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(load_config(Path(sys.argv[1]), ServerConfig)))
