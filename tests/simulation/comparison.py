"""What is stored against what happened: the service's rows beside the double's ledger.

Digests are computed from the stored columns the way the double prints its events, so that a row counts as
the same only when every digit of it is.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple
from zlib import crc32

import asyncpg

from ingest.book.levels import Book
from ingest.book.rebuild import RebuiltBook, rebuild
from ingest.events import DepthDelta, DepthSnapshot, Level
from tests.simulation.service import Double, Service, wait_until

_COMPARED_LEVELS = 100
_ASK_EVERY_S = 0.4


class _Kind(NamedTuple):
    """Where a kind is stored, which column is the ledger's id, and what its digest is taken of."""

    table: str
    event_id: str
    fields: tuple[str, ...]
    condition: str = "true"


_SIDES = ("bid_prices", "bid_qtys", "ask_prices", "ask_qtys")
_KINDS = {
    "trade": _Kind("trades", "trade_id", ("price", "qty", "buyer_is_maker")),
    "agg_trade": _Kind(
        "agg_trades",
        "agg_trade_id",
        ("price", "qty", "first_trade_id", "last_trade_id", "buyer_is_maker"),
    ),
    "book_ticker": _Kind("book_tickers", "update_id", ("bid_price", "bid_qty", "ask_price", "ask_qty")),
    "depth": _Kind("depth_deltas", "final_update_id", ("first_update_id", *_SIDES)),
    "kline_1m": _Kind(
        "klines",
        "(extract(epoch FROM open_time) * 1000)::bigint",
        (
            *("open", "high", "low", "close", "volume", "trades", "quote_volume"),
            *("taker_buy_volume", "taker_buy_quote_volume"),
        ),
        "interval = '1m' AND is_closed",
    ),
    "mini_ticker": _Kind(
        "tickers",
        "(extract(epoch FROM ts) * 1000)::bigint",
        ("last_price", "open", "high", "low", "volume", "quote_volume"),
        "kind = 'mini_ticker'",
    ),
}
CONSECUTIVE = ("trade", "agg_trade", "depth")
"""Kinds whose losses can be told from their ids, and must be in the gap ledger."""

_UNIQUE_KEYS = {
    "trades": ("trade_id",),
    "agg_trades": ("agg_trade_id",),
    "book_tickers": ("update_id",),
    "depth_deltas": ("final_update_id",),
    "depth_snapshots": ("ts", "last_update_id"),
    "klines": ("interval", "open_time"),
    "tickers": ("kind", "ts"),
}
"""What makes a row another one, beside its symbol. Stricter than the database's keys, which hold the time."""


def stored(service: Service, symbol: str, kind: str) -> dict[int, int]:
    """The digest of each stored row by the ledger's id. Fails when an id is there twice."""
    where = _KINDS[kind]
    columns = ", ".join(f"{field}::text{'[]' if field in _SIDES else ''}" for field in where.fields)
    rows = service.rows(
        f"SELECT {where.event_id} AS event_id, {columns} FROM spot.{where.table}"
        f" WHERE symbol = $1 AND {where.condition}",
        symbol,
    )
    digests = {row["event_id"]: crc32(_printed(kind, row).encode()) for row in rows}
    assert len(digests) == len(rows), f"{symbol} {kind}: an id is stored twice"
    return digests


def _printed(kind: str, row: asyncpg.Record) -> str:
    """A row as the ledger's digests have it."""
    if kind == "depth":
        return f"{row['first_update_id']}|{_side(row, 'bid')}|{_side(row, 'ask')}"
    return "|".join(row[field] for field in _KINDS[kind].fields)


def _side(row: asyncpg.Record, side: str) -> str:
    return ",".join(
        f"{price}:{qty}" for price, qty in zip(row[f"{side}_prices"], row[f"{side}_qtys"], strict=True)
    )


def assert_nothing_twice(service: Service) -> None:
    """No table holds two rows of one thing."""
    for table, key in _UNIQUE_KEYS.items():
        columns = ", ".join(("symbol", *key))
        sql = f"SELECT {columns}, count(*) FROM spot.{table} GROUP BY {columns} HAVING count(*) > 1 LIMIT 3"
        doubles = service.rows(sql)
        assert not doubles, f"{table}: {doubles}"


def assert_nothing_missing_unnoticed(service: Service, double: Double, symbols: Iterable[str]) -> None:
    """Every id between the first and the newest stored one is stored as it happened, or in a known gap."""
    for symbol in symbols:
        for kind in CONSECUTIVE:
            rows = stored(service, symbol, kind)
            gaps = gap_ranges(service, symbol, kind)  # after the rows: a gap commits with the row behind it
            happened = double.ledger(symbol, kind)
            assert rows, f"{symbol} {kind}: nothing is stored"
            strange = {each: digest for each, digest in rows.items() if happened.get(each) != digest}
            assert not strange, f"{symbol} {kind}: stored, and did not happen so: {list(strange)[:5]}"
            first, last = min(rows), max(rows)
            missing = [each for each in happened if first <= each <= last and each not in rows]
            unnoticed = [each for each in missing if not any(a <= each <= b for a, b in gaps)]
            assert not unnoticed, f"{symbol} {kind}: {len(unnoticed)} missing unnoticed, {unnoticed[:5]}"


