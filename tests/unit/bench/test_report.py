"""From measures to ratios: each row against the floor of its own round."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.measure import Measure, tree_cpu_s
from tests.bench.report import comparisons, summaries, titled


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


def test_courses_have_floors_of_their_own() -> None:
    """A row is compared with the floor of the same frames, not with another course's."""
    slow = [
        replace(measure("floor", 0, 10.0), course="depth"),
        replace(measure("depth", 0, 20.0), course="depth"),
    ]
    found = summaries([measure("floor", 0, 1.0), measure("shard", 0, 4.0), *slow])

    ratios = {(summary.course, summary.row): summary.ratio.median for summary in found}
    assert ratios["mix", "shard"] == pytest.approx(4.0)
    assert ratios["depth", "depth"] == pytest.approx(2.0)
    assert "frames of 'depth'" in found[2].title


def test_rows_are_compared_round_by_round() -> None:
    """More symbols are told as a multiple of fewer, with the memory of each stream more."""
    few = [replace(measure("symbols200", n, 10.0), streams=800, rss_bytes=100 * 2**20) for n in (0, 1)]
    many = [
        replace(measure("symbols2000", n, cpu_s), streams=8_000, rss_bytes=100 * 2**20 + 7_200 * 4_096)
        for n, cpu_s in ((0, 11.0), (1, 12.0))
    ]

    (told,) = comparisons([*few, *many])

    assert told.startswith("symbols2000 / symbols200: 1.15 (1.10 - 1.20) x CPU a message")
    assert "4.0 (4.0 - 4.0) KiB of memory for each of 7,200 streams more" in told


def test_catching_up_is_told_as_a_multiple_of_real_time() -> None:
    """By the rows that had waited alone, and with those that came meanwhile."""
    spool = replace(
        measure("spool", 0, 3.0, rows=1_000_000), spooled_rows=900_000, live_messages=100_000, course="paced"
    )
    floor = replace(measure("floor", 0, 1.0), course="paced")

    *_, summary = summaries([floor, spool])

    assert "900,000 rows spooled at 50,000/s live" in summary.remarks[0]
    assert "9.0 x real time, 10.0 x with what came meanwhile" in summary.remarks[0]


def test_flame_graph_is_called_by_a_name_of_ours() -> None:
    """Nothing of the command, and of the machine that it ran on, is left."""
    drawn = '<svg><text id="title" x="50%">/here/py-spy record --output x</text><text id="a">b</text></svg>'

    assert (
        titled(drawn, "one shard")
        == '<svg><text id="title" x="50%">one shard</text><text id="a">b</text></svg>'
    )
