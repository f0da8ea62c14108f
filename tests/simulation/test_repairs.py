"""Whatever takes trades away, REST brings them back: after each fault nothing of them is missing.

One service with two shards on one double; each test begins when the ones before it are mended.
"""

import os
import signal
from collections.abc import Iterator, Mapping

import pytest

from tests.simulation.comparison import assert_nothing_missing, assert_nothing_twice
from tests.simulation.service import Double, Service, a_double, a_service, wait_until

KINDS = ["trade", "agg_trade", "depth"]
REPAIRED = ("trade", "agg_trade")
SYMBOLS = 6


class Mended:
    """A service on a double, and how to see that nothing is missing."""

    def __init__(self, service: Service, double: Double) -> None:
        self.service, self.double = service, double
        self.symbols = sorted(double.happened("trade"))

    @property
    def busiest(self) -> str:
        trades = self.double.happened("trade")
        return max(trades, key=lambda symbol: trades[symbol])

    def newest_gap(self) -> int:
        """The number of the newest row of the ledger."""
        return int(self.service.value("SELECT coalesce(max(gap_id), 0) FROM ops.gaps"))

    def gaps_since(self, since: int) -> int:
        """How many gaps of repairable kinds have been noticed, whatever became of them."""
        sql = "SELECT count(*) FROM ops.gaps WHERE kind = ANY ($1::text[]) AND gap_id > $2"
        return int(self.service.value(sql, list(REPAIRED), since))

    def open_gaps(self) -> int:
        return int(self.service.value("SELECT count(*) FROM ops.gaps WHERE state = 'open'"))

    def assert_mended(self, since: int) -> None:
        """Something was missing, all gaps are closed by now, and all rows are there, each once."""
        wait_until("something is missing", lambda: self.gaps_since(since))
        trades = {symbol: self.service.newest_trade(symbol) for symbol in self.symbols}
        for symbol, newest in trades.items():
            self.service.wait_for_trades_after(symbol, newest)
        wait_until("every gap is closed", lambda: self.open_gaps() == 0, deadline_s=120)
        for symbol in self.symbols:
            for kind in REPAIRED:
                assert_nothing_missing(self.service, self.double, symbol, kind)
        assert_nothing_twice(self.service)
        assert self.double.violations() == {}


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mended]:
    """Every symbol trades and is stored."""
    folder = tmp_path_factory.mktemp("repairs")
    options = ("--no-recording", "--symbols", str(SYMBOLS), "--rate", "800")
    # Small snapshots: books that lose deltas, too, are not to take the weight that repairs wait for.
    spot = {"symbols": "*", "kinds": KINDS, "snapshot_limit": 100, "stored_levels": 100}
    sections: dict[str, Mapping[str, object]] = {"spot": spot}
    with a_double(folder, *options) as double, a_service(folder, double, **sections) as service:
        wait_until("every symbol trades", lambda: len(double.happened("trade")) == SYMBOLS)
        for symbol in double.happened("trade"):
            service.wait_for_trades_after(symbol, -1)
        yield Mended(service, double)


def test_lost_frames_come_back(mended: Mended) -> None:
    """Frames of every symbol are dropped on connections that stay up."""
    since = mended.newest_gap()
    drop = mended.double.fault("drop", fraction=0.3, for_s=3.0)

    wait_until("frames are lost", lambda: mended.double.touched(drop) > 200)
    mended.assert_mended(since)


def test_what_happened_while_all_connections_were_away_comes_back(mended: Mended) -> None:
    """They are reset at the same time, and refused for a while."""
    since = mended.newest_gap()
    mended.double.fault("refuse", for_s=3.0)
    mended.double.fault("reset")

    mended.assert_mended(since)


def test_too_many_requests_in_mid_repair_are_waited_out(mended: Mended) -> None:
    """A 429 stops everybody for as long as it says, and then the repair goes on."""
    since = mended.newest_gap()
    refusal = mended.double.fault(
        "rest", status=429, code=-1003, retry_after_s=3, path="historicalTrades", n=1
    )
    mended.double.fault("drop", fraction=0.3, for_s=2.0)

    wait_until("the repair is refused", lambda: mended.double.touched(refusal))
    mended.assert_mended(since)


def test_shard_that_is_killed_in_mid_repair_is_succeeded(mended: Mended) -> None:
    """Its gaps, and that of its own death, are closed by the next one."""
    since = mended.newest_gap()
    slow = mended.double.fault("rest", status=200, delay_s=1.0, path="historicalTrades")
    mended.double.fault("drop", fraction=0.3, for_s=2.0)
    wait_until("a repair is asked for", lambda: mended.double.touched(slow))
    for pid in mended.service.shard_pids().values():
        os.kill(pid, signal.SIGKILL)
    mended.double.lift(slow)

    mended.assert_mended(since)


def test_service_that_was_down_makes_up_for_it(mended: Mended) -> None:
    """Stopped in order and started again, it fetches what happened between."""
    since = mended.newest_gap()
    assert mended.service.stop() == 0
    before = mended.double.happened("trade")
    wait_until(
        "time goes by", lambda: sum(mended.double.happened("trade").values()) > sum(before.values()) + 300
    )
    mended.service.start()
    mended.service.wait_ready()

    mended.assert_mended(since)


def test_hole_of_the_exchanges_own_is_told_from_one_of_ours(mended: Mended) -> None:
    """Nobody has these ids: the gap is closed as a fact of the exchange."""
    since = mended.newest_gap()
    symbol = mended.busiest
    mended.double.skip_ids(symbol, "trade", 5)
    sql = "SELECT last_id - first_id + 1 FROM ops.gaps WHERE symbol = $1 AND state = 'absent_at_exchange'"

    wait_until("it is known for what it is", lambda: mended.service.rows(sql, symbol), deadline_s=120)
    assert mended.service.value(sql, symbol) == 5
    mended.assert_mended(since)


def test_gaps_of_a_symbol_that_leaves_the_configuration_are_closed(mended: Mended) -> None:
    """No shard carries it any more, and its history is still to be had."""
    since, symbol = mended.newest_gap(), mended.busiest
    away = mended.double.fault("rest", status=503, path="historicalTrades")
    mended.double.fault("drop", fraction=0.3, for_s=2.0)
    sql = "SELECT first_id, last_id FROM ops.gaps WHERE symbol = $1 AND kind = 'trade' AND gap_id > $2"
    wait_until("it has lost trades", lambda: mended.service.rows(sql, symbol, since))
    wait_until("history is asked for in vain", lambda: mended.double.touched(away))
    assert mended.service.stop() == 0
    mended.double.lift(away)
    mended.service.start(INGEST_SPOT_SYMBOLS=",".join(each for each in mended.symbols if each != symbol))
    mended.service.wait_ready()

    wait_until("every gap is closed", lambda: mended.open_gaps() == 0, deadline_s=120)
    lost = mended.service.rows(f"{sql} AND state = 'repaired'", symbol, since)
    stored = mended.service.rows("SELECT trade_id FROM spot.trades WHERE symbol = $1", symbol)
    missing = {row["trade_id"] for row in stored} ^ set(mended.double.ledger(symbol, "trade"))
    assert lost
    assert not any(first <= each <= last for first, last in lost for each in missing)
    assert not mended.service.rows("SELECT FROM ops.stream_freshness WHERE symbol = $1", symbol)

    since = mended.newest_gap()
    assert mended.service.stop() == 0
    mended.service.start()
    mended.service.wait_ready()
    mended.assert_mended(since)
