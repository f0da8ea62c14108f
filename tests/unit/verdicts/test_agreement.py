"""When the answers about a service agree, and how it is told when they do not."""

from dataclasses import replace

import pytest

from tests.verdicts.agreement import Views, disagreements

WELL = Views(
    ready=True,
    fresh=True,
    metric_ready=True,
    metric_fresh=True,
    status="well",
    exit_code=0,
    table_age_s=0.5,
    states={"live": 40, "quiet": 8},
    page="good",
)
STALE = replace(
    WELL,
    fresh=False,
    metric_fresh=False,
    status="degraded",
    exit_code=3,
    states={"live": 47, "stale": 1},
    alerts=frozenset({"StreamStale", "DataNotFresh"}),
    page="warn",
)
GONE = Views(
    ready=None,
    fresh=None,
    metric_ready=None,
    metric_fresh=None,
    status="away",
    exit_code=3,
    table_age_s=30.0,
    states={"live": 48},
    alerts=frozenset({"MetricsAbsent"}),
)
NOT_READY = replace(
    WELL,
    ready=False,
    metric_ready=False,
    status="degraded",
    exit_code=3,
    alerts=frozenset({"ServiceNotReady"}),
    page="warn",
)


@pytest.mark.parametrize(
    "views",
    [
        WELL,
        STALE,
        GONE,
        NOT_READY,
        replace(WELL, incidents=frozenset({"exchange_down"}), page="warn"),
    ],
)
def test_answers_that_fit_each_other_agree(views: Views) -> None:
    """Well, stale, not ready and away have one picture each."""
    assert disagreements(views) == []


@pytest.mark.parametrize(
    ("views", "said"),
    [
        (replace(WELL, metric_fresh=False), "ingest_fresh False"),
        (replace(WELL, metric_ready=None), "ingest_ready None"),
        (replace(STALE, status="well", exit_code=0), "`ingest status` says well"),
        (replace(NOT_READY, status="well", exit_code=0), "`ingest status` says well"),
        (replace(WELL, status="degraded", exit_code=3), "`ingest status` says degraded"),
        (replace(STALE, exit_code=0), "exits with 0"),
        (replace(GONE, status="degraded"), "the table is 30.0 s old"),
        (replace(WELL, states={"live": 47, "recovering": 1}), "/freshz says fresh"),
        (replace(STALE, states={"live": 48}), "/freshz says no"),
        (replace(STALE, alerts=frozenset({"StreamStale"})), "DataNotFresh is silent"),
        (replace(WELL, alerts=frozenset({"ServiceNotReady"})), "ServiceNotReady holds"),
        (replace(GONE, alerts=frozenset()), "MetricsAbsent is silent"),
        (replace(STALE, page="good", line="All is well."), "the page says good: All is well."),
        (replace(WELL, page="bad"), "the page says bad"),
        (replace(WELL, incidents=frozenset({"exchange_down"})), "incidents ['exchange_down']"),
    ],
)
def test_whoever_differs_is_named(views: Views, said: str) -> None:
    """In words that a row of the table can carry."""
    assert any(said in each for each in disagreements(views))


def test_service_without_a_page_is_compared_without_it() -> None:
    """Nobody answers there, which is said by other places, too."""
    assert disagreements(replace(STALE, page=None)) == []
