"""The bytes of payloads and frames."""

import orjson
import pytest

from ingest.sim import wire
from ingest.sim.candles import Candle
from ingest.sim.rolling import Statistics


def test_trade_is_the_exchange_s_own_bytes() -> None:
    """A recorded trade, printed by us, is the recorded frame."""
    fields = (b"61837.63000000", b"0.02000000", wire.TRUE)
    recorded = (
        b'{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000",'
        b'"q":"0.02000000","T":1723161255342,"m":true,"M":true}'
    )

    assert wire.trade((1723161255343, b"BTCUSDT", 3735683259), fields, 1723161255342) == recorded


def test_book_ticker_is_the_exchange_s_own_bytes() -> None:
    """A recorded book ticker, printed by us, is the recorded frame."""
    fields = (b"61837.63000000", b"3.78826000", b"61837.64000000", b"1.54698000")
    recorded = (
        b'{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000",'
        b'"a":"61837.64000000","A":"1.54698000"}'
    )

    assert wire.book_ticker(50093239212, b"BTCUSDT", fields) == recorded


def test_agg_trade_has_all_fields() -> None:
    """The keys of an aggregate trade are the documented ones."""
    event = orjson.loads(wire.agg_trade((1, b"AUSDT", 2), (b"1.0", b"2.0", 3, 4, wire.FALSE), 5))

    assert event == {
        "e": "aggTrade", "E": 1, "s": "AUSDT", "a": 2, "p": "1.0", "q": "2.0", "f": 3, "l": 4, "T": 5,
        "m": False, "M": True,
    }  # fmt: skip


def test_kline_closes_one_unit_before_the_next() -> None:
    """The close time is the last millisecond, or microsecond, of the candle."""
    candle = Candle(60_000, 120_000, 10**8)
    in_ms = orjson.loads(wire.kline(7_000, b"AUSDT", "1m", candle, closed=True, unit_us=1000))
    in_us = orjson.loads(wire.kline(7_000, b"AUSDT", "1m", candle, closed=False, unit_us=1))

    assert (in_ms["E"], in_ms["k"]["t"], in_ms["k"]["T"]) == (7, 60_000, 119_999)
    assert (in_us["E"], in_us["k"]["t"], in_us["k"]["T"]) == (7_000, 60_000_000, 119_999_999)
    assert (in_ms["k"]["x"], in_us["k"]["x"]) == (True, False)
    assert (in_ms["k"]["f"], in_ms["k"]["L"], in_ms["k"]["n"]) == (-1, -1, 0)


def test_change_fields_print_sign_and_percentage() -> None:
    """A fall of a tenth is -10 per cent with three decimals."""
    day = Statistics(100 * 10**8, 0, 0, 90 * 10**8, 0, 0, 0, 0, 0, 0)

    assert wire.change_fields(day) == (b"-10.00000000", b"-10.000")


def test_levels_are_json_without_brackets() -> None:
    """Printed levels are a JSON list once brackets are put round them."""
    assert wire.levels([(10**8, 2 * 10**8)]) == b'["1.00000000","2.00000000"]'
    assert wire.levels([]) == b""


@pytest.mark.parametrize(("length", "header"), [(125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_text_frame_states_its_length(length: int, header: int) -> None:
    """The three header sizes of RFC 6455 are used at their bounds."""
    frame = wire.text_frame(b"x" * length)

    assert (frame[0], len(frame)) == (0x81, length + header)


def test_close_frame_carries_code_and_reason() -> None:
    """The code is two bytes before the reason."""
    assert wire.close_frame(1008, "Pong timeout")[2:] == b"\x03\xf0Pong timeout"
