"""`ingest backfill` and `ingest verify` against the exchange double and a real database."""

import asyncio
import functools
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ingest.cli import main
from ingest.cli.archive import ArchiveDamaged, chunks
from ingest.clock import SystemClock
from ingest.events import Gap, StreamKey
from ingest.store.postgres import PostgresSink
from tests.rows import NOW_US, a_batch
from tests.simulation.service import Double, a_double, wait_until

KINDS = ("trade", "agg_trade")


class Past:
    """A double that stands still, and what it has to tell of one symbol."""

    def __init__(self, double: Double, symbol: str) -> None:
        self.double, self.symbol = double, symbol
        rows: list[dict[str, Any]] = []
        first_id = min(double.ledger(symbol, "trade"))
        while page := double.ask(f"/api/v3/historicalTrades?symbol={symbol}&fromId={first_id}&limit=1000"):
            rows += page
            first_id = rows[-1]["id"] + 1
        self.trades = rows
        self.from_ms, self.to_ms = rows[0]["time"], rows[-1]["time"] + 1


def _exchange_ms(double: Double) -> int:
    return int(double.ask("/api/v3/time")["serverTime"])


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """More than two pages of trades of the busiest symbol."""
    options = ("--no-recording", "--symbols", "1", "--non-ascii", "0", "--rate", "3000")
    with a_double(tmp_path_factory.mktemp("past"), *options) as double:
        wait_until("much is traded", lambda: max(double.happened("trade").values(), default=0) > 2_300)
        double.tell("pause")
        (symbol,) = double.happened("trade")
        past = Past(double, symbol)
        # Until then REST has no closed candle of the last second, and a moment later it would have.
        wait_until("the last candle is closed", lambda: _exchange_ms(double) > past.to_ms + 1_000)
        yield past


