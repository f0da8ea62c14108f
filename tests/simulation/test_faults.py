"""Each fault of the exchange is survived: the stream goes on, the book is right, every loss is known.

Every symbol has a feed of its own here, so that each fault meets a feed that has not been through one
before (and is dialled again at once), and all faults share one start of the service.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import pytest

from ingest.board.layout import FeedValues
from tests.simulation.comparison import (
    assert_book_equals_the_exchange,
    assert_nothing_missing_unnoticed,
    assert_nothing_twice,
    gap_ranges,
)
from tests.simulation.service import Double, Service, a_double, a_service, wait_until

KINDS = ["trade", "agg_trade", "book_ticker", "depth"]
STALE_AFTER_S = 4.0
PING_INTERVAL_S = 2
SYMBOLS = 32
RATE = 2_500


class Exchange(NamedTuple):
    """One service on one double, and the symbols that no fault has met yet, busiest last."""

    service: Service
    double: Double
    unhurt: list[str]


class Victim(NamedTuple):
    """The symbol that a fault meets, alone on its feed."""

    service: Service
    double: Double
    symbol: str
    feed: int
    since: datetime

    def fault(self, action: str, **fields: object) -> int:
        return self.double.fault(action, symbol=self.symbol, **fields)

    def wait_touched(self, fault_id: int, times: int = 1) -> None:
        """Until the fault has struck so often."""
        wait_until("the fault strikes", lambda: self.double.touched(fault_id) >= times)

    def ended_sessions(self) -> list[tuple[str, int | None]]:
        """(reason, close code) of the connections of this feed that ended since the fault."""
        sql = (
            "SELECT reason, close_code FROM ops.feed_sessions"
            " WHERE feed = $1 AND closed_at >= $2 ORDER BY closed_at"
        )
        return [
            (row["reason"], row["close_code"]) for row in self.service.rows(sql, str(self.feed), self.since)
        ]

    def wait_session_ended(self) -> tuple[str, int | None]:
        """The first connection's end since the fault."""
        return wait_until("the connection ends", self.ended_sessions)[0]

    def freshness(self, kind: str) -> tuple[str, str]:
        """(state, diagnosis) of one of its streams, now."""
        sql = "SELECT state, diagnosis FROM ops.stream_freshness WHERE symbol = $1 AND kind = $2"
        (row,) = self.service.rows(sql, self.symbol, kind)
        return row["state"], row["diagnosis"]

    def all_are(self, state: str, diagnosis: str) -> bool:
        return all(self.freshness(kind) == (state, diagnosis) for kind in KINDS)

    def feed_values(self) -> FeedValues:
        return next(f for board in self.service.boards() for f in board.feeds if f.feed == self.feed)

    def wait_for_more(self) -> None:
        """Until something newer than now is stored of every stream, and the book is live."""
        for table, column in (
            ("trades", "trade_id"),
            ("agg_trades", "agg_trade_id"),
            ("depth_deltas", "final_update_id"),
            ("book_tickers", "update_id"),
        ):
            newest = partial(self.service.newest, table, column, self.symbol)
            wait_until(f"{table} of {self.symbol} go on", partial(_is_above, newest, newest()))

    def assert_recovers(self) -> None:
        """What every fault ends in."""
        self.wait_for_more()
        assert_book_equals_the_exchange(self.service, self.double, self.symbol)
        assert_nothing_missing_unnoticed(self.service, self.double, [self.symbol])
        assert_nothing_twice(self.service)


def _is_above(now: Callable[[], int], before: int) -> bool:
    return now() > before


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    """Two shards with a feed for each symbol; every stream has spoken and every book is live."""
    folder = tmp_path_factory.mktemp("faults")
    options = (
        *("--no-recording", "--symbols", str(SYMBOLS), "--rate", str(RATE)),
        *("--ping-interval", str(PING_INTERVAL_S)),
    )
    silence = dict.fromkeys(("trade", "agg_trade", "book_ticker", "depth"), STALE_AFTER_S)
    spot = {"symbols": "*", "kinds": KINDS, "streams_per_feed": len(KINDS)}
    sections: dict[str, Mapping[str, object]] = {"spot": spot, "silence": {"fixed_s": silence}}
    with a_double(folder, *options) as double, a_service(folder, double, **sections) as service:
        wait_until("every symbol has trades", lambda: len(double.happened("trade")) == SYMBOLS)
        service.wait_books_live()
        trades = double.happened("trade")
        yield Exchange(service, double, sorted(trades, key=lambda symbol: trades[symbol]))
        # Whatever was survived, no limit of the exchange was broken meanwhile.
        assert double.violations() == {}


