"""Messages as rows of tables as a first design has them: floats, levels as JSON, one INSERT for each kind."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

Message = Mapping[str, Any]

COLUMNS = {
    "trades": ("symbol", "trade_id", "price", "qty", "is_buyer_maker", "traded_at"),
    "book_tickers": ("symbol", "update_id", "bid_price", "bid_qty", "ask_price", "ask_qty"),
    "depth": ("symbol", "first_update_id", "final_update_id", "bids", "asks", "event_at"),
}


def insert(table: str, parameter: str) -> str:
    """The statement, with `$1` or `%s` for parameters, as the driver has it."""
    columns = COLUMNS[table]
    numbered = [f"${number}" for number in range(1, len(columns) + 1)]
    parameters = numbered if parameter == "$1" else [parameter] * len(columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(parameters)})"


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)  # noqa: UP017 - older interpreters


def _trade(message: Message) -> tuple[object, ...]:
    price, qty = float(message["p"]), float(message["q"])
    return message["s"], message["t"], price, qty, message["m"], _time(message["T"])


def _book_ticker(message: Message) -> tuple[object, ...]:
    bid, ask = (float(message["b"]), float(message["B"])), (float(message["a"]), float(message["A"]))
    return message["s"], message["u"], *bid, *ask


def _depth(message: Message) -> tuple[object, ...]:
    bids, asks = json.dumps(message["b"]), json.dumps(message["a"])
    return message["s"], message["U"], message["u"], bids, asks, _time(message["E"])


_ROWS: Mapping[str | None, tuple[str, Callable[[Message], tuple[object, ...]]]] = {
    "trade": ("trades", _trade),
    "depthUpdate": ("depth", _depth),
    None: ("book_tickers", _book_ticker),
}


def row(message: Message) -> tuple[str, tuple[object, ...]]:
    """Table and row of the data of one message."""
    table, make = _ROWS[message.get("e")]
    return table, make(message)
