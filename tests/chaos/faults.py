"""What is done to the service. Each function provokes one fault and returns when that is over."""

import asyncio
import contextlib
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import asyncpg

from ingest.board.mapped import board_path, read_board
from ingest.buffer.spool_folder import spool_path
from ingest.store.embedded import EmbeddedPostgres
from tests.chaos.stage import kill_supervisor
from tests.silence.stage import Stage, thaw
from tests.simulation.service import is_running, wait_until

Provoke = Callable[[Stage, Random], None]

_STOPPED_S = 3.0
"""Less than the five seconds after which a shard that stands is replaced."""
_STOPPED_LONG_S = 12.0
_IN_A_ROW = 5
_FRAMES = 20
_BLOCKED_S = 5.0
_STEP_S = 3_600.0
_SPOOLED = 5_000
_HARMED_BYTES = 8_192
"""A file's head says what it is; harm to that is another trouble, and a small file is no more than it."""


@dataclass(frozen=True, kw_only=True)
class Chaos:
    """One row of the table. `sections` are configuration that the fault needs."""

    name: str
    title: str
    provoke: Provoke
    sections: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    disk_mib: int | None = None
    """The size of the disk that the service has to itself; None for that of the machine."""


# --- processes --------------------------------------------------------------------------------------


def _signal_shard(number: signal.Signals, stage: Stage, rng: Random) -> None:
    _kill_one_shard(stage, rng.randrange(2), number)


def _signal_shard_in_a_row(number: signal.Signals, stage: Stage, rng: Random) -> None:
    shard = rng.randrange(2)
    for _ in range(_IN_A_ROW):
        _kill_one_shard(stage, shard, number)


def _kill_one_shard(stage: Stage, shard: int, number: signal.Signals) -> None:
    """And wait for the next one to be there."""
    pid = stage.shard_pid(shard)
    os.kill(pid, number)
    wait_until("another process of the shard", lambda: stage.shard_pid(shard) != pid, deadline_s=90.0)


def _stop_shard(for_s: float, stage: Stage, rng: Random) -> None:
    _stop_for([stage.shard_pid(rng.randrange(2))], for_s)


def _stop_for(pids: list[int], for_s: float) -> None:
    try:
        _freeze(pids)
        time.sleep(for_s)
    finally:
        thaw(pids)


