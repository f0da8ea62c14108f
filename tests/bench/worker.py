"""One measurement in a process of its own: the job comes in on standard input, the result goes out."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict

import orjson
import uvloop

from ingest.ops.logs import LogSettings, configure_logs
from tests.bench.bare import measure_floor, measure_null, measure_parse
from tests.bench.measure import Measure, RowJob
from tests.bench.steering import Steering
from tests.bench.whole import measure_capture, measure_shard, measure_stored

ROWS: Mapping[str, Callable[[RowJob, Steering], Awaitable[Measure]]] = {
    "null": measure_null,
    "floor": measure_floor,
    "parse": measure_parse,
    "shard": measure_shard,
    "capture": measure_capture,
    "stored": measure_stored,
}


async def _run(job: RowJob) -> Measure:
    async with Steering.opened(job.rest_url) as steering:
        return await ROWS[job.row](job, steering)


def main() -> None:
    """Measure, under the same loop as the service's."""
    configure_logs(LogSettings(level="warning"))
    tree = orjson.loads(sys.stdin.buffer.read())
    job = RowJob(**tree | {"kinds": tuple(tree["kinds"])})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measure = runner.run(_run(job))
    sys.stdout.buffer.write(orjson.dumps(asdict(measure)))


if __name__ == "__main__":
    main()
