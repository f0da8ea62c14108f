"""Decimal text to binary numeric, against `Decimal`. Against the server: tests/integration."""

import struct
from decimal import Decimal, localcontext

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.buffer.numeric import NUMERICS, encode_numeric


def decoded(encoded: bytes) -> str:
    """The text that the server would print: its own reading of the wire form."""
    length, count, weight, sign, scale = struct.unpack_from(">ihhHH", encoded)
    digits = struct.unpack_from(f">{count}H", encoded, 12)
    assert length == len(encoded) - 4
    assert all(digit < 10_000 for digit in digits)
    with localcontext(prec=3_000):
        value = sum(Decimal(digit).scaleb(4 * (weight - place)) for place, digit in enumerate(digits))
        return f"{-value if sign else value:.{scale}f}"


PLAIN = st.from_regex(r"[0-9]{1,30}\.[0-9]{1,30}", fullmatch=True)
EIGHT_DECIMALS = st.from_regex(r"(0|[1-9][0-9]{0,11})\.[0-9]{8}", fullmatch=True)
SCIENTIFIC = st.from_regex(
    r"[+-]?([0-9]{1,12}(\.[0-9]{0,12})?|\.[0-9]{1,12})([eE][+-]?[0-9]{1,2})?", fullmatch=True
)


@given(EIGHT_DECIMALS | PLAIN)
@example("0.00000000")
@example("9999.99999999")
@example("10000.00000000")
@example("9999999.00000001")
@example("10000000.00000000")
@example("0001.00000000")
def test_plain_decimals_keep_their_value_and_printed_scale(text: str) -> None:
    """A decimal comes back with as many places as it was printed with."""
    places = len(text.partition(".")[2])

    with localcontext(prec=100):
        assert decoded(encode_numeric(text)) == f"{Decimal(text):.{places}f}"


@given(SCIENTIFIC)
@example("-0")
@example("-0.5")
@example("1e-8")
@example("1.5E+3")
@example(".5")
@example("5.")
def test_other_spellings_keep_their_value(text: str) -> None:
    """Signs, exponents and bare points are read as `Decimal` reads them."""
    assert Decimal(decoded(encode_numeric(text))) == Decimal(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "-", "e5", "1e", "NaN", "Infinity", "-inf", "0x10", "1_000", "1,5", "1.2.3", " 1", "1\n"),
        *("12345678\t", "٣.00000000", "1.0000000²", "1_00.00000000", "+0.0000 000", "-.00000000 "),
        *("1e1001", "1e-1001", "1" * 1_001, "0." + "1" * 1_001, "1e99999999999"),
        *("abcd.00000000", "12345.0000000x", "x2345.00000000", "99999999x.00000000"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """What is not a finite decimal of sane size raises ValueError."""
    with pytest.raises(ValueError, match="decimal"):
        encode_numeric(text)


@given(st.text(max_size=20))
def test_no_text_raises_anything_but_value_error(text: str) -> None:
    """Whatever comes from outside, the encoder answers or raises ValueError."""
    try:
        encode_numeric(text)
    except ValueError:
        return
    assert Decimal(text).is_finite()


def test_memo_gives_what_the_encoder_gives_and_stays_bounded() -> None:
    """The memo of encodings is invisible but for its speed, however many numbers pass."""
    for number in range(20_000):
        text = f"{number}.00000000"
        assert NUMERICS[text] == encode_numeric(text)

    assert len(NUMERICS) <= 8_192