def _freeze(pids: list[int]) -> None:
    """Some are a database's helpers, which come and go."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)


def _signal_supervisor(number: signal.Signals, stage: Stage, _: Random) -> None:
    kill_supervisor(stage, number)


def _signal_supervisor_in_a_row(number: signal.Signals, stage: Stage, _: Random) -> None:
    for _each in range(_IN_A_ROW):
        kill_supervisor(stage, number)


def _stop_supervisor(stage: Stage, _: Random) -> None:
    assert stage.service.process is not None
    _stop_for([stage.service.process.pid], _STOPPED_LONG_S)


def _signal_database(number: signal.Signals, stage: Stage, _: Random) -> None:
    _kill_database(stage, number)


def _signal_database_in_a_row(number: signal.Signals, stage: Stage, _: Random) -> None:
    for _each in range(_IN_A_ROW):
        _kill_database(stage, number)


def _kill_database(stage: Stage, number: signal.Signals) -> None:
    """SIGINT is its fast stop, SIGQUIT its immediate one; after SIGTERM it takes nobody in."""
    pid = stage.database_pids()[0]
    os.kill(pid, number)
    wait_until("another database server", lambda: _is_another(stage, pid), deadline_s=120.0)


def _is_another(stage: Stage, former: int) -> bool:
    pid = stage.service.database_pid()
    return pid not in {None, former} and bool(stage.service.value("SELECT true"))


def _stop_database(stage: Stage, _: Random) -> None:
    _stop_for(stage.database_pids(), _STOPPED_LONG_S)


def _database_away(for_s: float, stage: Stage, _: Random) -> None:
    _stop_for(stage.database_pids(), for_s)


def _spool_damaged(damage: Callable[[bytearray, Random], None], stage: Stage, rng: Random) -> None:
    """The database is away, rows go to the disk, their shard is killed, and the file comes to harm."""
    shard = rng.randrange(2)
    pids = stage.database_pids()
    try:
        _freeze(pids)
        board = board_path(stage.service.data_dir, shard)
        wait_until(
            "rows go to the disk", lambda: read_board(board).header.spooled_rows > _SPOOLED, deadline_s=60.0
        )
        _damage_files(stage, shard, damage, rng)
    finally:
        thaw(pids)


def _damage_files(stage: Stage, shard: int, damage: Callable[[bytearray, Random], None], rng: Random) -> None:
    """The supervisor stands meanwhile, or it would have the file opened again before it is harmed."""
    assert stage.service.process is not None
    supervisor = stage.service.process.pid
    os.kill(supervisor, signal.SIGSTOP)
    try:
        pid = stage.shard_pid(shard)
        os.kill(pid, signal.SIGKILL)
        wait_until("the shard is dead", lambda: not stage.service.is_ours(pid))
        for file in (spool := spool_path(stage.service.data_dir, shard)).parent.glob(f"{spool.name}*"):
            content = bytearray(file.read_bytes())
            if len(content) > _HARMED_BYTES:
                damage(content, rng)
                file.write_bytes(content)
    finally:
        os.kill(supervisor, signal.SIGCONT)


def _flip_bits(content: bytearray, rng: Random) -> None:
    for _each in range(5):
        content[rng.randrange(_HARMED_BYTES, len(content))] ^= 1 << rng.randrange(8)


def _tear_tail(content: bytearray, rng: Random) -> None:
    del content[len(content) - rng.randrange(1, len(content) // 4) :]


def _block_loop(stage: Stage, rng: Random) -> None:
    stage.tampering.block(stage.shard_pid(rng.randrange(2)), _BLOCKED_S)
    time.sleep(_BLOCKED_S)


def _step_clock(by_s: float, stage: Stage, _: Random) -> None:
    stage.tampering.step_clock(by_s)
    time.sleep(15.0)
    stage.tampering.step_clock(0.0)


def _limit_files(stage: Stage, rng: Random) -> None:
    """No new descriptor for a shard, and then its connections are reset, so that it needs some."""
    pid = stage.shard_pid(rng.randrange(2))
    former = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, former[1]))
    stage.double.fault("reset")
    time.sleep(10.0)
    if is_running(pid):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, former)


def _limit_memory(stage: Stage, rng: Random) -> None:
    """A shard may not have more memory than it has, while the database is away and rows pile up."""
    pid = stage.shard_pid(rng.randrange(2))
    former = resource.prlimit(pid, resource.RLIMIT_AS)
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[0])
    limit_bytes = pages * resource.getpagesize() + (4 << 20)
    resource.prlimit(pid, resource.RLIMIT_AS, (limit_bytes, former[1]))
    _stop_for(stage.database_pids(), _STOPPED_LONG_S)
    if is_running(pid):
        resource.prlimit(pid, resource.RLIMIT_AS, former)


# --- connections and frames -------------------------------------------------------------------------


def _fault(action: str, fields: Mapping[str, object], stage: Stage, _: Random) -> None:
    """One of the double's faults that ends by itself, or by what the service does."""
    stage.double.fault(action, **fields)


def _on_one_feed(action: str, fields: Mapping[str, object], stage: Stage, _: Random) -> None:
    stage.double.fault(action, connection=stage.connection_of(stage.a_feed()), **fields)


def _on_one_stream(action: str, fields: Mapping[str, object], stage: Stage, _: Random) -> None:
    stage.double.fault(action, symbol=stage.busy_symbol(), **fields)


def _touching(action: str, fields: Mapping[str, object], stage: Stage, _: Random) -> None:
    """A fault of some frames: over when they have come."""
    frames = int(str(fields["n"]))
    number = stage.double.fault(action, **fields)
    wait_until("the frames have come", lambda: stage.double.touched(number) >= frames, deadline_s=60.0)


def _refused(stage: Stage, _: Random) -> None:
    """A reset, and ten seconds in which nobody is let in."""
    stage.double.fault("refuse", status=503, for_s=10.0)
    stage.double.fault("reset")
    time.sleep(10.0)


def _delisted(stage: Stage, _: Random) -> None:
    symbol = stage.busy_symbol()
    stage.double.delist(symbol)
    keys = stage.of_symbol(symbol)
    wait_until("it has left the table", lambda: not keys & stage.streams.keys(), deadline_s=60.0)


# --- REST and snapshots -----------------------------------------------------------------------------


