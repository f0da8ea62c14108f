"""The rows of REST answers, each in the exchange's own shape.

Pure. Times are divided by `unit_us` (1,000 for milliseconds, 1 for microseconds).
"""

from typing import TypeAlias

from ingest.sim import wire
from ingest.sim.book import Book, LevelUnits
from ingest.sim.candles import Candle
from ingest.sim.decimals import printed, printed_product
from ingest.sim.instrument import DAY_US, Instrument
from ingest.sim.limits import Limits
from ingest.sim.rolling import Statistics
from ingest.sim.tape import AggRow, TradeRow

Row: TypeAlias = dict[str, object]

_NOTHING = Statistics(0, 0, 0, 0, 0, 0, -1, -1, 0, 0)


def depth(book: Book, limit: int) -> Row:
    return {
        "lastUpdateId": book.update_id,
        "bids": [_level(level) for level in book.top_bids(limit)],
        "asks": [_level(level) for level in book.top_asks(limit)],
    }


def trade(row: TradeRow, unit_us: int) -> Row:
    return {
        "id": row.trade_id,
        "price": _text(row.price),
        "qty": _text(row.qty),
        "quoteQty": printed_product(row.price * row.qty).decode(),
        "time": row.ts_us // unit_us,
        "isBuyerMaker": row.buyer_is_maker,
        "isBestMatch": True,
    }


def agg_trade(row: AggRow, unit_us: int) -> Row:
    return {
        "a": row.agg_trade_id,
        "p": _text(row.price),
        "q": _text(row.qty),
        "f": row.first_trade_id,
        "l": row.last_trade_id,
        "T": row.ts_us // unit_us,
        "m": row.buyer_is_maker,
        "M": True,
    }


def kline(candle: Candle, unit_us: int) -> list[object]:
    o, h, low, c, v, _, q, taker_v, taker_q = (field.decode() for field in wire.candle_fields(candle))
    start, end = candle.open_ms * 1000 // unit_us, candle.end_ms * 1000 // unit_us - 1
    return [start, o, h, low, c, v, end, q, candle.trades, taker_v, taker_q, "0"]


def avg_price(instrument: Instrument, unit_us: int) -> Row:
    return {
        "mins": 5,
        "price": _text(instrument.average()),
        "closeTime": instrument.last_trade_us // unit_us,
    }


def day_ticker(instrument: Instrument, now_us: int, unit_us: int, *, mini: bool) -> Row:
    """The 24 h ticker; zeros and trade ids of -1 while nothing has traded."""
    day = _day(instrument)
    fields = (field.decode() for field in instrument.ticker_fields(day))
    change, percent, average, prior, last, last_qty, bid, bid_qty, ask, ask_qty, o, h, low, v, q = fields
    row: Row = {
        "symbol": instrument.symbol,
        "priceChange": change,
        "priceChangePercent": percent,
        "weightedAvgPrice": average,
        "prevClosePrice": prior,
        "lastPrice": last,
        "lastQty": last_qty,
        "bidPrice": bid,
        "bidQty": bid_qty,
        "askPrice": ask,
        "askQty": ask_qty,
        "openPrice": o,
        "highPrice": h,
        "lowPrice": low,
        "volume": v,
        "quoteVolume": q,
        "openTime": (now_us - DAY_US) // unit_us,
        "closeTime": now_us // unit_us,
        "firstId": day.first_trade_id,
        "lastId": day.last_trade_id,
        "count": day.trades,
    }
    return {name: row[name] for name in row if name in _MINI} if mini else row


_MINI = frozenset(
    "symbol openPrice highPrice lowPrice lastPrice volume quoteVolume openTime closeTime firstId lastId "
    "count".split()
)


def book_ticker(instrument: Instrument) -> Row:
    (bid, bid_qty), (ask, ask_qty) = instrument.best()
    return {
        "symbol": instrument.symbol,
        "bidPrice": _text(bid),
        "bidQty": _text(bid_qty),
        "askPrice": _text(ask),
        "askQty": _text(ask_qty),
    }


def price(instrument: Instrument) -> Row:
    return {"symbol": instrument.symbol, "price": _text(_day(instrument).close)}


def _day(instrument: Instrument) -> Statistics:
    day = instrument.day()
    return day if day is not None else _NOTHING


def rate_limits(limits: Limits) -> list[Row]:
    return [
        _rate_limit("REQUEST_WEIGHT", 1, limits.weight_per_minute),
        _rate_limit("RAW_REQUESTS", 5, limits.raw_requests),
    ]


def symbol_info(instrument: Instrument, *, permissions: bool) -> Row:
    """One symbol as exchangeInfo lists it."""
    listing = instrument.listing
    return {
        "symbol": listing.symbol,
        "status": instrument.status,
        "baseAsset": listing.base_asset,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote_asset,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(listing.tick, listing.lot),
        "permissions": [],
        "permissionSets": [["SPOT"]] if permissions else [],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


def _filters(tick: int, lot: int) -> list[Row]:
    largest = "9000.00000000"
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": _text(tick),
            "maxPrice": "1000000.00000000",
            "tickSize": _text(tick),
        },
        {"filterType": "LOT_SIZE", "minQty": _text(lot), "maxQty": largest, "stepSize": _text(lot)},
        {
            "filterType": "NOTIONAL",
            "minNotional": "5.00000000",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
    ]


def _rate_limit(kind: str, minutes: int, limit: int) -> Row:
    return {"rateLimitType": kind, "interval": "MINUTE", "intervalNum": minutes, "limit": limit}


def _level(level: LevelUnits) -> list[str]:
    return [_text(level[0]), _text(level[1])]


def _text(amount: int) -> str:
    return printed(amount).decode()
