"""`ingest.doctor.machine`: what folders, disks, limits and processes mean."""

from math import inf

import pytest

from ingest.doctor.findings import Level, worst
from ingest.doctor.machine import (
    DAY_S,
    GIB,
    MIB,
    Disk,
    FileNeed,
    Folder,
    Holder,
    Memory,
    Owners,
    Page,
    Spools,
    amount,
    judge_disk,
    judge_files,
    judge_folder,
    judge_memory,
    judge_owners,
    judge_page,
    judge_proxies,
    judge_spools,
)

OK, WARNING, FAILED = Level.OK, Level.WARNING, Level.FAILED


@pytest.mark.parametrize(
    ("folder", "level", "said"),
    [
        (Folder("/data", True, filesystem="ext4"), OK, "can be written"),
        (Folder("/data", False), OK, "can be made"),
        (Folder("/data", True, "Read-only file system"), FAILED, "cannot be written: Read-only"),
        (Folder("/data", True, filesystem="nfs4"), WARNING, "network file system (nfs4)"),
        (Folder("/data", True, filesystem="tmpfs"), WARNING, "the spool is gone with it"),
        (Folder("/data", True, filesystem="tmpfs", holds_database=True), WARNING, "embedded database and"),
    ],
)
def test_folder_must_be_writable_and_on_a_disk_of_this_machine(
    folder: Folder, level: Level, said: str
) -> None:
    """Locks, shared memory and what waits for the database lie there."""
    (found,) = judge_folder(folder)

    assert (found.level, said in found.found) == (level, True)
    assert bool(found.advice) is (level is not OK)


US, OTHER, HIDDEN = Holder("10", True), Holder("20", True), Holder("1", False)


@pytest.mark.parametrize(
    ("owners", "level", "said"),
    [
        (Owners(None, None), OK, "no service runs"),
        (Owners(US, None), OK, "a service runs here, process 10"),
        (Owners(US, US), OK, "a second one would be refused"),
        (Owners(US, OTHER), FAILED, "process 10 is the service, and process 20 has its database"),
        (Owners(None, OTHER), WARNING, "another program has the embedded database: process 20"),
        (Owners(HIDDEN, None), WARNING, "another container"),
        (Owners(None, None, (31, 32)), WARNING, "shards without a supervisor still run: processes 31, 32"),
    ],
)
def test_one_service_and_one_only_may_use_the_folder(owners: Owners, level: Level, said: str) -> None:
    """By the locks that are held in it, and the processes that are seen."""
    found = judge_owners(owners)

    assert (found.level, said in found.found) == (level, True)


@pytest.mark.parametrize(
    ("page", "level", "said"),
    [
        (Page("here", False), OK, "is free"),
        (Page("here", False, port_is_taken=True), FAILED, "used by another program"),
        (Page("here", True, 200), OK, "is ready"),
        (Page("here", True, 503, ("shard 1 is stopping",)), FAILED, "not ready: shard 1 is stopping"),
        (Page("here", True, 503), FAILED, "HTTP 503"),
        (Page("here", True), WARNING, "does not answer"),
        (Page("here", True, 401), OK, "asks who we are"),
    ],
)
def test_page_answers_or_its_port_is_free(page: Page, level: Level, said: str) -> None:
    """Depending on whether a service runs."""
    found = judge_page(page)

    assert (found.level, said in found.found) == (level, True)


