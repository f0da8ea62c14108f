"""One measurement in a process of its own: the job comes in on standard input, the result goes out."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict

import orjson
import uvloop

from ingest.ops.logs import LogSettings, configure_logs
from tests.bench.bare import measure_floor, measure_null, measure_paced, measure_parse, measure_picows
from tests.bench.catch_up import measure_spool
from tests.bench.courses import ROWS
from tests.bench.measure import Measure, RowJob
from tests.bench.steering import Steering
from tests.bench.whole import measure_capture, measure_shard, measure_stored

_MEASURES: Mapping[str, Callable[[RowJob, Steering], Awaitable[Measure]]] = {
    **dict.fromkeys(ROWS, measure_shard),  # the rows that differ in what is sent, and how, alone
    "null": measure_null,
    "floor": measure_floor,
    "picows": measure_picows,
    "parse": measure_parse,
    "capture": measure_capture,
    "stored": measure_stored,
    "paced": measure_paced,
    "spool": measure_spool,
}


async def _run(job: RowJob) -> Measure:
    async with Steering.opened(job.rest_url) as steering:
        return await _MEASURES[job.row](job, steering)


def main() -> None:
    """Measure, under the same loop as the service's."""
    configure_logs(LogSettings(level="warning"))
    tree = orjson.loads(sys.stdin.buffer.read())
    job = RowJob(**tree | {"kinds": tuple(tree["kinds"])})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measure = runner.run(_run(job))
    sys.stdout.buffer.write(orjson.dumps(asdict(measure)) + b"\n")


if __name__ == "__main__":
    main()
