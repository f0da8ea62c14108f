"""Settings of the embedded server: sized to the machine it finds, the same in every start.

Decides numbers only. Values are PostgreSQL's own text (`"128MB"`), handed over as `-c name=value`,
so that nothing in the data folder can override them silently.
"""

import os
from pathlib import Path

MIB = 1024 * 1024

MARK = "ingest"
"""`cluster_name` of our servers: how a process is recognised as one that this program started."""

_FIXED = {
    "cluster_name": MARK,
    "listen_addresses": "",  # the socket's folder is private; loopback would be open to other users
    "unix_socket_permissions": "0700",
    "max_connections": "120",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "checkpoint_timeout": "15min",
    # When a row was committed is the half of its latency that is ours. Costs ten bytes a transaction.
    "track_commit_timestamp": "on",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] ",
    # A refused batch is an everyday answer to the writer and may carry megabytes of statement text.
    "log_min_error_statement": "panic",
}

_THROW_AWAY = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
}


def server_settings(*, durable: bool, memory_bytes: int, free_bytes: int) -> dict[str, str]:
    """Settings for a machine with so much memory and so much free space under the data folder."""
    sized = {
        # An eighth of memory: the rest is the shards' and the page cache's. Above 1 GB nothing is gained.
        "shared_buffers": f"{_clamp(memory_bytes // 8 // MIB, 16, 1024)}MB",
        # Few checkpoints at full COPY rate, but never a log that fills a small disk by itself.
        "max_wal_size": f"{_clamp(free_bytes // 8 // MIB, 128, 4096)}MB",
    }
    return _FIXED | sized | ({} if durable else _THROW_AWAY)


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def memory_bytes(cgroup_limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Memory of this machine, or of the container when that is less."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = cgroup_limit.read_text(encoding="ascii").strip()
    except OSError:
        return physical
    return min(physical, int(limit)) if limit.isdecimal() else physical
