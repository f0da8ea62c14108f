"""The exchange's REST service through python-binance, behind the budget that all shards share.

Each call first takes its weight from the budget, then asks with a deadline. The exchange's own count
(`X-MBX-USED-WEIGHT-1M`) is read from every answer and goes back into the budget; a 429 or 418 starts
the ban clock of the whole address. Nothing is retried here: callers know what a retry is worth.

python-binance is used for its requests alone. Its client takes no base address, so the class
attribute is overridden on the instance; its `response` attribute belongs to the last answer of any
task, so headers are read by an aiohttp trace instead; and since `create()` asks two questions that
nobody needs, it is built directly.
"""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace, TracebackType
from typing import Self, TypeVar
from urllib.parse import quote, unquote

import aiohttp
import orjson
import structlog
from binance import AsyncClient
from binance.exceptions import BinanceAPIException, BinanceRequestException

from ingest.binance import limits, parse
from ingest.clock import Clock
from ingest.errors import ExchangeError, LocationRefused, RateLimited, RestRefused, RestUnavailable
from ingest.events import AggTrade, DepthSnapshot, Kline, Trade
from ingest.feed.budget_file import Budget, SharedBudget

log = structlog.get_logger()

Answer = TypeVar("Answer")

_WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"
_DEFAULT_WAIT_S = {429: 60.0, 418: 120.0}
"""How long to be quiet when the answer does not say: the shortest ban is two minutes."""
_SHOWN_CHARACTERS = 80
"""Of the symbols that were asked for, in messages."""


