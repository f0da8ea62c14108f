"""One field read with its type checked."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.binance import fields
from ingest.binance.fields import LATEST, MAX_ID
from ingest.binance.frames import MalformedFrame

NOT_TEXT: list[object] = [None, 1, 1.5, True, [], {}]


@pytest.mark.parametrize("value", [*NOT_TEXT, ""])
def test_text_refuses_other_types_and_nothing(value: object) -> None:
    """A symbol or a status is text with something in it."""
    with pytest.raises(MalformedFrame):
        fields.text({"s": value}, "s", "trade")


@pytest.mark.parametrize("value", ["0", "0.00000000", "61602.01000000", "12345678901234567890", ".5", "5."])
def test_decimal_keeps_the_exchange_s_spelling(value: str) -> None:
    """A price is handed on letter by letter."""
    assert fields.decimal({"p": value}, "p", "trade") == value
    assert fields.signed_decimal({"p": f"-{value}"}, "p", "ticker") == f"-{value}"


@pytest.mark.parametrize(
    "value",
    [*NOT_TEXT, "", ".", "-", "1.2.3", "1e5", "1,5", " 1", "1_0", "NaN", "Infinity", "١٢", "²", "0x1"],
)
def test_decimal_refuses_what_is_no_decimal(value: object) -> None:
    """Floats, exponents, foreign digits and words are no prices."""
    with pytest.raises(MalformedFrame):
        fields.decimal({"p": value}, "p", "trade")
    with pytest.raises(MalformedFrame):
        fields.signed_decimal({"p": value}, "p", "ticker")


def test_only_a_change_of_price_may_be_negative() -> None:
    """A price or quantity has no sign."""
    with pytest.raises(MalformedFrame):
        fields.decimal({"p": "-1"}, "p", "trade")


@given(st.decimals(min_value=0, allow_nan=False, allow_infinity=False, places=8))
def test_decimal_takes_every_number_as_the_exchange_prints_it(number: Decimal) -> None:
    """Eight decimals, as large as it may be, are a decimal."""
    assert fields.is_decimal(f"{number:f}")


@pytest.mark.parametrize("value", [None, "1", 1.0, True, [], MAX_ID + 1])
def test_integer_refuses_other_types_and_what_no_database_holds(value: object) -> None:
    """An id is an integer of 64 bits: `true` is not one."""
    with pytest.raises(MalformedFrame):
        fields.integer({"t": value}, "t", "trade")


@pytest.mark.parametrize("value", [-1, 0, MAX_ID])
def test_integer_takes_every_id(value: int) -> None:
    """Minus one stands for no trade at all."""
    assert fields.integer({"t": value}, "t", "trade") == value


@pytest.mark.parametrize(
    ("time", "us"),
    [
        (0, 0),
        (1_499_827_319_559, 1_499_827_319_559_000),
        (1_499_827_319_559_123, 1_499_827_319_559_123),
        (99_999_999_999_999, 99_999_999_999_999_000),
        (100_000_000_000_000, 100_000_000_000_000),
        (LATEST, LATEST),
    ],
)
def test_time_is_microseconds_whatever_unit_it_came_in(time: int, us: int) -> None:
    """Milliseconds and microseconds are told apart by their magnitude."""
    assert fields.time_us({"T": time}, "T", "trade") == us


@pytest.mark.parametrize("value", [None, "1", 1.5, True, -1, LATEST + 1])
def test_time_refuses_what_is_no_time(value: object) -> None:
    """A time lies between 1970 and 9999."""
    with pytest.raises(MalformedFrame):
        fields.time_us({"T": value}, "T", "trade")


@pytest.mark.parametrize("value", [None, 0, 1, "true"])
def test_flag_refuses_what_is_neither_true_nor_false(value: object) -> None:
    """A flag is true or false and nothing like it."""
    with pytest.raises(MalformedFrame):
        fields.flag({"m": value}, "m", "trade")

    assert fields.flag({"m": False}, "m", "trade") is False


def test_nested_takes_objects_only() -> None:
    """A candle is an object inside its message."""
    with pytest.raises(MalformedFrame):
        fields.nested({"k": []}, "k", "kline")

    assert fields.nested({"k": {"i": "1m"}}, "k", "kline") == {"i": "1m"}


@pytest.mark.parametrize(
    "rows",
    [
        None,
        {},
        "12",
        [None],
        [1],
        [[]],
        [["1"]],
        [["1", "2", "3"]],
        [["1", 2]],
        [[1, "2"]],
        [[1, 2]],
        [[1.5, 2.5]],
        [["1", None]],
        [[["1"], ["2"]]],
        [["1", "2"], ["x", "2"]],
        [["1", "2\t"]],
        [["1e5", "2"]],
        [["-1", "2"]],
        [["١", "2"]],
    ],
)
def test_levels_refuse_rows_that_are_not_two_decimals(rows: object) -> None:
    """Every row of a book is a price and a quantity, both text."""
    with pytest.raises(MalformedFrame):
        fields.levels({"b": rows}, "b", "depth")


def test_levels_hand_the_list_on_as_it_is() -> None:
    """A list of levels is neither copied nor changed."""
    rows: object = [["1.50", "0.00000000"], ["2", "3"]]

    assert fields.levels({"b": rows}, "b", "depth") is rows
    assert fields.levels({"b": []}, "b", "depth") == []


def test_a_refusal_names_kind_field_and_value_in_short() -> None:
    """The message says what was wrong and does not repeat a whole book."""
    error = fields.wrong("depth", "b", ["x" * 1000])

    assert (error.kind, error.field) == ("depth", "b")
    assert str(error).startswith("depth: field 'b' is ['xxx")
    assert len(str(error)) < 80
