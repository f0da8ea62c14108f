"""The reader for scripts and notebooks: the same, without an event loop of the caller's.

An event loop of its own in a thread of its own does the work, so that it also works where a loop runs
already, as in Jupyter. Ctrl-C, or the notebook's stop button, ends what is being read.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal, TypeVar, Unpack, overload

from ingest.reader.answer import Answer
from ingest.reader.arrow import Prices
from ingest.reader.async_reader import AsyncReader
from ingest.reader.rows import AggTrade, BookState, BookTicker, DepthDelta, Row, Trade
from ingest.reader.terms import BookTerms, CandleTerms, PartTerms, ReplayTerms, TableTerms, Terms
from ingest.reader.times import MaxAge, When

_END_S: Final = 10.0
_AT_ONCE: Final = 256

T = TypeVar("T")


class _Loop:
    """An event loop in a thread; `run` is called from any other. `end` has to be called."""

    def __init__(self) -> None:
        self._runs = threading.Event()
        self._over = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._live, name="ingest-reader", daemon=True)
        self._thread.start()
        self._runs.wait()

    def _live(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._runs.set()
            runner.run(self._until_over())

    async def _until_over(self) -> None:
        await self._over.wait()

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """The result; what is being done is cancelled when the caller is interrupted."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def pulled(self, items: AsyncIterator[T], *, at_once: int) -> Iterator[T]:
        """The items of an asynchronous iterator, brought over some at a time."""
        try:
            while batch := self.run(_some(items, at_once)):
                yield from batch
        finally:
            self.run(_closed(items))

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_END_S)


async def _some(items: AsyncIterator[T], at_once: int) -> list[T]:
    found: list[T] = []
    async for item in items:
        found.append(item)
        if len(found) >= at_once:
            break
    return found


async def _closed(items: AsyncIterator[T]) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()


