"""The book of any moment is the exchange's own, or refused for a loss that happened: across kill -9 and all.

The double remembers every book as it was at every moment. Shards and the database are killed in mid-flow,
then moments are drawn at random over the whole run and asked for as `ingest book --at` does.
"""

import asyncio
import os
import random
import signal
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from ingest.book.levels import Book
from ingest.book.moment import Refusal, StoredMoment, book_at
from ingest.book.rebuild import RebuiltBook
from ingest.sim.market import MarketPlan
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.postgres import PostgresSink
from tests.simulation.service import Service, a_service, wait_until
from tests.simulation.truthful_double import Side, TruthfulDouble, a_truthful_double

SEED = 20261122
MOMENTS_OF_A_SYMBOL = 60
# Shallow, deepened, and stored shallower than known: every way in which a range can end is met.
SPOT = {
    "symbols": "*",
    "kinds": ["trade", "depth"],
    "first_snapshot_limit": 40,
    "snapshot_limit": 120,
    "stored_levels": 60,
    "snapshot_every_s": 5,
    "audit_every_s": 2,
}


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, TruthfulDouble]]:
    """A market whose shards and database were killed several times; all that is left of it is stored."""
    folder: Path = tmp_path_factory.mktemp("books")
    with (
        a_truthful_double(MarketPlan(symbols=6, rate=600.0, seed=SEED)) as double,
        # All that a service wants of a double are its addresses.
        a_service(folder, double, spot=SPOT, service={"shards": 2}) as service,  # type: ignore[arg-type]
    ):
        wait_for_flow(service)
        for victims in (["shard"], ["database"], ["shard", "database"], ["shard"]):
            kill(service, victims)
            wait_for_flow(service)
        double.tell(lambda each: each.finish())
        wait_until("everything is stored", lambda: is_all_stored(service, double))
        yield service, double


def newest_updates(service: Service) -> dict[str, int]:
    sql = "SELECT symbol, max(final_update_id) AS newest FROM spot.depth_deltas GROUP BY symbol"
    return {row["symbol"]: row["newest"] for row in service.rows(sql)}


def wait_for_flow(service: Service) -> None:
    """Until every symbol has newer deltas than now, and every book is live."""
    before = wait_until("the database answers", lambda: (newest_updates(service),))[0]

    def all_newer() -> bool:
        newest = newest_updates(service)
        return len(newest) == 6 and all(newest[symbol] > before.get(symbol, -1) for symbol in newest)

    wait_until("deltas of every symbol go on", all_newer)
    service.wait_books_live()


def kill(service: Service, victims: Sequence[str]) -> None:
    """SIGKILL, and wait until others run in their place."""
    shards, database = service.shard_pids(), service.database_pid()
    assert database is not None
    if "shard" in victims:
        os.kill(shards[0], signal.SIGKILL)
    if "database" in victims:
        os.kill(database, signal.SIGKILL)
        wait_until("the server has a new process", lambda: service.database_pid() not in (None, database))
    if "shard" in victims:
        wait_until("shard 0 has a new process", lambda: service.shard_pids().get(0, shards[0]) != shards[0])


def is_all_stored(service: Service, double: TruthfulDouble) -> bool:
    newest = newest_updates(service)
    return all(
        newest[symbol] == history.changes[-1].final_update_id for symbol, history in double.histories.items()
    )


