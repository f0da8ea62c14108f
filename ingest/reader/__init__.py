"""For people and programs that only read: fast, typed, and never stale or incomplete by accident.

    from ingest.reader import AsyncReader, Reader

    with Reader.connect() as reader:                             # scripts and notebooks
        trades = reader.trades("BTCUSDT", timedelta(hours=1)).polars()

    async with AsyncReader.connect() as reader:                  # signal jobs
        async for trade in reader.follow("BTCUSDT"):
            ...

`AsyncReader` says on which terms both answer. Decides whether rows may be given (`checks`), and which come
next (`sequel`); writes nothing, and imports nothing of the side that ingests.
"""

from ingest.reader.answer import Answer
from ingest.reader.async_reader import AsyncReader
from ingest.reader.errors import IncompleteData, Missing, ReadRefused, StaleData, UnknownName
from ingest.reader.rows import AggTrade, BookState, BookTicker, DepthDelta, Hole, Kline, Trade
from ingest.reader.sync_reader import Reader

__all__ = [
    "AggTrade",
    "Answer",
    "AsyncReader",
    "BookState",
    "BookTicker",
    "DepthDelta",
    "Hole",
    "IncompleteData",
    "Kline",
    "Missing",
    "ReadRefused",
    "Reader",
    "StaleData",
    "Trade",
    "UnknownName",
]
