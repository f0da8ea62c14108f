"""A frame that was altered on its way, which no parser and no sequence can find, is found by an audit."""

from collections.abc import Iterator, Mapping
from functools import partial

import pytest

from tests.simulation.comparison import assert_book_equals_the_exchange, stored
from tests.simulation.service import Double, Service, a_double, a_service, wait_until

ALTERED = 5
"""Frames: a level may change again before it is looked at."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Double]]:
    """A shard with three books, one of which is audited each second, as deep as it goes."""
    folder = tmp_path_factory.mktemp("audits")
    spot = {"symbols": "*", "kinds": ["trade", "depth"], "audit_every_s": 1, "audit_levels": 1_000}
    sections: dict[str, Mapping[str, object]] = {"spot": spot, "service": {"shards": 1}}
    with (
        a_double(folder, "--no-recording", "--symbols", "3", "--rate", "300") as double,
        a_service(folder, double, **sections) as service,
    ):
        service.wait_books_live()
        yield service, double


def audits(service: Service) -> tuple[int, int]:
    """Conclusive audits, and levels that differed."""
    headers = [board.header for board in service.boards()]
    return sum(h.book_audits for h in headers), sum(h.book_audit_mismatches for h in headers)


def audit_gaps(service: Service, symbol: str) -> list[tuple[int, int]]:
    sql = "SELECT first_id, last_id FROM ops.gaps WHERE symbol = $1 AND cause = 'audit' ORDER BY first_id"
    return [(row["first_id"], row["last_id"]) for row in service.rows(sql, symbol)]


def test_good_books_pass_their_audits(running: tuple[Service, Double]) -> None:
    """Books that are followed agree with the exchange's, whenever they are looked at."""
    service, _ = running
    audited, differing = audits(service)

    wait_until("books are audited", lambda: audits(service)[0] >= audited + 5)
    assert audits(service)[1] == differing


def test_altered_frame_is_found_and_its_book_replaced(running: tuple[Service, Double]) -> None:
    """The levels are counted, the doubtful updates are in the ledger, and the book is right again."""
    service, double = running
    happened = double.happened("depth")
    symbol = max(happened, key=lambda each: happened[each])
    fault = double.fault("malformed", symbol=symbol, kind="depth", damage="altered", replace=True, n=ALTERED)
    wait_until("the frames are altered", lambda: double.touched(fault) == ALTERED)

    gaps = wait_until("the audit finds it", partial(audit_gaps, service, symbol))
    wait_until("it is counted", lambda: audits(service)[1] > 0)
    sql = "SELECT count(*) FROM spot.depth_snapshots WHERE symbol = $1 AND reason = 'audit'"
    wait_until("the right book is stored", lambda: service.value(sql, symbol))

    altered = altered_updates(service, double, symbol)
    assert altered
    assert any(first <= update <= last for first, last in gaps for update in altered)
    assert_book_equals_the_exchange(service, double, symbol)
    assert double.violations() == {}


def altered_updates(service: Service, double: Double, symbol: str) -> list[int]:
    """Last updates of deltas that are stored as they did not happen."""
    happened = double.ledger(symbol, "depth")
    rows = stored(service, symbol, "depth")
    return [update for update, digest in rows.items() if happened[update] != digest]
