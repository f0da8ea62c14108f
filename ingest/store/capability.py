"""What the server can do: its version, TimescaleDB's and the edition; what of it is used, at what price.

Decides whether a server is good enough for what `[database] timescale` asks, and refuses one that is not,
naming the thing, what was found and what to do. All but `probe` is pure. An edition only ever adds comfort:
the rows, the views and the guarantees are the same under each (`COMFORTS`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from ingest.errors import ConfigError, StoreError
from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

Edition: TypeAlias = Literal["plain", "apache", "full"]
Asked: TypeAlias = Literal["auto", "off", "apache", "full"]

OLDEST_POSTGRES: Final = 15
NEWEST_POSTGRES: Final = 18
OLDEST_TIMESCALE: Final = (2, 20)
NEWEST_PATCH: Final[Mapping[tuple[int, int], int]] = MappingProxyType({(2, 28): 3, (2, 29): 2})
"""Newest patch known of each series: 2.26 to 2.29 mend wrong results (TimescaleDB's changelog, read 2026-11).

2.28 is the last series for PostgreSQL 15.
"""

_VERSION: Final = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_ORDER: Final[tuple[Edition, ...]] = ("plain", "apache", "full")


@dataclass(frozen=True, slots=True)
class Capability:
    """`postgres` is server_version_num, `timescale` the extension's version in this database, "" without.

    `jobless_owner` is who owns the tables, when the server's jobs cannot run as him: he may not log in.
    """

    postgres: int
    timescale: str
    edition: Edition
    jobless_owner: str = ""

    @property
    def hypertables(self) -> bool:
        """Whether tables can be hypertables."""
        return self.edition != "plain"

    @property
    def columnstore(self) -> bool:
        """Whether old chunks can be kept by columns."""
        return self.edition == "full"

    @property
    def continuous_aggregates(self) -> bool:
        """Whether candles can be kept up to date by the server."""
        return self.edition == "full"

    @property
    def jobs(self) -> bool:
        """Whether the server carries out policies by itself."""
        return self.edition == "full"

    def __str__(self) -> str:
        postgres = f"PostgreSQL {postgres_version(self.postgres)}"
        if not self.timescale:
            return f"{postgres} without TimescaleDB"
        edition = {"plain": "not used", "apache": "Apache edition", "full": "full edition"}[self.edition]
        return f"{postgres}, TimescaleDB {self.timescale} ({edition})"


class Found(NamedTuple):
    """What the probe found, and the version of the extension that could be created here; "" if none."""

    capability: Capability
    available: str = ""


class Judgement(NamedTuple):
    """What is used of what was found, and what should be told once."""

    use: Capability
    warnings: tuple[str, ...]


class Comfort(NamedTuple):
    """What an edition gives, and what takes its place under the others."""

    what: str
    full: str
    apache: str
    plain: str

    def under(self, edition: Edition) -> str:
        """The entry of an edition."""
        return {"full": self.full, "apache": self.apache, "plain": self.plain}[edition]


COMFORTS: Final = (
    Comfort(
        "new chunks",
        "made by the server when a row comes, of any span",
        "as full",
        "partitions of a day or a month, made ahead each hour by the service; what nobody made one for "
        "waits in a default partition",
    ),
    Comfort(
        "old chunks",
        "columnstore: several times smaller, scans of one symbol faster",
        "stay as they are",
        "stay as they are",
    ),
    Comfort(
        "retention",
        "a policy of the server, also while the service is away",
        "the service drops chunks, each hour",
        "the service drops partitions, each hour; writers wait up to 0.2 s for each",
    ),
    Comfort(
        "candles",
        "continuous aggregates, real-time",
        "rollup tables, kept by the service",
        "rollup tables, kept by the service",
    ),
    Comfort(
        "`first`, `last`, `time_bucket`",
        "there for your queries, `time_bucket_gapfill` and `locf` too",
        "there for your queries",
        "`date_bin`, `array_agg(… ORDER BY …)`",
    ),
)


async def probe(connection: "Connection") -> Capability:
    """Look at the server; StoreError when it cannot be asked."""
    return (await probe_all(connection)).capability


async def probe_all(connection: "Connection") -> Found:
    """As `probe`, with what could be had besides."""
    try:
        row = await connection.fetchrow(statement("probe_capability"))
    except DRIVER_ERRORS as error:
        raise translated(error) from error
    assert row is not None
    edition = edition_of(row["timescale"], row["license"])
    found = Capability(row["postgres"], row["timescale"], edition, row["jobless_owner"])
    return Found(found, row["available"])


def edition_of(timescale: str, licence: str | None) -> Edition:
    """By the extension's version and its `timescaledb.license`; an extension not loaded gives nothing."""
    if not timescale or licence is None:
        return "plain"
    return "full" if licence == "timescale" else "apache"


def series(version: str) -> tuple[int, int, int]:
    """Numbers of a version such as 2.29.2 or 2.23.0-dev; StoreError for what is none."""
    match = _VERSION.match(version)
    if match is None:
        raise StoreError(f"not a version of TimescaleDB: {version!r}")
    return int(match[1]), int(match[2]), int(match[3] or 0)


def postgres_version(number: int) -> str:
    """180006 as people write it: 18.6."""
    return f"{number // 10_000}.{number % 10_000}"


def judge(found: Capability, asked: Asked) -> Judgement:
    """What is used; ConfigError when less was found than asked for, StoreError for a server too old."""
    warnings = _about_postgres(found.postgres)
    if not found.timescale:
        _refuse_without(found, asked)
        return Judgement(found, tuple(warnings))
    if asked == "off":
        return Judgement(replace(found, edition="plain"), tuple(warnings))
    if series(found.timescale)[:2] < OLDEST_TIMESCALE:
        return _too_old(found, asked, warnings)
    if asked == "full" and found.edition != "full":
        raise ConfigError(
            f'[database] timescale = "full": the server has {found}, without columnstore, continuous '
            "aggregates and jobs; set timescaledb.license = 'timescale' on the server and load it again, "
            'or ask for "apache" or "auto"'
        )
    if asked == "apache" and found.edition == "plain":
        raise ConfigError(f'[database] timescale = "apache": {found.timescale} is there but not loaded')
    used: Edition = min(found.edition, "apache", key=_ORDER.index) if asked == "apache" else found.edition
    warnings += _about_timescale(found.timescale)
    if used == "full" and found.jobless_owner:
        used = _without_jobs(found.jobless_owner, asked, warnings)
    return Judgement(replace(found, edition=used), tuple(warnings))


def _without_jobs(owner: str, asked: Asked, warnings: list[str]) -> Edition:
    sentence = (
        f"the server's jobs would run as {owner}, who owns the tables and may not log in: "
        f"ALTER ROLE {owner} LOGIN (he needs no password)"
    )
    if asked == "full":
        raise ConfigError(f'[database] timescale = "full": {sentence}, or ask for "auto"')
    warnings.append(f"{sentence}, then `ingest migrate`; until then as with the Apache edition")
    return "apache"


def _about_postgres(number: int) -> list[str]:
    major, version = number // 10_000, postgres_version(number)
    supported = f"{OLDEST_POSTGRES} to {NEWEST_POSTGRES}"
    if major < OLDEST_POSTGRES:
        raise StoreError(f"PostgreSQL {version} is too old: {supported} are supported; upgrade the server")
    if major > NEWEST_POSTGRES:
        return [f"PostgreSQL {version} is newer than what this program was tested with ({supported})"]
    return []


def _refuse_without(found: Capability, asked: Asked) -> None:
    if asked in {"apache", "full"}:
        raise ConfigError(
            f'[database] timescale = "{asked}": found {found}; install TimescaleDB on the server, let '
            "shared_preload_libraries name it, run CREATE EXTENSION timescaledb in this database, "
            'or ask for "auto" or "off"'
        )


def _too_old(found: Capability, asked: Asked, warnings: list[str]) -> Judgement:
    oldest = ".".join(map(str, OLDEST_TIMESCALE))
    sentence = f"TimescaleDB {found.timescale} is too old: {oldest} and newer can be used"
    if asked in {"apache", "full"}:
        raise ConfigError(
            f'[database] timescale = "{asked}": {sentence}; run ALTER EXTENSION timescaledb UPDATE, '
            'or ask for "auto" or "off"'
        )
    told = f"{sentence}; partitions are used instead"
    return Judgement(replace(found, edition="plain"), (*warnings, told))


def _about_timescale(version: str) -> list[str]:
    major, minor, patch = series(version)
    newest = max(NEWEST_PATCH)
    known = NEWEST_PATCH.get((major, minor))
    if known is None and (major, minor) < newest:
        return [f"TimescaleDB {version}: a newer series, {newest[0]}.{newest[1]}, mends known faults"]
    if known is not None and patch < known:
        return [f"TimescaleDB {version}: {major}.{minor}.{known} mends known faults; update the extension"]
    return []


def losses(capability: Capability) -> list[str]:
    """What is done otherwise than under the full edition, a sentence each."""
    return [
        f"{comfort.what}: {comfort.under(capability.edition)}"
        for comfort in COMFORTS
        if comfort.under(capability.edition) not in {comfort.full, "as full"}
    ]


def markdown_table() -> str:
    """What each edition gives, for people."""
    rows = [
        "| | TimescaleDB, full | TimescaleDB, Apache edition | plain PostgreSQL |",
        "|---|---|---|---|",
        *(f"| {each.what} | {each.full} | {each.apache} | {each.plain} |" for each in COMFORTS),
    ]
    return "\n".join(rows)
