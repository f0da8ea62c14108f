"""What the exchange allows."""

import pytest

from ingest.binance import limits


@pytest.mark.parametrize(
    ("levels", "weight"),
    [(1, 5), (100, 5), (101, 25), (500, 25), (501, 50), (1000, 50), (1001, 250), (5000, 250)],
)
def test_depth_weight_steps_with_the_levels(levels: int, weight: int) -> None:
    """A depth snapshot costs by the step that its number of levels falls into."""
    assert limits.depth_weight(levels) == weight


@pytest.mark.parametrize("levels", [-1, 0, 5001])
def test_depth_weight_refuses_what_the_exchange_would_refuse(levels: int) -> None:
    """A number of levels that cannot be asked for has no weight."""
    with pytest.raises(ValueError, match=str(levels)):
        limits.depth_weight(levels)


@pytest.mark.parametrize(
    ("symbols", "weight"), [(1, 2), (20, 2), (21, 40), (100, 40), (101, 80), (limits.ALL_SYMBOLS, 80)]
)
def test_day_ticker_weight_steps_with_the_symbols(symbols: int, weight: int) -> None:
    """The 24 h ticker costs by the number of symbols, and most for all."""
    assert limits.day_ticker_weight(symbols) == weight


@pytest.mark.parametrize(("symbols", "weight"), [(1, 2), (2, 4), (limits.ALL_SYMBOLS, 4)])
def test_book_ticker_weight_is_lower_for_one_symbol(symbols: int, weight: int) -> None:
    """One symbol's best prices cost half of what several cost."""
    assert limits.book_ticker_weight(symbols) == weight


def test_subscribe_messages_fit_a_websocket_frame_of_4096_bytes() -> None:
    """The longest SUBSCRIBE leaves room for the eight bytes of a client frame's header."""
    assert limits.MAX_SUBSCRIBE_BYTES + 8 == 4096
