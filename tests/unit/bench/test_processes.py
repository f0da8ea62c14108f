"""What `/proc` says of processes."""

from pathlib import Path

from tests.bench.measure import PAGE_BYTES, descendants, rss_bytes
from tests.bench.processes import anonymous_bytes, own_cpu_s


def process(proc: Path, pid: int, parent: int, *, user: int = 0, system: int = 0, children: int = 0) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    head = f"{pid} (a (strange) name) S {parent} " + "0 " * 9
    (folder / "stat").write_text(f"{head}{user} {system} {children} 0 20 0")
    (folder / "statm").write_text("1000 25 10 1 0 100 0")
    (folder / "status").write_text("Name:\tx\nVmRSS:\t  100 kB\nRssAnon:\t   40 kB\n")


def test_cpu_of_a_process_is_its_own(tmp_path: Path) -> None:
    """User and system time, without what its children took."""
    process(tmp_path, 7, 1, user=150, system=50, children=900)

    assert own_cpu_s(7, tmp_path) == 2.0
    assert own_cpu_s(8, tmp_path) == 0.0


def test_memory_is_told_in_bytes(tmp_path: Path) -> None:
    """All that is in RAM, or what belongs to nobody else; nothing of a process that is no more."""
    process(tmp_path, 7, 1)

    assert rss_bytes(7, tmp_path) == 25 * PAGE_BYTES
    assert anonymous_bytes(7, tmp_path) == 40 * 1_024
    assert rss_bytes(8, tmp_path) == anonymous_bytes(8, tmp_path) == 0


def test_descendants_are_found_at_any_depth(tmp_path: Path) -> None:
    """Children and their children, and nobody else's."""
    for pid, parent in ((7, 1), (8, 7), (9, 8), (10, 1)):
        process(tmp_path, pid, parent)

    assert sorted(descendants(7, tmp_path)) == [7, 8, 9]
