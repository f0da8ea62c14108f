"""The terms of a reading."""

from datetime import timedelta

import pytest

from ingest.reader.errors import UnknownName
from ingest.reader.terms import CHUNK_ROWS, Settled


def test_terms_refuse_unless_told_otherwise() -> None:
    """Nothing stale and nothing incomplete by default."""
    terms = Settled()

    assert (terms.allow_stale, terms.require_complete, terms.allowed_age) == (False, True, None)
    assert terms.chunk == CHUNK_ROWS
    assert Settled(max_age=2.5).allowed_age == timedelta(seconds=2.5)


def test_terms_that_make_no_sense_are_refused() -> None:
    """Before the database is asked."""
    with pytest.raises(UnknownName):
        Settled(market="usdm")
    with pytest.raises(ValueError, match="not negative"):
        Settled(max_age=-1)
    with pytest.raises(ValueError, match="at least one level"):
        Settled(levels=0)
    for chunk in (0, timedelta(0)):
        with pytest.raises(ValueError, match="longer than nothing"):
            Settled(chunk=chunk)