def _books_again(rest: Mapping[str, object], stage: Stage, _: Random) -> None:
    """REST answers wrongly for a while in which every book has lost a delta and needs a snapshot."""
    stage.double.fault("rest", **{"path": "depth", "for_s": 10.0, **rest})
    drop = stage.double.fault("drop", kind="depth", n=400)
    time.sleep(10.0)
    with contextlib.suppress(OSError):
        stage.double.lift(drop)


# --- the database -----------------------------------------------------------------------------------


def _sql_for(for_s: float, begin: str, end: str, stage: Stage, _: Random) -> None:
    """The database is made to refuse, for a while, by its own means."""
    asyncio.run(_around(stage, for_s, begin.split(";"), end.split(";")))


async def _around(stage: Stage, for_s: float, begin: list[str], end: list[str]) -> None:
    connection = await _connected(stage)
    try:
        for statement in begin:
            await connection.execute(statement)
        try:
            await asyncio.sleep(for_s)
        finally:
            for statement in end:
                await connection.execute(statement)
    finally:
        connection.terminate()


def _locked(stage: Stage, _: Random) -> None:
    """Somebody holds a lock on the table of trades for a minute."""
    asyncio.run(_hold_lock(stage, 60.0))


async def _hold_lock(stage: Stage, for_s: float) -> None:
    connection = await _connected(stage)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE spot_raw.trades IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(for_s)
    finally:
        connection.terminate()


def _no_connections(stage: Stage, _: Random) -> None:
    """Every connection that the server allows is taken, and those of the service are ended."""
    asyncio.run(_take_connections(stage, 15.0))


async def _take_connections(stage: Stage, for_s: float) -> None:
    first = await _connected(stage)
    taken = []
    try:
        await _end_others(first)
        until_s = time.monotonic() + for_s
        while time.monotonic() < until_s:
            with contextlib.suppress(asyncpg.PostgresError, OSError):
                taken.append(await _connected(stage))
                continue
            await asyncio.sleep(0.2)
    finally:
        for connection in (first, *taken):
            connection.terminate()


def _disk_full(stage: Stage, _: Random) -> None:
    """Nothing is left on the disk that database and spool share."""
    filler = stage.service.data_dir.parent / "filler"
    try:
        until_s = time.monotonic() + 15.0
        with filler.open("wb", buffering=0) as file:
            while time.monotonic() < until_s:
                try:
                    file.write(bytes(1 << 16))
                except OSError:
                    time.sleep(0.05)
    finally:
        filler.unlink(missing_ok=True)


def _password_changed(stage: Stage, _: Random) -> None:
    """New connections are asked for a password that nobody has, and those of the service are ended."""
    asyncio.run(_refuse_all(stage, 15.0))


async def _refuse_all(stage: Stage, for_s: float) -> None:
    connection = await _connected(stage)
    rules = Path(await connection.fetchval("SHOW hba_file"))
    former = rules.read_bytes()
    try:
        rules.write_bytes(b"local all all scram-sha-256\nhost all all all scram-sha-256\n")
        await connection.execute("SELECT pg_reload_conf()")
        await _end_others(connection)
        await asyncio.sleep(for_s)
    finally:
        rules.write_bytes(former)
        await connection.execute("SELECT pg_reload_conf()")
        connection.terminate()


async def _end_others(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )


async def _connected(stage: Stage) -> "asyncpg.Connection[asyncpg.Record]":
    url = EmbeddedPostgres(stage.service.data_dir / "postgres").url_of_running()
    assert url is not None, "the database is not running"
    return await asyncpg.connect(url, timeout=10.0, command_timeout=30.0)


# --- the list ---------------------------------------------------------------------------------------


