"""The tables of how rows are kept. Pure."""

from typing import Annotated, TypeAlias

from pydantic import (
    Field,
)

from ingest.config.vocabulary import Section

ChunkHours: TypeAlias = Annotated[float, Field(ge=1, le=8_760)]
KeepDays: TypeAlias = Annotated[float, Field(ge=0, le=36_500)]


class ChunkSection(Section):
    """Hours that one chunk of a hypertable spans; partitions of plain tables span a day or a month.

    A day where rows come fast: the indexes of what is written to should fit into a quarter of memory.
    """

    trade: ChunkHours = 24.0
    """Of `spot.trades`."""
    agg_trade: ChunkHours = 24.0
    """Of `spot.agg_trades`."""
    book_ticker: ChunkHours = 24.0
    """Of `spot.book_tickers`."""
    depth: ChunkHours = 24.0
    """Of deltas and of stored books."""
    kline: ChunkHours = 720.0
    """Of the exchange's candles, which are few."""
    ticker: ChunkHours = 168.0
    """Of `mini_ticker` too."""
    avg_price: ChunkHours = 168.0
    """Of average prices, one a second at most."""


class KeepSection(Section):
    """Days that rows are kept, dropped whole chunks at a time; 0: for ever.

    Depth is the most by far and serves replays of the near past; candles grow the less the longer they span.
    """

    trade: KeepDays = 90.0
    """Candles made of them are kept longer."""
    agg_trade: KeepDays = 90.0
    """As trades."""
    book_ticker: KeepDays = 90.0
    """As trades; the most rows beside depth."""
    depth: KeepDays = 7.0
    """Deltas and stored books: most of the bytes."""
    kline: KeepDays = 0.0
    """The exchange's candles, few rows."""
    ticker: KeepDays = 90.0
    """`mini_ticker` too."""
    avg_price: KeepDays = 90.0
    """As tickers."""
    candle_1s: KeepDays = 30.0
    """Of our own candles those that grow fastest: 86,400 a day and symbol."""
    candle_1m: KeepDays = 730.0
    """Two years, to compare with the year before."""
    candle_1h: KeepDays = 0.0
    """24 a day and symbol."""
    candle_1d: KeepDays = 0.0
    """One a day and symbol."""


class StorageSection(Section):
    """How tables are kept; in force once `ingest migrate` has run (the embedded server: at each start)."""

    compress_after_s: Annotated[float, Field(ge=0, le=3_650 * 86_400)] = 86_400.0
    """Chunks older than this go to the columnstore, where the server has one; the exchange's candles after 40
    days. 0: none. A day, because repairs and the spool bring rows that late."""
    candle_window_days: Annotated[float, Field(ge=1, le=365)] = 3.0
    """How far back candles are made anew from trades that came late. Trades and candles must be kept a day
    longer."""
    chunk_hours: ChunkSection = ChunkSection()
    keep_days: KeepSection = KeepSection()