@pytest.fixture
def configured(migrated_url: str, past: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database and the double, which the commands find by themselves."""
    monkeypatch.setenv("INGEST_DATABASE_URL", migrated_url)
    monkeypatch.setenv("INGEST_SPOT_REST_URL", past.double.rest_url)
    monkeypatch.setenv("INGEST_SPOT_KINDS", "trade,agg_trade,kline_1s,depth")
    monkeypatch.setenv("INGEST_SERVICE_DATA_DIR", str(tmp_path / "var"))
    return migrated_url


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat(timespec="milliseconds")


def _span(past: Past) -> tuple[str, ...]:
    return (past.symbol, "--from", _iso(past.from_ms), "--to", _iso(past.to_ms))


def _sql(url: str, sql: str, *arguments: object) -> list[asyncpg.Record]:
    async def fetch() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url, timeout=30, command_timeout=30)
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close(timeout=10)

    return asyncio.run(fetch())


def _stored_ids(url: str) -> list[int]:
    return [row[0] for row in _sql(url, "SELECT trade_id FROM spot.trades ORDER BY trade_id")]


# --- backfill ---------------------------------------------------------------------------------------


def test_span_is_filled_and_then_verified(
    configured: str, past: Past, capsys: pytest.CaptureFixture[str]
) -> None:
    """All configured kinds that can be had again; a second call finds nothing to do."""
    assert _run("backfill", *_span(past)) == 0
    assert "trade: " in capsys.readouterr().out
    assert _stored_ids(configured) == [row["id"] for row in past.trades]
    candles = _sql(configured, "SELECT count(*), bool_and(is_closed) FROM spot.klines")
    assert candles[0][0] > 0
    assert candles[0][1]
    for kind in KINDS:
        assert _run("verify", *_span(past), "--kind", kind) == 0
    capsys.readouterr()

    assert _run("backfill", *_span(past), "--kind", "trade") == 0
    assert f"0 rows fetched, {len(past.trades):,} were there" in capsys.readouterr().out
    assert _run("backfill", *_span(past), "--kind", "kline_1s") == 0
    assert "kline_1s: 0 rows fetched" in capsys.readouterr().out


def test_candles_of_a_filled_span_are_the_exchanges(configured: str, past: Past) -> None:
    """The ledger comes to speak of the span: its whole seconds are complete, and nothing differs."""
    wait_until("this is past for certain", lambda: SystemClock().wall_ns() // 1_000_000 > past.to_ms + 2_500)
    assert _run("backfill", *_span(past), "--kind", "trade", "--kind", "kline_1s") == 0
    ((since, until),) = _sql(configured, "SELECT lower(span), upper(span) FROM ops.trade_coverage")
    while _sql(configured, "SELECT batches FROM spot_raw.refresh_candles(100, 20000)")[0][0]:
        pass
    closed = _sql(configured, "SELECT count(*) FILTER (WHERE is_complete), count(*) FROM spot.candles_1s")[0]

    assert since == datetime.fromtimestamp(past.from_ms / 1_000, UTC)
    assert until == datetime.fromtimestamp(past.to_ms / 1_000, UTC)
    assert _sql(configured, "SELECT * FROM spot.candle_differences") == []
    # The first and the last second are cut.
    assert closed[1] - 2 <= closed[0] < closed[1]
    assert closed[0] > 0


def test_part_of_the_past_is_filled_and_no_more(configured: str, past: Past) -> None:
    """`--to` is exclusive, `--from` is not."""
    times = sorted({row["time"] for row in past.trades})
    first, last = times[len(times) // 3], times[2 * len(times) // 3]
    assert _run("backfill", past.symbol, "--from", _iso(first), "--to", _iso(last), "--kind", "trade") == 0

    assert _stored_ids(configured) == [row["id"] for row in past.trades if first <= row["time"] < last]


def test_gap_of_the_ledger_that_is_whole_afterwards_is_closed(configured: str, past: Past) -> None:
    """One that lies elsewhere stays open."""
    key = StreamKey("spot", past.symbol, "trade")
    ids = [row["id"] for row in past.trades]
    times = (past.from_ms * 1_000, past.to_ms * 1_000)
    whole = Gap(key, ids[5], ids[-5], *times, "disconnect", True, "", NOW_US)
    other = Gap(key, ids[-1] + 10, ids[-1] + 20, *times, "disconnect", True, "", NOW_US)

    async def write() -> None:
        async with PostgresSink.opened(configured, connections=1) as sink:
            await sink.write(a_batch([], whole, other))

    asyncio.run(write())
    assert _run("backfill", *_span(past), "--kind", "trade") == 0

    rows = _sql(configured, "SELECT state, rows_repaired FROM ops.gaps ORDER BY first_id")
    assert [tuple(row) for row in rows] == [("repaired", len(ids) - 9), ("open", 0)]


def test_time_in_which_nothing_happened_needs_nothing(
    configured: str, past: Past, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first trade."""
    since = _iso(past.from_ms - 7_200_000)
    until = _iso(past.from_ms - 3_600_000)

    assert _run("backfill", past.symbol, "--from", since, "--to", until) == 0
    assert "trade: nothing happened in this time" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["backfill", "verify"])
