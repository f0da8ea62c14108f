"""The kline intervals of the exchange and where their candles begin (UTC).

Pure. Weeks begin on Monday, months on the first; all others are whole multiples counted from the epoch.
"""

import datetime

SECOND_MS = 1_000
MINUTE_MS = 60_000
DAY_MS = 86_400_000
_MONDAY_MS = 4 * DAY_MS
"""The epoch was a Thursday; weeks are counted from the first Monday after it."""

INTERVAL_MS: dict[str, int] = {
    "1s": SECOND_MS,
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": 60 * MINUTE_MS,
    "2h": 120 * MINUTE_MS,
    "4h": 240 * MINUTE_MS,
    "6h": 360 * MINUTE_MS,
    "8h": 480 * MINUTE_MS,
    "12h": 720 * MINUTE_MS,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": 7 * DAY_MS,
    "1M": 30 * DAY_MS,
}
"""Name to length; the month's is nominal."""


def open_time_ms(interval: str, ts_ms: int) -> int:
    """Start of the candle that holds `ts_ms`."""
    if interval == "1M":
        return _month_ms(_utc(ts_ms))
    length_ms = INTERVAL_MS[interval]
    offset_ms = _MONDAY_MS if interval == "1w" else 0
    return (ts_ms - offset_ms) // length_ms * length_ms + offset_ms


def end_time_ms(interval: str, open_ms: int) -> int:
    """Start of the next candle; the exchange prints one millisecond less as the close time."""
    if interval == "1M":
        return _month_ms(_utc(open_ms) + datetime.timedelta(days=32))
    return open_ms + INTERVAL_MS[interval]


def _utc(ts_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ts_ms // 1000, tz=datetime.UTC)


def _month_ms(moment: datetime.datetime) -> int:
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int(first.timestamp()) * 1000