@pytest.fixture
def victim(exchange: Exchange) -> Victim:
    """The busiest symbol that is still unhurt, so that nothing of it is silent by chance."""
    service, double, unhurt = exchange
    symbol = unhurt.pop()
    sql = "SELECT feed::integer FROM ops.stream_freshness WHERE symbol = $1 AND kind = 'trade'"
    feed = wait_until("the feed is known", lambda: service.rows(sql, symbol))[0][0]
    service.wait_for_trades_after(symbol, -1)
    return Victim(service, double, symbol, feed, service.value("SELECT now()"))


# --- connections ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "fields", "reason", "code"),
    [
        ("close", {"code": 1008, "reason": "Pong timeout"}, "closed_by_exchange: Pong timeout", 1008),
        ("close", {"code": 1001}, "closed_by_exchange", 1001),
        ("server_shutdown", {"close_after_s": 3.0}, "server_shutdown", None),
    ],
    ids=["close-1008", "close-1001", "server-shutdown"],
)
def test_connection_that_the_exchange_ends_is_replaced(
    victim: Victim, action: str, fields: dict[str, Any], reason: str, code: int | None
) -> None:
    """Its end is recorded with reason and code, and what was missed meanwhile is known."""
    victim.fault(action, **fields)

    assert victim.wait_session_ended() == (reason, code)
    victim.assert_recovers()


def test_connection_that_is_reset_is_replaced(victim: Victim) -> None:
    """A TCP reset ends the session without a code of the exchange's."""
    victim.fault("reset")

    reason, _ = victim.wait_session_ended()
    assert reason.startswith(("connection_lost", "protocol_error"))
    victim.assert_recovers()


def test_half_open_connection_is_replaced(victim: Victim) -> None:
    """A server that neither sends nor closes is noticed by the silence of its streams."""
    victim.fault("half_open")

    reason, _ = victim.wait_session_ended()
    assert reason.startswith("half_open: ")
    victim.assert_recovers()


@pytest.mark.parametrize(("status", "times"), [(503, 3), (403, 2), (0, 2)], ids=["503", "403", "hung-up"])
def test_refused_connection_is_tried_again(victim: Victim, status: int, times: int) -> None:
    """A feed that is turned away comes back until it is let in."""
    refusal = victim.double.fault("refuse", status=status, n=times)
    victim.fault("reset")

    victim.wait_touched(refusal, times)
    victim.assert_recovers()


# --- silence ----------------------------------------------------------------------------------------


def test_mute_stream_is_noticed_and_named(victim: Victim) -> None:
    """One silent stream among speaking ones is stale, whatever its connection says, until it speaks."""
    mute = victim.fault("mute_stream", kind="trade", until="lifted")

    wait_until("it is stale", lambda: victim.freshness("trade") == ("stale", "stream_silent"))
    assert victim.freshness("depth")[1] == ""
    victim.double.lift(mute)
    wait_until("it is live", lambda: victim.freshness("trade") == ("live", ""))
    victim.assert_recovers()


def test_mute_stream_is_repaired_by_a_new_subscription(victim: Victim) -> None:
    """The first step of the ladder disturbs nobody: the connection stays, and the loss is known."""
    mute = victim.fault("mute_stream", kind="trade", until="resubscribe")

    victim.wait_touched(mute)
    wait_until("it is stale", lambda: victim.freshness("trade")[0] == "stale")
    victim.assert_recovers()
    assert victim.ended_sessions() == []
    assert gap_ranges(victim.service, victim.symbol, "trade")


def test_mute_stream_is_repaired_by_a_new_connection(victim: Victim) -> None:
    """The exchange forgot a subscription: a new connection brings the stream back, and the loss is known."""
    mute = victim.fault("mute_stream", kind="trade", until="reconnect")

    reason, _ = victim.wait_session_ended()
    assert reason.startswith(f"stream_silent: spot:{victim.symbol}:trade")
    victim.assert_recovers()
    assert victim.double.touched(mute) > 0
    assert gap_ranges(victim.service, victim.symbol, "trade")


def test_mute_feed_is_noticed_although_pings_go_on(victim: Victim) -> None:
    """A feed that answers pings and carries no data is stale as a whole, and says so."""
    mute = victim.fault("mute_feed", until="lifted")
    pinged_ns = victim.feed_values().last_ping_ns

    wait_until("all are stale", lambda: victim.all_are("stale", "feed_silent"))
    wait_until("pings go on", lambda: victim.feed_values().last_ping_ns > pinged_ns)
    victim.double.lift(mute)
    wait_until("all are live", lambda: victim.all_are("live", ""))
    victim.assert_recovers()


