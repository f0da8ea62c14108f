"""The commands that look into a database: `migrate`, `status`, `book`."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from ingest.binance.answers import Instrument
from ingest.buffer import encode
from ingest.buffer.batcher import Batch, Batcher, BatchLimits
from ingest.buffer.tables import DEPTH_DELTAS, DEPTH_SNAPSHOTS, Table
from ingest.cli import main
from ingest.events import DepthDelta, DepthSnapshot, Gap, StreamKey
from ingest.store.postgres import PostgresSink
from ingest.store.publish import ShardRow, StreamRow
from ingest.store.rhythms import StoredRhythm, save_rhythms
from ingest.store.statements import statement
from ingest.supervisor.rhythm import Rhythm, RhythmLimits, RhythmRecord

T0_US = 1_790_000_000_000_000
BTC = Instrument("BTCUSDT", "TRADING", "BTC", "USDT", "0.01000000", "0.00001000")


@pytest.fixture
def configured(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated database that the commands find by themselves."""
    monkeypatch.setenv("INGEST_DATABASE_URL", migrated_url)
    return migrated_url


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def _delta(first: int, final: int, price: str, qty: str) -> DepthDelta:
    return DepthDelta("BTCUSDT", first, final, T0_US + final * 1_000, [(price, qty)], [], T0_US * 1_000)


async def _store_book(url: str, deltas: list[DepthDelta], *gaps: Gap) -> None:
    snapshot = DepthSnapshot(
        "BTCUSDT",
        100,
        T0_US,
        [("9.00000000", "1.00000000")],
        [("11.00000000", "2.50000000")],
        "sync",
        T0_US * 1_000,
        bids_known_from="8.5",
    )
    async with PostgresSink.opened(url, connections=1) as sink:
        symbol_id = (await sink.instrument_ids("spot", [BTC]))["BTCUSDT"]
        rows = [(DEPTH_SNAPSHOTS, encode.depth_snapshot(symbol_id, snapshot))]
        rows += [(DEPTH_DELTAS, encode.depth_delta(symbol_id, delta)) for delta in deltas]
        for table, row in rows:
            await sink.write(_batch(table, row))
        for gap in gaps:
            await sink.write(_batch(table, row).with_rows([], gaps=(gap,)))


def _batch(table: Table, row: bytes) -> Batch:
    batcher = Batcher(BatchLimits())
    batcher.add(table, row, 0, T0_US, 1, T0_US * 1_000, 0.0)
    batch = batcher.take(table, 0.0, force=True)
    assert batch is not None
    return batch


def _book_at(capsys: pytest.CaptureFixture[str], at: str) -> tuple[int, dict[str, object]]:
    code = _run("book", "btcusdt", "--at", at, "--json")
    answer: dict[str, object] = orjson.loads(capsys.readouterr().out)
    return code, answer


