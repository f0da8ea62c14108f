"""SQL by name."""

import pytest

from ingest.store.statements import parse_statements, sql_folder, statement


def test_statement_is_found_by_its_name() -> None:
    """A named statement of `sql/queries` is given as it stands there."""
    assert statement("applied_migrations").startswith("SELECT version, name, checksum")


def test_unknown_name_says_which_and_where() -> None:
    """Asking for a statement that does not exist names it and the folder that was searched."""
    with pytest.raises(KeyError, match=r"'no_such_thing'.*queries"):
        statement("no_such_thing")


def test_file_is_split_at_its_names() -> None:
    """A file holds commentary, then statements, each introduced by its name."""
    text = "-- About.\n\n-- name: one\nSELECT 1;\n\n-- More.\n-- name:two\nSELECT 2;\n"

    assert parse_statements(text) == [("one", "SELECT 1;\n\n-- More."), ("two", "SELECT 2;")]


def test_names_are_unique_over_all_files() -> None:
    """No two statements of the program share a name."""
    texts = [file.read_text(encoding="utf-8") for file in (sql_folder() / "queries").glob("*.sql")]
    names = [name for text in texts for name, _ in parse_statements(text)]

    assert len(names) == len(set(names)) > 20
