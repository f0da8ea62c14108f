"""What a server can do, by versions and licence: what is used, what is refused, what is warned of."""

from dataclasses import replace
from pathlib import Path

import pytest

from ingest.errors import ConfigError, StoreError
from ingest.store.capability import (
    COMFORTS,
    Asked,
    Capability,
    Edition,
    edition_of,
    judge,
    losses,
    markdown_table,
    postgres_version,
    series,
)

README = Path(__file__).parents[3] / "README.md"
PLAIN = Capability(180_006, "", "plain")
APACHE = Capability(180_006, "2.29.2", "apache")
FULL = Capability(180_006, "2.29.2", "full")


def timescale(version: str, edition: Edition = "full") -> Capability:
    return Capability(180_006, version, edition)


@pytest.mark.parametrize(
    ("timescale", "licence", "edition"),
    [
        ("", None, "plain"),
        ("", "timescale", "plain"),
        ("2.29.2", "timescale", "full"),
        ("2.29.2", "apache", "apache"),
        ("2.29.2", None, "plain"),
    ],
)
def test_licence_of_the_loaded_extension_makes_the_edition(
    timescale: str, licence: str | None, edition: Edition
) -> None:
    """An extension that is only on the disk, or not loaded, gives nothing."""
    assert edition_of(timescale, licence) == edition


def test_each_edition_has_its_features() -> None:
    """Hypertables are of both editions; the rest belongs to the full one."""
    for edition, hypertables, rest in (
        ("plain", False, False),
        ("apache", True, False),
        ("full", True, True),
    ):
        found = Capability(180_006, "", edition)  # type: ignore[arg-type]
        assert found.hypertables is hypertables
        assert (found.columnstore, found.continuous_aggregates, found.jobs) == (rest, rest, rest)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("2.29.2", (2, 29, 2)), ("2.23.0-dev", (2, 23, 0)), ("2.30", (2, 30, 0)), ("3.0.0-rc1", (3, 0, 0))],
)
def test_versions_are_read(text: str, numbers: tuple[int, int, int]) -> None:
    """Development states and short ones too."""
    assert series(text) == numbers


def test_what_is_no_version_is_refused() -> None:
    """Rather than taken for one."""
    with pytest.raises(StoreError, match="not a version of TimescaleDB: 'next'"):
        series("next")


@pytest.mark.parametrize(("number", "text"), [(150_020, "15.20"), (180_006, "18.6")])
def test_server_version_is_shown_as_people_write_it(number: int, text: str) -> None:
    """Major and minor."""
    assert postgres_version(number) == text


@pytest.mark.parametrize(
    ("found", "asked", "used"),
    [
        (PLAIN, "auto", "plain"),
        (PLAIN, "off", "plain"),
        (APACHE, "auto", "apache"),
        (APACHE, "apache", "apache"),
        (APACHE, "off", "plain"),
        (FULL, "auto", "full"),
        (FULL, "full", "full"),
        (FULL, "apache", "apache"),
        (FULL, "off", "plain"),
    ],
)
def test_no_more_is_used_than_was_asked_for(found: Capability, asked: Asked, used: Edition) -> None:
    """And no less than there is, unless less was asked for; a server up to date is warned of nothing."""
    judgement = judge(found, asked)

    assert judgement.use == Capability(found.postgres, found.timescale, used)
    assert judgement.warnings == ()


@pytest.mark.parametrize(
    ("found", "asked", "said"),
    [
        (PLAIN, "full", r'timescale = "full": found PostgreSQL 18.6 without TimescaleDB; install'),
        (PLAIN, "apache", r'timescale = "apache": found .*CREATE EXTENSION timescaledb .*or ask for "auto"'),
        (APACHE, "full", r'"full": .*2\.29\.2 \(Apache edition\), without columnstore.*timescaledb.license'),
        (timescale("2.19.3"), "full", r"2\.19\.3 is too old: 2\.20 and newer.*ALTER EXTENSION"),
        (timescale("2.19.3", "apache"), "apache", "too old"),
        (timescale("2.29.2", "plain"), "apache", "there but not loaded"),
    ],
)
def test_less_than_was_asked_for_is_refused(found: Capability, asked: Asked, said: str) -> None:
    """With what was asked, what was found, and what to do."""
    with pytest.raises(ConfigError, match=said):
        judge(found, asked)


def test_owner_who_may_not_log_in_has_no_jobs() -> None:
    """Hypertables then, and a warning that says what to do; who asked for all is refused."""
    found = replace(FULL, jobless_owner="ingest_owner")
    judgement = judge(found, "auto")

    assert (judgement.use.edition, judgement.use.jobs) == ("apache", False)
    assert "ALTER ROLE ingest_owner LOGIN" in judgement.warnings[0]
    assert judge(found, "apache").warnings == ()
    with pytest.raises(ConfigError, match="ALTER ROLE ingest_owner LOGIN"):
        judge(found, "full")


def test_old_extension_is_not_used_of_itself() -> None:
    """What nobody asked for by name is left alone, and that is told."""
    judgement = judge(timescale("2.19.3"), "auto")

    assert not judgement.use.hypertables
    assert judgement.warnings == (
        "TimescaleDB 2.19.3 is too old: 2.20 and newer can be used; partitions are used instead",
    )


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("2.29.1", "2.29.2 mends"),
        ("2.28.0", "2.28.3 mends"),
        ("2.23.0-dev", "a newer series, 2.29,"),
        ("2.28.3", ""),
        ("2.29.2", ""),
        ("2.30.0", ""),
        ("3.0.0", ""),
    ],
)
def test_below_the_newest_patch_is_warned_of(version: str, said: str) -> None:
    """Of its series; of a series not known, whether a newer one exists."""
    warnings = judge(timescale(version), "auto").warnings

    assert said in warnings[0] if said else not warnings


def test_postgres_has_bounds() -> None:
    """An old one is refused, a newer one than was tested is told of."""
    with pytest.raises(StoreError, match=r"PostgreSQL 14\.9 is too old: 15 to 18 are supported"):
        judge(Capability(140_009, "", "plain"), "auto")
    assert judge(Capability(150_020, "", "plain"), "auto").warnings == ()
    assert "PostgreSQL 19.0 is newer" in judge(Capability(190_000, "", "plain"), "auto").warnings[0]


def test_capability_is_printed_for_people() -> None:
    """Version, extension and what of it is used."""
    assert str(PLAIN) == "PostgreSQL 18.6 without TimescaleDB"
    assert str(FULL) == "PostgreSQL 18.6, TimescaleDB 2.29.2 (full edition)"
    assert str(judge(FULL, "off").use) == "PostgreSQL 18.6, TimescaleDB 2.29.2 (not used)"


def test_each_loss_is_named() -> None:
    """Nothing is lost under the full edition, everything has a substitute on a plain server."""
    assert losses(FULL) == []
    assert len(losses(PLAIN)) == len(COMFORTS)
    assert [line.partition(":")[0] for line in losses(APACHE)] == [
        "old chunks",
        "retention",
        "candles",
        "`first`, `last`, `time_bucket`",
    ]


def test_readme_shows_the_table_as_it_is() -> None:
    """The table for people is the one that is printed."""
    assert markdown_table() in README.read_text(encoding="utf-8")
