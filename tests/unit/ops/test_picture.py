"""`ingest.ops.picture`: what the page shows, as the same facts give it elsewhere."""

from dataclasses import replace
from typing import Any

import orjson

from ingest.board.layout import FeedState, FeedValues, StreamState
from ingest.events import StreamKey
from ingest.ops.page_records import IncidentRecord, PageRecords
from ingest.ops.picture import NO_ROW, Detail, Known, Picture, make_picture
from ingest.ops.vigil_facts import VigilFacts
from ingest.store.ledger import OpenGap
from ingest.supervisor.freshness import ServiceFacts, judged
from tests.unit.board.builders import (
    BTC_DEPTH,
    BTC_TRADE,
    ETH_TRADE,
    NOW_WALL_NS,
    RUNNING,
    a_board,
    a_shard,
    a_stream,
    ago_ns,
    ago_us,
    never_seen,
    some_facts,
)
from tests.unit.ops.test_metrics import full_vigil


def pictured(
    facts: ServiceFacts | None = None, *, vigil: VigilFacts | None = None, records: PageRecords | None = None
) -> Picture:
    known = Known(
        judged=judged(facts or some_facts()),
        vigil=vigil,
        records=records or PageRecords(),
        kind_limits_s={"depth": 2.0},
    )
    return make_picture(known, 7)


def whole_of(
    facts: ServiceFacts | None = None, *, vigil: VigilFacts | None = None, records: PageRecords | None = None
) -> dict[str, Any]:
    """What the page is sent of it beside the streams."""
    whole: dict[str, Any] = orjson.loads(orjson.dumps(pictured(facts, vigil=vigil, records=records).whole))
    return whole


def test_streams_stand_in_columns_of_one_order() -> None:
    """Name, age in tenths of a second, and the rest; a stream without a row has no age."""
    board = a_board(
        {
            BTC_TRADE: a_stream(age_s=1.25, reconnects=3),
            BTC_DEPTH: a_stream(age_s=4, state=StreamState.SUSPECT),
            ETH_TRADE: never_seen(),
        }
    )
    picture = pictured(some_facts(a_shard(board), open_gaps={BTC_TRADE: 2}))

    assert picture.names == ("spot:BTCUSDT:trade", "spot:BTCUSDT:depth", "spot:ETHUSDT:trade")
    assert picture.ages_ds == (12, 40, NO_ROW)
    assert picture.details[0] == Detail("live", "", False, 60.0, 0, 0, 2, 3, None, None)
    assert [detail.is_not_fresh for detail in picture.details] == [False, True, True]
    assert picture.details[1].limit_s == 2.0


def test_whole_says_the_same_as_freshz_and_readyz() -> None:
    """The line, the reasons and the count are the health answers'."""
    whole = pictured(some_facts(a_shard(a_board({BTC_TRADE: a_stream(age_s=300)})))).whole

    assert (whole["level"], whole["not_fresh"]) == ("warn", 1)
    assert whole["line"] == "Some data are not fresh: 1 of 1 streams."
    assert whole["reasons"] == ["spot:BTCUSDT:trade: newest row is 300.0 s old, limit 60 s (live)"]
    assert whole["states"] == {"live": 1}
    assert whole["at_ms"] == NOW_WALL_NS // 1_000_000


def test_shard_tells_what_its_board_says() -> None:
    """Waiting rows in memory and on disk, lag, books, repairs."""
    header = RUNNING._replace(
        buffered_rows=10, spooled_rows=5, oldest_buffered_recv_ns=ago_ns(4), repairs_closed=3
    )
    (shard,) = whole_of(some_facts(a_shard(a_board(header=header))))["shards"]

    assert (shard["waiting_rows"], shard["spooled_rows"], shard["waiting_s"]) == (10, 5, 4.0)
    assert (shard["lag_ms"], shard["repairs_closed"], shard["doubt"]) == (0.2, 3, "")


def test_shard_that_does_not_run_tells_nothing_of_its_board_or_feeds() -> None:
    """What stands there was true of a process that is no more."""
    whole = whole_of(some_facts(a_shard(a_board(), running=False, crash_looping=True)))

    assert whole["shards"] == [
        {
            "shard": 0,
            "doubt": "is crashing again and again",
            "quarantined": True,
            "pid": None,
            "restarts": 0,
            "streams": 1,
        }
    ]
    assert whole["feeds"] == []


def test_feed_has_its_ends_by_reason() -> None:
    """Those that have happened."""
    feed = FeedValues(
        feed=3, state=FeedState.LIVE, reconnects=3, ends_rotation=2, ends_half_open=1, close_code=1006
    )
    board = replace(a_board(), feeds=(feed,))
    (told,) = whole_of(some_facts(a_shard(board)))["feeds"]

    assert (told["feed"], told["state"], told["connected_ms"]) == (3, "live", None)
    assert (told["ends"], told["close_code"]) == ({"half_open": 1, "rotation": 2}, 1006)


def test_gaps_are_counted_and_the_oldest_named() -> None:
    """How many ids are missing is said where ids are consecutive."""
    gaps = (
        OpenGap(BTC_TRADE, 10, 19, "disconnect", ago_us(60)),
        OpenGap(StreamKey("spot", "BTCUSDT", "kline_1m"), 0, 60_000, "restart", ago_us(1)),
        OpenGap(BTC_DEPTH, None, None, "audit", ago_us(1)),
    )
    facts = some_facts(open_gaps={BTC_TRADE: 1, BTC_DEPTH: 4})
    told = whole_of(facts, records=PageRecords(gaps=gaps))["gaps"]

    assert (told["open"], told["streams"]) == (5, 2)
    assert told["oldest"][0] == {
        "stream": "spot:BTCUSDT:trade",
        "cause": "disconnect",
        "missing": 10,
        "age_s": 60.0,
    }
    assert [gap["missing"] for gap in told["oldest"]] == [10, None, None]


def test_incident_is_dated_by_the_wall_clock() -> None:
    """An open one has no end."""
    record = IncidentRecord(4, "feed 3", "half_open", "no ping", "alert", 9, 90.0, 30.0, ("step alert",))
    still = record._replace(ended_s=None)
    first, second = whole_of(records=PageRecords(incidents=(record, still)))["incidents"]

    now_ms = NOW_WALL_NS // 1_000_000
    assert (first["opened_ms"], first["ended_ms"], second["ended_ms"]) == (
        now_ms - 90_000,
        now_ms - 30_000,
        None,
    )


def test_picture_without_a_vigil_has_its_parts_empty() -> None:
    """Before the shards are planned; with one, budgets and disk are as it tells them."""
    before, after = whole_of(), whole_of(vigil=full_vigil())

    assert (before["budgets"], before["exchange"]) == ([], {})
    assert after["budgets"] == [["weight", 420, 5_100]]
    assert after["disk"] == {"free_bytes": {"database": 51, "spool": 52}, "full_in_s": 53.0}


def test_all_of_it_is_json() -> None:
    """Nothing in it is of a kind that could not be sent."""
    assert whole_of(vigil=full_vigil())["level"] == "good"
