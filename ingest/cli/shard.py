"""A shard's process: `python -m ingest.cli.shard JOB`, started by the supervisor and by nobody else.

It stops when it is told to (SIGTERM), and when its supervisor is gone: that is when its standard
input, a pipe from the supervisor, ends. What comes through that pipe are orders (`shard.orders`), a line
each. Ctrl-C is the supervisor's business.
"""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import structlog
import uvloop

from ingest.clock import SystemClock
from ingest.config import Settings
from ingest.errors import (
    ConfigError,
    IngestError,
    LocationRefused,
    SchemaMismatch,
    StoreUnavailable,
    leaves,
)
from ingest.ops.logs import LogSettings, configure_logs
from ingest.shard.job import ShardJob, database_url_from_environment, load_job
from ingest.shard.orders import MAX_LINE_BYTES, Order, OrderLines, decode
from ingest.shard.process import MAX_WAITING_ORDERS, run_shard
from ingest.supervisor.policy import CONFIGURATION_EXIT, DATABASE_EXIT, LOCATION_EXIT

log = structlog.get_logger()


def main(arguments: list[str]) -> int:
    """Run the shard of a job file; returns the exit code."""
    try:
        job = load_job(Path(arguments[0]), database_url_from_environment())
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return CONFIGURATION_EXIT
    configure_shard_logs(job.settings, job.plan.shard)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            left = runner.run(_run(job))
    except* (ConfigError, SchemaMismatch) as errors:
        code = _report(errors, CONFIGURATION_EXIT)
    except* LocationRefused as errors:
        code = _report(errors, LOCATION_EXIT)
    except* StoreUnavailable as errors:
        code = _report(errors, DATABASE_EXIT)
    except* IngestError as errors:
        code = _report(errors, 1)
    else:
        if left:
            log.error("shard.rows_lost", rows=left, why="the database did not take them before the deadline")
        code = 0
    return code


def configure_shard_logs(settings: Settings, shard: int) -> None:
    """Log to standard error, which is the supervisor's."""
    service = settings.service
    configure_logs(LogSettings(level=service.log_level, format=service.log_format, fields={"shard": shard}))


def _report(errors: BaseExceptionGroup[IngestError], code: int) -> int:
    for error in leaves(errors):
        log.error("shard.failed", error=str(error), kind=type(error).__name__, exit_code=code)
    return code


async def _run(job: ShardJob) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    orders: asyncio.Queue[Order] = asyncio.Queue(MAX_WAITING_ORDERS)
    pipe = SupervisorPipe(sys.stdin.fileno(), orders, stop)
    loop.add_reader(pipe.fd, pipe.on_readable)
    return await run_shard(job, stop, orders, clock=SystemClock(), rng=random.SystemRandom())


class SupervisorPipe:
    """The pipe from the supervisor: orders while it lives, its end when it is gone. Nothing here waits."""

    def __init__(self, fd: int, orders: "asyncio.Queue[Order]", stop: asyncio.Event) -> None:
        self.fd = fd
        self._orders = orders
        self._stop = stop
        self._lines = OrderLines()

    def on_readable(self) -> None:
        """Take what is there; called by the loop."""
        data = os.read(self.fd, MAX_LINE_BYTES)
        too_long = self._lines.too_long
        for line in self._lines.feed(data):
            self._take(line)
        if self._lines.too_long > too_long:
            log.warning("order.ignored", error=f"not an order: a line of more than {MAX_LINE_BYTES} bytes")
        if not data:
            asyncio.get_running_loop().remove_reader(self.fd)
            log.warning("shard.orphaned", why="the supervisor is gone: draining and stopping")
            self._stop.set()

    def _take(self, line: bytes) -> None:
        try:
            self._orders.put_nowait(decode(line))
        except ValueError as error:
            log.warning("order.ignored", error=str(error))
        except asyncio.QueueFull:
            log.warning("order.dropped", why=f"{self._orders.maxsize} orders wait already")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
