"""A span of a stream's past by its ids, and persistence in asking for it."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, TypeVar

import click

from ingest.binance.rest import RestClient
from ingest.binance.streams import interval_of
from ingest.clock import SystemClock
from ingest.config import Settings, history_leaves, session_limits
from ingest.errors import IngestError
from ingest.events import StreamKey
from ingest.feed.backoff import Backoff, BackoffLimits
from ingest.sequence.backfill import OpenGap
from ingest.sequence.tracker import last_open_us, next_open_us
from ingest.shard.address_budget import open_budget
from ingest.shard.history import History
from ingest.store.postgres import PostgresSink

_ATTEMPTS: Final = 10
_NO_ROW_OF_THE_LEDGER: Final = 0

T = TypeVar("T")


class Bench(NamedTuple):
    """What a command that looks into the past works with."""

    rest: RestClient
    sink: PostgresSink


@asynccontextmanager
async def open_bench(settings: Settings, database_url: str, application: str) -> AsyncIterator[Bench]:
    """REST through the budget that a running service uses, too, and the database, its schema checked."""
    clock, rng = SystemClock(), random.SystemRandom()
    budget = open_budget(settings, clock=clock, rng=rng)
    limits = session_limits(settings)
    leaves = history_leaves(settings)
    try:
        async with (
            PostgresSink.opened(database_url, connections=1, application=application, limits=limits) as sink,
            RestClient(settings.spot.rest_url, budget, clock=clock, history_leaves=leaves) as rest,
        ):
            await sink.check_schema()
            yield Bench(rest, sink)
    finally:
        budget.close()


def span_or_wrong_use(
    since_us: int, until_us: int | None, *, default_us: int, now_us: int
) -> tuple[int, int]:
    """What --from and --to mean; BadParameter when nothing lies between. The future is nobody's yet."""
    if until_us is None:
        if since_us >= default_us:
            raise click.BadParameter("lies in the future, or is too young", param_hint="--from")
        return since_us, default_us
    if since_us >= until_us:
        raise click.BadParameter("must be before --to", param_hint="--from")
    if since_us >= now_us:
        raise click.BadParameter("lies in the future", param_hint="--from")
    return since_us, min(until_us, now_us)


async def persistently(operation: Callable[[], Awaitable[T]]) -> T:
    """Try again what time may heal, ever more slowly, and say so once; the last failure leaves as it is."""
    backoff = Backoff(BackoffLimits(), random.SystemRandom())
    for attempt in range(_ATTEMPTS - 1):
        try:
            return await operation()
        except IngestError as error:
            if not error.transient:
                raise
            if attempt == 0:
                click.echo(f"trying again: {error}", err=True)
        await asyncio.sleep(backoff.next_delay_s())
    return await operation()


async def span_of(
    history: History, key: StreamKey, from_us: int, to_us: int, *, now_us: int
) -> OpenGap | None:
    """What happened from one time up to, not including, another, as if all of it were missing.

    None when nothing did. Candles are those that open within and are closed by now.
    """
    if key.kind == "trade":
        ids = await _trade_ids(history, key.symbol, from_us, to_us)
    elif key.kind == "agg_trade":
        ids = await _agg_trade_ids(history, key.symbol, from_us, to_us)
    else:
        ids = await _candle_times(history, key, from_us, min(to_us, now_us), now_us=now_us)
    if ids is None or ids[0] > ids[1]:
        return None
    return OpenGap(_NO_ROW_OF_THE_LEDGER, key, *ids, from_us, to_us)


async def _trade_ids(history: History, symbol: str, from_us: int, to_us: int) -> tuple[int, int] | None:
    """Single trades cannot be asked for by time; aggregate trades can, and name those they are made of."""
    first = await history.agg_trades(symbol, start_ms=_ms(from_us), limit=1)
    if not first:
        return None
    beyond = await history.agg_trades(symbol, start_ms=_ms(to_us), limit=1)
    if beyond:
        return first[0].first_trade_id, beyond[0].first_trade_id - 1
    newest = await history.trades(symbol, limit=1)
    return first[0].first_trade_id, newest[-1].trade_id


async def _agg_trade_ids(history: History, symbol: str, from_us: int, to_us: int) -> tuple[int, int] | None:
    first = await history.agg_trades(symbol, start_ms=_ms(from_us), limit=1)
    if not first:
        return None
    beyond = await history.agg_trades(symbol, start_ms=_ms(to_us), limit=1)
    newest = beyond or await history.agg_trades(symbol, limit=1)
    return first[0].agg_trade_id, newest[-1].agg_trade_id - len(beyond)


async def _candle_times(
    history: History, key: StreamKey, from_us: int, to_us: int, *, now_us: int
) -> tuple[int, int] | None:
    """Opening times of the first and the last candle, in milliseconds."""
    interval = interval_of(key.kind)
    first = await history.klines(key.symbol, interval, start_ms=_ms(from_us), limit=1)
    if not first or first[0].open_time_us >= to_us:
        return None
    open_us = first[0].open_time_us
    last_us = last_open_us(open_us, to_us, interval)
    if next_open_us(last_us, interval) > now_us:
        last_us = last_open_us(open_us, last_us, interval)
        if next_open_us(last_us, interval) > now_us:
            return None
    return open_us // 1_000, last_us // 1_000


def _ms(time_us: int) -> int:
    """The first millisecond that does not begin before a time."""
    return -(-time_us // 1_000)
