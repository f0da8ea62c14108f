"""What `ingest status` says of the disk."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from ingest.cli.sizes import Storage, amount, storage_table
from ingest.store.sizes import RelationSize

TRADES = RelationSize(
    relation="spot_raw.trades",
    parts=5,
    rows_estimate=1_000_000,
    table_bytes=77 << 20,
    index_bytes=73 << 20,
    oldest_at=datetime(2026, 11, 1, tzinfo=UTC),
    rowstore_bytes=130,
    columnstore_bytes=10,
)


def shown(storage: Storage) -> str:
    text = io.StringIO()
    Console(file=text, width=180).print(storage_table(storage))
    return text.getvalue()


def test_table_says_size_growth_and_room() -> None:
    """Bytes for people, compression, growth a day, and when the disk is full."""
    text = shown(Storage([TRADES], {"spot_raw.trades": (1 << 30) / 86_400}, 10 << 30, 0.0))

    for part in ("1,000,000", "77.0 MiB", "13.0 x smaller", "1.0 GiB", "2026-11-01", "full in 10.0 days"):
        assert part in text


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        (Storage([TRADES], {}, None, 0.0), "not known here"),
        (Storage([TRADES], {}, 1, 0.0), "known after ten minutes"),
        (Storage([TRADES], {"spot_raw.trades": 0.0}, 1, 0.0), "never full"),
    ],
)
def test_what_is_not_known_is_said(storage: Storage, said: str) -> None:
    """A server elsewhere, a service that has just begun, a table that does not grow."""
    assert said in shown(storage)


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (-2_048, "-2.0 KiB"), (5 << 50, "5,120.0 TiB")])
def test_amounts_are_for_people(size: int, text: str) -> None:
    """With the unit that fits, up to the largest there is."""
    assert amount(size) == text
