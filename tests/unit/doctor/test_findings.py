"""`ingest.doctor.findings`: how grave all of it is, and what must not be in it."""

import pytest

from ingest.doctor.findings import (
    EXIT_CODES,
    Finding,
    Level,
    failed,
    ok,
    summary,
    warning,
    without_secrets,
    worst,
)

GOOD, BAD, SO_SO = ok("a", "well"), failed("b", "broken", "mend it"), warning("c", "worn", "look at it")


@pytest.mark.parametrize(
    ("findings", "level", "code"),
    [
        ([], Level.OK, 0),
        ([GOOD], Level.OK, 0),
        ([GOOD, SO_SO], Level.WARNING, 3),
        ([SO_SO, BAD, GOOD], Level.FAILED, 1),
    ],
)
def test_gravest_finding_decides(findings: list[Finding], level: Level, code: int) -> None:
    """And with it the exit code."""
    assert worst(findings) is level
    assert EXIT_CODES[level] == code


def test_summary_counts_what_is_not_well() -> None:
    """In one line."""
    assert summary([GOOD, BAD, SO_SO, SO_SO]) == "4 things looked at: 1 failed, 2 warning"
    assert summary([GOOD]) == "1 things looked at: all is well"


def test_secrets_are_blotted_out_of_everything_that_is_said() -> None:
    """The longer one first, so that no half of it is left."""
    told = failed("database", "no hunter2 for hunter22", "is hunter22 right?")

    (blotted,) = without_secrets([told], ["hunter2", "hunter22", ""])

    assert blotted == Finding("database", Level.FAILED, "no *** for ***", "is *** right?")
