"""What this machine's folders, disks, limits and processes mean for the service. Pure.

The needs are stated here, each with where it comes from. Nothing is measured and nothing is asked.
"""

from collections.abc import Sequence
from math import inf
from typing import Final, NamedTuple

from ingest.doctor.findings import Finding, failed, ok, warning

MIB: Final = 2**20
GIB: Final = 2**30
DAY_S: Final = 86_400.0

PROCESS_BYTES: Final = 150 * MIB
"""Of the supervisor and of a shard, without what waits for the database: 125 MiB after an hour of faults."""
EMBEDDED_BYTES: Final = 256 * MIB
EMBEDDED_LEAST_FREE_BYTES: Final = 200 * MIB
"""The embedded server does not start with less."""
LOW_BYTES: Final = 2 * GIB
FILES_OF_A_PROCESS: Final = 64
"""Log, sockets of HTTP, boards, budget, spool with its side files, event loop."""
FILES_OF_A_FEED: Final = 2
"""Two connections while one hands over to the next."""
SPARE_FILES: Final = 2.0
FULL_SOON_S: Final = 7 * DAY_S
FULL_NOW_S: Final = DAY_S

_FAR_AWAY: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.s3fs", "glusterfs"}
)
_FORGETFUL: Final = frozenset({"tmpfs", "ramfs"})


# ---------------------------------------------------------------------- the data folder


class Folder(NamedTuple):
    """`trouble` is why nothing can be written; `filesystem` is its type, empty where that is not known."""

    path: str
    exists: bool
    trouble: str = ""
    filesystem: str = ""
    holds_database: bool = False


def judge_folder(folder: Folder) -> list[Finding]:
    """Whether the service can keep there what it has to."""
    check = "data folder"
    if folder.trouble:
        advice = (
            "give the service's user the folder (chown), or set data_dir in [service] to one that is its own"
        )
        return [failed(check, f"{folder.path} cannot be written: {folder.trouble}", advice)]
    if folder.filesystem in _FAR_AWAY:
        advice = (
            "set data_dir in [service] to a disk of this machine: locks, shared memory and SQLite need one"
        )
        return [warning(check, f"{folder.path} lies on a network file system ({folder.filesystem})", advice)]
    if folder.filesystem in _FORGETFUL:
        what = "the embedded database and the spool are" if folder.holds_database else "the spool is"
        advice = (
            "set data_dir in [service] to a disk, so that what waits there outlives a restart of the machine"
        )
        return [
            warning(check, f"{folder.path} lies in memory ({folder.filesystem}): {what} gone with it", advice)
        ]
    return [ok(check, f"{folder.path} can be written" if folder.exists else f"{folder.path} can be made")]


# ---------------------------------------------------------------------- who else is here


class Holder(NamedTuple):
    """Who holds a lock; `pid` as the file has it, `is_visible` whether such a process of ours is seen."""

    pid: str
    is_visible: bool


class Owners(NamedTuple):
    """Who uses the data folder. `leftovers` are processes of shards whose supervisor is gone."""

    service: Holder | None
    database: Holder | None
    leftovers: Sequence[int] = ()


def judge_owners(owners: Owners) -> Finding:
    """Whether one service, and one only, uses the folder."""
    check, service, database = "one service", owners.service, owners.database
    if service is None and owners.leftovers:
        pids = ", ".join(map(str, owners.leftovers))
        advice = (
            "they drain and end by themselves within seconds; if not, end them (kill) before starting again"
        )
        return warning(check, f"shards without a supervisor still run: processes {pids}", advice)
    if service is None and database is not None:
        advice = "wait for that command, or end it, before starting the service"
        return warning(check, f"another program has the embedded database: process {database.pid}", advice)
    if service is None:
        return ok(check, "no service runs on this data folder")
    if database is not None and database.pid != service.pid:
        advice = "give each service a data_dir of its own; end one of the two"
        found = f"process {service.pid} is the service, and process {database.pid} has its database"
        return failed(check, found, advice)
    if not service.is_visible:
        advice = "if it is not meant to run there, end it; each service needs a data_dir of its own"
        found = (
            f"process {service.pid} holds the folder and is not seen here: another container or user has it"
        )
        return warning(check, found, advice)
    return ok(check, f"a service runs here, process {service.pid}; a second one would be refused")


