"""As much of the websocket protocol as a load generator needs: the server's side, text frames, no extensions.

Pure. Source: RFC 6455, sections 4.2.2 and 5.2.
"""

import base64
import hashlib
import struct
from typing import Final

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT: Final = 1
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10


def server_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One unmasked frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return struct.pack(">BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack(">BBQ", 0x80 | opcode, 127, size) + payload


def accept_key(key: bytes) -> bytes:
    """What a handshake with this `Sec-WebSocket-Key` is answered with."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def handshake_answer(request: bytes) -> bytes:
    """The answer to a client's upgrade; ValueError when the request is none."""
    for line in request.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"sec-websocket-key":
            accepted = accept_key(value.strip())
            upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            return upgrade + b"Sec-WebSocket-Accept: " + accepted + b"\r\n\r\n"
    raise ValueError("not a websocket handshake")


def client_frame(buffer: bytearray) -> tuple[int, bytes] | None:
    """Take one whole frame (opcode, payload) off the front; None while it is not all there."""
    if len(buffer) < 6:
        return None
    size, head = buffer[1] & 0x7F, 6
    if size == 126:
        size, head = int.from_bytes(buffer[2:4], "big"), 8
    elif size == 127:
        size, head = int.from_bytes(buffer[2:10], "big"), 14
    if len(buffer) < head + size:
        return None
    mask, masked = buffer[head - 4 : head], buffer[head : head + size]
    opcode = buffer[0] & 0x0F
    del buffer[: head + size]
    return opcode, _unmasked(masked, mask)


def _unmasked(masked: bytearray, mask: bytearray) -> bytes:
    size = len(masked)
    key = int.from_bytes((bytes(mask) * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(masked, "big") ^ key).to_bytes(size, "big")
