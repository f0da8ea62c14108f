"""The bytes of every stream payload, and of websocket frames from the server.

Pure. A payload is printed once with its times divided by `unit_us` (1,000 for milliseconds, 1 for
connections opened with `timeUnit=MICROSECOND`) and then shared by all connections. Field order is the
exchange's (Binance spot docs, web-socket-streams.md, read 2026-07).
"""

from ingest.sim.book import LevelUnits
from ingest.sim.candles import Candle
from ingest.sim.decimals import printed, printed_product, printed_signed
from ingest.sim.rolling import Statistics

MILLISECOND_US = 1_000
MICROSECOND_US = 1

_TRADE = b'{"e":"trade","E":%d,"s":"%b","t":%d,"p":"%b","q":"%b","T":%d,"m":%b,"M":true}'
_AGG = b'{"e":"aggTrade","E":%d,"s":"%b","a":%d,"p":"%b","q":"%b","f":%d,"l":%d,"T":%d,"m":%b,"M":true}'
_TOP = b'{"u":%d,"s":"%b","b":"%b","B":"%b","a":"%b","A":"%b"}'
_DEPTH = b'{"e":"depthUpdate","E":%d,"s":"%b","U":%d,"u":%d,"b":[%b],"a":[%b]}'
_PARTIAL = b'{"lastUpdateId":%d,"bids":[%b],"asks":[%b]}'
_KLINE = (
    b'{"e":"kline","E":%d,"s":"%b","k":{"t":%d,"T":%d,"s":"%b","i":"%b","f":%d,"L":%d,"o":"%b","c":"%b",'
    b'"h":"%b","l":"%b","v":"%b","n":%d,"x":%b,"q":"%b","V":"%b","Q":"%b","B":"0"}}'
)
_MINI = b'{"e":"24hrMiniTicker","E":%d,"s":"%b","c":"%b","o":"%b","h":"%b","l":"%b","v":"%b","q":"%b"}'
_TICKER = (
    b'{"e":"24hrTicker","E":%d,"s":"%b","p":"%b","P":"%b","w":"%b","x":"%b","c":"%b","Q":"%b","b":"%b",'
    b'"B":"%b","a":"%b","A":"%b","o":"%b","h":"%b","l":"%b","v":"%b","q":"%b","O":%d,"C":%d,"F":%d,"L":%d,'
    b'"n":%d}'
)
_AVG = b'{"e":"avgPrice","E":%d,"s":"%b","i":"5m","w":"%b","T":%d}'

TRUE, FALSE = b"true", b"false"


def trade(head: tuple[int, bytes, int], fields: tuple[bytes, bytes, bytes], ts: int) -> bytes:
    """`head` is (E, s, t), `fields` (p, q, m) as printed, `ts` T."""
    event, symbol, trade_id = head
    price, qty, maker = fields
    return _TRADE % (event, symbol, trade_id, price, qty, ts, maker)


def agg_trade(head: tuple[int, bytes, int], fields: tuple[bytes, bytes, int, int, bytes], ts: int) -> bytes:
    """`head` is (E, s, a), `fields` (p, q, f, l, m), `ts` T."""
    event, symbol, agg_id = head
    price, qty, first, last, maker = fields
    return _AGG % (event, symbol, agg_id, price, qty, first, last, ts, maker)


def book_ticker(update_id: int, symbol: bytes, fields: tuple[bytes, bytes, bytes, bytes]) -> bytes:
    """`fields` is (b, B, a, A)."""
    return _TOP % (update_id, symbol, *fields)


def depth(event: int, symbol: bytes, ids: tuple[int, int], sides: tuple[bytes, bytes]) -> bytes:
    """`ids` is (U, u), `sides` the printed levels of (b, a)."""
    return _DEPTH % (event, symbol, *ids, *sides)


def partial_depth(update_id: int, bids: list[LevelUnits], asks: list[LevelUnits]) -> bytes:
    return _PARTIAL % (update_id, levels(bids), levels(asks))


def levels(side: list[LevelUnits]) -> bytes:
    """`["price","qty"],["price","qty"]`, without the outer brackets."""
    return b",".join([b'["%b","%b"]' % (printed(price), printed(qty)) for price, qty in side])


def candle_fields(candle: Candle) -> tuple[bytes, ...]:
    """o, h, l, c, v, n, q, V, Q as printed: the order of the ledger's digest."""
    return (
        printed(candle.open),
        printed(candle.high),
        printed(candle.low),
        printed(candle.close),
        printed(candle.volume),
        b"%d" % candle.trades,
        printed_product(candle.quote),
        printed(candle.taker_volume),
        printed_product(candle.taker_quote),
    )


def kline(
    event_us: int, symbol: bytes, interval: str, candle: Candle, *, closed: bool, unit_us: int
) -> bytes:
    """A kline event; the close time is the last millisecond (microsecond) of the candle."""
    o, h, low, c, v, n, q, taker_v, taker_q = candle_fields(candle)
    start = candle.open_ms * 1000 // unit_us
    end = candle.end_ms * 1000 // unit_us - 1
    ids = (candle.first_trade_id, candle.last_trade_id)
    times = (event_us // unit_us, symbol, start, end, symbol, interval.encode())
    return _KLINE % (*times, *ids, o, c, h, low, v, int(n), TRUE if closed else FALSE, q, taker_v, taker_q)


def mini_fields(day: Statistics) -> tuple[bytes, ...]:
    """c, o, h, l, v, q as printed: the order of the ledger's digest."""
    prices = (printed(day.close), printed(day.open), printed(day.high), printed(day.low))
    return (*prices, printed(day.volume), printed_product(day.quote))


def mini_ticker(event: int, symbol: bytes, fields: tuple[bytes, ...]) -> bytes:
    return _MINI % (event, symbol, *fields)


def change_fields(day: Statistics) -> tuple[bytes, bytes]:
    """Price change and its percentage (three decimals, as the exchange prints it)."""
    change = day.close - day.open
    thousandths = abs(change) * 100_000 // day.open if day.open else 0
    sign = b"-" if change < 0 else b""
    return printed_signed(change), sign + b"%d.%03d" % divmod(thousandths, 1000)


def ticker(event: int, symbol: bytes, fields: tuple[bytes, ...], window: tuple[int, ...]) -> bytes:
    """`fields` is (p, P, w, x, c, Q, b, B, a, A, o, h, l, v, q), `window` (O, C, F, L, n)."""
    return _TICKER % (event, symbol, *fields, *window)


def avg_price(event: int, symbol: bytes, average: bytes, ts: int) -> bytes:
    return _AVG % (event, symbol, average, ts)


def text_frame(payload: bytes) -> bytes:
    """An unmasked websocket text frame."""
    return _header(0x81, len(payload)) + payload


def ping_frame(payload: bytes) -> bytes:
    return _header(0x89, len(payload)) + payload


def pong_frame(payload: bytes) -> bytes:
    return _header(0x8A, len(payload)) + payload


def close_frame(code: int, reason: str) -> bytes:
    body = code.to_bytes(2, "big") + reason.encode()[:123]
    return _header(0x88, len(body)) + body


def _header(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")
