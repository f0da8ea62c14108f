"""Configuration: one TOML file, overridden by `INGEST_*` variables, read once into a frozen tree.

The only reader of configuration files and of the environment. All mistakes are reported together,
each with its file (or variable), its key and what is expected. A variable is named after section and
key: `INGEST_SERVICE_HTTP_PORT=9000` is `http_port` in `[service]`; its value is read as TOML where
that works and as text otherwise, lists of words may be separated by commas.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_core import ErrorDetails

from ingest.binance.limits import (
    MAX_CONNECTS,
    MAX_DEPTH_LIMIT,
    MAX_STREAMS_PER_FEED,
    REQUEST_WEIGHT_PER_MIN,
)
from ingest.binance.streams import is_kind
from ingest.errors import ConfigError
from ingest.feed.rotation import Rotation, parse_quiet_time
from ingest.feed.socket import WsClient
from ingest.store.dsn import has_password, with_password, with_password_file
from ingest.store.sessions import SessionLimits
from ingest.store.storage_plan import StoragePlan, make_plan

DEFAULT_FILE = Path("ingest.toml")

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
Tree: TypeAlias = dict[str, JsonValue]

EVERY_OTHER_KIND = "*"
_PASSWORD = ("database", "password")
_HTTP_SECRETS = (("http", "password"), ("http", "token"))
_TEXTS = frozenset({_PASSWORD, ("http", "user"), *_HTTP_SECRETS})
"""What is a text even when it looks like a number: a variable's value is not read as TOML."""

_OTHER_VARIABLES = frozenset({"INGEST_CONFIG"})
"""`INGEST_*` names that are not settings."""
_PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy"})


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


def _known_kind(kind: str) -> str:
    if not is_kind(kind):
        raise ValueError(
            f"unknown kind {kind!r}: trade, agg_trade, book_ticker, depth, kline_1m (any interval), "
            "mini_ticker, ticker, avg_price"
        )
    return kind


def _url_with(schemes: tuple[str, ...], url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(f"expected {' or '.join(scheme + '://host' for scheme in schemes)}")
    return url.rstrip("/")


def _words_in(text: str) -> JsonValue:
    words: list[JsonValue] = [word.strip() for word in text.split(",")]
    return [word for word in words if word]


Kind: TypeAlias = Annotated[str, AfterValidator(_known_kind)]
WebsocketUrl: TypeAlias = Annotated[str, AfterValidator(lambda url: _url_with(("wss", "ws"), url))]
RestUrl: TypeAlias = Annotated[str, AfterValidator(lambda url: _url_with(("https", "http"), url))]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=86_400)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]
ChunkHours: TypeAlias = Annotated[float, Field(ge=1, le=8_760)]
KeepDays: TypeAlias = Annotated[float, Field(ge=0, le=36_500)]
AlertRule: TypeAlias = Literal[
    "stream_stale",
    "stale_share",
    "feed_reconnects",
    "shard_restarts",
    "shard_quarantined",
    "database_stalled",
    "rest_banned",
    "clock_offset",
    "exchange_down",
    "table_not_written",
]
"""The names of `ingest.ops.alert_rules.RuleName`."""


