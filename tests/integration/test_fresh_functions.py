"""A query that must not answer from old data asks the database itself: by the clock, whoever has died."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from ingest.store.postgres import PostgresSink
from ingest.store.publish import StreamRow
from ingest.store.rhythms import forget_streams
from tests.rows import BTC_TRADE

S_US = 1_000_000
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def sink(migrated_url: str) -> AsyncIterator[PostgresSink]:
    """A sink on a database of the test's own."""
    async with PostgresSink.opened(migrated_url, connections=2) as opened:
        yield opened


async def server_us(sink: PostgresSink) -> int:
    """The server's clock, which is the one that ages are measured by."""
    async with sink.session() as connection:
        return int(await connection.fetchval("SELECT extract(epoch FROM clock_timestamp()) * 1000000"))


async def publish(
    sink: PostgresSink,
    *,
    event_s_ago: float | None = 1.0,
    quiet_s_ago: float | None = None,
    state: str = "live",
    diagnosis: str = "",
    trades_behind: int | None = None,
) -> None:
    """The row as the supervisor writes it."""
    now_us = await server_us(sink)

    def at(s_ago: float | None) -> int | None:
        return None if s_ago is None else now_us - int(s_ago * S_US)

    row = StreamRow(
        BTC_TRADE,
        0,
        "0",
        state,
        diagnosis,
        at(event_s_ago),
        at(0.1),
        at(event_s_ago),
        60.0,
        at(quiet_s_ago),
        0,
        0,
    )
    await sink.publish_stream_states([row._replace(trades_behind=trades_behind)])


async def is_fresh(sink: PostgresSink, max_age: timedelta = MINUTE, symbol: str = "BTCUSDT") -> bool:
    async with sink.session() as connection:
        return bool(
            await connection.fetchval("SELECT ops.is_fresh('spot', $1, 'trade', $2)", symbol, max_age)
        )


async def refusal(
    sink: PostgresSink, max_age: timedelta = MINUTE, symbol: str = "BTCUSDT"
) -> asyncpg.PostgresError | None:
    """What `require_fresh` raises; None when it lets the query go on."""
    async with sink.session() as connection:
        try:
            await connection.execute("SELECT ops.require_fresh('spot', $1, 'trade', $2)", symbol, max_age)
        except asyncpg.PostgresError as error:
            return error
    return None


async def test_young_stream_is_fresh(sink: PostgresSink) -> None:
    """Both functions let it pass."""
    await publish(sink)

    assert await is_fresh(sink)
    assert await refusal(sink) is None


async def test_stream_grows_stale_though_nobody_writes_it_down(sink: PostgresSink) -> None:
    """The row still says live: whoever would write otherwise is dead."""
    await publish(sink)
    async with sink.session() as connection:
        await connection.execute(
            "UPDATE ops.stream_state SET last_event_ts = last_event_ts - interval '2 min'"
        )

    assert not await is_fresh(sink)
    assert await is_fresh(sink, timedelta(minutes=5))
    assert await refusal(sink) is not None


async def test_stream_that_is_said_to_be_stale_is_judged_by_its_age_alone(sink: PostgresSink) -> None:
    """Who names an age asks about the rows."""
    await publish(sink, state="stale", diagnosis="half_open")

    assert await is_fresh(sink)
    assert not await is_fresh(sink, timedelta(milliseconds=500))


async def test_verified_quiet_counts_as_fresh(sink: PostgresSink) -> None:
    """Up to the proof the table has all that there is."""
    await publish(sink, event_s_ago=3_600.0, quiet_s_ago=10.0, state="quiet")
    assert await is_fresh(sink)
    assert await refusal(sink) is None

    await publish(sink, event_s_ago=3_600.0, quiet_s_ago=100.0, state="quiet")
    assert not await is_fresh(sink)
    assert await refusal(sink) is not None


