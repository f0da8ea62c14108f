"""The published books of the whole service: the right ones, and none that only looks right."""

import os
import signal
from collections.abc import Iterator, Mapping
from functools import partial

import asyncpg
import pytest

from tests.simulation.comparison import rebuilt_at
from tests.simulation.service import Double, Service, a_double, a_service, wait_until

LEVELS = 5
SQL = "SELECT * FROM spot.latest_books WHERE symbol = $1"
TEXTS = (
    "SELECT last_update_id, state, bid_prices::text[], bid_qtys::text[], ask_prices::text[], ask_qtys::text[]"
    " FROM spot.latest_books WHERE symbol = $1"
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Double]]:
    """One shard with three books, whose best five levels are published five times a second."""
    folder = tmp_path_factory.mktemp("latest")
    spot = {
        "symbols": "*",
        "kinds": ["trade", "depth"],
        "latest_book_levels": LEVELS,
        "latest_book_every_s": 0.2,
    }
    sections: dict[str, Mapping[str, object]] = {"spot": spot, "service": {"shards": 1}}
    with (
        a_double(folder, "--no-recording", "--symbols", "3", "--rate", "100") as double,
        a_service(folder, double, **sections) as service,
    ):
        service.wait_books_live()
        yield service, double


def published(service: Service, symbol: str) -> asyncpg.Record | None:
    """A row to be relied on."""
    return next((row for row in service.rows(TEXTS, symbol) if row["state"] in ("live", "quiet")), None)


def symbols(service: Service) -> list[str]:
    return [row["symbol"] for row in service.rows("SELECT symbol FROM ops.instruments ORDER BY symbol")]


def test_published_book_is_the_one_that_is_rebuilt(running: tuple[Service, Double]) -> None:
    """From what is stored, at the same update, digit by digit; several times, while it changes."""
    service, _ = running
    for symbol in symbols(service):
        seen: set[int] = set()
        while len(seen) < 3:
            row = wait_until(f"{symbol} is published", partial(published, service, symbol))
            seen.add(row["last_update_id"])
            stored = partial(rebuilt_at, service, symbol, row["last_update_id"])
            assert levels(row) == wait_until("its updates are stored", stored).top(LEVELS)


def levels(row: asyncpg.Record) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    bids = list(zip(row["bid_prices"], row["bid_qtys"], strict=True))
    return bids, list(zip(row["ask_prices"], row["ask_qtys"], strict=True))


def test_book_of_a_killed_shard_does_not_look_live(running: tuple[Service, Double]) -> None:
    """Its old row is not to be relied on while no snapshot can be had; then comes the right book."""
    service, double = running
    symbol = symbols(service)[0]
    before = wait_until("published", lambda: published(service, symbol))["last_update_id"]
    fault = double.fault("rest", path="depth", status=503)
    (pid,) = service.shard_pids().values()
    os.kill(pid, signal.SIGKILL)

    wait_until("the row says so", lambda: states(service, symbol) == ["resyncing"])
    double.lift(fault)
    row = wait_until("the book is back", lambda: published(service, symbol))
    assert row["last_update_id"] > before


def states(service: Service, symbol: str) -> list[str]:
    return [row["state"] for row in service.rows(SQL, symbol)]
