"""Frames taken apart, and what the exchange says about the connection."""

import json

import pytest

from ingest.binance.frames import (
    Ack,
    Control,
    MalformedFrame,
    Refusal,
    RequestId,
    ServerShutdown,
    control,
    split_frame,
)
from tests.unit import recordings


def test_split_frame_gives_name_and_message_of_a_combined_frame() -> None:
    """A stream's message comes out as it is, with the name that it was sent under."""
    assert split_frame(b'{"stream":"btcusdt@trade","data":{"e":"trade","t":1}}') == (
        "btcusdt@trade",
        {"e": "trade", "t": 1},
    )


def test_split_frame_takes_text_as_well() -> None:
    """A frame may be given decoded."""
    assert split_frame('{"stream":"币安usdt@trade","data":{}}') == ("币安usdt@trade", {})


@pytest.mark.parametrize(
    ("message", "item"),
    [
        ({"result": None, "id": 1}, Ack(1)),
        ({"result": ["a@trade", "b@depth"], "id": 3}, Ack(3, ["a@trade", "b@depth"])),
        ({"result": [], "id": 3}, Ack(3, [])),
        ({"result": [1, "a@trade"], "id": 3}, Ack(3, ["a@trade"])),
        ({"result": True, "id": 2}, Ack(2)),
        ({"result": None}, Ack(None)),
        ({"result": None, "id": "abc"}, Ack("abc")),
        ({"result": None, "id": True}, Ack(None)),
        (
            {"code": 2, "msg": "Invalid request: unknown variant", "id": 4},
            Refusal(4, 2, "Invalid request: unknown variant"),
        ),
        ({"code": 3, "msg": "Invalid JSON"}, Refusal(None, 3, "Invalid JSON")),
        (
            {"error": {"code": 4, "msg": "Too many subscriptions"}, "id": 5},
            Refusal(5, 4, "Too many subscriptions"),
        ),
        ({"error": {}, "id": None}, Refusal(None, None, "")),
        ({"error": "blahblah"}, Refusal(None, None, "blahblah")),
        ({"e": "serverShutdown", "E": 1770123456789}, ServerShutdown()),
        (
            {"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1770123456789}},
            ServerShutdown(),
        ),
    ],
)
def test_control_recognises_every_reply_and_notice(message: dict[str, object], item: Control) -> None:
    """Replies of both shapes of error and the notice of a shutdown, raw or combined, are told apart."""
    assert control(message) == item
    assert split_frame(json.dumps(message)) == item


@pytest.mark.parametrize("message", [{}, {"id": 1}, {"e": "trade"}, {"stream": "a@trade", "data": {}}])
def test_control_leaves_everything_else_alone(message: dict[str, object]) -> None:
    """What is neither a reply nor a notice is not taken for one."""
    assert control(message) is None


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"stream":"a@trade","data":NaN}',
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"e":"trade","s":"BTCUSDT"}',
        b'{"stream":"a@trade"}',
        b'{"stream":null,"data":{}}',
        b'{"stream":7,"data":{}}',
        b'{"stream":"!miniTicker@arr","data":[]}',
        b'{"stream":"a@trade","data":null}',
    ],
)
def test_split_frame_refuses_what_it_does_not_know(frame: bytes) -> None:
    """Rubbish, raw messages and arrays of all symbols are malformed on a combined connection."""
    with pytest.raises(MalformedFrame):
        split_frame(frame)


def test_malformed_frame_is_a_value_error_that_names_kind_and_field() -> None:
    """Who keeps malformed frames can count them by kind and field."""
    error = MalformedFrame("trade: field 'p' is None", kind="trade", field="p")

    assert isinstance(error, ValueError)
    assert (error.kind, error.field, str(error)) == ("trade", "p", "trade: field 'p' is None")


@pytest.mark.parametrize("text", [text for text in recordings.single_frames() if '"result"' in text])
def test_recorded_replies_are_acknowledgements(text: str) -> None:
    """The reply as a real server sent it is understood."""
    request_id: RequestId = json.loads(text)["id"]

    assert split_frame(text) == Ack(request_id)
