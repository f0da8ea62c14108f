"""The tables of what is asked of the exchange, and of how its silence is judged."""

from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import (
    Field,
    field_validator,
)

from ingest.binance.limits import (
    MAX_DEPTH_LIMIT,
    MAX_STREAMS_PER_FEED,
)
from ingest.config.vocabulary import (
    JsonValue,
    Kind,
    RestUrl,
    Seconds,
    Section,
    WebsocketUrl,
    known_kind,
    words_in,
)
from ingest.feed.socket import WsClient


class TopSymbols(Section):
    """The `top` symbols by 24 h quote volume among those quoted in `quote`."""

    quote: list[str] = Field(default=["USDT"], min_length=1)
    """Quote assets."""
    top: int = Field(default=50, ge=1, le=5_000)
    """How many."""


class KindSeconds(Section):
    """Seconds for each kind of stream; all intervals of klines share one."""

    trade: Seconds
    agg_trade: Seconds
    book_ticker: Seconds
    depth: Seconds
    kline: Seconds
    mini_ticker: Seconds
    ticker: Seconds
    avg_price: Seconds

    def of(self, kind: str) -> float:
        """The value for a kind of stream."""
        value: float = getattr(self, "kline" if kind.startswith("kline_") else kind)
        return value


class FloorSection(KindSeconds):
    """No learned threshold is shorter."""

    trade: Seconds = 5.0
    """A busy stream's own gaps are milliseconds; below this a hiccup of the network would count as
    silence."""
    agg_trade: Seconds = 5.0
    """As trades."""
    book_ticker: Seconds = 5.0
    """As trades."""
    depth: Seconds = 5.0
    """As trades."""
    kline: Seconds = 10.0
    """Sent every 2 s at most; 2.6 to 17 s were seen on quiet symbols."""
    mini_ticker: Seconds = 5.0
    """Sent every second at most."""
    ticker: Seconds = 5.0
    """As mini tickers."""
    avg_price: Seconds = 10.0
    """Sent when the average changes."""


class CeilingSection(KindSeconds):
    """No learned threshold is longer, and a stream of which nothing is known yet has this one."""

    trade: Seconds = 900.0
    """Rare symbols do not trade for longer than this; then the witness is asked every quarter of an hour."""
    agg_trade: Seconds = 900.0
    """As trades."""
    book_ticker: Seconds = 300.0
    """Quotes move where nobody trades."""
    depth: Seconds = 300.0
    """As book tickers."""
    kline: Seconds = 900.0
    """As trades."""
    mini_ticker: Seconds = 900.0
    """As trades."""
    ticker: Seconds = 900.0
    """As trades."""
    avg_price: Seconds = 900.0
    """As trades."""


