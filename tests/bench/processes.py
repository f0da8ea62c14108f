"""CPU and memory of a running service's processes by kind, read from `/proc` by whoever watches.

The database's memory is what its processes have for themselves (`RssAnon`): the buffers that they share would
be counted once for each of them. The others' is all that is in RAM.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.measure import TICKS_PER_S, descendants, rss_bytes, tree_cpu_s

_PROC: Final = Path("/proc")
_KIB: Final = 1_024


@dataclass(frozen=True)
class Cast:
    """Who takes part. `database` is the server's first process."""

    shards: Sequence[int]
    supervisor: int
    database: int
    generator: int

    def cpu_s(self) -> dict[str, float]:
        """Since each process began, by kind."""
        return {
            "shards": sum(map(own_cpu_s, self.shards)),
            "supervisor": own_cpu_s(self.supervisor),
            "database": tree_cpu_s(self.database) or 0.0,
            "generator": own_cpu_s(self.generator),
        }

    def memory_bytes(self) -> Mapping[str, int]:
        """Now, by kind; each shard by itself."""
        shards = {f"shard {number}": rss_bytes(pid) for number, pid in enumerate(self.shards)}
        return {
            **shards,
            "supervisor": rss_bytes(self.supervisor),
            "database": sum(map(anonymous_bytes, descendants(self.database))),
            "generator": rss_bytes(self.generator),
        }


def own_cpu_s(pid: int, proc: Path = _PROC) -> float:
    """Of one process, its threads included and its children not; 0 when it is no more."""
    try:
        stat = (proc / str(pid) / "stat").read_text()
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def anonymous_bytes(pid: int, proc: Path = _PROC) -> int:
    """Memory that one process shares with no file and nobody; 0 when it is no more."""
    try:
        lines = (proc / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return int(found[0]) * _KIB if found else 0