async def test_row_younger_than_an_old_proof_counts(sink: PostgresSink) -> None:
    """The newer of both."""
    await publish(sink, event_s_ago=1.0, quiet_s_ago=3_600.0)

    assert await is_fresh(sink)


async def test_stream_without_any_row_is_not_fresh(sink: PostgresSink) -> None:
    """It is known and has nothing yet."""
    await publish(sink, event_s_ago=None, state="starting")
    refused = await refusal(sink)

    assert not await is_fresh(sink, timedelta(days=10_000))
    assert refused is not None
    assert refused.sqlstate == "ST001"
    assert "without any row" in str(refused)


async def test_proof_of_quiet_is_enough_without_any_row(sink: PostgresSink) -> None:
    """A symbol that has not traded since it was listed is complete."""
    await publish(sink, event_s_ago=None, quiet_s_ago=5.0, state="quiet")

    assert await is_fresh(sink)


async def test_stale_refusal_names_stream_age_limit_state_and_diagnosis(sink: PostgresSink) -> None:
    """With a SQLSTATE of its own, so that programs need not read the words."""
    await publish(sink, event_s_ago=90.0, state="stale", diagnosis="half_open")
    refused = await refusal(sink)

    assert refused is not None
    assert refused.sqlstate == "ST001"
    text = str(refused)
    assert text.startswith("stale data: spot:BTCUSDT:trade is 00:01:3")
    for part in ("00:01:00 are allowed", "state stale", "diagnosis half_open", "last looked at 20"):
        assert part in text
    assert "ops.stream_freshness" in str(refused.as_dict()["hint"])


async def test_refusal_without_a_diagnosis_says_so(sink: PostgresSink) -> None:
    """An empty word would read like a mistake."""
    await publish(sink, event_s_ago=90.0)

    assert "diagnosis none" in str(await refusal(sink))


@pytest.mark.parametrize("symbol", ["NOSUCHUSDT", "btcusdt"])
async def test_unknown_stream_is_refused_by_another_name(sink: PostgresSink, symbol: str) -> None:
    """Not ingested is not stale; symbols are in upper case."""
    await publish(sink)
    refused = await refusal(sink, symbol=symbol)

    assert not await is_fresh(sink, symbol=symbol)
    assert refused is not None
    assert refused.sqlstate == "ST002"
    assert f"spot:{symbol}:trade is not ingested" in str(refused)


async def test_stream_that_was_forgotten_is_unknown(sink: PostgresSink) -> None:
    """As after its delisting."""
    await publish(sink)
    async with sink.session() as connection:
        await forget_streams(connection, [])
        assert await connection.fetchval("SELECT count(*) FROM ops.stream_freshness") == 1
        await forget_streams(connection, [BTC_TRADE])
    refused = await refusal(sink)

    assert refused is not None
    assert refused.sqlstate == "ST002"


async def test_query_behind_the_guard_does_not_answer(sink: PostgresSink) -> None:
    """The refusal ends the statement that it guards."""
    await publish(sink, event_s_ago=90.0)
    guarded = (
        "WITH guard AS MATERIALIZED (SELECT ops.require_fresh('spot', 'BTCUSDT', 'trade', '1 min'))"
        " SELECT count(*) FROM guard, spot.trades"
    )
    async with sink.session() as connection:
        with pytest.raises(asyncpg.PostgresError) as refused:
            await connection.fetchval(guarded)

    assert refused.value.sqlstate == "ST001"


@pytest.mark.parametrize("behind", [None, 0, 17])
async def test_freshness_table_tells_how_many_trades_it_is_behind(
    sink: PostgresSink, behind: int | None
) -> None:
    """By the newest sweep; null when there was none."""
    await publish(sink, trades_behind=behind)
    async with sink.session() as connection:
        row = await connection.fetchrow("SELECT age_s, trades_behind FROM ops.stream_freshness")

    assert row is not None
    assert row["trades_behind"] == behind
    assert 1.0 <= row["age_s"] < 60.0
