"""From measures to ratios: each row against the floor of its own round."""

from pathlib import Path

import pytest

from tests.bench.measure import Measure, tree_cpu_s
from tests.bench.report import summaries


def measure(
    row: str, number: int, cpu_s: float, *, rows: int = 0, server_cpu_s: float | None = None
) -> Measure:
    return Measure(
        row=row,
        course="mix",
        streams=600,
        round=number,
        messages=1_000_000,
        received_bytes=1,
        cpu_s=cpu_s,
        wall_s=2.0,
        rows=rows,
        stored_rows=rows,
        distinct_rows=rows,
        server_cpu_s=server_cpu_s,
    )


def test_ratio_is_to_the_mean_floor_of_the_round() -> None:
    """A slow round slows its floor too, so that the ratio stays."""
    found = summaries(
        [
            *(measure("floor", 0, 1.0), measure("shard", 0, 4.0), measure("floor", 0, 3.0)),
            *(measure("floor", 1, 4.0), measure("shard", 1, 8.0), measure("floor", 1, 4.0)),
        ]
    )
    floor, shard = found

    assert [summary.row for summary in found] == ["floor", "shard"]
    assert (shard.ratio.median, shard.ratio.low, shard.ratio.high) == pytest.approx((2.0, 2.0, 2.0))
    assert (shard.cpu_us.low, shard.cpu_us.high) == pytest.approx((4.0, 8.0))
    assert floor.rate.median == pytest.approx(500_000)


def test_missing_and_repeated_rows_are_remarked() -> None:
    """A stored row says how many of its messages are not in the database, and what the server took."""
    _, stored = summaries(
        [measure("floor", 0, 1.0), measure("stored", 0, 8.0, rows=999_999, server_cpu_s=3.0)]
    )

    assert stored.server_us_per_row is not None
    assert stored.server_us_per_row.median == pytest.approx(3.0, rel=1e-3)
    assert stored.remarks == ("1 rows missing, 0 twice, 0 conflicts",)


def test_cpu_of_a_tree_counts_descendants_and_the_waited_for(tmp_path: Path) -> None:
    """Own and waited-for ticks of a process and of its children's children, and of nobody else."""
    for pid, parent, ticks in (
        (10, 1, "1 2 3 4"),
        (11, 10, "10 20 30 40"),
        (12, 11, "100 0 0 0"),
        (13, 1, "5 5 5 5"),
    ):
        (tmp_path / str(pid)).mkdir()
        fields = f"S {parent} " + "0 " * 9 + ticks
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a (b) c) {fields} 0 0\n")

    assert tree_cpu_s(10, tmp_path) == pytest.approx(2.10)
    assert tree_cpu_s(99, tmp_path) is None
