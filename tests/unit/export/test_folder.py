"""Files that are whole or not there."""

import errno
import os
from pathlib import Path

import pytest

from ingest.errors import ConfigError, ExportError
from ingest.export.folder import claimed, sha256_of, whole_file


def test_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    """Not before the end; then with the checksum that was counted on the way."""
    path = tmp_path / "a" / "b.parquet"
    with whole_file(path) as file:
        file.write(b"one")
        file.write(b"two")
        assert not path.exists()

    assert path.read_bytes() == b"onetwo"
    assert (file.size_bytes, file.sha256) == (6, sha256_of(path))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ExportError])
def test_failure_leaves_the_former_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    """Whatever ends it: no half file under the final name, nor beside it."""
    path = tmp_path / "b.parquet"
    path.write_bytes(b"former")

    with pytest.raises(error), whole_file(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_is_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk's refusal is not taken for one of the database's."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match="No space left"), whole_file(tmp_path / "b.parquet") as file:
        file.write(b"x")
    assert list(tmp_path.iterdir()) == []


def test_folder_is_for_one_at_a_time(tmp_path: Path) -> None:
    """A second export into it is refused; what a killed one left is removed."""
    left = tmp_path / "trade" / ".2026-01-02.parquet.part"
    left.parent.mkdir()
    left.touch()

    with claimed(tmp_path), pytest.raises(ConfigError, match="another export"), claimed(tmp_path):
        pytest.fail("claimed twice")
    assert not left.exists()
    with claimed(tmp_path):
        pass
