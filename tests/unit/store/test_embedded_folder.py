"""The data folder: one owner, room to work, a private socket that fits, a bounded log."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.errors import EmbeddedServerError
from ingest.store.embedded_folder import SOCKET_NAME, DataFolder


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets; pytest's own is not everywhere."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        yield Path(folder)


def test_second_claim_is_refused_with_the_owners_number(tmp_path: Path) -> None:
    """The folder has one supervising process; the refusal names it."""
    first = DataFolder(tmp_path / "pg")
    first.claim()
    first.claim()

    with pytest.raises(EmbeddedServerError, match=f"in use by process {os.getpid()}"):
        DataFolder(tmp_path / "pg").claim()
    first.release()


def test_released_folder_can_be_claimed_again(tmp_path: Path) -> None:
    """The lock ends with its holder, not with a file."""
    first, second = DataFolder(tmp_path / "pg"), DataFolder(tmp_path / "pg")
    first.claim()
    first.release()
    first.release()

    second.claim()
    second.release()


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file where the folder should be is told with its path."""
    (tmp_path / "file").write_text("")

    with pytest.raises(EmbeddedServerError, match=r"cannot prepare the data folder .*file/pg"):
        DataFolder(tmp_path / "file" / "pg").claim()


def test_little_space_is_told_in_bytes_before_the_folder_exists(tmp_path: Path) -> None:
    """Too little free space is refused, with the folder, what is there and what is needed."""
    folder = DataFolder(tmp_path / "not" / "yet")

    with pytest.raises(EmbeddedServerError, match=rf"\d+ bytes are free at .*yet.* at least {10**18}"):
        folder.require_space(10**18)
    folder.require_space(1)


def test_socket_lies_in_the_data_folder_where_it_fits(short_folder: Path) -> None:
    """A short plain path holds its own socket folder, closed to others."""
    place = folder_at(short_folder / "pg").socket_dir()

    assert place == short_folder / "pg" / "socket"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["x" * 90, "with,comma", "with space", "größe", 'quote"'])
def test_socket_moves_to_a_private_folder_when_the_path_does_not_do(short_folder: Path, name: str) -> None:
    """A path that is too long, or that servers and drivers split, is not used for the socket."""
    folder = folder_at(short_folder / name)
    folder.claim()
    place = folder.socket_dir()

    assert not place.is_relative_to(short_folder)
    assert len(os.fsencode(place / SOCKET_NAME)) <= 100
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert DataFolder(short_folder / name).socket_dir() == place

    folder.drop_socket_dir()
    folder.release()
    assert not place.exists()


def test_noted_socket_folder_that_others_may_enter_is_not_used(short_folder: Path) -> None:
    """Somebody could have put a folder of his own where ours was."""
    folder = folder_at(short_folder / ("x" * 90))
    folder.claim()
    opened = folder.socket_dir()
    opened.chmod(0o755)

    assert folder.socket_dir() != opened
    folder.drop_socket_dir()
    folder.release()
    opened.rmdir()


def test_long_log_keeps_its_end_and_is_cut(tmp_path: Path) -> None:
    """A log beyond its limit is emptied in place; the end of it stays beside."""
    folder = folder_at(tmp_path)
    descriptor = folder.open_log()
    os.write(descriptor, b"a" * 3_000_000 + b"end")

    folder.bound_log(limit_bytes=1_000_000)
    os.write(descriptor, b"after")
    os.close(descriptor)

    assert folder.log.read_bytes() == b"after"
    assert (tmp_path / "server.log.1").read_bytes().endswith(b"aend")


def test_short_log_is_left_alone(tmp_path: Path) -> None:
    """Below the limit nothing is cut, and a log that is not there is no error."""
    folder = folder_at(tmp_path)
    folder.bound_log(limit_bytes=10)
    folder.log.write_bytes(b"12345")

    folder.bound_log(limit_bytes=10)

    assert folder.log_since(2) == b"345"


def test_log_that_was_cut_meanwhile_is_read_from_its_beginning(tmp_path: Path) -> None:
    """An offset beyond the end means that the file was cut."""
    folder = folder_at(tmp_path)
    folder.log.write_bytes(b"new")

    assert folder.log_since(1_000) == b"new"


def folder_at(path: Path) -> DataFolder:
    path.mkdir(exist_ok=True)
    return DataFolder(path)