def _process_rows() -> Iterator[Chaos]:
    shard = "a shard"
    for number in (signal.SIGTERM, signal.SIGKILL):
        word = number.name
        low = word.lower().removeprefix("sig")
        yield Chaos(name=f"shard-{low}", title=f"{word} to {shard}", provoke=partial(_signal_shard, number))
        yield Chaos(
            name=f"shard-{low}-5",
            title=f"{word} to {shard}, five in a row",
            provoke=partial(_signal_shard_in_a_row, number),
        )
        yield Chaos(
            name=f"supervisor-{low}",
            title=f"{word} to the supervisor",
            provoke=partial(_signal_supervisor, number),
        )
        yield Chaos(
            name=f"supervisor-{low}-5",
            title=f"{word} to the supervisor, five in a row",
            provoke=partial(_signal_supervisor_in_a_row, number),
        )
    for number, word in (
        (signal.SIGTERM, "SIGTERM"),
        (signal.SIGINT, "fast stop"),
        (signal.SIGQUIT, "immediate stop"),
        (signal.SIGKILL, "SIGKILL"),
    ):
        low = number.name.lower().removeprefix("sig")
        yield Chaos(
            name=f"database-{low}", title=f"{word} of the database", provoke=partial(_signal_database, number)
        )
    for number, word in (
        (signal.SIGTERM, "SIGTERM"),
        (signal.SIGINT, "fast stop"),
        (signal.SIGKILL, "SIGKILL"),
    ):
        low = number.name.lower().removeprefix("sig")
        yield Chaos(
            name=f"database-{low}-5",
            title=f"{word} of the database, five in a row",
            provoke=partial(_signal_database_in_a_row, number),
        )
    yield Chaos(
        name="shard-stop", title=f"SIGSTOP of {shard} for 3 s", provoke=partial(_stop_shard, _STOPPED_S)
    )
    yield Chaos(
        name="shard-stop-long",
        title=f"SIGSTOP of {shard} for 12 s",
        provoke=partial(_stop_shard, _STOPPED_LONG_S),
    )
    yield Chaos(name="supervisor-stop", title="SIGSTOP of the supervisor for 12 s", provoke=_stop_supervisor)
    yield Chaos(name="database-stop", title="SIGSTOP of the database for 12 s", provoke=_stop_database)
    yield Chaos(name="loop-blocked", title="event loop blocked 5 s", provoke=_block_loop)
    yield Chaos(name="clock-ahead", title="clock an hour ahead", provoke=partial(_step_clock, _STEP_S))
    yield Chaos(name="clock-behind", title="clock an hour behind", provoke=partial(_step_clock, -_STEP_S))
    yield Chaos(name="file-limit", title="no file descriptor left", provoke=_limit_files)
    yield Chaos(name="memory-limit", title="no memory left", provoke=_limit_memory)


def _connection_rows() -> Iterator[Chaos]:
    yield Chaos(name="reset", title="TCP reset", provoke=partial(_on_one_feed, "reset", {}))
    yield Chaos(name="half-open", title="half-open", provoke=partial(_on_one_feed, "half_open", {}))
    for code in (1000, 1001, 1006, 1008):
        # 1006 is never sent: it is the name of an end without a close frame.
        action, fields = ("reset", {}) if code == 1006 else ("close", {"code": code})
        yield Chaos(
            name=f"close-{code}", title=f"close {code}", provoke=partial(_on_one_feed, action, fields)
        )
    yield Chaos(
        name="late-pong",
        title="closed for a late pong (1008)",
        provoke=partial(_on_one_feed, "close", {"code": 1008, "reason": "Pong timeout"}),
    )
    yield Chaos(name="mute-feed", title="mute feed", provoke=partial(_on_one_feed, "mute_feed", {}))
    yield Chaos(
        name="mute-stream",
        title="mute stream",
        provoke=partial(_on_one_stream, "mute_stream", {"kind": "trade", "until": "resubscribe"}),
    )
    yield Chaos(
        name="cut-24h",
        title="all connections cut at once (24 h)",
        provoke=partial(_fault, "close", {"code": 1000}),
    )
    yield Chaos(
        name="server-shutdown", title="serverShutdown", provoke=partial(_fault, "server_shutdown", {})
    )
    yield Chaos(
        name="server-shutdown-late",
        title="serverShutdown, closed 30 s later",
        provoke=partial(_on_one_feed, "server_shutdown", {"close_after_s": 30.0}),
    )
    yield Chaos(name="refused", title="reset, and new connections refused for 10 s", provoke=_refused)
    yield Chaos(name="delisted", title="symbol delisted in mid-stream", provoke=_delisted)


