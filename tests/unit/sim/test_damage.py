"""Malformed frames."""

import orjson
import pytest

from ingest.sim.damage import damaged

TRADE = b'{"stream":"a@trade","data":{"e":"trade","E":1,"s":"A","t":7,"p":"1.00000000","q":"2.00000000"}}'
PARTIAL = b'{"stream":"a@depth5","data":{"lastUpdateId":7,"bids":[],"asks":[]}}'


@pytest.mark.parametrize("text", [TRADE, PARTIAL])
def test_truncated_is_no_json(text: bytes) -> None:
    """Half a frame cannot be parsed."""
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(damaged(text, "truncated"))


def test_non_utf8_is_no_text() -> None:
    """The bytes are not UTF-8."""
    with pytest.raises(UnicodeDecodeError):
        damaged(TRADE, "non_utf8").decode()


@pytest.mark.parametrize("text", [TRADE, PARTIAL])
def test_unknown_event_is_json_of_an_unknown_kind(text: bytes) -> None:
    """It parses, and its event type is one that nobody knows."""
    assert orjson.loads(damaged(text, "unknown_event"))["data"]["e"] == "neverHeardOf"


def test_oversized_is_json_that_is_too_long() -> None:
    """It parses, and holds what it held, and sixteen megabytes more than anybody wants."""
    text = damaged(TRADE, "oversized")

    assert len(text) > 16 << 20
    assert orjson.loads(text)["data"] == orjson.loads(TRADE)["data"]


def test_wrong_type_is_json_with_a_list_for_a_price() -> None:
    """It parses, and text is not where it belongs."""
    assert orjson.loads(damaged(TRADE, "wrong_type"))["data"]["p"] == [1.0]
    assert orjson.loads(damaged(PARTIAL, "wrong_type"))["data"] == 7
    assert orjson.loads(damaged(b'{"lastUpdateId":7}', "wrong_type")) == [7]


def test_altered_is_a_frame_like_any_other_with_another_quantity() -> None:
    """Only the quantity furthest from the top differs; a frame without any stays as it is."""
    depth = b'{"e":"depthUpdate","U":1,"u":2,"b":[["9.0","1.0"],["8.0","2.0"]],"a":[["10.0","0.00000000"]]}'

    assert orjson.loads(damaged(depth, "altered")) == {**orjson.loads(depth), "a": [["10.0", "90.00000000"]]}
    assert orjson.loads(damaged(TRADE, "altered"))["data"]["q"] == "92.00000000"
    assert damaged(PARTIAL, "altered") == PARTIAL
