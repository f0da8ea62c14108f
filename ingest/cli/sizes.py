"""What the tables take, and what their disk has left; how fast they grow, by the supervisor's samples."""

import shutil
from collections.abc import Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.table import Table

from ingest.clock import SystemClock
from ingest.config import Settings
from ingest.store.sizes import RelationSize, relation_sizes, size_history
from ingest.supervisor.database import embedded_folder
from ingest.supervisor.forecast import DAY_S, growth_bytes_per_s
from ingest.supervisor.storage import HISTORY, lasts_s

if TYPE_CHECKING:
    from ingest.cli.tables import Connection

_MOST: Final = 12
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


class Storage(NamedTuple):
    """One look. `free_bytes` is None for a server elsewhere."""

    sizes: Sequence[RelationSize]
    growth_bytes_per_s: Mapping[str, float]
    free_bytes: int | None
    now_s: float
    """Since the epoch."""


async def read_storage(connection: "Connection", settings: Settings) -> Storage:
    """Measure the tables, and how fast they grew; StoreUnavailable when one of them is locked for long."""
    sizes = await relation_sizes(connection)
    history = await size_history(connection, back=HISTORY)
    growth = {name: rate for name, each in history.items() if (rate := growth_bytes_per_s(each)) is not None}
    is_embedded = not settings.database.url.get_secret_value()
    free_bytes = shutil.disk_usage(embedded_folder(settings)).free if is_embedded else None
    return Storage(sizes, growth, free_bytes, SystemClock().wall_ns() / 1e9)


def storage_table(storage: Storage) -> Table:
    """The largest tables, and all of them together."""
    table = Table(title="disk", title_justify="left", expand=False, caption=_caption(storage))
    table.caption_justify = "left"
    table.add_column("table")
    for name in ("parts", "rows, about", "table", "indexes", "columnstore", "growth a day", "oldest (UTC)"):
        table.add_column(name, justify="right")
    for size in sorted(storage.sizes, key=lambda each: -each.total_bytes)[:_MOST]:
        growth = storage.growth_bytes_per_s.get(size.relation)
        table.add_row(
            size.relation,
            f"{size.parts:,}",
            f"{size.rows_estimate:,}",
            amount(size.table_bytes),
            amount(size.index_bytes),
            "-" if size.compression is None else f"{size.compression:.1f} x smaller",
            "-" if growth is None else amount(growth * DAY_S),
            "-" if size.oldest_at is None else f"{size.oldest_at:%Y-%m-%d}",
        )
    return table


def _caption(storage: Storage) -> str:
    total = amount(sum(size.total_bytes for size in storage.sizes))
    return f"in all {total}; {_room(storage)}"


def _room(storage: Storage) -> str:
    if storage.free_bytes is None:
        return "how much room its server has is not known here"
    free = f"{amount(storage.free_bytes)} free"
    left_s = lasts_s(storage.sizes, storage.growth_bytes_per_s, storage.free_bytes, storage.now_s)
    if left_s is None:
        return f"{free}; how fast it grows is known after ten minutes"
    return f"{free}, at this rate {'never full' if left_s == inf else f'full in {left_s / DAY_S:,.1f} days'}"


def amount(size_bytes: float) -> str:
    """Bytes for people."""
    size, unit = abs(size_bytes), 0
    while size >= 1_024 and unit < len(_UNITS) - 1:
        size, unit = size / 1_024, unit + 1
    sign = "-" if size_bytes < 0 else ""
    return f"{sign}{size:,.0f} {_UNITS[unit]}" if unit == 0 else f"{sign}{size:,.1f} {_UNITS[unit]}"
