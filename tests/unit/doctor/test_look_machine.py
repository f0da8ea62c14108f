"""`ingest.doctor.look_machine`: looking at folders, locks and limits, and leaving nothing behind."""

import fcntl
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ingest.config import Settings, load_settings
from ingest.doctor import look_machine
from ingest.doctor.machine import Holder


def settings_for(data_dir: Path, **variables: str) -> Settings:
    return load_settings(environment={"INGEST_SERVICE_DATA_DIR": str(data_dir), **variables})


def test_folder_is_written_to_and_left_as_it_was(tmp_path: Path) -> None:
    """A file is made and gone; a folder that is not there is not made."""
    found = look_machine.look_at_folder(settings_for(tmp_path))
    missing = look_machine.look_at_folder(settings_for(tmp_path / "a" / "b"))

    assert (found.exists, found.trouble, found.holds_database) == (True, "", True)
    assert (missing.exists, missing.trouble) == (False, "")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_folder_cannot_be_written(tmp_path: Path) -> None:
    """Nor can one below a file be made."""
    file = tmp_path / "file"
    file.touch()

    assert look_machine.look_at_folder(settings_for(file)).trouble == "it is no folder"
    assert "cannot be made" in look_machine.look_at_folder(settings_for(file / "x")).trouble


def test_disk_that_takes_nothing_more_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By writing, as a file may still be made when there is no block left for it."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    assert look_machine.look_at_folder(settings_for(tmp_path)).trouble == "No space left on device"


def test_file_system_is_that_of_the_deepest_mount(tmp_path: Path) -> None:
    """Of two on the same place the later one; spaces in names are written as numbers."""
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "a / ext4 rw 0 0\n"
        f"b {tmp_path} nfs4 rw 0 0\n"
        f"c {tmp_path} tmpfs rw 0 0\n"
        f"d {tmp_path}/with\\040space xfs rw 0 0\n"
        "broken\n"
    )

    assert look_machine._filesystem(tmp_path / "x", mounts) == "tmpfs"
    assert look_machine._filesystem(tmp_path / "with space" / "y", mounts) == "xfs"
    assert look_machine._filesystem(Path("/usr"), mounts) == "ext4"
    assert look_machine._filesystem(tmp_path, tmp_path / "none") == ""


def test_holder_of_a_lock_is_found_and_the_lock_left_alone(tmp_path: Path) -> None:
    """A number that is no process of ours belongs to another container, or to nobody."""
    settings = settings_for(tmp_path)
    lock = tmp_path / "supervisor.lock"
    assert look_machine.look_at_owners(settings).service is None
    lock.write_text("1")
    assert look_machine.look_at_owners(settings).service is None

    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert look_machine.look_at_owners(settings).service == Holder("1", is_visible=False)
    with lock.open("r+") as free:
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_leftover_batches_and_files_set_aside_are_counted(tmp_path: Path) -> None:
    """A spool that cannot be read is named; none of them is changed."""
    folder = tmp_path / "spool"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "shard-0.sqlite")) as spool:
        spool.executescript("CREATE TABLE labels (seq); INSERT INTO labels VALUES (1), (2);")
    (folder / "shard-1.sqlite").write_bytes(b"no database at all" * 100)
    (folder / "shard-0.damaged-17.sqlite").touch()

    found = look_machine.look_at_spools(settings_for(tmp_path), now_s=4e9)

    assert found.batches == 2
    assert found.bytes == (folder / "shard-0.sqlite").stat().st_size
    assert found.oldest_s is not None
    assert found.oldest_s > 0
    assert (found.set_aside, found.unreadable) == (("shard-0.damaged-17.sqlite",), ("shard-1.sqlite",))
    assert look_machine.look_at_spools(settings_for(tmp_path / "none"), 0.0).batches == 0


def test_room_for_the_spools_is_what_they_may_still_take(tmp_path: Path) -> None:
    """Of all shards; none when there is no spool."""
    settings = settings_for(tmp_path, INGEST_SPOOL_MAX_MIB="100", INGEST_SERVICE_SHARDS="3")

    disk = look_machine.look_at_disk(settings, 5.0)

    assert disk.spool_bytes == 3 * 100 * 2**20
    assert disk.free_bytes > 0
    assert disk.full_in_s == 5.0
    without = settings_for(tmp_path, INGEST_SPOOL_ENABLED="false")
    assert look_machine.look_at_disk(without, None).spool_bytes == 0


def test_port_that_somebody_listens_on_is_taken() -> None:
    """One that nobody listens on is free."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert look_machine.port_is_taken("127.0.0.1", port)
    assert not look_machine.port_is_taken("127.0.0.1", port)


@pytest.mark.parametrize(
    ("symbols", "streams"),
    [("BTCUSDT,ETHUSDT", 2 * 5), ("{ quote = ['USDT'], top = 30 }", 30 * 5), ("*", 1_500 * 5)],
)
def test_streams_are_estimated_from_the_configuration(tmp_path: Path, symbols: str, streams: int) -> None:
    """Named symbols exactly, all of them about."""
    settings = settings_for(tmp_path, INGEST_SPOT_SYMBOLS=symbols)

    need = look_machine.file_need(settings)

    assert (need.streams, need.connections) == (streams, 4)


def test_memory_of_a_container_is_its_lowest_limit(tmp_path: Path) -> None:
    """On the way from our own control group to the root; "max" is none."""
    own, root = tmp_path / "cgroup", tmp_path / "root"
    group = root / "a" / "b"
    group.mkdir(parents=True)
    own.write_text("0::/a/b\n")
    assert look_machine._cgroup_limit(own, root) is None

    (group / "memory.max").write_text("max\n")
    (root / "a" / "memory.max").write_text("1048576\n")
    assert look_machine._cgroup_limit(own, root) == 1_048_576
    assert look_machine._cgroup_limit(tmp_path / "none", root) is None


def test_memory_of_the_first_control_groups_is_read_too(tmp_path: Path) -> None:
    """A number beyond all memory is no limit."""
    own, root = tmp_path / "cgroup", tmp_path / "root"
    (root / "memory").mkdir(parents=True)
    own.write_text("4:memory:/x\n")
    file = root / "memory" / "memory.limit_in_bytes"
    file.write_text("9223372036854771712\n")
    assert look_machine._cgroup_limit(own, root) is None

    file.write_text("536870912\n")
    assert look_machine._cgroup_limit(own, root) == 536_870_912


def test_memory_and_files_of_this_machine_are_known(tmp_path: Path) -> None:
    """What runs already takes from what is available, so that does not count then."""
    idle = look_machine.look_at_memory(settings_for(tmp_path), service_runs=False)
    running = look_machine.look_at_memory(settings_for(tmp_path), service_runs=True)

    assert idle.limit_bytes == running.limit_bytes > 0
    assert running.available_bytes is None
    assert idle.waiting_bytes == 2 * 256 * 2**20
    assert look_machine.soft_file_limit() > 0