def assert_nothing_missing(service: Service, double: Double, symbol: str, kind: str) -> None:
    """Every event between the first and the newest stored one is stored as it happened."""
    rows = stored(service, symbol, kind)
    happened = double.ledger(symbol, kind)
    assert rows, f"{symbol} {kind}: nothing is stored"
    first, last = min(rows), max(rows)
    expected = {each: digest for each, digest in happened.items() if first <= each <= last}
    missing = sorted(expected.keys() - rows.keys())
    assert not missing, f"{symbol} {kind}: {len(missing)} missing, {missing[:5]}"
    assert rows == expected, f"{symbol} {kind}: stored, and did not happen so"


def gap_ranges(service: Service, symbol: str, kind: str) -> list[tuple[int, int]]:
    """Bounds of every gap of a stream, whatever became of it."""
    sql = "SELECT first_id, last_id FROM ops.gaps WHERE symbol = $1 AND kind = $2 AND first_id IS NOT NULL"
    return [(row["first_id"], row["last_id"]) for row in service.rows(sql, symbol, kind)]


_NEWEST = 2**63 - 1


def rebuilt_at(service: Service, symbol: str, update_id: int) -> Book | None:
    """The book after an update, made from what is stored; None while not all of it is."""
    rebuilt = stored_book(service, symbol, up_to=update_id)
    return rebuilt.book if rebuilt is not None and rebuilt.update_id == update_id else None


def stored_book(service: Service, symbol: str, *, up_to: int = _NEWEST) -> RebuiltBook | None:
    """The newest book, not beyond an update, that can be made from what is stored."""
    sides = ", ".join(f"{column}::text[]" for column in _SIDES)
    snapshots = service.rows(
        f"SELECT last_update_id, {sides}, reason, bids_known_from::text, asks_known_to::text"
        " FROM spot.depth_snapshots WHERE symbol = $1 AND last_update_id <= $2"
        " ORDER BY ts DESC, last_update_id DESC LIMIT 1",
        symbol,
        up_to,
    )
    if not snapshots:
        return None
    last_update_id = snapshots[0]["last_update_id"]
    deltas = service.rows(
        f"SELECT first_update_id, final_update_id, {sides} FROM spot.depth_deltas"
        " WHERE symbol = $1 AND final_update_id > $2 AND final_update_id <= $3 ORDER BY final_update_id",
        symbol,
        last_update_id,
        up_to,
    )
    row = snapshots[0]
    known = (row["bids_known_from"], row["asks_known_to"])
    snapshot = DepthSnapshot(symbol, last_update_id, 0, *_levels(row), row["reason"], 0, *known)
    return rebuild(snapshot, (_delta(symbol, row) for row in deltas))


def _delta(symbol: str, row: asyncpg.Record) -> DepthDelta:
    return DepthDelta(symbol, row["first_update_id"], row["final_update_id"], 0, *_levels(row), 0)


def _levels(row: asyncpg.Record) -> tuple[list[Level], list[Level]]:
    bids = list(zip(row["bid_prices"], row["bid_qtys"], strict=True))
    return bids, list(zip(row["ask_prices"], row["ask_qtys"], strict=True))


def assert_book_equals_the_exchange(service: Service, double: Double, symbol: str) -> None:
    """Let the symbol stand still, and compare the best levels of both books, digit by digit."""
    # Only then: a book that is being fetched while nothing happens would wait for the next delta.
    wait_until(f"the stored book of {symbol} has no hole", lambda: _has_no_hole(stored_book(service, symbol)))
    double.set_status(symbol, "BREAK")
    try:
        ours, theirs = wait_until(
            f"the stored book of {symbol} has reached the exchange's",
            lambda: _books_at_one_update(service, double, symbol),
            poll_s=_ASK_EVERY_S,
        )
    finally:
        double.set_status(symbol, "TRADING")
    bids, asks = theirs.top(_COMPARED_LEVELS)
    assert len(bids) == len(asks) == _COMPARED_LEVELS
    known_bids = [level for level in bids if Decimal(level[0]) >= Decimal(ours.bids_known_from)]
    known_asks = [level for level in asks if Decimal(level[0]) <= Decimal(ours.asks_known_to)]
    assert min(len(known_bids), len(known_asks)) >= _COMPARED_LEVELS // 2
    assert ours.top(_COMPARED_LEVELS) == (known_bids, known_asks)


def _has_no_hole(rebuilt: RebuiltBook | None) -> bool:
    return rebuilt is not None and rebuilt.missing is None


def _books_at_one_update(service: Service, double: Double, symbol: str) -> tuple[Book, Book] | None:
    """Our book and the exchange's, once they stand at one update id; None before.

    Asks for few levels, because the exchange counts this against the address that we share with the service.
    """
    answer = double.ask(f"/api/v3/depth?symbol={symbol}&limit={_COMPARED_LEVELS}")
    ours = stored_book(service, symbol)
    if ours is None or not _has_no_hole(ours) or ours.update_id != answer["lastUpdateId"]:
        return None
    bids, asks = ([(price, qty) for price, qty in answer[side]] for side in ("bids", "asks"))
    return ours.book, Book(bids, asks)
