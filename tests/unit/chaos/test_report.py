"""The table of chaos as people read it, and as a later run takes it up again."""

from pathlib import Path

from tests.chaos.report import HEADINGS, cells, markdown, read, summary, write
from tests.chaos.trial import Row


def a_row(name: str = "reset", **fields: object) -> Row:
    """A fault that cost ten book tickers, and a trade for a while."""
    row = Row(
        name=name, title="TCP reset", seed=1, detected="ws.disconnect", detected_s=0.04, recovered_s=8.9
    )
    row.accounts = {
        kind: {"published": 100, "stored": 100 - lost, "lost_noticed": lost, **_NOTHING_ELSE}
        for kind, lost in (("trade", 0), ("book_ticker", 10))
    }
    row.gaps = {"trade repaired": 1, "agg_trade repaired": 2, "book_ticker unrepairable": 3}
    for field, value in fields.items():
        setattr(row, field, value)
    return row


_NOTHING_ELSE = {"lost_unnoticed": 0, "duplicated": 0, "altered": 0}


def test_every_heading_has_a_cell() -> None:
    """The columns and their headings are as many."""
    assert len(cells(a_row())) == len(HEADINGS)


def test_summary_says_what_it_cost() -> None:
    """One line tells the verdict, the losses and the gaps by their state."""
    line = summary(a_row())

    assert line.startswith(
        "reset: good; ws.disconnect after 0.0 s, well 8.9 s after; published 200, lost trades 0"
    )
    assert line.endswith("lost 10, unnoticed 0, twice 0, altered 0; gaps 3 repaired, 3 unrepairable")


def test_lost_trade_is_wrong() -> None:
    """A trade that is known to be missing is still missing."""
    row = a_row()
    row.accounts["trade"] |= {"stored": 99, "lost_noticed": 1}

    assert cells(row)[-1] == "WRONG"


def test_complaints_stand_below_the_table() -> None:
    """What went wrong is told in words, and at most three of the wrong bounds."""
    row = a_row(complaints=["not well"], wrong_bounds=["a", "b", "c", "d"])

    told = markdown([row], "A market.").splitlines()

    assert "A market." in told
    assert [line for line in told if line.startswith("- ")] == [
        "- reset: not well",
        *(f"- reset: bounds: {each}" for each in "abc"),
    ]


def test_rows_are_read_again(tmp_path: Path) -> None:
    """A later run finds the rows of an earlier one as they were; without one there are none."""
    assert read(tmp_path) == []

    rows = [a_row(), a_row("half-open", repaired_s=2.5)]
    write(tmp_path, rows, "A market.")

    assert read(tmp_path) == rows
