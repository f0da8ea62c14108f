"""Which files give way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.capture.retention import KeptFile, Retention, to_drop

SECOND_NS = 10**9
NOW_NS = 1_000_000 * SECOND_NS
WRITING = "shard-0-b-000009.capture.zst"


def a_file(part: int, *, shard: int = 0, mib: int = 1, age_s: float = 0.0) -> KeptFile:
    name = f"shard-{shard}-a-{part:06d}.capture.zst"
    return KeptFile(name, mib * 2**20, NOW_NS - int(age_s * SECOND_NS))


def dropped(files: list[KeptFile], bounds: Retention) -> list[int]:
    names = to_drop(files, bounds, writing=WRITING, now_ns=NOW_NS)
    return [int(name.split("-")[-1][:6]) for name in names]


def test_oldest_files_go_when_there_are_too_many_bytes() -> None:
    """Until the rest is within the bound."""
    files = [a_file(part, age_s=100 - part) for part in (3, 1, 2, 4)]

    assert dropped(files, Retention(keep_bytes=2 * 2**20)) == [1, 2]
    assert dropped(files, Retention(keep_bytes=4 * 2**20)) == []


def test_files_that_are_too_old_go() -> None:
    """Whatever their size, and also another shard's last one, which nobody writes any more."""
    files = [a_file(1, age_s=11), a_file(2, age_s=9), a_file(3, shard=7, age_s=12)]

    assert dropped(files, Retention(keep_s=10)) == [3, 1]


def test_files_that_may_be_open_stay() -> None:
    """Our own, and the newest of every other shard: the bound is exceeded instead."""
    files = [a_file(1, shard=1, age_s=5), a_file(2, shard=1, age_s=3), a_file(3, shard=2, age_s=4)]
    files.append(KeptFile(WRITING, 2**20, NOW_NS))

    assert dropped(files, Retention(keep_bytes=1)) == [1]


def test_nothing_goes_without_bounds() -> None:
    """Disks may be watched by others."""
    assert dropped([a_file(1, age_s=1e6, mib=10_000)], Retention()) == []


@pytest.mark.parametrize(("size", "age_s", "full"), [(9, 9, False), (10, 0, True), (0, 10, True)])
def test_file_is_full_by_size_or_age(size: int, age_s: float, full: bool) -> None:
    """Whichever comes first."""
    assert Retention(rotate_bytes=10, rotate_s=10).is_full(size, age_s) is full


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 100)), max_size=30),
    st.integers(0, 40),
)
def test_bytes_stay_within_the_bound_but_for_open_files(
    facts: list[tuple[int, int, int]], keep_mib: int
) -> None:
    """Whatever lies there; and nothing younger goes while something older could."""
    files = [a_file(n, shard=shard, mib=mib, age_s=age) for n, (shard, mib, age) in enumerate(facts)]
    names = set(to_drop(files, Retention(keep_bytes=keep_mib * 2**20), writing=WRITING, now_ns=NOW_NS))
    kept = [file for file in files if file.name not in names]
    may_be_open = {}
    for file in sorted(files, key=lambda file: (file.written_ns, file.name)):
        may_be_open[file.name.split("-")[1]] = file.name
    may_be_open["0"] = WRITING
    closed = [file for file in kept if file.name not in may_be_open.values()]

    assert not closed or sum(file.size_bytes for file in kept) <= keep_mib * 2**20
