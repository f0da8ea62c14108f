"""A page of the exchange's history as rows to be stored: which call, which ids, which encoding a kind has."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ingest.binance.streams import ID_RULE, interval_of
from ingest.buffer import encode
from ingest.buffer.batcher import Batch
from ingest.buffer.tables import table_of_kind
from ingest.events import AggTrade, Kline, StreamKey, Trade
from ingest.sequence.backfill import IdRange, Page


class History(Protocol):
    """The calls of `RestClient` that tell of the past; they raise ExchangeError and BudgetExhausted."""

    async def trades(self, symbol: str, *, from_id: int | None = None, limit: int = ...) -> list[Trade]: ...

    async def agg_trades(
        self, symbol: str, *, from_id: int | None = None, start_ms: int | None = None, limit: int = ...
    ) -> list[AggTrade]: ...

    async def klines(self, symbol: str, interval: str, *, start_ms: int, limit: int = ...) -> list[Kline]: ...


class OldRow(NamedTuple):
    """One row of an answer: the ids it covers, its time in its table, its bytes for COPY."""

    ids: IdRange
    ts_us: int
    encoded: bytes


async def fetch_page(history: History, key: StreamKey, symbol_id: int, page: Page) -> list[OldRow]:
    """Ask for a page of a kind that can be had again. ValueError for any other kind, or a number unfit.

    Candles that are still open are left out, as if the exchange had not told of them yet.
    """
    from_id, limit = page
    if key.kind == "trade":
        return [
            _trade(each, symbol_id) for each in await history.trades(key.symbol, from_id=from_id, limit=limit)
        ]
    if key.kind == "agg_trade":
        aggs = await history.agg_trades(key.symbol, from_id=from_id, limit=limit)
        return [_agg_trade(each, symbol_id) for each in aggs]
    if ID_RULE[key.kind] == "candle":
        candles = await history.klines(key.symbol, interval_of(key.kind), start_ms=from_id, limit=limit)
        return [_candle(each, symbol_id) for each in candles if each.is_closed]
    raise ValueError(f"the exchange does not give {key.kind} again")


def _trade(trade: Trade, symbol_id: int) -> OldRow:
    return OldRow(IdRange(trade.trade_id, trade.trade_id), trade.ts_us, encode.trade(symbol_id, trade))


def _agg_trade(agg: AggTrade, symbol_id: int) -> OldRow:
    ids = IdRange(agg.agg_trade_id, agg.agg_trade_id)
    return OldRow(ids, agg.ts_us, encode.agg_trade(symbol_id, agg))


def _candle(candle: Kline, symbol_id: int) -> OldRow:
    ids = IdRange(candle.open_time_us // 1_000, candle.close_time_us // 1_000)
    return OldRow(ids, candle.open_time_us, encode.kline(symbol_id, candle))


def batch_of(kind: str, rows: Sequence[OldRow]) -> Batch:
    """Old rows as a batch. Without marks: they say nothing about how fresh their stream is."""
    encoded = [row.encoded for row in rows]
    return Batch(
        table=table_of_kind(kind),
        rows=encoded,
        size_bytes=sum(map(len, encoded)),
        marks={},
        gaps=(),
        oldest_recv_ns=None,
        newest_recv_ns=None,
    )