class RestClient:
    """Use as an async context manager inside the running loop."""

    def __init__(
        self,
        base_url: str,
        budget: SharedBudget,
        *,
        clock: Clock,
        timeout_s: float = 10.0,
        history_leaves: int = 0,
    ) -> None:
        """`history_leaves` is the weight that questions about the past leave to all others, each minute."""
        self._base_url = base_url
        self._budget = budget
        self._clock = clock
        self._timeout_s = timeout_s
        self._history_leaves = history_leaves
        self._client: AsyncClient | None = None

    async def __aenter__(self) -> Self:
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._on_request_end)
        self._client = AsyncClient(loop=asyncio.get_running_loop(), session_params={"trace_configs": [trace]})
        self._client.API_URL = f"{self._base_url}/api"
        # aiohttp asks again by itself when the server hangs up: weight that nobody has counted. There is
        # no public switch.
        self._client.session._retry_connection = False
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.close_connection()

    def banned_for_s(self) -> float:
        """Seconds until the exchange may be asked again, as far as any process has been told; else 0."""
        return self._budget.banned_for_s()

    async def server_time_ms(self) -> int:
        """The exchange's clock, milliseconds since the epoch (weight 1)."""
        return await self._get("time", {}, limits.WEIGHTS["time"], parse.rest_time)

    async def exchange_info(
        self, symbols: Sequence[str] | None = None, *, only_trading: bool = True
    ) -> list[parse.Instrument]:
        """All instruments in status TRADING, or the named ones whatever their status (weight 20).

        Without `only_trading` all instruments, whatever their status. Raises RestRefused when a named
        symbol does not exist.
        """
        query = {"showPermissionSets": "false"}
        if symbols is not None:
            query["symbols"] = _json_list(symbols)
        elif only_trading:
            query["symbolStatus"] = "TRADING"
        return await self._get(
            "exchangeInfo", query, limits.WEIGHTS["exchangeInfo"], parse.rest_exchange_info
        )

    async def day_stats(self, symbols: Sequence[str] | None = None) -> list[parse.DayStats]:
        """The rolling 24 h statistics of the named symbols, or of all (weight 2 to 80)."""
        query = {"type": "FULL"}
        if symbols is not None:
            query["symbols"] = _json_list(symbols)
        weight = limits.day_ticker_weight(len(symbols) if symbols is not None else limits.ALL_SYMBOLS)
        return await self._get("ticker/24hr", query, weight, parse.rest_ticker_24h)

    async def book_tickers(self, symbols: Sequence[str] | None = None) -> list[parse.BestPrices]:
        """The best prices of the named symbols, or of all (weight 2 or 4)."""
        query = {} if symbols is None else {"symbols": _json_list(symbols)}
        weight = limits.book_ticker_weight(len(symbols) if symbols is not None else limits.ALL_SYMBOLS)
        return await self._get("ticker/bookTicker", query, weight, parse.rest_book_tickers)

    async def depth(self, symbol: str, limit: int) -> DepthSnapshot:
        """The book of one symbol, `limit` levels a side (weight 5 to 250)."""
        query = {"symbol": symbol, "limit": str(limit)}

        def snapshot(body: object) -> DepthSnapshot:
            return parse.rest_depth(body, symbol, self._clock.wall_ns(), limit=limit)

        return await self._get("depth", query, limits.depth_weight(limit), snapshot)

    # ------------------------------------------------------------------ the past

    async def trades(
        self, symbol: str, *, from_id: int | None = None, limit: int = limits.MAX_ROWS
    ) -> list[Trade]:
        """Trades from an id on, ascending, or the newest ones (weight 25). Needs no key since 2023-07."""

        def read(body: object) -> list[Trade]:
            return parse.rest_trades(body, symbol, self._clock.wall_ns())

        return await self._past("historicalTrades", _query(symbol, limit, fromId=from_id), read)

    async def agg_trades(
        self,
        symbol: str,
        *,
        from_id: int | None = None,
        start_ms: int | None = None,
        limit: int = limits.MAX_ROWS,
    ) -> list[AggTrade]:
        """Aggregate trades from an id or a time on, ascending, or the newest ones (weight 4)."""

        def read(body: object) -> list[AggTrade]:
            return parse.rest_agg_trades(body, symbol, self._clock.wall_ns())

        query = _query(symbol, limit, fromId=from_id, startTime=start_ms)
        return await self._past("aggTrades", query, read)

    async def klines(
        self, symbol: str, interval: str, *, start_ms: int, limit: int = limits.MAX_ROWS
    ) -> list[Kline]:
        """Candles that open at or after a time, ascending, the open one included (weight 2)."""

        def read(body: object) -> list[Kline]:
            return parse.rest_klines(body, symbol, interval, self._clock.wall_ns())

        query = {**_query(symbol, limit, startTime=start_ms), "interval": interval}
        return await self._past("klines", query, read)

    async def _past(
        self, path: str, query: dict[str, str], read: Callable[[object], list[Answer]]
    ) -> list[Answer]:
        return await self._get(path, query, limits.WEIGHTS[path], read, leaving=self._history_leaves)

    async def _get(
        self,
        path: str,
        query: dict[str, str],
        weight: int,
        read: Callable[[object], Answer],
        *,
        leaving: int = 0,
    ) -> Answer:
        """One request. Raises ExchangeError's classes and BudgetExhausted."""
        if self._client is None:
            raise RuntimeError("RestClient is used outside its `async with`")
        await self._budget.acquire(Budget.WEIGHT, weight, leaving=leaving)
        await self._budget.acquire(Budget.REQUESTS)
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._client._get(path, data=query)
        except BinanceAPIException as error:
            raise await self._refusal(path, query, error) from error
        except (BinanceRequestException, aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise RestUnavailable(f"{path}: {type(error).__name__}: {error}") from error
        try:
            return read(body)
        except parse.MalformedFrame as error:
            raise RestUnavailable(f"{path}: {error}") from error

    async def _refusal(self, path: str, query: dict[str, str], error: BinanceAPIException) -> ExchangeError:
        status = int(error.status_code)
        if status in _DEFAULT_WAIT_S:
            wait_s = _retry_after_s(error.response, _DEFAULT_WAIT_S[status])
            await self._budget.ban(wait_s)
            log.warning("rest.banned", path=path, status=status, wait_s=wait_s)
            return RateLimited(status, wait_s)
        if status == 451:
            return LocationRefused(f"{self._base_url} refuses this location (HTTP 451)")
        # A 403 comes from the firewall, with an HTML body that says nothing; it heals with time.
        if status >= 500 or status in {403, 408}:
            return RestUnavailable(f"{path}: HTTP {status}")
        message = f"{_asked(path, query)}: HTTP {status}: {error.code} {error.message}"
        return RestRefused(message, code=int(error.code))

    async def _on_request_end(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, ended: aiohttp.TraceRequestEndParams
    ) -> None:
        used = ended.response.headers.get(_WEIGHT_HEADER, "")
        if used.isdecimal():
            await self._budget.observe_weight(int(used))


def _query(symbol: str, limit: int, **bounds: int | None) -> dict[str, str]:
    given = {name: str(value) for name, value in bounds.items() if value is not None}
    return {"symbol": symbol, "limit": str(limit), **given}


def _asked(path: str, query: dict[str, str]) -> str:
    """The call and whom it was about, for messages."""
    symbols = query.get("symbol") or unquote(query.get("symbols", ""))
    return f"{path} {symbols[:_SHOWN_CHARACTERS]}" if symbols else path


def _json_list(symbols: Sequence[str]) -> str:
    # python-binance percent-encodes `symbol` alone; brackets, quotes and non-ASCII letters are ours.
    return quote(orjson.dumps(list(symbols)).decode(), safe="")


def _retry_after_s(response: aiohttp.ClientResponse, default_s: float) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() and int(text) > 0 else default_s