def _frame_rows() -> Iterator[Chaos]:
    n = {"n": _FRAMES}
    yield Chaos(
        name="duplicate",
        title="duplicate frames",
        provoke=partial(_touching, "duplicate", {**n, "fraction": 0.05}),
    )
    yield Chaos(
        name="reorder", title="reordered frames", provoke=partial(_touching, "reorder", {**n, "by": 2})
    )
    for damage in ("truncated", "non_utf8", "oversized"):
        yield Chaos(
            name=f"{damage.replace('_', '-')}-frames",
            title=f"{damage.replace('_', '-')} frames in place of good ones",
            provoke=partial(_touching, "malformed", {**n, "damage": damage, "replace": True}),
        )
    yield Chaos(
        name="depth-gap", title="depth gap", provoke=partial(_touching, "drop", {**n, "kind": "depth"})
    )
    yield Chaos(
        name="depth-overlap",
        title="depth overlap (deltas again)",
        provoke=partial(_touching, "duplicate", {**n, "kind": "depth"}),
    )
    yield Chaos(
        name="trade-gap", title="lost trades", provoke=partial(_touching, "drop", {**n, "kind": "trade"})
    )


def _rest_rows() -> Iterator[Chaos]:
    rest: tuple[tuple[str, str, dict[str, object]], ...] = (
        ("snapshot-stale", "snapshot of 10 s ago, older than the buffer", {"stale": True, "status": 200}),
        (
            "snapshot-stale-30",
            "snapshot 30 s stale",
            {"stale": True, "status": 200, "for_s": 30.0},
        ),
        ("snapshot-empty", "empty snapshot", {"empty": True, "status": 200}),
        ("rest-429-after", "429 with Retry-After", {"status": 429, "code": -1003, "retry_after_s": 5}),
        ("rest-429", "429 without Retry-After", {"status": 429, "code": -1003}),
        ("rest-418-after", "418 with Retry-After", {"status": 418, "code": -1003, "retry_after_s": 5}),
        ("rest-418", "418 without Retry-After", {"status": 418, "code": -1003}),
        ("rest-403-html", "403 with HTML", {"status": 403, "html": True}),
        ("rest-451", "451", {"status": 451}),
        ("rest-5xx", "5xx", {"status": 503}),
        ("rest-slow", "slow REST", {"status": 200, "delay_s": 4.0}),
    )
    for name, title, fields in rest:
        yield Chaos(name=name, title=title, provoke=partial(_books_again, fields))


def _database_rows() -> Iterator[Chaos]:
    read_only = ("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    writable = ("SET default_transaction_read_only = off", "ALTER SYSTEM RESET default_transaction_read_only")
    yield Chaos(
        name="database-read-only",
        title="database read-only for 15 s",
        provoke=partial(_sql_for, 15.0, ";".join(read_only), ";".join((*writable, read_only[1]))),
    )
    yield Chaos(
        name="statement-timeout",
        title="statement timeout of 1 ms for 15 s",
        provoke=partial(
            _sql_for,
            15.0,
            "ALTER SYSTEM SET statement_timeout = '1ms';SELECT pg_reload_conf();SET statement_timeout = 0",
            "ALTER SYSTEM RESET statement_timeout;SELECT pg_reload_conf()",
        ),
    )
    yield Chaos(
        name="table-missing",
        title="table of trades missing for 15 s",
        provoke=partial(
            _sql_for,
            15.0,
            "ALTER TABLE spot_raw.trades RENAME TO trades_hidden",
            "ALTER TABLE spot_raw.trades_hidden RENAME TO trades",
        ),
    )
    yield Chaos(
        name="database-away",
        title="ten minutes without a database",
        provoke=partial(_database_away, 600.0),
    )
    yield Chaos(
        name="spool-bits", title="flipped bits in the spool", provoke=partial(_spool_damaged, _flip_bits)
    )
    yield Chaos(
        name="spool-torn", title="torn tail of the spool", provoke=partial(_spool_damaged, _tear_tail)
    )
    yield Chaos(name="disk-full", title="disk full for 15 s", provoke=_disk_full, disk_mib=600)
    yield Chaos(name="password-changed", title="password changed for 15 s", provoke=_password_changed)
    yield Chaos(name="lock-held", title="lock held for a minute", provoke=_locked)
    yield Chaos(name="no-connections", title="too many connections for 15 s", provoke=_no_connections)


CHAOS = (
    *_process_rows(),
    *_connection_rows(),
    *_frame_rows(),
    *_rest_rows(),
    *_database_rows(),
)


def chosen(names: str) -> tuple[Chaos, ...]:
    """Those of these names, with commas; all without any. KeyError names one that there is not."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = {chaos.name: chaos for chaos in CHAOS}
    return tuple(known[name] for name in wanted) if wanted else CHAOS