class Page(NamedTuple):
    """What the service's HTTP, or its port, says. `status` is of /readyz; None when nobody answered."""

    address: str
    service_runs: bool
    status: int | None = None
    reasons: Sequence[str] = ()
    port_is_taken: bool = False


def judge_page(page: Page) -> Finding:
    """Whether the running service is ready, or the port is free for one."""
    check = "HTTP"
    if not page.service_runs:
        if page.port_is_taken:
            advice = "end the program that uses the port, or set http_port in [service] to another one"
            return failed(check, f"{page.address} is used by another program", advice)
        return ok(check, f"{page.address} is free")
    if page.status is None:
        advice = (
            "is http_port in [service] what the service was started with? Else restart it: its loop stands"
        )
        return warning(
            check, f"a service runs, and does not answer on {page.address}", advice, "service-not-ready"
        )
    if page.status in {401, 403}:
        return ok(check, f"the service on {page.address} answers, and asks who we are")
    if page.status != 200:
        why = "; ".join(page.reasons) or f"HTTP {page.status}"
        return failed(check, f"the service is not ready: {why}", "see the reasons", "service-not-ready")
    return ok(check, f"the service on {page.address} is ready")


# ---------------------------------------------------------------------- disks


class Disk(NamedTuple):
    """Of the data folder. `full_in_s` is the forecast for the embedded database; None: not known."""

    path: str
    free_bytes: int
    free_files: int | None
    spool_bytes: int
    """What the spools of all shards may take in all, less what they have."""
    is_embedded: bool
    full_in_s: float | None = None


def judge_disk(disk: Disk) -> list[Finding]:
    """Whether there is room, for how long, and for an outage of the database."""
    check, free = "disk", f"{amount(disk.free_bytes)} free at {disk.path}"
    room = "make room, or keep less ([storage.keep_days], [capture] keep_mib)"
    if disk.is_embedded and disk.free_bytes < EMBEDDED_LEAST_FREE_BYTES:
        return [failed(check, f"{free}: the embedded database does not start", room, "database-full")]
    if disk.free_files is not None and disk.free_files < 1_000:
        return [failed(check, f"{disk.free_files} files can still be made at {disk.path}", room, "disk-low")]
    if disk.free_bytes < LOW_BYTES:
        return [warning(check, f"only {free}", room, "disk-low")]
    return [_forecast(disk, free, room), *_spool_room(disk)]


def _forecast(disk: Disk, free: str, room: str) -> Finding:
    check, lasts_s = "disk", disk.full_in_s
    if lasts_s is None:
        known = (
            "; how fast it fills is known after the service has run for ten minutes"
            if disk.is_embedded
            else ""
        )
        return ok(check, f"{free}{known}")
    if lasts_s == inf:
        return ok(check, f"{free}; at this rate it is never full")
    found = f"{free}; at this rate it is full in {lasts_s / DAY_S:,.1f} days"
    if lasts_s < FULL_NOW_S:
        return failed(check, found, room, "disk-fills-up")
    return warning(check, found, room, "disk-fills-up") if lasts_s < FULL_SOON_S else ok(check, found)


def _spool_room(disk: Disk) -> list[Finding]:
    if disk.spool_bytes <= disk.free_bytes:
        return []
    found = (
        f"the spools may take {amount(disk.spool_bytes)} more, and {amount(disk.free_bytes)} are free: "
        "they are full sooner than [spool] says"
    )
    return [warning("disk for the spool", found, "make room, or lower max_mib in [spool]", "spool-full")]


class Spools(NamedTuple):
    """What lies in `data_dir/spool`: what waits, files that were set aside, files that cannot be read."""

    batches: int
    bytes: int
    oldest_s: float | None
    """Seconds since the file was last written."""
    set_aside: Sequence[str] = ()
    unreadable: Sequence[str] = ()