class Reader:
    """As `AsyncReader`, which says what every method gives, takes and refuses. Made by `connect`."""

    def __init__(self, reader: AsyncReader, loop: _Loop) -> None:
        """For `connect`."""
        self._reader = reader
        self._loop = loop

    @classmethod
    @contextmanager
    def connect(
        cls,
        url: str | None = None,
        *,
        data_dir: str | Path | None = None,
        prices: Prices = "float",
        connect_timeout_s: float = 10.0,
        statement_timeout_s: float = 300.0,
    ) -> Iterator["Reader"]:
        """See `AsyncReader.connect`."""
        loop, stack = _Loop(), AsyncExitStack()
        opened = AsyncReader.connect(
            url,
            data_dir=data_dir,
            prices=prices,
            connections=2,
            connect_timeout_s=connect_timeout_s,
            statement_timeout_s=statement_timeout_s,
        )
        try:
            reader = loop.run(stack.enter_async_context(opened))
            try:
                yield cls(reader, loop)
            finally:
                loop.run(stack.aclose())
        finally:
            loop.end()

    def trades(
        self, symbol: str, start: When, end: When | None = None, **terms: Unpack[TableTerms]
    ) -> Answer:
        """Single trades of a span, ordered by ts and trade_id; `buyer_is_maker`: the aggressor sold."""
        return self._loop.run(self._reader.trades(symbol, start, end, **terms))

    def agg_trades(
        self, symbol: str, start: When, end: When | None = None, **terms: Unpack[TableTerms]
    ) -> Answer:
        """Trades of one taker order at one price each, of a span, ordered by ts and agg_trade_id."""
        return self._loop.run(self._reader.agg_trades(symbol, start, end, **terms))

    def book_tickers(
        self, symbol: str, start: When, end: When | None = None, **terms: Unpack[TableTerms]
    ) -> Answer:
        """Best bid and ask at each change in a span, ordered by ts, which is our receive time."""
        return self._loop.run(self._reader.book_tickers(symbol, start, end, **terms))

    def klines(
        self, symbol: str, interval: str, start: When, end: When | None = None, **terms: Unpack[CandleTerms]
    ) -> Answer:
        """The exchange's candles that open in a span and are closed; `with_open`: the running one, too."""
        return self._loop.run(self._reader.klines(symbol, interval, start, end, **terms))

    def candles(
        self, symbol: str, interval: str, start: When, end: When | None = None, **terms: Unpack[CandleTerms]
    ) -> Answer:
        """Candles made of the stored trades (1s, 1m, 1h, 1d) that open in a span and are over."""
        return self._loop.run(self._reader.candles(symbol, interval, start, end, **terms))

    def iter_trades(
        self, symbol: str, start: When, end: When | None = None, **terms: Unpack[PartTerms]
    ) -> Iterator[Answer]:
        """As `trades`, in parts: see `AsyncReader.iter_trades`."""
        return self._loop.pulled(self._reader.iter_trades(symbol, start, end, **terms), at_once=1)

    def iter_agg_trades(
        self, symbol: str, start: When, end: When | None = None, **terms: Unpack[PartTerms]
    ) -> Iterator[Answer]:
        """As `agg_trades`, in parts: see `AsyncReader.iter_trades`."""
        return self._loop.pulled(self._reader.iter_agg_trades(symbol, start, end, **terms), at_once=1)

    def iter_book_tickers(
        self, symbol: str, start: When, end: When | None = None, **terms: Unpack[PartTerms]
    ) -> Iterator[Answer]:
        """As `book_tickers`, in parts: see `AsyncReader.iter_trades`."""
        return self._loop.pulled(self._reader.iter_book_tickers(symbol, start, end, **terms), at_once=1)

    def book_at(self, symbol: str, at: When | None = None, **terms: Unpack[BookTerms]) -> BookState:
        """The book at a moment (None: the newest), its best `levels` a side (20)."""
        return self._loop.run(self._reader.book_at(symbol, at, **terms))

    def book_replay(
        self, symbol: str, start: When, end: When | None = None, **terms: Unpack[ReplayTerms]
    ) -> Iterator[BookState]:
        """The book at the start, then after each change before the end."""
        return self._loop.pulled(self._reader.book_replay(symbol, start, end, **terms), at_once=_AT_ONCE)

    @overload
    def latest(self, symbol: str, kind: Literal["trade"] = "trade", **terms: Unpack[Terms]) -> Trade: ...
    @overload
    def latest(self, symbol: str, kind: Literal["agg_trade"], **terms: Unpack[Terms]) -> AggTrade: ...
    @overload
    def latest(self, symbol: str, kind: Literal["book_ticker"], **terms: Unpack[Terms]) -> BookTicker: ...
    @overload
    def latest(self, symbol: str, kind: Literal["depth"], **terms: Unpack[Terms]) -> DepthDelta: ...
    @overload
    def latest(self, symbol: str, kind: Literal["book"], **terms: Unpack[Terms]) -> BookState: ...
    @overload
    def latest(self, symbol: str, kind: str, **terms: Unpack[Terms]) -> Row | BookState: ...
    def latest(self, symbol: str, kind: str = "trade", **terms: Unpack[Terms]) -> Row | BookState:
        """The newest row of a stream, or the published top of a "book", exact."""
        return self._loop.run(self._reader.latest(symbol, kind, **terms))

    def wait_fresh(
        self,
        streams: Iterable[tuple[str, str]],
        *,
        max_age: MaxAge | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Return as soon as all of these (symbol, kind) are fresh at once; StaleData after `timeout_s`."""
        self._loop.run(self._reader.wait_fresh(streams, max_age=max_age, timeout_s=timeout_s))

    def freshness(self, symbol: str | None = None, kind: str | None = None) -> Answer:
        """`ops.stream_freshness` now: state, diagnosis, ages in seconds; of one symbol or kind, or all."""
        return self._loop.run(self._reader.freshness(symbol, kind))

    def gaps(
        self,
        symbol: str | None = None,
        kind: str | None = None,
        start: When = timedelta(days=1),
        end: When | None = None,
        *,
        state: str | None = None,
    ) -> Answer:
        """The rows of the gap ledger that touch a span."""
        return self._loop.run(self._reader.gaps(symbol, kind, start, end, state=state))

    def completeness(self, symbol: str, start: When, end: When | None = None) -> Answer:
        """For each minute of a span: trades expected and stored, and whether it is complete."""
        return self._loop.run(self._reader.completeness(symbol, start, end))

    def incidents(self, start: When = timedelta(days=1), end: When | None = None) -> Answer:
        """What went wrong within a span, with diagnosis, evidence and each step."""
        return self._loop.run(self._reader.incidents(start, end))

    def instruments(self) -> Answer:
        """Every symbol that was ever ingested, as the exchange last described it."""
        return self._loop.run(self._reader.instruments())