def test_future_is_wrong_use(
    configured: str, past: Past, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """With or without an end; one that ends in the future ends now."""
    for until in (("--to", "2198-01-02"), ()):
        assert _run(command, past.symbol, "--from", "2198-01-01", *until) == 2
        assert "in the future" in capsys.readouterr().err
    assert _run("backfill", past.symbol, "--from", "1970-01-01", "--to", "2199-12-31", "--kind", "trade") == 0
    assert _stored_ids(configured) == [row["id"] for row in past.trades]


@pytest.mark.parametrize("command", ["backfill", "verify"])
def test_span_that_ends_before_it_begins_is_wrong_use(configured: str, past: Past, command: str) -> None:
    """Exit code 2."""
    assert _run(command, past.symbol, "--from", _iso(past.to_ms), "--to", _iso(past.from_ms)) == 2
    assert _run(command, past.symbol, "--from", "yesterday") == 2


def test_symbol_that_nobody_has_fails(
    configured: str, past: Past, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the exchange's words."""
    assert _run("backfill", "NOSUCHUSDT", *_span(past)[1:]) == 1
    assert "Invalid symbol" in capsys.readouterr().err


# --- verify -----------------------------------------------------------------------------------------


@pytest.fixture
def filled(configured: str, past: Past) -> str:
    """A database that has all trades."""
    assert _run("backfill", *_span(past), "--kind", "trade") == 0
    return configured


def _spoil(url: str, past: Past) -> list[int]:
    """Lose one trade, alter one, invent one, and double one under another time; their ids."""
    ids = [row["id"] for row in past.trades]
    lost, altered, doubled = ids[10], ids[1_500], ids[2_000]
    raw = "ts, trade_id, recv_ts, symbol_id, buyer_is_maker, price, qty"
    _sql(url, "DELETE FROM spot_raw.trades WHERE trade_id = $1", lost)
    _sql(url, "UPDATE spot_raw.trades SET price = price + 0.00000001 WHERE trade_id = $1", altered)
    _sql(
        url,
        f"INSERT INTO spot_raw.trades ({raw}) SELECT ts + interval '1 ms', trade_id, recv_ts, symbol_id,"
        " buyer_is_maker, price, qty FROM spot_raw.trades WHERE trade_id = $1",
        doubled,
    )
    _sql(
        url,
        f"INSERT INTO spot_raw.trades ({raw}) SELECT ts, $2, recv_ts, symbol_id, buyer_is_maker, price, qty"
        " FROM spot_raw.trades WHERE trade_id = $1",
        ids[-1],
        ids[-1] + 1,
    )
    return [lost, altered, doubled, ids[-1] + 1]


def test_difference_from_rest_is_found_row_by_row(
    filled: str, past: Past, capsys: pytest.CaptureFixture[str]
) -> None:
    """Missing, extra and different, with their ids and the exit code 3."""
    spoilt = _spoil(filled, past)

    assert _run("verify", *_span(past)) == 3
    shown = capsys.readouterr().out
    assert "1 missing, 2 extra, 1 different" in shown
    assert "each with time, price, quantity, and 1 where the buyer is the maker" in shown
    assert all(str(each) in shown for each in spoilt)


@pytest.mark.parametrize("kind", KINDS)
def test_row_far_from_the_time_of_its_id_is_found(
    configured: str, past: Past, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """A row too many, and one that was moved: missing at its place, extra at the other."""
    assert _run("backfill", *_span(past), "--kind", kind) == 0
    table, row_id = f"spot_raw.{kind}s", f"{kind}_id"
    ids = [row[0] for row in _sql(configured, f"SELECT {row_id} FROM {table} ORDER BY 1")]
    _sql(configured, f"CREATE TABLE one AS SELECT * FROM {table} WHERE {row_id} = $1", ids[-50])
    _sql(configured, "UPDATE one SET ts = ts - interval '30 min'")
    _sql(configured, f"INSERT INTO {table} SELECT * FROM one")
    move = f"UPDATE {table} SET ts = ts - interval '31 min' WHERE {row_id} = $1"
    _sql(configured, move, ids[-20])
    capsys.readouterr()

    earlier = (past.symbol, "--from", _iso(past.from_ms - 3_600_000), "--to", _iso(past.to_ms))
    assert _run("verify", *earlier, "--kind", kind) == 3
    shown = capsys.readouterr().out
    assert "1 missing, 2 extra, 0 different" in shown
    assert shown.count(str(ids[-20])) == 2
    assert f"stored {len(ids) + 1:,}, at the exchange {len(ids):,}" in shown


def _archive(past: Past, folder: Path, *, skip: int | None = None) -> None:
    """The archive's files of all days on which the double was up, in microseconds."""
    folder.mkdir(parents=True, exist_ok=True)
    day = datetime.fromtimestamp(past.from_ms / 1_000, UTC).date()
    while day <= datetime.fromtimestamp(past.to_ms / 1_000, UTC).date():
        lines = [
            f"{row['id']},{row['price']},{row['qty']},{row['quoteQty']},{row['time'] * 1_000 + 7},"
            f"{row['isBuyerMaker']},True\n"
            for row in past.trades
            if row["id"] != skip and datetime.fromtimestamp(row["time"] / 1_000, UTC).date() == day
        ]
        name = f"{past.symbol}-trades-{day.isoformat()}"
        with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(f"{name}.csv", "".join(lines))
        digest = hashlib.sha256((folder / f"{name}.zip").read_bytes()).hexdigest()
        (folder / f"{name}.zip.CHECKSUM").write_text(f"{digest}  {name}.zip\n")
        day += timedelta(days=1)


@pytest.mark.parametrize("below", ["", "data/spot/daily/trades/{}", "spot/daily/trades/{}"])
def test_archive_in_a_folder_agrees(filled: str, past: Past, tmp_path: Path, below: str) -> None:
    """Flat, or in the archive's own tree."""
    _archive(past, tmp_path / "archive" / below.format(past.symbol))

    assert _run("verify", *_span(past), "--archive", str(tmp_path / "archive")) == 0


def test_difference_from_the_archive_is_found(
    filled: str, past: Past, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the archive has not counts as extra."""
    _spoil(filled, past)
    _archive(past, tmp_path, skip=past.trades[100]["id"])

    assert _run("verify", *_span(past), "--archive", str(tmp_path)) == 3
    assert "1 missing, 3 extra, 1 different" in capsys.readouterr().out


@pytest.fixture
def served(past: Past, tmp_path: Path) -> Iterator[str]:
    """The archive behind an address."""
    _archive(past, tmp_path / "served" / "data/spot/daily/trades" / past.symbol)
    handler = functools.partial(_QuietHandler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Not to the tests' output."""


def test_archive_behind_an_address_agrees(filled: str, past: Past, served: str) -> None:
    """Downloaded with its checksum."""
    assert _run("verify", *_span(past), "--archive", served) == 0


def test_day_that_the_archive_has_not_cannot_be_verified(
    filled: str, past: Past, served: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1: nobody knows."""
    day_before = _iso(past.from_ms - 2 * 86_400_000)
    span = (past.symbol, "--from", day_before, "--to", _iso(past.to_ms))

    for place in (served, str(tmp_path)):
        assert _run("verify", *span, "--archive", place) == 1
        assert "the archive" in capsys.readouterr().err


def test_archive_that_is_not_what_its_checksum_says_is_not_believed(
    filled: str, past: Past, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is one without a checksum, nor one that holds no trades."""
    _archive(past, tmp_path)
    zips = sorted(tmp_path.glob("*.zip"))
    for path in zips:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert _run("verify", *_span(past), "--archive", str(tmp_path)) == 1
    assert "SHA-256" in capsys.readouterr().err

    for path in zips:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_name(f"{path.name}.CHECKSUM").write_text(f"{digest}  other.zip")
    assert _run("verify", *_span(past), "--archive", str(tmp_path)) == 1
    for path in zips:
        path.with_name(f"{path.name}.CHECKSUM").unlink()
    assert _run("verify", *_span(past), "--archive", str(tmp_path)) == 1
    assert "CHECKSUM" in capsys.readouterr().err


@pytest.mark.parametrize("members", [{}, {"a.csv": "5,1\n"}, {"a.csv": "", "b.csv": ""}])
def test_archive_that_holds_something_else_is_named(tmp_path: Path, members: dict[str, str]) -> None:
    """Its checksum is right and its contents are not."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, text in members.items():
            packed.writestr(name, text)

    with pytest.raises(ArchiveDamaged, match=r"a\.zip"):
        list(chunks(path, "BTCUSDT", "trade"))


@pytest.mark.parametrize(("ids", "told"), [((8, 7, 10, 9), None), ((8, 7, 10, 9, 6), "6 comes behind 10")])
def test_archive_whose_ids_fall_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ids: tuple[int, ...], told: str | None
) -> None:
    """What comes behind its place would be compared with nothing; what is read at once has no order."""
    monkeypatch.setattr("ingest.cli.archive._CHUNK_ROWS", 2)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as packed:
        lines = (f"{row_id},1.0,2.0,2.0,1795359675937,True,True\n" for row_id in ids)
        packed.writestr("a.csv", "".join(lines))

    with (
        nullcontext() if told is None else pytest.raises(ArchiveDamaged, match=rf"a\.zip: its ids .* {told}")
    ):
        assert [len(chunk) for chunk in chunks(path, "BTCUSDT", "trade")] == [2, 2]


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("", "there is no folder ''"),
        ("/no/such", "there is no folder '/no/such'"),
        ("ftp://u:hunter2@127.0.0.1", "an address begins with http"),
        ("https://", "an address begins with http"),
        ("http://[u:hunter2", "an address begins with http"),
    ],
)
def test_place_that_can_hold_no_archive_is_wrong_use(
    place: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is begun, and without its password."""
    assert _run("verify", "BTCUSDT", "--from", "2026-01-01", "--archive", place) == 2
    message = capsys.readouterr().err
    assert told in message
    assert "hunter2" not in message


def test_archive_that_does_not_answer_is_named_without_its_password(
    configured: str, past: Past, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1."""
    place = "http://u:hunter2@127.0.0.1:1/below"

    assert _run("verify", *_span(past), "--archive", place) == 1
    message = capsys.readouterr().err
    assert "http://127.0.0.1:1/below/data/spot/daily" in message
    assert "hunter2" not in message