def a_disk(free_bytes: int = 50 * GIB, **changes: object) -> Disk:
    disk = Disk("/data", free_bytes, 1_000_000, spool_bytes=8 * GIB, is_embedded=True)
    return disk._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("disk", "level", "said"),
    [
        (a_disk(), OK, "how fast it fills is known after"),
        (a_disk(is_embedded=False), OK, "50.0 GiB free at /data"),
        (a_disk(full_in_s=inf), OK, "never full"),
        (a_disk(full_in_s=30 * DAY_S), OK, "full in 30.0 days"),
        (a_disk(full_in_s=3 * DAY_S), WARNING, "full in 3.0 days"),
        (a_disk(full_in_s=DAY_S / 2), FAILED, "full in 0.5 days"),
        (a_disk(5 * GIB), WARNING, "the spools may take 8.0 GiB more"),
        (a_disk(GIB), WARNING, "only 1.0 GiB free"),
        (a_disk(100 * MIB), FAILED, "the embedded database does not start"),
        (a_disk(100 * MIB, is_embedded=False), WARNING, "only 100.0 MiB free"),
        (a_disk(free_files=12), FAILED, "12 files"),
        (a_disk(free_files=None), OK, "free at"),
    ],
)
def test_disk_has_room_now_and_for_long(disk: Disk, level: Level, said: str) -> None:
    """For the database by its forecast, and for an outage of it."""
    found = judge_disk(disk)

    assert worst(found) is level
    assert any(said in finding.found for finding in found)


@pytest.mark.parametrize(
    ("spools", "service_runs", "level", "said"),
    [
        (Spools(0, 0, None), False, OK, "nothing waits"),
        (Spools(3, 5 * MIB, 60.0), False, WARNING, "3 batches (5.0 MiB) wait for the database since"),
        (Spools(3, 5 * MIB, 60.0), True, WARNING, "3 batches (5.0 MiB) wait"),
        (Spools(0, 0, None, ("shard-0.damaged-1.sqlite",)), True, WARNING, "set aside: shard-0.damaged"),
        (Spools(0, 0, None, (), ("shard-1.sqlite",)), False, WARNING, "cannot be read: shard-1.sqlite"),
    ],
)
def test_what_an_outage_has_left_is_told(spools: Spools, service_runs: bool, level: Level, said: str) -> None:
    """And that it is not to be deleted."""
    found = judge_spools(spools, service_runs=service_runs)

    assert worst(found) is level
    assert any(said in finding.found for finding in found)


NEED = FileNeed(streams=4_000, streams_per_feed=100, shards=2, connections=4)


@pytest.mark.parametrize(("limit", "level"), [(inf, OK), (1_024.0, OK), (200.0, WARNING), (107.0, FAILED)])
def test_shard_may_open_as_many_files_as_it_needs(limit: float, level: Level) -> None:
    """Two connections of each of its twenty feeds while they hand over, and its own."""
    assert NEED.files == 64 + 4 + 2 * 20
    assert judge_files(limit, NEED).level is level


def a_memory(limit_bytes: int, **changes: object) -> Memory:
    memory = Memory(limit_bytes, "of this machine", None, 2, waiting_bytes=512 * MIB, is_embedded=False)
    return memory._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("memory", "level"),
    [
        (a_memory(2 * GIB), OK),
        (a_memory(800 * MIB), WARNING),
        (a_memory(400 * MIB), FAILED),
        (a_memory(2 * GIB, available_bytes=600 * MIB), WARNING),
        (a_memory(1_000 * MIB, is_embedded=True), WARNING),
    ],
)
def test_memory_is_enough_for_the_processes_and_for_an_outage(memory: Memory, level: Level) -> None:
    """What waits for the database comes on top."""
    assert judge_memory(memory).level is level


def test_proxies_are_named_without_their_values() -> None:
    """The service goes past them."""
    assert judge_proxies([]).level is OK
    found = judge_proxies(["HTTPS_PROXY", "http_proxy"])
    assert found.level is WARNING
    assert found.found.startswith("HTTPS_PROXY, http_proxy set")


def test_bytes_are_written_for_people() -> None:
    """In the largest unit that leaves a number above one."""
    assert [amount(size) for size in (0, 1_023, 1_024, 3 * GIB, 5_000 * GIB)] == [
        "0 B",
        "1,023 B",
        "1.0 KiB",
        "3.0 GiB",
        "4.9 TiB",
    ]
