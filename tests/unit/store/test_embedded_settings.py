"""The embedded server's settings follow the machine within fixed bounds."""

from pathlib import Path

import pytest

from ingest.store.embedded_settings import memory_bytes, server_settings

GIB = 1024**3


def settings(*, durable: bool = True, memory: int = 8 * GIB, free: int = 100 * GIB) -> dict[str, str]:
    return server_settings(durable=durable, memory_bytes=memory, free_bytes=free)


@pytest.mark.parametrize(
    ("memory", "expected"),
    [(GIB // 16, "16MB"), (2 * GIB, "256MB"), (8 * GIB, "1024MB"), (64 * GIB, "1024MB")],
)
def test_shared_buffers_are_an_eighth_of_memory_within_bounds(memory: int, expected: str) -> None:
    """An eighth of memory, at least 16 MB and at most 1 GB."""
    assert settings(memory=memory)["shared_buffers"] == expected


@pytest.mark.parametrize(("free", "expected"), [(0, "128MB"), (8 * GIB, "1024MB"), (100 * GIB, "4096MB")])
def test_write_ahead_log_may_not_fill_a_small_disk(free: int, expected: str) -> None:
    """The log's limit follows the free space, up to 4 GB."""
    assert settings(free=free)["max_wal_size"] == expected


def test_only_a_throw_away_server_goes_without_fsync() -> None:
    """Durability is given up for throw-away servers and for nobody else."""
    assert settings(durable=False)["fsync"] == "off"
    assert "fsync" not in settings()


def test_commit_times_are_kept() -> None:
    """Latency up to the commit can be measured afterwards, of every row."""
    assert settings()["track_commit_timestamp"] == "on"


def test_no_port_is_opened() -> None:
    """The server listens on its socket only."""
    assert settings()["listen_addresses"] == ""


@pytest.mark.parametrize("content", ["max\n", "", "garbage"])
def test_memory_is_the_machines_without_a_container_limit(tmp_path: Path, content: str) -> None:
    """A container without a limit, or a file that is no number, changes nothing."""
    limit = tmp_path / "memory.max"
    limit.write_text(content)

    assert memory_bytes(limit) == memory_bytes(tmp_path / "absent")


def test_memory_is_the_containers_when_that_is_less(tmp_path: Path) -> None:
    """A container's limit below the machine's memory counts."""
    limit = tmp_path / "memory.max"
    limit.write_text("268435456\n")

    assert memory_bytes(limit) == 268435456
