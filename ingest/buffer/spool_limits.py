"""How much the spool may hold and when it is used; what happens when it is full. Pure."""

from dataclasses import dataclass
from enum import Enum
from typing import Literal


class WhenFull(Enum):
    """What happens to rows that find no room."""

    REFUSE_NEWEST = "refuse_newest"
    """What is kept stays contiguous: memory fills up behind it, then the newest rows become gaps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolLimits:
    """The bounds of one shard's spool.

    `after_s` is how long a batch may try to get into the database before it goes to the disk, and with it
    what a crash of the process may cost. `memory_share` of the buffer's bytes sends batches there before.
    `synchronous` "full" flushes each batch to the disk, "normal" at most once in `flush_every_s`.
    """

    max_bytes: int = 4 * 2**30
    max_age_s: float = 86_400.0
    after_s: float = 2.0
    memory_share: float = 0.5
    synchronous: Literal["full", "normal"] = "full"
    flush_every_s: float = 1.0
    when_full: WhenFull = WhenFull.REFUSE_NEWEST


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """What is kept now, over all tables; `oldest_recv_ns` is None when nothing is. The last two only grow."""

    batches: int = 0
    rows: int = 0
    size_bytes: int = 0
    oldest_recv_ns: int | None = None
    is_full: bool = False
    damaged_batches: int = 0
    spooled_rows: int = 0


def has_room(
    limits: SpoolLimits, *, held_bytes: int, more_bytes: int, oldest_recv_ns: int | None, now_ns: int
) -> bool:
    """Whether a batch may be added: neither too many bytes nor anything too old (`now_ns`: wall time)."""
    if held_bytes + more_bytes > limits.max_bytes:
        return False
    return oldest_recv_ns is None or now_ns - oldest_recv_ns <= limits.max_age_s * 1e9
