"""Two lines of every stream: a feed or a shard dies, and nothing is missing, not even depth.

Depth deltas and book tickers are given once. Each is brought by two shards here, the first to arrive is
stored, and whatever one line has missed the other one has.
"""

import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest

from tests.simulation.comparison import assert_book_equals_the_exchange, assert_nothing_twice, stored
from tests.simulation.service import Double, Service, a_double, a_service, wait_until

KINDS = ["trade", "agg_trade", "book_ticker", "depth", "kline_1m", "mini_ticker"]
COMPARED = ["trade", "agg_trade", "book_ticker", "depth"]
REPAIRABLE_LATER = ["kline_1m"]
"""What the exchange gives again, whether a line covers it or not."""
SYMBOLS = 8
MISSED = ("open", "unrepairable")


class Run(NamedTuple):
    service: Service
    double: Double
    symbols: list[str]

    def gaps(self) -> list[Any]:
        """Gaps that are not closed."""
        sql = "SELECT symbol, kind, cause, first_id, last_id FROM ops.gaps WHERE state = ANY ($1::text[])"
        return self.service.rows(sql, list(MISSED))

    def gaps_ever(self) -> int:
        return int(self.service.value("SELECT count(*) FROM ops.gaps"))

    def newest(self) -> dict[str, int]:
        return {symbol: self.service.newest("book_tickers", "update_id", symbol) for symbol in self.symbols}

    def wait_for_more(self) -> None:
        """Until something newer than now is stored of every symbol, and both shards commit."""
        before = self.newest()
        wait_until("all go on", lambda: all(now > before[each] for each, now in self.newest().items()))

    def wait_both_commit(self) -> None:
        """Until each shard's process has committed since it began to receive."""
        wait_until("both lines commit", self._both_commit)

    def _both_commit(self) -> bool:
        boards, pids = self.service.boards(), self.service.shard_pids()
        # A board may still be that of the process before.
        are_new = {board.shard: board.identity.pid for board in boards} == pids
        slots = [slot for board in boards for slot in board.streams if slot.key.kind not in REPAIRABLE_LATER]
        # A line covers nothing of a stream of which it has not had a message yet.
        return are_new and all(
            slot.values.messages > 0 and (slot.values.committed_id >= 0 or slot.key.kind not in COMPARED)
            for slot in slots
        )

    def assert_nothing_is_missing(self) -> None:
        """Every gap of one line is closed by the other's rows, which are there, once, as they happened."""
        wait_until("every gap is closed", lambda: not self.gaps())
        assert_nothing_twice(self.service)
        for symbol in self.symbols:
            for kind in COMPARED:
                rows = stored(self.service, symbol, kind)
                first, last = min(rows), max(rows)
                ledger = self.double.ledger(symbol, kind)
                happened = {each: digest for each, digest in ledger.items() if first <= each <= last}
                assert rows == happened, f"{symbol} {kind}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Two shards with all streams each, both committing."""
    folder = tmp_path_factory.mktemp("redundancy")
    options = ("--no-recording", "--symbols", str(SYMBOLS), "--rate", "800", "--ping-interval", "2")
    spot = {"symbols": "*", "kinds": KINDS, "redundancy": 2}
    with a_double(folder, *options) as double, a_service(folder, double, spot=spot) as service:
        wait_until("every symbol has trades", lambda: len(double.happened("trade")) == SYMBOLS)
        service.wait_books_live()
        made = Run(service, double, sorted(double.happened("trade")))
        made.wait_both_commit()
        yield made
        assert double.violations() == {}


def test_each_stream_is_brought_twice_and_stored_once(run: Run) -> None:
    """By two shards; the freshness table has one row for it, and one of them keeps its book."""
    subscribed = [name for each in run.double.state()["connections"] for name in each["streams"]]
    streams = SYMBOLS * len(KINDS)
    behind = run.service.log_lines("line.behind")
    run.wait_for_more()

    assert (len(subscribed), len(set(subscribed))) == (2 * streams, streams)
    assert run.service.value("SELECT count(*) FROM ops.stream_freshness") == streams
    assert run.service.books() == (SYMBOLS, SYMBOLS)
    assert run.service.log_lines("line.behind") == behind
    run.assert_nothing_is_missing()


@pytest.mark.parametrize("symbol", [0, 1])
def test_connection_that_is_reset_loses_nothing(run: Run, symbol: int) -> None:
    """Whichever line it carries; its gaps are closed by the other one."""
    before = run.gaps_ever()
    name = f"{run.symbols[symbol].lower()}@depth@100ms"
    connections = run.double.state()["connections"]
    victim = [each["number"] for each in connections if name in each["streams"]][symbol]
    run.double.fault("reset", connection=victim)
    wait_until("its line has noticed", lambda: run.gaps_ever() > before)
    run.wait_for_more()

    run.assert_nothing_is_missing()


@pytest.mark.parametrize("shard", [0, 1])
@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGTERM"])
def test_shard_that_dies_loses_nothing(run: Run, shard: int, signal_name: str) -> None:
    """The other one goes on alone until it is back, and has whatever it missed."""
    before = run.service.shard_pids()
    os.kill(before[shard], getattr(signal, signal_name))
    wait_until("it is back", partial(_is_replaced, run, shard, before[shard]))
    run.wait_both_commit()
    run.wait_for_more()

    run.assert_nothing_is_missing()


def _is_replaced(run: Run, shard: int, pid: int) -> bool:
    return run.service.shard_pids().get(shard, pid) != pid


def test_streams_are_fresh_while_a_shard_stands_still(run: Run) -> None:
    """A stopped process says nothing; the other line speaks for its streams, and nothing is stale."""
    pid = run.service.shard_pids()[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until("its row is the other's", lambda: _shown_shards(run) == {1})
        states = {row["state"] for row in run.service.rows("SELECT state FROM ops.stream_freshness")}
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until("it is replaced or well", lambda: len(run.service.shard_pids()) == 2)
    run.wait_both_commit()
    run.wait_for_more()

    assert "stale" not in states
    run.assert_nothing_is_missing()


def _shown_shards(run: Run) -> set[int]:
    sql = "SELECT DISTINCT shard FROM ops.stream_freshness WHERE kind = 'book_ticker'"
    return {row["shard"] for row in run.service.rows(sql)}


def test_line_that_is_behind_is_asked_for_again(run: Run) -> None:
    """One line of a stream is mute while the other speaks: that alone is repaired, and nothing is missing."""
    symbol = run.symbols[0]
    name = f"{symbol.lower()}@trade"
    connections = run.double.state()["connections"]
    victim = next(each["number"] for each in connections if name in each["streams"])
    run.double.fault("mute_stream", symbol=symbol, kind="trade", connection=victim, until="resubscribe")
    wait_until("it was asked for again", lambda: run.service.log_lines("line.behind"))
    run.wait_for_more()

    run.assert_nothing_is_missing()


def test_book_is_right_after_all_that(run: Run) -> None:
    """Made from the deltas of both lines."""
    run.service.wait_books_live()
    assert_book_equals_the_exchange(run.service, run.double, run.symbols[0])