def drawn_moments(double: TruthfulDouble) -> dict[str, list[int]]:
    """Moments of each symbol: all over the run, and a few beyond its ends."""
    rng = random.Random(SEED)
    moments: dict[str, list[int]] = defaultdict(list)
    for symbol, history in sorted(double.histories.items()):
        first_us, last_us = history.changes[0].at_us, history.changes[-1].at_us
        span_us = last_us - first_us
        drawn = [
            first_us + rng.randrange(-span_us // 50, span_us * 51 // 50) for _ in range(MOMENTS_OF_A_SYMBOL)
        ]
        moments[symbol] = sorted([*drawn, last_us])
    return moments


async def stored_moments(service: Service, moments: dict[str, list[int]]) -> list[tuple[str, StoredMoment]]:
    url = EmbeddedPostgres(service.data_dir / "postgres").url_of_running()
    assert url is not None
    found = []
    async with PostgresSink.opened(url, connections=1) as sink:
        for symbol, times in moments.items():
            for at_us in times:
                stored = await sink.stored_book("spot", symbol, at_us=at_us)
                assert stored is not None
                found.append((symbol, stored))
    return found


def assert_is_the_exchanges(place: tuple[str, int], ours: Book, sides: tuple[Side, Side]) -> None:
    """Level by level in the range that ours claims to know."""
    lowest, highest = Decimal(ours.bids_known_from), Decimal(ours.asks_known_to)
    bids = {price: qty for price, qty in sides[0].items() if Decimal(price) >= lowest}
    asks = {price: qty for price, qty in sides[1].items() if Decimal(price) <= highest}
    assert (ours.bids, ours.asks) == (bids, asks), place


def missing_updates(service: Service, double: TruthfulDouble, symbol: str) -> set[int]:
    """Last updates of the deltas that happened and are not stored."""
    sql = "SELECT final_update_id FROM spot.depth_deltas WHERE symbol = $1"
    stored = {row["final_update_id"] for row in service.rows(sql, symbol)}
    return {change.final_update_id for change in double.histories[symbol].changes} - stored


def test_books_of_all_moments_are_right_or_refused(settled: tuple[Service, TruthfulDouble]) -> None:
    """A book that is shown is the exchange's, digit by digit; a refusal names what is truly lost."""
    service, double = settled
    moments = drawn_moments(double)
    truth = {
        (symbol, at_us): (bids, asks)
        for symbol, history in double.histories.items()
        for at_us, bids, asks in history.books_at(moments[symbol])
    }
    missing = {symbol: missing_updates(service, double, symbol) for symbol in moments}
    outcomes: Counter[str] = Counter()
    levels = 0
    for symbol, stored in asyncio.run(stored_moments(service, moments)):
        answer = book_at(stored)
        if isinstance(answer, RebuiltBook):
            outcomes["shown"] += 1
            assert_is_the_exchanges((symbol, stored.at_us), answer.book, truth[symbol, stored.at_us])
            levels += len(answer.book)
        else:
            outcomes[answer.why] += 1
            assert_has_its_reason(symbol, stored, answer, missing[symbol])

    assert outcomes["shown"] > sum(outcomes.values()) // 5, outcomes
    assert outcomes["gap"] > 0, outcomes
    assert levels > 50 * outcomes["shown"]


def assert_has_its_reason(symbol: str, stored: StoredMoment, answer: Refusal, missing: set[int]) -> None:
    match answer.why:
        case "before_first":
            assert stored.snapshot is None
        case "beyond_newest":
            assert stored.at_us > stored.newest_us
        case "gap":
            assert answer.missing is not None
            first, last = answer.missing
            assert any(first <= final <= last for final in missing), (symbol, answer)
        case "hole":
            pytest.fail(f"{symbol}: a hole that the ledger does not know: {answer}")


def test_newest_book_is_known_after_everything(settled: tuple[Service, TruthfulDouble]) -> None:
    """Every symbol has come back: the newest moment of each is shown."""
    service, double = settled
    newest = {symbol: [history.changes[-1].at_us] for symbol, history in double.histories.items()}

    for symbol, stored in asyncio.run(stored_moments(service, newest)):
        assert isinstance(book_at(stored), RebuiltBook), symbol


def test_audits_found_nothing_wrong(settled: tuple[Service, TruthfulDouble]) -> None:
    """Many books were compared while all that happened, and no level differed."""
    service, double = settled
    headers = [board.header for board in service.boards()]

    assert sum(header.book_audits for header in headers) > 0
    assert sum(header.book_audit_mismatches for header in headers) == 0
    assert service.rows("SELECT * FROM ops.gaps WHERE cause = 'audit'") == []
    assert double.tell(lambda each: each.violations.total) == 0
