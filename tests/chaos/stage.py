"""One double and one service for one fault: fresh, small to start, and reproducible from the seed.

The market opens when every stream is subscribed, so that whatever is missing later is the fault's doing.
Thresholds are fixed from the rates that a market of the same seed showed before, as in `tests.silence`.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg

from ingest.board.layout import BoardSnapshot
from ingest.cli.audit import Account, audit
from ingest.errors import BoardError
from ingest.store.embedded import EmbeddedPostgres
from tests.silence.observer import Key, Observer
from tests.silence.stage import KINDS, Stage, sections_for, thaw, thresholds_of
from tests.silence.tampering import Tampering
from tests.simulation.service import NotInTime, Service, a_double, wait_until

_REPOSITORY = Path(__file__).parents[2]
_LIVE_S = 180.0

TROUBLE = (AssertionError, OSError, BoardError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What a fault may do to those who look on, and what is not as it should be."""


@dataclass(frozen=True, kw_only=True)
class Market:
    """What the exchange is like."""

    symbols: int = 200
    rate: float = 2_000.0
    seed: int = 1

    @property
    def options(self) -> tuple[str, ...]:
        """Of the double's command line."""
        names = ("--symbols", str(self.symbols), "--rate", str(self.rate), "--seed", str(self.seed))
        return ("--no-recording", *names, "--non-ascii", "1", "--ping-interval", "5")


def end_on_sigterm() -> None:
    """Let a SIGTERM end this program as Ctrl-C does: what it has started ends with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def thresholds(market: Market, folder: Path) -> Mapping[Key, float]:
    """How long each stream of a market may be silent, from a look at it."""
    with a_double(folder, *market.options) as double:
        return thresholds_of(double)


@contextlib.contextmanager
def a_disk(folder: Path, mebibytes: int) -> Iterator[None]:
    """A file system of its own at `folder`. OSError where none may be mounted."""
    options = f"size={mebibytes}m,mode=755"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        capture_output=True,
        check=False,
        timeout=10,
    )
    if mounted.returncode:
        raise OSError(f"no disk of its own: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=10)


@contextlib.contextmanager
def a_chaos_stage(
    folder: Path, market: Market, silent_s: Mapping[Key, float], sections: Mapping[str, Mapping[str, object]]
) -> Iterator[Stage]:
    """Everything started and live; nothing is left running."""
    streams = market.symbols * len(KINDS)
    with a_double(folder, *market.options, "--start", str(streams)) as double:
        tampering = Tampering(folder)
        service = Service(folder, double, **_sections(silent_s, sections))
        try:
            service.start(**tampering.variables(_REPOSITORY))
            service.wait_ready()
            with Observer(service.data_dir) as observer:
                stage = Stage(double, service, observer, tampering, silent_s)
                wait_until("every stream is live", lambda: _all_live(stage, streams), deadline_s=_LIVE_S)
                service.wait_books_live()
                yield stage
        finally:
            thaw_all(service)
            service.end()


def _sections(
    silent_s: Mapping[Key, float], more: Mapping[str, Mapping[str, object]]
) -> dict[str, Mapping[str, object]]:
    sections: dict[str, Mapping[str, object]] = {**sections_for(silent_s)}
    for name, values in more.items():
        sections[name] = {**sections.get(name, {}), **values}
    return sections


def _all_live(stage: Stage, streams: int) -> bool:
    states = [seen.state for seen in stage.streams.values()]
    return len(states) == streams and set(states) <= {"live", "quiet"}


def thaw_all(service: Service) -> None:
    """Let every stopped process of the service go on, so that it can be ended."""
    pids = service.pids_ever() + ([service.process.pid] if service.process is not None else [])
    thaw([pid for pid in pids if service.is_ours(pid)])


def restart_supervisor(stage: Stage) -> None:
    """As a service manager would: once the former process is gone."""
    service = stage.service
    assert service.process is not None
    service.process.wait(timeout=30)
    wait_until("its shards have ended", lambda: not _shards_left(service), deadline_s=60.0)
    service.start(**stage.tampering.variables(_REPOSITORY))
    service.wait_ready()


def _shards_left(service: Service) -> list[int]:
    started = {line["pid"] for line in service.log_lines("shard.started")}
    return [pid for pid in started if service.is_ours(pid)]


def kill_supervisor(stage: Stage, number: signal.Signals) -> None:
    """A signal to the supervisor alone; then it is started again."""
    process = stage.service.process
    assert process is not None
    os.kill(process.pid, number)
    restart_supervisor(stage)


def all_repaired(stage: Stage, *, deadline_s: float) -> bool:
    """Stop the market; whether by then all is committed and no gap that REST can close is open.

    REST gives a minute's worth of pages and no more: 400 gaps of trades cost 5,800 of request weight.
    """
    stage.double.tell("finish")
    closed = partial(_is_settled, stage.service)
    try:
        wait_until("all is committed and repaired", closed, deadline_s=deadline_s, poll_s=0.5)
    except NotInTime:
        return False
    return True


def _is_settled(service: Service) -> bool:
    return _is_drained(service) and not open_trade_gaps(service)


def account(stage: Stage) -> dict[str, Account]:
    """What was published against what is stored, by kind."""
    url = EmbeddedPostgres(stage.service.data_dir / "postgres").url_of_running()
    assert url is not None, "the database is not running"
    return asyncio.run(audit(stage.double.rest_url, url, KINDS))


def open_trade_gaps(service: Service) -> int:
    """Gaps that can still be closed."""
    sql = "SELECT count(*) FROM ops.gaps WHERE state = 'open' AND kind IN ('trade', 'agg_trade')"
    return int(service.value(sql))


def _is_drained(service: Service) -> bool:
    boards: list[BoardSnapshot] = service.boards()
    return len(boards) == 2 and all(board.header.buffered_rows == 0 for board in boards)