class DatabaseSection(_Section):
    """The PostgreSQL, with TimescaleDB or without, that everything is stored in."""

    url: SecretStr = SecretStr("")
    """`postgresql://user@host/database`, with libpq's parameters behind it (`?sslmode=verify-full`). Empty:
    the embedded PostgreSQL under `data_dir`, so that nothing has to be set up for a first look."""
    timescale: Literal["auto", "off", "apache", "full"] = "auto"
    """What of TimescaleDB is used: nothing, hypertables alone, all of it, or what there is. `apache` and
    `full` refuse a server that has less; README, "How rows are kept"."""
    password: SecretStr = SecretStr("")
    """Instead of one in `url`, in a file, or where libpq looks for it. README, "Who may do what"."""
    password_file: str = ""
    """A file that holds the password alone. Read anew for each connection, so that a new password needs no
    restart."""
    connections: int = Field(default=3, ge=1, le=50)
    """For each shard; one more where books are published (`latest_book_every_s`), and three for the
    supervisor. Tables are written side by side."""
    connect_timeout_s: Seconds = 10.0
    """How long one attempt to connect may take; it is tried again."""
    statement_timeout_s: Seconds = 30.0
    """How long the server may work on one statement; our own end waits 5 s more, for a server that no longer
    answers at all. A batch takes milliseconds: what takes this long is stuck."""
    notify: bool = True
    """Wake those who LISTEN when a batch is committed. It costs 1 ms a batch; README, "Waking up"."""

    @field_validator("url")
    @classmethod
    def _is_postgres(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if text and urlsplit(text).scheme not in {"postgresql", "postgres"}:
            # The value itself may hold a password, so the message does not repeat it.
            raise ValueError("expected postgresql://user@host/database, or nothing for the embedded server")
        return url

    @property
    def dsn(self) -> str:
        """The URL with the password, or the name of its file, in it: a secret. Empty: the embedded server."""
        url = self.url.get_secret_value()
        if self.password_file:
            return with_password_file(url, Path(self.password_file))
        password = self.password.get_secret_value()
        return with_password(url, password) if password else url


class ServiceSection(_Section):
    """The processes of the service, and what they say of themselves."""

    data_dir: Path = Path("var")
    """Spool, boards, budget of this address, embedded database, captures. One service at a time, on a disk of
    this machine: locks and shared memory lie in it."""
    http_host: str = "127.0.0.1"
    """Where the supervisor's HTTP listens; this machine alone, as it asks nobody who he is before `[http]`
    has a password or a token."""
    http_port: int = Field(default=8080, ge=0, le=65_535)
    """0 takes any free port; the log says which."""
    shards: int = Field(default=2, ge=1, le=64)
    """Processes that receive and write. Each carries tens of thousands of messages a second on one core; a
    second one keeps half of the streams going while the first is replaced."""
    stop_deadline_s: Seconds = 10.0
    """How long an orderly stop may take, drains and the database included; then what is left is killed, and
    what it had not committed becomes gaps. Whoever stops the service should wait longer than this."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """`warning`: something was wrong and nothing lost; `error`: data were lost, or somebody has to help."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """`auto`: for people on a terminal, JSON elsewhere."""
    per_stream_metrics: bool = False
    """Age and threshold of each stream in `/metrics`: twice as many series as streams, hence off."""
    freshz_max_age_s: dict[str, Seconds] = Field(default_factory=dict)
    """Fixed ages for `/freshz` by kind, such as `{ trade = 10, "*" = 60 }`; `*` is any other kind. What is
    not named goes by its learned threshold, which knows the rhythm of each stream."""

    @field_validator("freshz_max_age_s")
    @classmethod
    def _name_kinds(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value.keys() - {EVERY_OTHER_KIND}:
            _known_kind(name)
        return value


class HttpSection(_Section):
    """Who may look at the page, `/metrics` and `/freshz`; nothing set: whoever reaches `service.http_host`.

    Browsers are asked for `user` and password, programs may bring the token. The files are read at the start.
    """

    user: str = "ingest"
    """What a browser is asked for beside the password."""
    password: SecretStr = SecretStr("")
    """For browsers. Wanted as soon as others than this machine can reach `http_host`; README, "The page"."""
    password_file: str = ""
    """The password is in this file, as Kubernetes and systemd hand it out."""
    token: SecretStr = SecretStr("")
    """For programs: `Authorization: Bearer ...`, as Prometheus sends it."""
    token_file: str = ""
    """The token is in this file."""

    @field_validator("user")
    @classmethod
    def _has_no_colon(cls, value: str) -> str:
        if ":" in value or not value:
            # It is where HTTP has the password begin.
            raise ValueError("expected a name without a colon")
        return value


class BatchSection(_Section):
    """When a batch is closed, by whichever comes first, and how much of each shard may wait."""

    rows: int = Field(default=5_000, ge=1, le=100_000)
    """Large enough for a fast COPY, small enough to be halved until a row that is refused stands alone."""
    bytes: int = Field(default=1_000_000, ge=1_000)
    """Of encoded rows; depth rows are large."""
    age_s: Annotated[float, Field(gt=0, le=60)] = 0.2
    """Nearly all of the time from a message to its row. 0.05 wakes signal jobs four times as fast and makes
    four times as many transactions."""
    buffer_mib: int = Field(default=256, ge=1, le=65_536)
    """Memory for rows that wait, for each shard, while neither database nor disk takes them; beyond it the
    newest become gaps."""


class SpoolSection(_Section):
    """The disk behind the batches, for each shard, under `data_dir/spool`; README, "Database trouble"."""

    enabled: bool = True
    """Without it an outage of the database lasts as long as `batch.buffer_mib`."""
    max_mib: int = Field(default=4_096, ge=1, le=1_048_576)
    """For each shard. Beyond it, and beyond `max_age_s`, the newest rows wait in memory, then become gaps."""
    max_age_s: Annotated[float, Field(gt=0, le=30 * 86_400)] = 86_400.0
    """Of the oldest row. Not longer than `storage.compress_after_s`: late rows must not meet compressed
    chunks."""
    after_s: Annotated[float, Field(ge=0.1, le=3_600)] = 2.0
    """A batch that the database has not taken for so long goes to the disk: what a crash of the process
    meanwhile costs."""
    synchronous: Literal["full", "normal"] = "full"
    """`full` flushes each batch to the disk, `normal` at most once a second: what a loss of power costs."""


class ChunkSection(_Section):
    """Hours that one chunk of a hypertable spans; partitions of plain tables span a day or a month.

    A day where rows come fast: the indexes of what is written to should fit into a quarter of memory.
    """

    trade: ChunkHours = 24.0
    """Of `spot.trades`."""
    agg_trade: ChunkHours = 24.0
    """Of `spot.agg_trades`."""
    book_ticker: ChunkHours = 24.0
    """Of `spot.book_tickers`."""
    depth: ChunkHours = 24.0
    """Of deltas and of stored books."""
    kline: ChunkHours = 720.0
    """Of the exchange's candles, which are few."""
    ticker: ChunkHours = 168.0
    """Of `mini_ticker` too."""
    avg_price: ChunkHours = 168.0
    """Of average prices, one a second at most."""


class KeepSection(_Section):
    """Days that rows are kept, dropped whole chunks at a time; 0: for ever.

    Depth is the most by far and serves replays of the near past; candles grow the less the longer they span.
    """

    trade: KeepDays = 90.0
    """Candles made of them are kept longer."""
    agg_trade: KeepDays = 90.0
    """As trades."""
    book_ticker: KeepDays = 90.0
    """As trades; the most rows beside depth."""
    depth: KeepDays = 7.0
    """Deltas and stored books: most of the bytes."""
    kline: KeepDays = 0.0
    """The exchange's candles, few rows."""
    ticker: KeepDays = 90.0
    """`mini_ticker` too."""
    avg_price: KeepDays = 90.0
    """As tickers."""
    candle_1s: KeepDays = 30.0
    """Of our own candles those that grow fastest: 86,400 a day and symbol."""
    candle_1m: KeepDays = 730.0
    """Two years, to compare with the year before."""
    candle_1h: KeepDays = 0.0
    """24 a day and symbol."""
    candle_1d: KeepDays = 0.0
    """One a day and symbol."""


class StorageSection(_Section):
    """How tables are kept; in force once `ingest migrate` has run (the embedded server: at each start)."""

    compress_after_s: Annotated[float, Field(ge=0, le=3_650 * 86_400)] = 86_400.0
    """Chunks older than this go to the columnstore, where the server has one; the exchange's candles after 40
    days. 0: none. A day, because repairs and the spool bring rows that late."""
    candle_window_days: Annotated[float, Field(ge=1, le=365)] = 3.0
    """How far back candles are made anew from trades that came late. Trades and candles must be kept a day
    longer."""
    chunk_hours: ChunkSection = ChunkSection()
    keep_days: KeepSection = KeepSection()


class CaptureSection(_Section):
    """Frames as received, to files; README, "Raw capture"."""

    enabled: bool = False
    """Off it costs nothing; on, about a fifth more CPU of a shard, and 38 bytes a message of 232."""
    folder: str = ""
    """Empty: `raw`, under `data_dir`."""
    rotate_mib: int = Field(default=256, ge=1, le=65_536)
    """A file ends by size or age, whichever comes first. Only files that have ended are dropped for room."""
    rotate_s: Annotated[float, Field(ge=1, le=604_800)] = 3_600.0
    """A day has 24 files of each shard then, when little comes."""
    keep_mib: int = Field(default=20_480, ge=0)
    """All files together; beyond it the oldest goes. 0: unbounded."""
    keep_s: Annotated[float, Field(ge=0)] = 0.0
    """Since a file was last written; beyond it it goes. 0: unbounded."""
    when_full: Literal["drop_oldest_file"] = "drop_oldest_file"
    """What happens beyond `keep_mib`: there is one way so far."""
    flush_s: Annotated[float, Field(ge=0.05, le=60)] = 1.0
    """What a killed shard may lose of its capture."""
    buffer_mib: int = Field(default=64, ge=1, le=4_096)
    """For each shard, while the disk is slow; beyond it frames are not captured, and counted. The service
    itself never waits for its capture."""
    level: int = Field(default=1, ge=1, le=19)
    """Of zstd: higher levels take several times the CPU for a few percent."""


class LimitsSection(_Section):
    """Our share of what the exchange allows this address, over all processes of one `data_dir` together."""

    connects_per_5_min: int = Field(default=270, ge=1, le=MAX_CONNECTS)
    """The exchange allows 300, and bans addresses that go beyond again and again. Two services behind one
    address have to divide it by hand."""
    weight_per_min: int = Field(default=5_100, ge=300, le=REQUEST_WEIGHT_PER_MIN)
    """Request weight of REST. The exchange allows 6000; the rest is for whoever else asks from this
    address."""
    optional_share: Share = 0.5
    """Of `weight_per_min`: up to here books are deepened and audited; the rest is for snapshots, witnesses
    and repairs."""
    max_connection_age_s: Annotated[float, Field(ge=1, le=86_000)] = 84_600.0
    """The exchange cuts after 86,400. Connections are replaced before, without a break, spread over this
    time's last 5 %; README, "Planned breaks"."""
    rotate_at: str = ""
    """A quiet time of day in UTC, such as `04:00-05:00`: connections are replaced in it. Empty: at any
    time."""

    @field_validator("rotate_at")
    @classmethod
    def _is_time_of_day(cls, value: str) -> str:
        if value:
            parse_quiet_time(value)
        return value

    @property
    def rotation(self) -> Rotation:
        """When connections are replaced before the exchange cuts them."""
        quiet = parse_quiet_time(self.rotate_at) if self.rotate_at else None
        return Rotation(self.max_connection_age_s, quiet)


class BackfillSection(_Section):
    """Repairs of gaps by REST; README, "Repairs"."""

    enabled: bool = True
    """Shards repair the gaps of their streams. Off, gaps stay open until `ingest backfill` is called."""
    weight_share: Annotated[float, Field(ge=0.1, le=1)] = 0.6
    """Of `limits.weight_per_min`, the most that repairs may use: 120,000 trades a minute. The rest is left to
    snapshots and sweeps, without which nobody would know what is stale."""


class TopSymbols(_Section):
    """The `top` symbols by 24 h quote volume among those quoted in `quote`."""

    quote: list[str] = Field(default=["USDT"], min_length=1)
    """Quote assets."""
    top: int = Field(default=50, ge=1, le=5_000)
    """How many."""


class KindSeconds(_Section):
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


class SilenceSection(_Section):
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
            _known_kind(name.rpartition(":")[2])
        return value

    def fixed_for(self, symbol: str, kind: str) -> float | None:
        """The fixed threshold of a stream: by symbol and kind, else by kind, else none."""
        return self.fixed_s.get(f"{symbol}:{kind}", self.fixed_s.get(kind))


class SpotSection(_Section):
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
            return _words_in(value)
        return value

    @field_validator("kinds", mode="before")
    @classmethod
    def _kind_words(cls, value: JsonValue) -> JsonValue:
        return _words_in(value) if isinstance(value, str) else value

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


class UsdmSection(_Section):
    """USD-M futures have their place in the schema of names; only spot is built."""

    enabled: Literal[False] = False
    """Cannot be turned on yet."""


class AlertsSection(_Section):
    """Who is told of trouble, and from when on something is trouble; README, "Silence", and the runbook."""

    urls: list[SecretStr] = []
    """Of [apprise](https://github.com/caronc/apprise): mail, webhooks, chats, pagers. They may hold
    passwords, and are never shown. None: the log alone is told. In a variable they are separated by
    spaces."""
    name: str = Field(default="ingest", min_length=1, max_length=80)
    """Of this installation; begins every subject."""
    runbook_url: str = ""
    """Where people can read the runbook; each message ends with a link to its entry there. Empty: the file in
    the package is named."""
    min_severity: Literal["warning", "critical"] = "warning"
    """What is less grave is only logged."""
    disabled: list[AlertRule] = []
    """Names of rules that nobody wants to hear of; the keys below that begin with their names are their
    limits."""
    stream_stale_s: Seconds = 60.0
    """A stream has been stale for so long; the ladder of repairs takes about that."""
    stale_share: Share = 0.05
    """Of the watched streams, stale at once, three at least: then one cause is likelier than many."""
    stale_share_critical: Share = 0.25
    """From here on that is critical."""
    feed_reconnects: int = Field(default=5, ge=1, le=1_000)
    """Times that one feed was connected again within the window."""
    feed_reconnects_window_s: Seconds = 600.0
    """The window of `feed_reconnects`."""
    shard_restarts: int = Field(default=3, ge=1, le=1_000)
    """Restarts of one shard within the window."""
    shard_restarts_window_s: Seconds = 600.0
    """The window of `shard_restarts`."""
    database_stalled_s: Seconds = 30.0
    """Data arrive and nothing is committed; a restart of the server takes less."""
    rest_ban_s: Seconds = 1.0
    """REST refuses us for at least so long: any ban is told, because somebody asks too much."""
    rest_ban_critical_s: Seconds = 300.0
    """From here on that is critical: nothing can be repaired or proven meanwhile."""
    clock_offset_s: Seconds = 0.5
    """Between our clock and the exchange's; ages and receive times are wrong by it."""
    clock_offset_critical_s: Seconds = 5.0
    """From here on that is critical."""
    exchange_down_s: Seconds = 30.0
    """The whole exchange stands still."""
    table_age_s: Seconds = 15.0
    """The freshness table, written each second, has not been written for so long."""
    recovered_after_s: Annotated[float, Field(ge=0, le=3_600)] = 60.0
    """A trouble that was away for so long is over: what comes and goes is one trouble."""
    group_wait_s: Annotated[float, Field(ge=0, le=300)] = 5.0
    """What begins within so long is one message."""
    remind_every_s: Annotated[float, Field(ge=60, le=604_800)] = 14_400.0
    """How often a trouble that lasts is told again."""
    burst: int = Field(default=10, ge=1, le=1_000)
    """Messages at once; then `per_hour`."""
    per_hour: Annotated[float, Field(gt=0, le=3_600)] = 30.0
    """What is beyond leaves later, as one summary."""
    deadline_s: Annotated[float, Field(ge=1, le=300)] = 20.0
    """For one attempt to deliver."""
    give_up_after_s: Annotated[float, Field(ge=1, le=86_400)] = 3_600.0
    """How long delivery is tried again; later the message would mislead."""

    @field_validator("urls", mode="before")
    @classmethod
    def _urls_apart(cls, value: JsonValue) -> JsonValue:
        # Not at commas as elsewhere: an apprise URL may have commas of its own, but no spaces.
        return [*value.split()] if isinstance(value, str) else value

    @field_validator("disabled", mode="before")
    @classmethod
    def _rule_words(cls, value: JsonValue) -> JsonValue:
        return _words_in(value) if isinstance(value, str) else value


class DeadmanSection(_Section):
    """What `ingest deadman` calls silence."""

    max_silence_s: Seconds = 300.0
    """The newest committed event of all streams is older than this: the exchange is never so quiet."""
    hours: list[str] = Field(default=["Mon-Sun 00:00-24:00"], min_length=1)
    """When silence counts, UTC: also `Mon-Fri 08:00-18:00`, `Sat,Sun 10:00-12:00`, `22:00-06:00`. The
    freshness table is judged at any time."""
    table_max_age_s: Seconds = 60.0
    """The freshness table is older than this: nobody writes it."""
    deadline_s: Annotated[float, Field(ge=5, le=600)] = 30.0
    """For the whole check, the alert included; cron calls it every few minutes."""

    @field_validator("hours", mode="before")
    @classmethod
    def _one_or_more(cls, value: JsonValue) -> JsonValue:
        # Not at commas as elsewhere: `Sat,Sun 10:00-12:00` is one entry.
        return [value] if isinstance(value, str) else value


class Settings(_Section):
    """The whole tree.

    The secrets in it are `database.url`, `database.password`, `http.password`, `http.token`, `alerts.urls`.
    """

    database: DatabaseSection = DatabaseSection()
    service: ServiceSection = ServiceSection()
    http: HttpSection = HttpSection()
    batch: BatchSection = BatchSection()
    spool: SpoolSection = SpoolSection()
    storage: StorageSection = StorageSection()
    capture: CaptureSection = CaptureSection()
    limits: LimitsSection = LimitsSection()
    backfill: BackfillSection = BackfillSection()
    silence: SilenceSection = SilenceSection()
    spot: SpotSection = SpotSection()
    usdm: UsdmSection = UsdmSection()
    alerts: AlertsSection = AlertsSection()
    deadman: DeadmanSection = DeadmanSection()


def session_limits(settings: Settings) -> SessionLimits:
    """The configured deadlines of database sessions."""
    database = settings.database
    return SessionLimits(connect_s=database.connect_timeout_s, statement_s=database.statement_timeout_s)


def storage_plan(settings: Settings) -> StoragePlan:
    """The configured way of keeping each table."""
    storage = settings.storage
    return make_plan(
        timescale=settings.database.timescale,
        chunk_hours=storage.chunk_hours.model_dump(),
        keep_days=storage.keep_days.model_dump(),
        compress_after_s=storage.compress_after_s,
        candle_window_days=storage.candle_window_days,
    )


def history_leaves(settings: Settings) -> int:
    """The request weight a minute that questions about the past leave to all others."""
    return int(settings.limits.weight_per_min * (1 - settings.backfill.weight_share))


def load_settings(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Tree | None = None,
) -> Settings:
    """Read file, environment and command-line overrides, later ones winning.

    `file` None means `INGEST_CONFIG`, else `ingest.toml` where there is one. Raises ConfigError
    with every mistake at once.
    """
    environment = os.environ if environment is None else environment
    path = _file_to_read(file, environment)
    tree, places = (_read_toml(path), str(path)) if path else ({}, "the defaults")
    mistakes: list[str] = []
    origins: dict[tuple[str, str], str] = {}
    for name, section, key, value in _from_environment(environment, mistakes):
        _put(tree, section, key, value)
        origins[section, key] = name
    for section, values in (overrides or {}).items():
        assert isinstance(values, dict)
        for key, value in values.items():
            _put(tree, section, key, value)
            origins[section, key] = "command line"
    settings = None
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        mistakes += [_describe(item, places, origins) for item in _without_union_noise(error)]
    else:
        mistakes += _contradictions(settings, places, origins)
    if settings is None or mistakes:
        raise ConfigError("\n".join(mistakes))
    return settings


def sources(file: Path | None = None, environment: Mapping[str, str] | None = None) -> list[str]:
    """What `load_settings` reads: the file, where there is one, and the names of the variables; no values.

    Raises ConfigError when the file that is named is not there.
    """
    environment = os.environ if environment is None else environment
    path = _file_to_read(file, environment)
    return [*([str(path)] if path else []), *sorted(filter(_is_setting, environment))]


def proxy_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """Names of the variables by which other programs find a proxy, in either spelling, without the values."""
    environment = os.environ if environment is None else environment
    return sorted(name for name in environment if name.lower() in _PROXY_VARIABLES and environment[name])


def _contradictions(settings: Settings, file: str, origins: dict[tuple[str, str], str]) -> list[str]:
    """What is right by itself and wrong beside another setting, or beside what is on the disk."""
    found = []
    checks = (
        _too_many_lines(settings),
        _storage_contradictions(settings),
        _password_mistakes(settings.database),
        _http_secret_mistakes(settings.http),
    )
    for keys, mistake in chain.from_iterable(checks):
        place = next((origins[key] for key in keys if key in origins), file)
        found.append(f"{place}: [{keys[0][0]}] {mistake}")
    return found


_Contradiction: TypeAlias = tuple[tuple[tuple[str, str], ...], str]
"""The keys, as section and name, that do not go together, and why; the first is the one to blame."""


def _too_many_lines(settings: Settings) -> Iterator[_Contradiction]:
    lines, shards = settings.spot.redundancy, settings.service.shards
    if lines > shards:
        needed = f"{lines} lines of a stream take [service] shards = {lines} or more (given: {shards})"
        yield (("spot", "redundancy"), ("service", "shards")), f"redundancy: {needed}"


def _storage_contradictions(settings: Settings) -> Iterator[_Contradiction]:
    storage, spool = settings.storage, settings.spool
    after_s, reach_s = storage.compress_after_s, spool.max_age_s if spool.enabled else 0.0
    if after_s and after_s < reach_s:
        why = f"rows may come from the spool {reach_s:g} s late ([spool] max_age_s): chunks must wait"
        yield (("storage", "compress_after_s"), ("spool", "max_age_s")), f"compress_after_s: {why}"
    window = storage.candle_window_days
    why = f"candles of {window:g} days are made anew from these: keep them one day longer, or for ever (0)"
    for kind in ("trade", "candle_1s", "candle_1m", "candle_1h"):
        kept: float = getattr(storage.keep_days, kind)
        if kept and kept < window + 1:
            yield (("storage", "keep_days"), ("storage", "candle_window_days")), f"keep_days.{kind}: {why}"


def _password_mistakes(database: DatabaseSection) -> Iterator[_Contradiction]:
    url, file = database.url.get_secret_value(), database.password_file
    ways = {
        "url": bool(url) and has_password(url),
        "password": bool(database.password.get_secret_value()),
        "password_file": bool(file),
    }
    given = [key for key, is_given in ways.items() if is_given]
    if len(given) > 1:
        key = given[-1]
        yield (("database", key),), f"{key}: given more than once, also by {' and '.join(given[:-1])}"
    elif given and not url:
        key = given[0]
        yield (("database", key),), f"{key}: the embedded server has none; name another one by url"
    if file and not Path(file).is_file():
        yield (("database", "password_file"),), f"password_file: there is no such file (given: {file!r})"


def _http_secret_mistakes(http: HttpSection) -> Iterator[_Contradiction]:
    for key, given, file in (
        ("password", http.password, http.password_file),
        ("token", http.token, http.token_file),
    ):
        if file and given.get_secret_value():
            yield (("http", f"{key}_file"), ("http", key)), f"{key}_file: given more than once, also by {key}"
        elif file:
            try:
                _secret_in(file)
            except ConfigError as error:
                yield (("http", f"{key}_file"),), f"{key}_file: {error}"


def http_secrets(settings: Settings) -> tuple[str, str, str]:
    """User, password and token that HTTP wants; the latter two empty where they are not wanted.

    Raises ConfigError for a file that cannot be read any more.
    """
    http = settings.http
    password = _secret_in(http.password_file) if http.password_file else http.password.get_secret_value()
    token = _secret_in(http.token_file) if http.token_file else http.token.get_secret_value()
    return http.user, password, token


def _secret_in(file: str) -> str:
    """What stands in a file, without the line's end. Empty, it would let everybody in: that is a mistake."""
    try:
        secret = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(f"{file!r} cannot be read: {why}") from error
    if not secret:
        raise ConfigError(f"{file!r} is empty")
    return secret


def _file_to_read(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    named = file or (Path(environment["INGEST_CONFIG"]) if environment.get("INGEST_CONFIG") else None)
    if named is not None:
        if not named.is_file():
            raise ConfigError(f"{named}: there is no such file")
        return named
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _read_toml(path: Path) -> Tree:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _from_environment(
    environment: Mapping[str, str], mistakes: list[str]
) -> Iterator[tuple[str, str, str, JsonValue]]:
    for name in sorted(environment):
        if not _is_setting(name):
            continue
        section, _, key = name.removeprefix("INGEST_").lower().partition("_")
        if section not in Settings.model_fields:
            sections = ", ".join(f"INGEST_{known.upper()}_*" for known in Settings.model_fields)
            mistakes.append(f"{name}: no such setting; expected one of {sections}")
            continue
        value = environment[name]
        # A password of digits is none the less a text.
        yield name, section, key, value if (section, key) in _TEXTS else _value_of(value)


def _is_setting(variable: str) -> bool:
    is_ours = variable.startswith("INGEST_") and variable not in _OTHER_VARIABLES
    return is_ours and not variable.startswith("INGEST_TEST_")


def _value_of(text: str) -> JsonValue:
    try:
        return tomllib.loads(f"value = {text}")["value"]  # type: ignore[no-any-return]
    except tomllib.TOMLDecodeError:
        return text


def _put(tree: Tree, section: str, key: str, value: JsonValue) -> None:
    there = tree.setdefault(section, {})
    if isinstance(there, dict):
        there[key] = value


def _without_union_noise(error: ValidationError) -> list[ErrorDetails]:
    """One mistake in `symbols` fails all its alternatives; report it once."""
    seen: set[tuple[int | str, ...]] = set()
    kept = []
    for item in error.errors(include_url=False, include_context=False):
        place = item["loc"][:2] if item["loc"][:2] == ("spot", "symbols") else item["loc"]
        if place not in seen:
            seen.add(place)
            kept.append(item)
    return kept


def _describe(item: ErrorDetails, file: str, origins: dict[tuple[str, str], str]) -> str:
    location = [str(part) for part in item["loc"]]
    place = origins.get((location[0], location[1])) if len(location) > 1 else None
    key = f"[{location[0]}] {'.'.join(location[1:])}" if len(location) > 1 else f"[{location[0]}]"
    message = item["msg"].removeprefix("Value error, ")
    if location[:2] == ["spot", "symbols"]:
        key = "[spot] symbols"
        if item["type"] != "value_error":
            message = 'expected "*", a list of names, or { quote = [...], top = N }'
    elif item["type"] == "extra_forbidden":
        message = "no such setting"
    whole = (["database"], ["alerts"], ["http"])
    secrets = (["database", "url"], [*_PASSWORD], ["alerts", "urls"], *map(list, _HTTP_SECRETS), *whole)
    secret = location[:2] in secrets
    given = "" if secret or item["type"] in {"missing", "extra_forbidden"} else f" (given: {item['input']!r})"
    return f"{place or file}: {key}: {message}{given}"
