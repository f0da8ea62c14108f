"""The load generator's half of the websocket protocol."""

import pytest

from tests.bench.wire import TEXT, client_frame, handshake_answer, server_frame


def masked(payload: bytes, mask: bytes = b"\x01\x02\x03\x04") -> bytes:
    frame = server_frame(payload)
    head = len(frame) - len(payload)
    body = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return frame[:1] + bytes((frame[1] | 0x80,)) + frame[2:head] + mask + body


def test_handshake_answers_the_example_of_the_standard() -> None:
    """The key of RFC 6455 is answered as RFC 6455 says."""
    request = b"GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in handshake_answer(request)


def test_handshake_refuses_what_is_none() -> None:
    """A request without a key is no upgrade."""
    with pytest.raises(ValueError, match="handshake"):
        handshake_answer(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_client_frame_of_any_length_is_taken_off_the_front(size: int) -> None:
    """All three forms of length are read; what follows a frame stays; a part of a frame waits."""
    payload = bytes(place % 251 for place in range(size))
    buffer = bytearray(masked(payload) + b"rest")

    assert client_frame(buffer[: -len(b"rest") - 1]) is None
    assert client_frame(buffer) == (TEXT, payload)
    assert buffer == b"rest"
