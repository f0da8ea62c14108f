"""Units of 1e-8 and their printed form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sim.decimals import printed, printed_product, printed_signed, units


def test_printed_has_eight_decimals() -> None:
    """Whole and fractional parts are printed as the exchange prints them."""
    assert printed(6173763000000) == b"61737.63000000"
    assert printed(1) == b"0.00000001"


def test_printed_signed_keeps_the_sign() -> None:
    """A falling price has a minus before its whole part."""
    assert printed_signed(-23561000000) == b"-235.61000000"


def test_printed_product_cuts_what_does_not_fit() -> None:
    """A price times a quantity keeps eight decimals and rounds nothing up."""
    assert printed_product(units("0.00000003") * units("0.50000000")) == b"0.00000001"


@given(st.integers(min_value=0, max_value=10**20))
def test_units_reads_what_printed_prints(amount: int) -> None:
    """Printing and reading again gives the same number."""
    assert units(printed(amount)) == amount


def test_units_refuses_more_than_eight_decimals() -> None:
    """A text that cannot be held exactly is refused."""
    with pytest.raises(ValueError, match="eight decimals"):
        units("0.000000001")
