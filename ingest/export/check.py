"""Files of an export against their manifest: length, checksum, rows, ids, times, order.

Decides nothing about what is missing in the database; whoever wants to know that exports again.
"""

from collections.abc import Iterator
from pathlib import Path

from ingest.export import arrow
from ingest.export.folder import sha256_of
from ingest.export.kinds import Kind, kind_of
from ingest.export.manifest import Entry, Manifest
from ingest.export.verdict import IdTally
from ingest.store.instants import instant


def differences(folder: Path, manifest: Manifest) -> Iterator[str]:
    """What is not as the manifest says, in sentences; blocks, for as long as all files take to be read."""
    for path, entry in manifest.files.items():
        for difference in _differences(folder / path, entry):
            yield f"{path}: {difference}"
    known = set(manifest.files)
    for file in sorted(folder.rglob("*.parquet")):
        path = file.relative_to(folder).as_posix()
        if path not in known:
            yield f"{path}: the manifest does not know it"


def _differences(file: Path, entry: Entry) -> Iterator[str]:
    try:
        size_bytes = file.stat().st_size
        if size_bytes != entry.bytes:
            yield f"has {size_bytes} bytes instead of {entry.bytes}"
        elif sha256_of(file) != entry.sha256:
            yield "has another checksum"
        for name, found in _contents(file, kind_of(entry.kind)).items():
            if found != getattr(entry, name):
                yield f"{name} is {found} instead of {getattr(entry, name)}"
    except FileNotFoundError:
        yield "is not there"
    except (OSError, ValueError, KeyError) as error:
        yield f"cannot be read: {error}"


def _contents(file: Path, kind: Kind) -> dict[str, object]:
    """What the rows themselves say, by the manifest's names; `rows` is text when they are in disorder."""
    rows, in_order = 0, True
    ids = IdTally(is_consecutive=False)
    times: list[int] = []
    for table in arrow.row_groups(str(file), [*dict.fromkeys((kind.time, *(kind.ids or ())))]):
        rows += table.num_rows
        bounds = arrow.times_us(table, kind)
        in_order = in_order and arrow.is_in_order(table, kind) and (not times or times[-1] <= bounds[0])
        times += bounds
        ids.add(arrow.id_runs(table, kind) if kind.ids else ())
    return {
        "rows": rows if in_order else f"{rows} in disorder",
        "first_id": ids.first,
        "last_id": ids.last,
        "min_ts": iso(min(times)) if times else None,
        "max_ts": iso(max(times)) if times else None,
    }


def iso(time_us: int) -> str:
    """A time as the manifest has it."""
    return instant(time_us).isoformat(timespec="microseconds").replace("+00:00", "Z")