def judge_spools(spools: Spools, *, service_runs: bool) -> list[Finding]:
    """What is left over of an outage."""
    check, found = "spool", []
    if spools.unreadable:
        advice = "start the service, which sets aside what it cannot use; delete nothing"
        found.append(
            warning(check, f"cannot be read: {', '.join(spools.unreadable)}", advice, "spool-damaged")
        )
    if spools.set_aside:
        advice = "look at the disk; delete the files once `ingest gaps` shows what they cost"
        names = ", ".join(spools.set_aside)
        found.append(warning(check, f"files were set aside: {names}", advice, "spool-damaged"))
    if spools.batches:
        size = f"{spools.batches:,} batches ({amount(spools.bytes)}) wait for the database"
        if service_runs:
            found.append(warning(check, size, "see how the database is, below", "spool-growing"))
        else:
            advice = "start the service: it stores them; do not delete them, what is in them is nowhere else"
            found.append(warning(check, f"{size} since an earlier run", advice, "spool-growing"))
    return found or [ok(check, "nothing waits in it")]


# ---------------------------------------------------------------------- limits


class FileNeed(NamedTuple):
    """What decides how many files a shard opens."""

    streams: int
    streams_per_feed: int
    shards: int
    connections: int

    @property
    def files(self) -> int:
        """Of the process that needs most."""
        feeds = -(-self.streams // (self.streams_per_feed * self.shards))
        return FILES_OF_A_PROCESS + self.connections + FILES_OF_A_FEED * feeds


def judge_files(soft_limit: float, need: FileNeed) -> Finding:
    """Whether a process may open as many files as it will; infinity is no limit."""
    check, advice = (
        "open files",
        "raise the limit: ulimit -n, LimitNOFILE= of systemd, or that of the container",
    )
    if soft_limit == inf:
        return ok(check, "no limit")
    found = f"a process may open {soft_limit:,.0f}, and a shard may need {need.files:,}"
    if soft_limit < need.files:
        return failed(check, found, advice)
    return warning(check, found, advice) if soft_limit < SPARE_FILES * need.files else ok(check, found)


class Memory(NamedTuple):
    """`limit_bytes` is of the container or the machine, whichever is less; `limited_by` says which."""

    limit_bytes: int
    limited_by: str
    available_bytes: int | None
    """What others leave of it now; None when not known, or when our own service is among them."""
    shards: int
    waiting_bytes: int
    """What waits for the database and the disk in all shards, at most."""
    is_embedded: bool


def judge_memory(memory: Memory) -> Finding:
    """Whether there is enough for the processes, and for what waits during an outage."""
    check = "memory"
    base = (memory.shards + 1) * PROCESS_BYTES + (EMBEDDED_BYTES if memory.is_embedded else 0)
    most = base + memory.waiting_bytes
    have = (
        memory.limit_bytes
        if memory.available_bytes is None
        else min(memory.limit_bytes, memory.available_bytes)
    )
    found = (
        f"{amount(have)} ({memory.limited_by}); the service takes about {amount(base)}, and up to "
        f"{amount(most)} while the database is away"
    )
    more = "give it more memory, or run fewer shards ([service] shards)"
    if have < base:
        return failed(check, found, more, "shard-in-quarantine")
    if have < most:
        return warning(check, found, f"{more}, or lower buffer_mib in [batch]", "shard-in-quarantine")
    return ok(check, found)


def judge_proxies(names: Sequence[str]) -> Finding:
    """Variables that other programs heed."""
    if not names:
        return ok("proxies", "no variable names one")
    found = (
        f"{', '.join(names)} set, and the service goes past it: its connections to the exchange are direct"
    )
    advice = (
        "nothing, if the exchange is reached (below); where only a proxy leads out, let the firewall pass "
        "the exchange's hosts, and set any idle timeout on the way above 75 s"
    )
    return warning("proxies", found, advice, "connects-and-drops-every-few-seconds")


def amount(size_bytes: float) -> str:
    """Bytes for people."""
    size, unit = abs(size_bytes), 0
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    while size >= 1_024 and unit < len(units) - 1:
        size, unit = size / 1_024, unit + 1
    return f"{size:,.0f} {units[unit]}" if unit == 0 else f"{size:,.1f} {units[unit]}"