class SilenceSection(Section):
    """How silence is judged; README, "Silence"."""

    factor: float = Field(default=4.0, ge=3.0, le=5.0)
    """Threshold = factor x the 99th percentile of the stream's own gaps in its slow periods. Lower notices
    sooner and asks the witness more often."""
    floor_s: FloorSection = FloorSection()
    ceiling_s: CeilingSection = CeilingSection()
    fixed_s: dict[str, Seconds] = Field(default_factory=dict)
    """Thresholds that are not learned, by kind or by symbol and kind, which counts first: `{ book_ticker =
    30, "BTCUSDT:trade" = 3 }`. For streams whose silence costs you more than a false question."""
    sweep_every_s: Annotated[float, Field(ge=10, le=3_600)] = 60.0
    """Every trade stream against the exchange's newest trade ids, suspect or not, for 80 weight."""
    listing_every_s: Annotated[float, Field(ge=10, le=3_600)] = 60.0
    """Which symbols trade, are new, are gone, for 20 weight."""

    @field_validator("fixed_s")
    @classmethod
    def _name_kinds(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value:
            known_kind(name.rpartition(":")[2])
        return value

    def fixed_for(self, symbol: str, kind: str) -> float | None:
        """The fixed threshold of a stream: by symbol and kind, else by kind, else none."""
        return self.fixed_s.get(f"{symbol}:{kind}", self.fixed_s.get(kind))


class SpotSection(Section):
    """The spot market: what is asked of it, and where."""

    enabled: bool = True
    """There is nothing else yet."""
    ws_url: WebsocketUrl = "wss://stream.binance.com:9443"
    """Any server that speaks the protocol. `wss://data-stream.binance.vision` has the same market data where
    the location is refused (HTTP 451)."""
    rest_url: RestUrl = "https://api.binance.com"
    """`https://data-api.binance.vision` answers where the location is refused; the exchange does not list
    `historicalTrades`, which repairs of trades ask for, among what it serves."""
    symbols: Literal["*"] | list[str] | TopSymbols = TopSymbols()
    """`["BTCUSDT", "ETHUSDT"]`, or `"*"` for all that trade, or the most traded ones of a quote asset. A name
    that the exchange does not list ends the start; later, symbols follow its list."""
    kinds: list[Kind] = Field(
        default=["trade", "book_ticker", "depth", "kline_1m", "mini_ticker"], min_length=1
    )
    """Also `agg_trade`, `kline_<any interval>`, `ticker`, `avg_price`."""
    redundancy: Literal[1, 2] = 1
    """2: each stream on two connections, in two shards; nothing is lost when one of them dies, and receiving
    costs twice as much. README, "Two lines"."""
    ws_client: WsClient = "aiohttp"
    """The library that carries the websockets. picows (`pip install 'ingest[picows]'`) takes 5 % less CPU, a
    third less in a flood."""
    streams_per_feed: int = Field(default=200, ge=1, le=MAX_STREAMS_PER_FEED)
    """On one connection. The exchange allows 1024; fewer are disturbed together when one is replaced."""
    first_snapshot_limit: int = Field(default=100, ge=1, le=MAX_DEPTH_LIMIT)
    """Levels a side of a book's first snapshot while the weight is short; costs 5."""
    snapshot_limit: int = Field(default=1_000, ge=1, le=MAX_DEPTH_LIMIT)
    """Levels a side that every book is deepened to; costs 50."""
    deepest_snapshot_limit: int = Field(default=MAX_DEPTH_LIMIT, ge=1, le=MAX_DEPTH_LIMIT)
    """Levels a side of the `deepest_books`; costs 250."""
    deepest_books: int = Field(default=0, ge=0, le=5_000)
    """How many of each shard's books, the most active ones. None: their weight is a twentieth of the
    minute's, each."""
    audit_every_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """How often each shard compares one of its books with the exchange's."""
    audit_levels: int = Field(default=100, ge=1, le=MAX_DEPTH_LIMIT)
    """Levels a side of an audit; more than 100 cost more than 5."""
    snapshot_every_s: Annotated[float, Field(ge=5, le=86_400)] = 300.0
    """How often a live book is stored: as many deltas have to be applied to have the book of a moment."""
    stored_levels: int = Field(default=1_000, ge=1, le=5_000)
    """Levels a side of a stored book."""
    latest_book_levels: int = Field(default=20, ge=1, le=1_000)
    """Levels a side in `spot.latest_books`."""
    latest_book_every_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    """How often a live book that has changed is published there; a book costs a shard 0.2 ms. 0: never."""

    @field_validator("symbols", mode="before")
    @classmethod
    def _words(cls, value: JsonValue) -> JsonValue:
        if isinstance(value, str) and value != "*":
            return words_in(value)
        return value

    @field_validator("kinds", mode="before")
    @classmethod
    def _kind_words(cls, value: JsonValue) -> JsonValue:
        return words_in(value) if isinstance(value, str) else value

    @field_validator("ws_client")
    @classmethod
    def _is_installed(cls, value: WsClient) -> WsClient:
        if find_spec(value) is None:
            raise ValueError(f"{value} is not installed; it comes with `pip install 'ingest[{value}]'`")
        return value

    @field_validator("symbols", "kinds")
    @classmethod
    def _no_repeats(cls, value: "Literal['*'] | list[str] | TopSymbols") -> object:
        if isinstance(value, list):
            repeated = sorted({word for word in value if value.count(word) > 1})
            if repeated:
                raise ValueError(f"named twice: {', '.join(repeated)}")
            if not value:
                raise ValueError("names nothing")
        return value


class UsdmSection(Section):
    """USD-M futures have their place in the schema of names; only spot is built."""

    enabled: Literal[False] = False
    """Cannot be turned on yet."""