def test_book_is_rebuilt_at_a_moment(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Deltas up to the moment are applied and later ones are not."""
    deltas = [_delta(101, 105, "9.50000000", "3.00000000"), _delta(106, 200, "9.50000000", "0.00000000")]
    asyncio.run(_store_book(configured, deltas))

    code, answer = _book_at(capsys, "2026-09-21T14:13:20.110+00:00")

    assert code == 0
    assert answer["update_id"] == 105
    assert answer["bids"] == [["9.50000000", "3.00000000"], ["9.00000000", "1.00000000"]]
    assert answer["asks"] == [["11.00000000", "2.50000000"]]


def test_book_says_how_far_it_is_known(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Levels of each side, and the range in which they are all there are."""
    asyncio.run(_store_book(configured, [_delta(101, 105, "9.50000000", "3.00000000")]))

    assert _run("book", "btcusdt", "--json") == 0
    answer = orjson.loads(capsys.readouterr().out)
    assert answer["levels_known"] == {"bids": 2, "asks": 1}
    assert (answer["bids_known_from"], answer["asks_known_to"]) == ("8.5", "Infinity")

    assert _run("book", "btcusdt") == 0
    assert "2 bids down to 8.5, all asks" in " ".join(capsys.readouterr().out.split())


HOLE = [_delta(101, 105, "9.50000000", "3.00000000"), _delta(110, 112, "8.0", "1")]


def test_book_behind_a_hole_is_refused(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3, no levels, and which updates are missing, with the row of the ledger that has them."""
    gap = Gap(
        key=StreamKey("spot", "BTCUSDT", "depth"),
        first_id=106,
        last_id=109,
        start_us=T0_US + 105_000,
        end_us=T0_US + 112_000,
        cause="restart",
        repairable=False,
        note="",
        opened_us=T0_US + 113_000,
    )
    asyncio.run(_store_book(configured, HOLE, gap))

    code, answer = _book_at(capsys, "2026-09-21T14:13:20.112+00:00")

    assert code == 3
    assert "bids" not in answer
    assert (answer["refused"], answer["missing"], answer["known_again"]) == ("gap", [106, 109], None)
    assert answer["reason"] == (
        "updates 106 to 109 are missing; gap 1, 2026-09-21T14:13:20.105+00:00 to"
        " 2026-09-21T14:13:20.112+00:00, cause restart, unrepairable"
    )


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        ("14:13:20.108", "updates 106 to 109 are missing; the gap ledger has nothing of it"),
        ("14:13:20.113", "nothing is stored that late, the newest row is of 2026-09-21T14:13:20.112"),
        ("14:13:19", "no book is stored at or before it; the first is of 2026-09-21T14:13:20.000"),
    ],
)
def test_book_of_a_moment_that_is_not_known_is_refused(
    configured: str, capsys: pytest.CaptureFixture[str], at: str, reason: str
) -> None:
    """Inside a hole, beyond the newest row, before the first stored book: exit code 3 and a sentence."""
    asyncio.run(_store_book(configured, HOLE))

    assert _run("book", "BTCUSDT", "--at", f"2026-09-21T{at}") == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert f"the book of BTCUSDT at 2026-09-21T{at}" in told.err
    assert reason in told.err


def test_book_that_was_never_stored_is_an_error(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and a sentence."""
    assert _run("book", "ETHUSDT") == 1
    assert "no book of ETHUSDT" in capsys.readouterr().err


def test_status_of_an_empty_table_says_so(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A service that has never run is not well."""
    assert _run("status") == 3
    assert "empty" in capsys.readouterr().out


def test_status_shows_streams_and_their_diagnosis(
    configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One stale stream among live ones is degraded, and named."""
    asyncio.run(_publish(configured, ["live", "stale"]))

    assert _run("status") == 3
    assert "spot:S1:trade" in capsys.readouterr().out
    assert _run("status", "s0") == 0
    assert _run("status", "S1") == 3


def test_quiet_and_halted_streams_are_well(configured: str) -> None:
    """Silence that was proven right is no reason for an exit code."""
    asyncio.run(_publish(configured, ["live", "quiet", "halted", "suspect"]))

    assert _run("status") == 0
    assert _run("status", "S1") == 0


def test_status_of_a_symbol_says_why_its_thresholds_are_what_they_are(
    configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence that was saved with what was learned, and one where nothing was saved yet."""
    asyncio.run(_publish(configured, ["live", "live"]))
    rhythm = Rhythm(
        RhythmLimits(floor_s=5.0, ceiling_s=900.0), record=RhythmRecord((2.0, 3.0), (40, 50), 700)
    )
    asyncio.run(_save(configured, StreamKey("spot", "S0", "trade"), rhythm))

    assert _run("status", "S0") == 0
    told = capsys.readouterr().out
    assert rhythm.explain().sentence() == (
        "12 s = 4 x 3.0 s: 99 of 100 gaps in its slow periods are within 3.0 s"
        " (periods: 2, gaps: 90, messages: 700)"
    )
    assert rhythm.explain().sentence() in told
    assert _run("status", "S1") == 0
    assert "nothing saved yet" in capsys.readouterr().out


def test_status_of_a_symbol_shows_its_newest_incidents_first(
    configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of other symbols are not its own; an open one says so."""
    asyncio.run(_publish(configured, ["live", "stale"]))
    asyncio.run(
        _note(
            configured,
            _incident(1, "half_open", hour=1, closed=True),
            _incident(2, "feed_silent", hour=2),
            _incident(3, "consumer_lag", hour=3, streams=["spot:S10:trade"]),
        )
    )

    assert _run("status", "S1") == 3
    told = capsys.readouterr().out
    assert told.index("feed_silent") < told.index("half_open")
    assert "consumer_lag" not in told
    assert "2026-09-21 02:00:00" in told
    assert told.count(", open") == 1
    assert "10:00:03 step resubscribe" in told


def test_status_shows_open_incidents_of_the_newest_supervisor(
    configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a killed supervisor left open is not open, and what is over is not either."""
    asyncio.run(_publish(configured, ["stale"]))
    many = [f"spot:S{number}:trade" for number in range(9)]
    asyncio.run(
        _note(
            configured,
            _incident(1, "half_open", service=7),
            _incident(1, "feed_silent", service=8, closed=True),
            _incident(2, "exchange_down", service=8, shard=None, streams=[]),
            _incident(3, "stream_silent", service=8, streams=many),
        )
    )

    assert _run("status") == 3
    told = capsys.readouterr().out
    assert "half_open" not in told
    assert "feed_silent" not in told
    assert "exchange_down" in told
    assert "everything" in told
    assert "and 6 more" in told


def test_status_of_a_stopped_service_says_that_and_when(
    configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not that shards are wedged, nor each stream by name; and one shard of a former plan changes nothing."""
    asyncio.run(_publish(configured, ["stale", "stale"], diagnosis="service_stopped"))
    asyncio.run(_publish_shards(configured, {1: "running"}))
    asyncio.run(_age_shards(configured))
    asyncio.run(_publish_shards(configured, {0: "stopped"}))

    assert _run("status") == 3
    told = capsys.readouterr().out
    assert "the service was stopped at 20" in told
    assert "not live" not in told
    assert _run("status", "S0") == 3
    assert "the service was stopped at 20" in capsys.readouterr().out
    assert _run("status", "--json") == 3
    answer = orjson.loads(capsys.readouterr().out)
    assert (answer["verdict"], answer["streams"]["stale"]) == ("stopped", 2)
    assert answer["stopped_at"].endswith("+00:00")


@pytest.mark.parametrize("states", [{0: "stopped", 1: "running"}, {0: "down"}])
def test_service_of_which_a_shard_runs_or_has_crashed_was_not_stopped(
    configured: str, capsys: pytest.CaptureFixture[str], states: dict[int, str]
) -> None:
    """Only the orderly end of all of it is one."""
    asyncio.run(_publish(configured, ["stale"]))
    asyncio.run(_publish_shards(configured, states))

    assert _run("status", "--json") == 3
    answer = orjson.loads(capsys.readouterr().out)
    assert (answer["verdict"], answer["stopped_at"]) == ("degraded", None)


def test_status_is_told_as_json(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything that the tables show, of the service and of one symbol."""
    asyncio.run(_publish(configured, ["live", "stale"]))
    asyncio.run(_publish_shards(configured, {0: "running"}))

    assert _run("status", "--json") == 3
    answer = orjson.loads(capsys.readouterr().out)
    assert (answer["verdict"], answer["sentence"]) == ("degraded", "1 of 2 streams are not fresh")
    assert answer["streams"] == {"all": 2, "well": 1, "live": 1, "stale": 1}
    assert [row["symbol"] for row in answer["not_live"]] == ["S1"]
    assert answer["shards"][0]["state"] == "running"
    assert answer["gaps"] == {"open": 0, "not_repaired": {}}
    assert answer["storage"]["bytes"] > 0

    assert _run("status", "S0", "--json") == 0
    answer = orjson.loads(capsys.readouterr().out)
    assert (answer["verdict"], answer["streams"][0]["kind"]) == ("well", "trade")
    assert _run("status", "NOPE", "--json") == 3
    assert orjson.loads(capsys.readouterr().out)["verdict"] == "unknown"


def test_status_of_a_database_that_is_not_ours_is_an_error(
    database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence instead of a traceback, from everything that looks."""
    monkeypatch.setenv("INGEST_DATABASE_URL", database_url)

    for command in (("status",), ("status", "BTCUSDT"), ("top", "--looks", "1"), ("gaps",)):
        assert _run(*command) == 1
        assert "does not exist" in capsys.readouterr().err


def test_status_is_watched_line_by_line(configured: str) -> None:
    """With --json each look is a line, and an interrupt ends it."""
    asyncio.run(_publish(configured, ["live"]))

    lines = _first_lines(["status", "--watch", "--json"], 2)

    assert [orjson.loads(line)["verdict"] for line in lines] == ["well", "well"]


def test_top_shows_what_is_there_and_ends(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal each look is written below the one before."""
    asyncio.run(_publish(configured, ["live", "stale", "quiet"]))
    asyncio.run(_publish_shards(configured, {0: "running"}))
    asyncio.run(_connect_feed(configured))

    assert _run("top", "--looks", "2", "--every", "0.2") == 0
    told = capsys.readouterr().out
    assert told.count("spot:S1:trade") == 2
    assert "spot:S2:trade" not in told
    assert "shard 0, feed 3" in told
    assert "1 of 3 streams are not fresh" in told


def test_top_into_a_pipe_ends_when_it_is_told_to(configured: str) -> None:
    """SIGTERM and Ctrl-C are its orderly end."""
    asyncio.run(_publish(configured, ["live"]))

    lines = _first_lines(["top", "--every", "0.2"], 2)

    assert "all 1 streams are fresh" in lines[0]


def _first_lines(arguments: list[str], count: int) -> list[str]:
    """So many lines of a command's output; it is then told to end, and must."""
    command = [sys.executable, "-m", "ingest", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(count)]
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(timeout=30) == (130 if arguments[0] == "status" else 0)
    return lines


def test_status_of_a_symbol_that_is_not_ingested_says_so(
    configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing known is not well."""
    asyncio.run(_publish(configured, ["live"]))

    assert _run("status", "NOPE") == 3
    assert "no stream of NOPE" in capsys.readouterr().out


def test_migrate_says_what_it_did(
    database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the migrations by name, then nothing to do."""
    monkeypatch.setenv("INGEST_DATABASE_URL", database_url)

    assert _run("migrate") == 0
    assert "applied 0001" in capsys.readouterr().out
    assert _run("migrate") == 0
    assert "applied" not in capsys.readouterr().out


def test_server_and_its_losses_are_told(
    database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is used of it, by name, when it is migrated and whenever its status is asked for."""
    monkeypatch.setenv("INGEST_DATABASE_URL", database_url)
    monkeypatch.setenv("INGEST_DATABASE_TIMESCALE", "off")

    assert _run("migrate") == 0
    told = capsys.readouterr().out
    assert "\nPostgreSQL 1" in told
    assert "\n  retention: the service drops partitions" in told
    assert _run("status") == 3
    assert "server: PostgreSQL 1" in (told := capsys.readouterr().out)
    assert "asked for: off" in told
    assert _run("migrate", "--convert") == 2
    assert "nothing can become a hypertable" in capsys.readouterr().err


async def _publish(url: str, states: list[str], *, diagnosis: str = "stream_silent") -> None:
    rows = [
        StreamRow(
            key=StreamKey("spot", f"S{number}", "trade"),
            shard=0,
            feed="0",
            state=state,
            diagnosis="" if state == "live" else diagnosis,
            last_event_us=T0_US,
            last_recv_us=T0_US,
            last_commit_us=T0_US,
            threshold_s=60.0,
            verified_quiet_us=None,
            reconnects=0,
            open_gaps=0,
        )
        for number, state in enumerate(states)
    ]
    async with PostgresSink.opened(url, connections=1) as sink:
        await sink.publish_stream_states(rows)


async def _publish_shards(url: str, states: Mapping[int, str]) -> None:
    rows = [ShardRow(shard, 7, state, T0_US, 0, T0_US, 1.5, 10, 0, 0) for shard, state in states.items()]
    async with PostgresSink.opened(url, connections=1) as sink:
        await sink.publish_shards(rows)


async def _age_shards(url: str) -> None:
    async with PostgresSink.opened(url, connections=1) as sink, sink.session() as connection:
        await connection.execute("UPDATE ops.shards SET updated_at = updated_at - interval '1 hour'")


async def _connect_feed(url: str) -> None:
    async with PostgresSink.opened(url, connections=1) as sink, sink.session() as connection:
        await connection.execute("UPDATE ops.shards SET started_at = now() - interval '1 hour'")
        await connection.execute(
            "INSERT INTO ops.feed_sessions (market, feed, shard, url, connected_at, streams)"
            " VALUES ('spot', '3', 0, 'ws://x', now(), 9)"
        )


async def _save(url: str, key: StreamKey, rhythm: Rhythm) -> None:
    row = StoredRhythm(key, *rhythm.record(), rhythm.threshold_s, rhythm.explain().sentence())
    async with PostgresSink.opened(url, connections=1) as sink, sink.session() as connection:
        await save_rhythms(connection, [row])


def _incident(
    number: int,
    diagnosis: str,
    *,
    service: int = 7,
    hour: int = 1,
    shard: int | None = 0,
    streams: Sequence[str] = ("spot:S1:trade",),
    closed: bool = False,
) -> tuple[object, ...]:
    opened = datetime(2026, 9, 21, hour, tzinfo=UTC)
    return (
        f"{service}-{number}",
        "spot",
        shard,
        None if shard is None else "3",
        list(streams),
        diagnosis,
        "[a pong] was missing",
        "resubscribe",
        ["10:00:03 step resubscribe"],
        opened,
        opened + timedelta(seconds=90) if closed else None,
    )


async def _note(url: str, *incidents: tuple[object, ...]) -> None:
    async with PostgresSink.opened(url, connections=1) as sink, sink.session() as connection:
        await connection.executemany(statement("put_incident"), incidents)
