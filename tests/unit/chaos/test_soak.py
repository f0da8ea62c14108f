"""What the soak makes of its samples."""

import pytest

from tests.chaos.soak import Sample, Samples

MIB = 2**20


def a_life(pid: int, *, begins_s: float, samples: int, memory_mib: float, an_hour_mib: float) -> list[Sample]:
    """One process, looked at every five seconds."""
    return [
        Sample(
            begins_s + 5.0 * n,
            pid,
            int((memory_mib + an_hour_mib * n * 5.0 / 3_600.0) * MIB),
            20,
            3,
            tasks=40,
        )
        for n in range(samples)
    ]


def test_slope_is_that_within_lives() -> None:
    """Three lives at levels of their own grow by 36 MiB an hour each, whatever lies between them."""
    samples = Samples()
    for pid, level_mib in ((1, 60.0), (2, 100.0), (3, 20.0)):
        life = a_life(pid, begins_s=1_000.0 * pid, samples=60, memory_mib=level_mib, an_hour_mib=36.0)
        samples.of["shard 0"] += life

    (line,) = samples.slopes()

    assert "in 3 lives of 3 +36.0 MiB, +0.0 files, +0.0 threads and +0.0 tasks an hour" in line
    assert line.endswith("20 files, 3 threads, 40 tasks")


@pytest.mark.parametrize("samples", [1, 20])
def test_short_life_has_no_slope(samples: int) -> None:
    """What is seen while a process warms up says nothing of an hour."""
    taken = Samples()
    taken.of["supervisor"] += a_life(1, begins_s=0.0, samples=samples, memory_mib=60.0, an_hour_mib=900.0)

    assert taken.slopes() == ["supervisor: no life of its 1 was long enough"]
