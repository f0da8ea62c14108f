"""Which peers there are, and what they are measured on. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.bench.mix import MIX

NOTHING: Final = "nothing"

MODES: Final[Mapping[str, Mapping[str, int]]] = {
    "trade": {"trade": 1},
    "book_ticker": {"book_ticker": 1},
    "depth": {"depth": 1},
    "mix": MIX,
}
"""Shares of the kinds. Trades alone is what all peers do with the least of their own on top."""


@dataclass(frozen=True, kw_only=True)
class PeerRow:
    """One line of the table: a program below `programs`, an environment, and the way in which it stores."""

    name: str
    title: str
    program: str
    environment: str
    store: str = NOTHING
    """`nothing`; `each`: one INSERT a message; `batch`: 1,000 rows an `executemany`; `own`: the library's."""
    tables: str = "naive"
    least_python: tuple[int, int] = (3, 11)

    @property
    def stores(self) -> bool:
        return self.store != NOTHING


PEERS: Final = (
    PeerRow(
        name="picows",
        title="picows + orjson under uvloop, nothing stored",
        program="picows_listener",
        environment="picows",
    ),
    PeerRow(
        name="websockets",
        title="websockets + json, nothing stored",
        program="tutorial",
        environment="tutorial",
    ),
    PeerRow(
        name="websockets-insert",
        title="websockets + json, an INSERT a message",
        program="tutorial",
        environment="tutorial",
        store="each",
    ),
    PeerRow(
        name="websockets-batch",
        title="websockets + json, executemany of 1,000",
        program="tutorial",
        environment="tutorial",
        store="batch",
    ),
    PeerRow(
        name="python-binance",
        title="python-binance, nothing stored",
        program="python_binance",
        environment="python-binance",
    ),
    PeerRow(
        name="python-binance-batch",
        title="python-binance, executemany of 1,000 (asyncpg)",
        program="python_binance",
        environment="python-binance",
        store="batch",
    ),
    PeerRow(
        name="ccxt",
        title="ccxt pro, nothing stored",
        program="ccxt_pro",
        environment="ccxt",
    ),
    PeerRow(
        name="unicorn",
        title="unicorn-binance-websocket-api, nothing stored",
        program="unicorn",
        environment="unicorn",
    ),
    PeerRow(
        name="unicorn-batch",
        title="unicorn-binance-websocket-api, executemany of 1,000 (psycopg)",
        program="unicorn",
        environment="unicorn",
        store="batch",
    ),
    PeerRow(
        name="cryptofeed",
        title="cryptofeed, callbacks, nothing stored",
        program="cryptofeed_feed",
        environment="cryptofeed",
        least_python=(3, 13),
    ),
    PeerRow(
        name="cryptofeed-postgres",
        title="cryptofeed, its PostgreSQL backend",
        program="cryptofeed_feed",
        environment="cryptofeed",
        store="own",
        tables="cryptofeed",
        least_python=(3, 13),
    ),
)
BY_NAME: Final = {peer.name: peer for peer in PEERS}
