"""The manifest of an export: what each file holds, what it lacks, and how to tell that it is unharmed.

Decides when a file that is there needs not be made again. Pure; `ingest.export.folder` reads and writes it.
"""

from dataclasses import asdict, dataclass, field
from typing import Final, Literal, NamedTuple

import orjson

from ingest.errors import ConfigError

FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file. Times are ISO 8601, UTC; ids and times are null in a file without rows."""

    path: str
    market: str
    symbol: str
    kind: str
    from_ts: str
    to_ts: str
    """Exclusive."""
    rows: int
    first_id: int | None
    last_id: int | None
    min_ts: str | None
    max_ts: str | None
    bytes: int
    sha256: str
    columns: dict[str, str]
    """Name and type; a column of numbers that no decimal type could hold is a `string`."""
    numbers: Literal["decimal", "float"]
    is_complete: bool
    missing: list[str] = field(default_factory=list)
    """Why it is not complete, in sentences."""
    allow_incomplete: bool = False
    """Whether the export was told to take it all the same."""
    gaps: list[dict[str, str | int | None]] = field(default_factory=list)
    """Rows of the gap ledger that touch the range and are not repaired, as of the moment of the rows."""
    schema_version: int
    program_version: str
    exported_at: str


@dataclass(slots=True)
class Manifest:
    """All files of a folder, by their path within it."""

    files: dict[str, Entry] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """As it is stored."""
        files = [asdict(self.files[path]) for path in sorted(self.files)]
        return orjson.dumps({"format": FORMAT, "files": files}, option=orjson.OPT_INDENT_2)

    @classmethod
    def from_json(cls, text: bytes) -> "Manifest":
        """Read what `to_json` wrote; ConfigError when it is something else."""
        try:
            read = orjson.loads(text)
            if read["format"] != FORMAT:
                raise ConfigError(f"the manifest has format {read['format']}, this program knows {FORMAT}")
            return cls({each["path"]: Entry(**each) for each in read["files"]})
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ConfigError(f"the manifest cannot be read: {type(error).__name__}: {error}") from error


class Wanted(NamedTuple):
    """What a file shall hold."""

    path: str
    from_ts: str
    to_ts: str
    numbers: Literal["decimal", "float"]


def standing(entry: Entry | None, wanted: Wanted) -> Literal["absent", "done", "older", "other"]:
    """What is there of a wanted file.

    `done`: the same, and complete. `older`: what is wanted holds all of it and more, or it was incomplete and
    may not be any more. `other`: it would be lost.
    """
    if entry is None:
        return "absent"
    if entry.numbers != wanted.numbers or entry.from_ts < wanted.from_ts or entry.to_ts > wanted.to_ts:
        return "other"
    same = (entry.from_ts, entry.to_ts) == (wanted.from_ts, wanted.to_ts)
    return "done" if same and entry.is_complete else "older"
