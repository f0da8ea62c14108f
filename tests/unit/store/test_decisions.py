"""The table of decisions: looked up by code, by class of codes, by name; printed for people."""

from pathlib import Path

import pytest

from ingest.store.decisions import TABLE, Decision, decide, keeps_connection, markdown_table

README = Path(__file__).parents[3] / "README.md"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.key)
def test_every_row_is_found_by_its_key(row: object) -> None:
    """No row hides another: a code, a class of codes or a name finds the row that it stands in."""
    key, decision = row.key, row.decision  # type: ignore[attr-defined]
    if len(key) == 2:
        assert decide(f"{key}ZZZ") is decision
    elif len(key) == 5:
        assert decide(key) is decision
    else:
        assert decide(None, [key]) is decision


def test_code_goes_before_its_class() -> None:
    """A key that is there already has a decision of its own among the constraints."""
    assert (decide("23505"), decide("23514")) == (Decision.STAGE, Decision.SPLIT)


def test_own_class_goes_before_those_above_it() -> None:
    """The most exact name decides."""
    assert decide(None, ["UnsupportedServerFeatureError", "InterfaceError"]) is Decision.STOP
    assert decide(None, ["ConnectionResetError", "ConnectionError", "OSError"]) is Decision.RETRY


def test_what_nobody_decided_about_stops() -> None:
    """An unknown code, an unknown class and no code at all stop; a name cannot overrule a code."""
    assert decide("TS103") is Decision.STOP
    assert decide("") is Decision.STOP
    assert decide(None, ["KeyError"]) is Decision.STOP
    assert decide("42703", ["OSError"]) is Decision.STOP


@pytest.mark.parametrize("code", ["55P03", "40P01", "53100", "57014"])
def test_connection_is_kept_where_the_server_has_answered(code: str) -> None:
    """A lock, a deadlock, a full disk or a slow statement is not the connection's fault."""
    assert keeps_connection(code)


@pytest.mark.parametrize("code", ["57P01", "25006", "08006", "XX000", None])
def test_connection_in_doubt_is_left(code: str | None) -> None:
    """One that is lost, that leads to a standby, or that failed without an answer."""
    assert not keeps_connection(code)


def test_readme_shows_the_table_as_it_is() -> None:
    """The table for people is the one that decides."""
    assert markdown_table() in README.read_text(encoding="utf-8")
