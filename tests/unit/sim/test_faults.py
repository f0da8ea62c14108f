"""Faults as data."""

import pytest

from ingest.sim.faults import (
    Close,
    Drop,
    FaultError,
    MuteStream,
    RestFault,
    fault_as_dict,
    fault_from,
    faults_from_toml,
)

SCRIPT = """
[[fault]]
action = "mute_stream"
at_s = 5
for_s = 10.5
symbol = "BTCUSDT"
kind = "trade"
until = "lifted"

[[fault]]
action = "close"
connection = 2
code = 1008

[[fault]]
action = "rest"
path = "depth"
status = 429
retry_after_s = 3
"""


def test_script_becomes_faults() -> None:
    """Every table is one fault with its fields."""
    assert faults_from_toml(SCRIPT) == (
        MuteStream(at_s=5, for_s=10.5, symbol="BTCUSDT", kind="trade", until="lifted"),
        Close(connection=2, code=1008),
        RestFault(path="depth", status=429, retry_after_s=3),
    )


def test_all_mistakes_are_reported_at_once() -> None:
    """Each mistake names the fault and the key."""
    script = """
[[fault]]
action = "explode"
[[fault]]
action = "drop"
fraction = 2
colour = "red"
n = "many"
[[fault]]
action = "mute_feed"
until = "tomorrow"
[other]
"""
    with pytest.raises(FaultError) as caught:
        faults_from_toml(script)

    message = str(caught.value)
    assert len(caught.value.mistakes) == 6
    for part in ("explode", "fault 2: fraction", "'colour'", "fault 2: n", "fault 3: until", "'other'"):
        assert part in message


@pytest.mark.parametrize("text", ["fault = 7", "[[fault", "[fault]\naction = 'drop'"])
def test_what_is_no_script_is_refused(text: str) -> None:
    """Neither broken TOML nor another shape passes."""
    with pytest.raises(FaultError):
        faults_from_toml(text)


@pytest.mark.parametrize("value", [True, "1", -1, [1]])
def test_numbers_must_be_numbers(value: object) -> None:
    """Truth values, text, negative times and lists are no number of seconds."""
    with pytest.raises(FaultError, match="at_s"):
        fault_from({"action": "drop", "at_s": value})


def test_fault_survives_its_mapping() -> None:
    """What is printed for a report can be read again."""
    fault = Drop(fraction=0.5, n=3, symbol="A")

    assert fault_from(fault_as_dict(fault)) == fault
    assert fault_as_dict(Drop()) == {"action": "drop"}


def test_fault_must_be_a_table() -> None:
    """A list or a number describes no fault."""
    with pytest.raises(FaultError, match="table"):
        fault_from([1])