def test_mute_feed_is_repaired_by_a_new_connection(victim: Victim) -> None:
    """Data come again on the new connection, and what the mute one kept back is known."""
    mute = victim.fault("mute_feed", until="reconnect")

    reason, _ = victim.wait_session_ended()
    assert reason.startswith("feed_silent: ")
    victim.assert_recovers()
    assert victim.double.touched(mute) > 0
    assert gap_ranges(victim.service, victim.symbol, "depth")


# --- frames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["trade", "agg_trade", "depth"])
def test_lost_frames_are_in_the_gap_ledger(victim: Victim, kind: str) -> None:
    """A frame that never came is a gap with its ids, though the connection stayed up."""
    drop = victim.fault("drop", kind=kind, n=3)

    victim.wait_touched(drop, 3)
    victim.assert_recovers()
    assert gap_ranges(victim.service, victim.symbol, kind)
    assert victim.ended_sessions() == []


def test_frames_that_come_twice_are_stored_once(victim: Victim) -> None:
    """Repeated frames of all kinds change nothing."""
    duplicate = victim.fault("duplicate", for_s=2.0)

    victim.wait_touched(duplicate, 10)
    victim.assert_recovers()
    assert victim.service.rows("SELECT * FROM ops.gaps WHERE symbol = $1", victim.symbol) == []


@pytest.mark.parametrize(("kind", "by"), [("trade", 2), ("depth", 1)])
def test_frames_out_of_order_are_all_stored(victim: Victim, kind: str, by: int) -> None:
    """A late frame fills the gap that its absence opened."""
    reorder = victim.fault("reorder", kind=kind, n=2, by=by)

    victim.wait_touched(reorder, 2)
    victim.assert_recovers()
    sql = "SELECT count(*) FROM ops.gaps WHERE symbol = $1 AND state = 'open'"
    assert victim.service.value(sql, victim.symbol) == 0


@pytest.mark.parametrize(
    ("damage", "kind"),
    [("truncated", None), ("non_utf8", None), ("wrong_type", "trade"), ("unknown_event", "book_ticker")],
)
def test_damaged_frame_is_kept_for_inspection_and_stops_nothing(
    victim: Victim, damage: str, kind: str | None
) -> None:
    """The good frames around it are stored, the connection stays, the damaged one can be looked at."""
    sql = "SELECT count(*) FROM ops.quarantine WHERE feed = $1 AND at >= $2"
    malformed = victim.fault("malformed", damage=damage, kind=kind, n=4)

    victim.wait_touched(malformed, 4)
    wait_until("all are kept", lambda: victim.service.value(sql, str(victim.feed), victim.since) == 4)
    victim.assert_recovers()
    assert victim.ended_sessions() == []
    # Ids of book tickers do not tell that nothing is missing, so what the frame may have held is.
    sql = "SELECT * FROM ops.gaps WHERE symbol = $1 AND kind <> 'book_ticker'"
    assert victim.service.rows(sql, victim.symbol) == []


@pytest.mark.parametrize("kind", ["trade", "book_ticker"])
def test_frame_that_came_damaged_is_a_gap(victim: Victim, kind: str) -> None:
    """What its text would have said is lost, and known to be."""
    malformed = victim.fault("malformed", kind=kind, damage="truncated", n=1, replace=True)

    victim.wait_touched(malformed)
    victim.assert_recovers()
    assert len(gap_ranges(victim.service, victim.symbol, kind)) == 1


# --- REST -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "times"),
    [
        ({"status": 500}, 3),
        ({"status": 403, "html": True}, 2),
        ({"status": 429, "code": -1003, "retry_after_s": 1}, 1),
        ({"status": 418, "code": -1003, "retry_after_s": 1}, 1),
        ({"silent": True}, 2),
        ({"status": 200, "delay_s": 3.0}, 1),
        ({"status": 200, "stale": True}, 1),
    ],
    ids=["500", "403-html", "429", "418", "hung-up", "slow", "stale"],
)
def test_book_becomes_live_although_rest_fails_at_first(
    victim: Victim, fields: dict[str, Any], times: int
) -> None:
    """A snapshot is asked for until a usable one comes; until then the deltas are kept."""
    broken = victim.fault("rest", path="depth", n=times, **fields)
    drop = victim.fault("drop", kind="depth", n=1)

    victim.wait_touched(drop)
    victim.wait_touched(broken, times)
    victim.assert_recovers()
    assert victim.ended_sessions() == []
