"""From the measures of peers to ratios and remarks."""

import pytest

from tests.bench.peers.measure import PeerMeasure, summaries


def measure(row: str, cpu_s: float, *, received: int = 1_000_000, stored: int = 0) -> PeerMeasure:
    return PeerMeasure(
        mode="trade",
        row=row,
        round=0,
        sent=1_000_000,
        received=received,
        cpu_s=cpu_s,
        wall_s=10.0,
        stored=stored,
        server_cpu_s=2.0 if stored else None,
        python="3.11.7",
    )


def test_like_is_compared_with_like() -> None:
    """What stores is compared with our storing row, what does not with our parsing one."""
    found = summaries(
        [
            *(measure("floor", 1.0), measure("floor", 3.0), measure("parse", 4.0)),
            *(measure("stored", 8.0, stored=1_000_000), measure("ccxt", 40.0)),
            measure("cryptofeed-postgres", 24.0, stored=500_000),
        ]
    )
    by_row = {summary.row: summary for summary in found}

    assert [summary.row for summary in found] == ["floor", "parse", "stored", "ccxt", "cryptofeed-postgres"]
    assert (by_row["ccxt"].times_floor, by_row["ccxt"].times_ours) == pytest.approx((20.0, 10.0))
    assert by_row["cryptofeed-postgres"].times_ours == pytest.approx(6.0)
    assert by_row["cryptofeed-postgres"].server_row_us == pytest.approx(4.0)
    assert by_row["cryptofeed-postgres"].row_rate == pytest.approx(50_000)


def test_what_was_dropped_is_remarked() -> None:
    """Messages that never reached the user and rows that are not in the database are told."""
    found = summaries(
        [
            *(measure("floor", 1.0), measure("parse", 2.0), measure("stored", 8.0, stored=1_000_000)),
            measure("unicorn-batch", 20.0, received=900_000, stored=899_000),
        ]
    )

    assert found[-1].remarks == (
        "1,000,000 messages",
        "90.0% of them handed on",
        "-101,000 rows",
        "Python 3.11.7",
    )
