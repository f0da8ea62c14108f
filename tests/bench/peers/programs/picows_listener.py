"""picows and orjson under uvloop: what receiving and decoding costs at the least."""

import asyncio

import orjson
import picows
import uvloop

from tests.bench.peers.programs.meter import Meter, start


class Listener(picows.WSListener):
    """Decodes and forgets."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """One frame is one message here."""
        if frame.msg_type == picows.WSMsgType.TEXT:
            orjson.loads(frame.get_payload_as_memoryview())
            self._meter.received()


async def main() -> None:
    """Receive."""
    job, meter = start()
    url = f"{job.ws_url}/stream?streams={'/'.join(job.streams())}"
    transport, _ = await picows.ws_connect(lambda: Listener(meter), url)
    await transport.wait_disconnected()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
