"""What a peer's program counts, and when a phase is over."""

import io
import os
import sys

import orjson
import pytest

from tests.bench.peers.programs.meter import Meter


class Ended(Exception):
    """Instead of the end of the process."""


def asked(meter: Meter, lines: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The answers to the runner's lines."""

    def end(_: int) -> None:
        raise Ended

    out = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(Ended):
        meter.answer_runner(out)
    return [orjson.loads(line) for line in out.getvalue().splitlines()]


def test_phase_ends_with_the_last_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a row that stores nothing, what was expected has come, and the mark stands from then on."""
    meter = Meter(stores=False)
    asked(meter, "expect 3\n", monkeypatch)
    meter.received(2)
    (before,) = asked(meter, "read\n", monkeypatch)
    meter.received()
    first, second = asked(meter, "read\nread\n", monkeypatch)

    assert (before["received"], before["done"]) == (2, False)
    assert (first["received"], first["done"], meter.all_received) == (3, True, True)
    assert first["wall_s"] == second["wall_s"]


def test_phase_of_a_row_that_stores_ends_with_the_last_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """All messages being there is not the end; the mark moves while rows are counted."""
    meter = Meter(stores=True)
    asked(meter, "expect 2\n", monkeypatch)
    meter.received(2)
    (waiting,) = asked(meter, "read\n", monkeypatch)
    meter.stored(2)
    (ended,) = asked(meter, "read\n", monkeypatch)

    assert (waiting["done"], ended["done"], ended["stored"]) == (False, True, 2)


def test_new_phase_counts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was counted before belongs to the phase before."""
    meter = Meter(stores=False)
    meter.received(7)
    (begun,) = asked(meter, "expect 5\n", monkeypatch)

    assert (begun["received"], begun["done"], meter.all_received) == (0, False, False)
