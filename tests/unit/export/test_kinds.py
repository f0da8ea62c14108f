"""What can be exported."""

import pytest

from ingest.binance.streams import KINDS
from ingest.export.kinds import NAMES, Form, kind_of
from ingest.store.statements import statement


@pytest.mark.parametrize("name", NAMES)
def test_kind_has_its_statements_and_its_columns(name: str) -> None:
    """Each kind's SQL is there, and its time and ids are columns of it."""
    kind = kind_of(name)
    forms = dict(kind.columns)

    assert f"FROM {kind.relation}" in statement(kind.statement)
    assert kind.beside is None or f"FROM {kind.relation}" in statement(kind.beside)
    assert forms[kind.time] is Form.TIME
    assert all(forms[column] is Form.WHOLE for column in kind.ids or ())
    assert ("$4" in statement(kind.statement)) == (kind.argument is not None)


def test_every_kind_of_stream_can_be_exported() -> None:
    """Nothing that is ingested stays behind, but for intervals that nobody knows."""
    assert set(KINDS) <= set(NAMES)


def test_unknown_kind_is_an_error() -> None:
    """A name that looks like a candle's is none."""
    with pytest.raises(KeyError):
        kind_of("kline_7m")
