"""`ingest export`: what is stored, in files, and what they say of themselves."""

import asyncio
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from ingest.binance.answers import Instrument
from ingest.buffer import encode, tables
from ingest.cli import main
from ingest.events import Gap
from ingest.export import arrow, extract
from ingest.export.kinds import NAMES, kind_of
from ingest.store.partitions import ensure_partitions
from ingest.store.postgres import PostgresSink
from ingest.store.publish import StreamRow
from ingest.store.sessions import connected
from ingest.store.statements import statement
from tests.integration.test_postgres_sink import ROWS
from tests.plugin_schema import NOW
from tests.rows import BTC_TRADE, NOW_US, a_batch, a_kline, a_trade

DAY_US = 86_400_000_000
MIDNIGHT_US = NOW_US // DAY_US * DAY_US - DAY_US
"""Yesterday's."""
STEP_US = 600_000_000
SYMBOL_ID = 1


def at(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat()


@pytest.fixture
def configured(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated database that the command finds by itself, with a symbol."""
    monkeypatch.setenv("INGEST_DATABASE_URL", migrated_url)
    asyncio.run(_list(migrated_url))
    return migrated_url


async def _list(url: str) -> None:
    async with connected(url) as connection:
        await ensure_partitions(connection, now=NOW, days_back=4)
    async with PostgresSink.opened(url, connections=1) as sink:
        listed = [Instrument("BTCUSDT", "TRADING", "BTC", "USDT", "0.01", "0.00001")]
        assert await sink.instrument_ids("spot", listed) == {"BTCUSDT": SYMBOL_ID}


def trade_at(trade_id: int) -> bytes:
    """A trade each ten minutes, number 0 at the midnight before yesterday's begin."""
    return encode.trade(SYMBOL_ID, a_trade(trade_id, ts_us=MIDNIGHT_US - DAY_US + trade_id * STEP_US))


async def _store(url: str, rows: list[bytes], *gaps: Gap, table: tables.Table = tables.TRADES) -> None:
    async with PostgresSink.opened(url, connections=1) as sink:
        await sink.write(a_batch(rows, *gaps, table=table))


def store_trades(url: str, *, but: range = range(0)) -> None:
    """Two days of trades, and the first one of the day after."""
    asyncio.run(_store(url, [trade_at(each) for each in range(289) if each not in but]))


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(("export", *arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def yesterday(folder: Path, *more: str) -> int:
    span = ("--from", at(MIDNIGHT_US), "--to", at(MIDNIGHT_US + DAY_US))
    return run("btcusdt", *span, "--out", str(folder), *more)


def the_file(folder: Path, kind: str = "trade") -> Path:
    return folder / kind / "BTCUSDT" / f"{datetime.fromtimestamp(MIDNIGHT_US / 1e6, UTC):%Y-%m-%d}.parquet"


def the_entry(folder: Path) -> dict[str, object]:
    (entry,) = orjson.loads((folder / "manifest.json").read_bytes())["files"]
    assert isinstance(entry, dict)
    return entry


def test_day_is_a_file_with_exact_rows(configured: str, tmp_path: Path) -> None:
    """All rows of the UTC day and no other, sorted, prices as printed; the manifest says the same."""
    store_trades(configured)

    assert yesterday(tmp_path) == 0
    table = pq.read_table(the_file(tmp_path))
    assert table.column("trade_id").to_pylist() == list(range(144, 288))
    assert table.column("price").to_pylist()[0] == Decimal("61602.01")
    assert str(table.schema.field("ts").type) == "timestamp[us, tz=UTC]"
    entry = the_entry(tmp_path)
    assert (entry["rows"], entry["first_id"], entry["last_id"]) == (144, 144, 287)
    assert (entry["is_complete"], entry["missing"], entry["gaps"]) == (True, [], [])
    assert entry["bytes"] == the_file(tmp_path).stat().st_size
    assert run("--verify", str(tmp_path)) == 0


def test_range_is_parted_by_days(configured: str, tmp_path: Path) -> None:
    """A file for each day that it touches, partly where it ends within one."""
    store_trades(configured)
    span = ("--from", at(MIDNIGHT_US - DAY_US // 2), "--to", at(MIDNIGHT_US + DAY_US // 2))

    assert run("BTCUSDT", *span, "--out", str(tmp_path)) == 0
    files = orjson.loads((tmp_path / "manifest.json").read_bytes())["files"]
    assert [(entry["first_id"], entry["last_id"]) for entry in files] == [(72, 143), (144, 215)]


def test_what_is_there_is_left_as_it_is(configured: str, tmp_path: Path) -> None:
    """A second export does nothing; --overwrite makes the file anew; more of the day replaces less."""
    store_trades(configured)
    span = ("--from", at(MIDNIGHT_US), "--to", at(MIDNIGHT_US + DAY_US // 2))
    assert run("btcusdt", *span, "--out", str(tmp_path)) == 0
    half = the_file(tmp_path).stat().st_ino
    assert run("btcusdt", *span, "--out", str(tmp_path)) == 0
    assert the_file(tmp_path).stat().st_ino == half

    assert yesterday(tmp_path) == 0
    whole = the_entry(tmp_path)
    assert whole["rows"] == 144
    assert run("btcusdt", *span, "--out", str(tmp_path)) == 3
    assert the_entry(tmp_path) == whole
    assert run("btcusdt", *span, "--out", str(tmp_path), "--overwrite") == 0
    assert the_entry(tmp_path)["rows"] == 72


def test_hole_in_the_ids_is_refused(
    configured: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, the ids are named, and there is no file; --allow-incomplete takes it, and says so."""
    store_trades(configured, but=range(150, 153))

    assert yesterday(tmp_path) == 3
    assert "ids 150..152 are not stored" in capfd.readouterr().err
    assert list(tmp_path.rglob("*.parquet")) == []
    assert yesterday(tmp_path, "--allow-incomplete") == 0
    entry = the_entry(tmp_path)
    assert (entry["is_complete"], entry["allow_incomplete"], entry["rows"]) == (False, True, 141)
    assert "150..152" in str(entry["missing"])


def test_incomplete_file_is_made_anew_when_it_can_be_complete(configured: str, tmp_path: Path) -> None:
    """What was repaired since comes with the next export."""
    store_trades(configured, but=range(150, 153))
    assert yesterday(tmp_path, "--allow-incomplete") == 0
    asyncio.run(_store(configured, [trade_at(each) for each in range(150, 153)]))

    assert yesterday(tmp_path) == 0
    assert (the_entry(tmp_path)["is_complete"], the_entry(tmp_path)["rows"]) == (True, 144)


@pytest.mark.parametrize(("repairable", "state"), [(True, "open"), (False, "unrepairable")])
def test_gap_of_the_ledger_is_refused_and_told(
    configured: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], repairable: bool, state: str
) -> None:
    """What the ledger has against the range, open or given up; it goes into the manifest."""
    store_trades(configured, but=range(150, 153))
    start_us = MIDNIGHT_US + 5 * STEP_US
    gap = Gap(BTC_TRADE, 150, 152, start_us, start_us + 4 * STEP_US, "disconnect", repairable, "", NOW_US)
    asyncio.run(_store(configured, [], gap))

    assert yesterday(tmp_path) == 3
    assert f"is {state}:" in capfd.readouterr().err
    assert yesterday(tmp_path, "--allow-incomplete") == 0
    gaps = the_entry(tmp_path)["gaps"]
    assert isinstance(gaps, list)
    assert [(gap["first_id"], gap["last_id"], gap["state"]) for gap in gaps] == [(150, 152, state)]


def test_what_is_not_fresh_is_refused(
    configured: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without a row behind the range it takes a proof that all of it is stored."""
    asyncio.run(_store(configured, [trade_at(each) for each in range(280)]))
    assert yesterday(tmp_path) == 3
    assert "not fresh: nothing says that all" in capfd.readouterr().err

    asyncio.run(_prove_quiet(configured))
    assert yesterday(tmp_path) == 0


async def _prove_quiet(url: str) -> None:
    row = StreamRow(
        key=BTC_TRADE,
        shard=0,
        feed="1",
        state="quiet",
        diagnosis="",
        last_event_us=None,
        last_recv_us=None,
        last_commit_us=None,
        threshold_s=1.0,
        verified_quiet_us=MIDNIGHT_US + DAY_US,
        reconnects=0,
        open_gaps=0,
    )
    async with PostgresSink.opened(url, connections=1) as sink:
        await sink.publish_stream_states([row])


def test_first_day_is_refused(configured: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody knows what came before the first row that was ever stored."""
    asyncio.run(_store(configured, [trade_at(each) for each in range(144, 289)]))

    assert yesterday(tmp_path) == 3
    assert "nothing is stored before" in capfd.readouterr().err


ENCODED = {
    "agg_trade": tables.AGG_TRADES,
    "book_ticker": tables.BOOK_TICKERS,
    "depth": tables.DEPTH_DELTAS,
    "depth_snapshot": tables.DEPTH_SNAPSHOTS,
    "kline_1m": tables.KLINES,
    "mini_ticker": tables.TICKERS,
    "ticker": tables.TICKERS,
    "avg_price": tables.AVG_PRICES,
}


@pytest.mark.parametrize("kind", ENCODED)
def test_every_kind_goes_into_a_file(configured: str, tmp_path: Path, kind: str) -> None:
    """Its rows, with the columns of the view; depth as lists."""
    row = ROWS[ENCODED[kind]].replace(b"\t7\t", b"\t1\t")
    asyncio.run(_store_as(configured, row, ENCODED[kind]))
    span = ("--from", at(NOW_US - 60_000_000), "--to", at(NOW_US), "--kind", kind)

    assert run("btcusdt", *span, "--out", str(tmp_path), "--allow-incomplete") == 0
    (file,) = (tmp_path / kind / "BTCUSDT").iterdir()
    table = pq.read_table(file)
    assert table.column_names == [name for name, _ in kind_of(kind).columns]
    # What is stored is a 24 h ticker: a small one is of the same table, and not the same kind.
    assert table.num_rows == (0 if kind == "mini_ticker" else 1)
    assert run("--verify", str(tmp_path)) == 0


async def _store_as(url: str, row: bytes, table: tables.Table) -> None:
    """Encoded for symbol 7, a second ago: brought to the symbol and the minute that is exported."""
    await _store(url, [row], table=table)
    time = "open_time" if table is tables.KLINES else "ts"
    async with connected(url) as connection:
        await connection.execute(
            f"UPDATE spot_raw.{table.name} SET symbol_id = 1, {time} = {time} - interval '1 second'"
        )


@pytest.mark.parametrize("name", NAMES)
async def test_columns_are_those_of_the_view(migrated_url: str, name: str) -> None:
    """No column of a view is forgotten, in its order, but for what serves queries only."""
    kind = kind_of(name)
    async with connected(migrated_url) as connection:
        query = await connection.prepare(f"SELECT * FROM {kind.relation}")
        offered = [each.name for each in query.get_attributes() if each.name not in {"symbol_id", "event_ts"}]
        assert offered == [column for column, _ in kind.columns]
        prepared = await connection.prepare(statement(kind.statement))
        assert len(prepared.get_attributes()) == len(kind.columns)
        if kind.beside is not None:
            await connection.prepare(statement(kind.beside))


def test_open_candle_is_not_complete(
    configured: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A candle that may still change is named."""
    opens = range(MIDNIGHT_US - 60_000_000, MIDNIGHT_US + 3 * 60_000_000, 60_000_000)
    klines = [encode.kline(SYMBOL_ID, a_kline(open_us=each, is_closed=each != opens[1])) for each in opens]
    asyncio.run(_store(configured, klines, table=tables.KLINES))
    span = ("--from", at(MIDNIGHT_US), "--to", at(MIDNIGHT_US + 120_000_000), "--kind", "kline_1m")

    assert run("btcusdt", *span, "--out", str(tmp_path)) == 3
    assert "1 candles are not closed" in capfd.readouterr().err


def test_number_that_fits_no_decimal_is_text(configured: str, tmp_path: Path) -> None:
    """Nothing is rounded: the whole column of that file is a string, and the manifest says so."""
    store_trades(configured)
    asyncio.run(
        _execute(configured, "UPDATE spot_raw.trades SET price = 0.1234567890123456789 WHERE trade_id = 200")
    )

    assert yesterday(tmp_path) == 0
    prices = pq.read_table(the_file(tmp_path)).column("price").to_pylist()
    assert prices[56] == "0.1234567890123456789" and prices[55] == "61602.01000000"
    assert the_entry(tmp_path)["columns"]["price"] == "string"  # type: ignore[index]


async def _execute(url: str, text: str) -> None:
    async with connected(url) as connection:
        await connection.execute(text)


def test_rows_and_gaps_are_of_one_snapshot(
    configured: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed while the file is read is neither among its rows nor in its gaps."""
    store_trades(configured, but=range(280, 289))
    asyncio.run(_prove_quiet(configured))
    found = extract._found

    async def then_comes_more(*arguments: object) -> object:
        before = await found(*arguments)  # type: ignore[arg-type]
        await _store(configured, [trade_at(each) for each in range(280, 289)])
        return before

    monkeypatch.setattr(extract, "_found", then_comes_more)
    assert yesterday(tmp_path) == 0
    assert the_entry(tmp_path)["last_id"] == 279


@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "unknown", "rows"])
def test_verify_finds_damage(configured: str, tmp_path: Path, damage: str) -> None:
    """A file that is shorter, changed, gone or unknown, or another manifest: exit code 3."""
    store_trades(configured)
    assert yesterday(tmp_path) == 0
    file, manifest = the_file(tmp_path), tmp_path / "manifest.json"
    whole = file.read_bytes()
    if damage == "cut":
        file.write_bytes(whole[:-100])
    elif damage == "flip":
        file.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    elif damage == "remove":
        file.unlink()
    elif damage == "unknown":
        file.with_name("other.parquet").write_bytes(whole)
    else:
        manifest.write_bytes(manifest.read_bytes().replace(b'"rows": 144', b'"rows": 145'))

    assert run("--verify", str(tmp_path)) == 3


def test_small_blocks_and_row_groups_make_the_same_file(
    configured: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the text is cut, every row arrives once and in order."""
    store_trades(configured)
    monkeypatch.setattr(extract, "BLOCK_BYTES", 100)
    monkeypatch.setattr(arrow, "ROW_GROUP_ROWS", 10)
    monkeypatch.setattr(extract, "_SLICE_ROWS", (2, 5))

    assert yesterday(tmp_path) == 0
    assert pq.ParquetFile(the_file(tmp_path)).num_row_groups > 5
    assert pq.read_table(the_file(tmp_path)).column("trade_id").to_pylist() == list(range(144, 288))
    assert run("--verify", str(tmp_path)) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("btcusdt",),
        ("btcusdt", "--from", "2026-01-02", "--to", "2026-01-01", "--out", "x"),
        ("btcusdt", "--from", "2026-01-02", "--to", "2199-01-01", "--out", "x"),
        ("nosuch", "--from", "2026-01-01", "--to", "2026-01-02", "--out", "x"),
        ("--verify", "."),
    ],
)
def test_wrong_use_is_told(
    configured: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """Exit code 2, whatever is wrong about the question."""
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2


def test_absence_of_pyarrow_is_told(configured: str, tmp_path: Path) -> None:
    """Without the extra the command says what to install, and the other commands work."""
    program = "import sys; sys.modules['pyarrow'] = None\nfrom ingest.cli import main\nmain(sys.argv[1:])"
    span = ["--from", at(MIDNIGHT_US), "--to", at(MIDNIGHT_US + DAY_US)]
    arguments = [sys.executable, "-c", program, "export", "btcusdt", *span, "--out", str(tmp_path / "x")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert "pip install 'ingest[reader]'" in done.stderr


def test_interrupted_export_leaves_no_half_file(configured: str, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a file: what was whole stays and is in the manifest, and nothing else."""
    store_trades(configured)
    program = (
        "import os, signal, sys, time\n"
        "from ingest.cli import main\n"
        "from ingest.export import extract\n"
        "extract.BLOCK_BYTES = 100\n"
        "add, calls = extract._Rows._add, []\n"
        "def interrupted(self, lines):\n"
        "    calls.append(1)\n"
        "    if self._order.wanted.from_ts > sys.argv[-1] and calls:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        time.sleep(0.5)  # the signal is the main thread's\n"
        "    add(self, lines)\n"
        "extract._Rows._add = interrupted\n"
        "main(sys.argv[1:-1])"
    )
    span = ["--from", at(MIDNIGHT_US - DAY_US), "--to", at(MIDNIGHT_US + DAY_US)]
    arguments = ["export", "btcusdt", *span, "--out", str(tmp_path), "--allow-incomplete"]
    second = f"{datetime.fromtimestamp(MIDNIGHT_US / 1e6, UTC) - timedelta(seconds=1):%Y-%m-%dT%H}"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, second], capture_output=True, timeout=60, check=False
    )

    assert done.returncode in {130, -signal.SIGINT}, done.stderr.decode()
    assert not the_file(tmp_path).exists()
    assert the_entry(tmp_path)["rows"] == 144
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"manifest.json", Path(str(the_entry(tmp_path)["path"])).name}
