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

_OTHER_VARIABLES = frozenset({"INGEST_CONFIG"})
"""`INGEST_*` names that are not settings."""


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
    """`url` empty: the embedded PostgreSQL under `data_dir`. The password stands in it or apart from it."""

    url: SecretStr = SecretStr("")
    timescale: Literal["auto", "off", "apache", "full"] = Field(
        default="auto", description="what of TimescaleDB is used; auto: what there is"
    )
    password: SecretStr = SecretStr("")
    password_file: str = Field(default="", description="read anew for each connection")
    connections: int = Field(default=3, ge=1, le=50, description="per shard")
    connect_timeout_s: Seconds = 10.0
    statement_timeout_s: Seconds = 30.0
    notify: bool = Field(default=True, description="wake those who LISTEN when a batch is committed")

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
    data_dir: Path = Path("var")
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8080, ge=0, le=65_535)
    shards: int = Field(default=2, ge=1, le=64)
    stop_deadline_s: Seconds = 10.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"
    per_stream_metrics: bool = False
    freshz_max_age_s: dict[str, Seconds] = Field(
        default_factory=dict, description="by kind; `*` is any other; a kind without one has the learned ones"
    )

    @field_validator("freshz_max_age_s")
    @classmethod
    def _name_kinds(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value.keys() - {EVERY_OTHER_KIND}:
            _known_kind(name)
        return value


class BatchSection(_Section):
    """When a batch is closed, and how much may wait for the database in each shard."""

    rows: int = Field(default=5_000, ge=1, le=100_000)
    bytes: int = Field(default=1_000_000, ge=1_000)
    age_s: Annotated[float, Field(gt=0, le=60)] = 0.2
    buffer_mib: int = Field(default=256, ge=1, le=65_536)


class SpoolSection(_Section):
    """The disk behind the batches, for each shard: when the database takes none, they wait there."""

    enabled: bool = True
    max_mib: int = Field(default=4_096, ge=1, le=1_048_576)
    max_age_s: Annotated[float, Field(gt=0, le=30 * 86_400)] = 86_400.0
    after_s: Annotated[float, Field(ge=0.1, le=3_600)] = 2.0
    synchronous: Literal["full", "normal"] = "full"


class ChunkSection(_Section):
    """Hours that one chunk of a hypertable spans; partitions of plain tables span a day or a month.

    A day where rows come fast: the indexes of what is written to should fit into a quarter of memory.
    """

    trade: ChunkHours = 24.0
    agg_trade: ChunkHours = 24.0
    book_ticker: ChunkHours = 24.0
    depth: ChunkHours = 24.0
    kline: ChunkHours = 720.0
    ticker: ChunkHours = 168.0
    avg_price: ChunkHours = 168.0


class KeepSection(_Section):
    """Days that rows are kept; 0: for ever.

    Depth is the most by far and serves replays of the near past; candles grow the less the longer they span.
    """

    trade: KeepDays = 90.0
    agg_trade: KeepDays = 90.0
    book_ticker: KeepDays = 90.0
    depth: KeepDays = 7.0
    kline: KeepDays = 0.0
    ticker: KeepDays = 90.0
    avg_price: KeepDays = 90.0
    candle_1s: KeepDays = 30.0
    candle_1m: KeepDays = 730.0
    candle_1h: KeepDays = 0.0
    candle_1d: KeepDays = 0.0


class StorageSection(_Section):
    """How tables are kept; in force once `ingest migrate` has run (the embedded server: at each start)."""

    compress_after_s: Annotated[float, Field(ge=0, le=3_650 * 86_400)] = Field(
        default=86_400.0, description="chunks older than this go to the columnstore; 0: none"
    )
    candle_window_days: Annotated[float, Field(ge=1, le=365)] = Field(
        default=3.0, description="how far back candles are made anew from trades that came late"
    )
    chunk_hours: ChunkSection = ChunkSection()
    keep_days: KeepSection = KeepSection()


class CaptureSection(_Section):
    """Frames as received, to files; `keep_mib` and `keep_s` bound all files together (0: unbounded)."""

    enabled: bool = False
    folder: str = Field(default="", description="empty: raw, under data_dir")
    rotate_mib: int = Field(default=256, ge=1, le=65_536)
    rotate_s: Annotated[float, Field(ge=1, le=604_800)] = 3_600.0
    keep_mib: int = Field(default=20_480, ge=0)
    keep_s: Annotated[float, Field(ge=0)] = 0.0
    when_full: Literal["drop_oldest_file"] = "drop_oldest_file"
    flush_s: Annotated[float, Field(ge=0.05, le=60)] = 1.0
    buffer_mib: int = Field(default=64, ge=1, le=4_096, description="waits for the disk, per shard")
    level: int = Field(default=1, ge=1, le=19, description="of zstd")


class LimitsSection(_Section):
    """Our share of what the exchange allows this address, over all shards together."""

    connects_per_5_min: int = Field(default=270, ge=1, le=MAX_CONNECTS)
    weight_per_min: int = Field(default=5_100, ge=300, le=REQUEST_WEIGHT_PER_MIN)
    optional_share: Share = Field(
        default=0.5, description="of weight_per_min, up to which books are deepened and audited"
    )
    max_connection_age_s: Annotated[float, Field(ge=1, le=86_000)] = 84_600.0
    rotate_at: str = Field(default="", description="a quiet time of day, UTC, as in 04:00-05:00; empty: none")

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
    """Repairs of gaps by REST. `weight_share` of `limits.weight_per_min` is the most they may use."""

    enabled: bool = True
    weight_share: Annotated[float, Field(ge=0.1, le=1)] = 0.6


class TopSymbols(_Section):
    """The `top` symbols by 24 h quote volume among those quoted in `quote`."""

    quote: list[str] = Field(default=["USDT"], min_length=1)
    top: int = Field(default=50, ge=1, le=5_000)


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
    agg_trade: Seconds = 5.0
    book_ticker: Seconds = 5.0
    depth: Seconds = 5.0
    kline: Seconds = 10.0
    mini_ticker: Seconds = 5.0
    ticker: Seconds = 5.0
    avg_price: Seconds = 10.0


class CeilingSection(KindSeconds):
    """No learned threshold is longer, and a stream of which nothing is known yet has this one."""

    trade: Seconds = 900.0
    agg_trade: Seconds = 900.0
    book_ticker: Seconds = 300.0
    depth: Seconds = 300.0
    kline: Seconds = 900.0
    mini_ticker: Seconds = 900.0
    ticker: Seconds = 900.0
    avg_price: Seconds = 900.0


class SilenceSection(_Section):
    """How silence is judged. `fixed_s` names kinds, or SYMBOL:kind, whose threshold is not learned."""

    factor: float = Field(default=4.0, ge=3.0, le=5.0)
    floor_s: FloorSection = FloorSection()
    ceiling_s: CeilingSection = CeilingSection()
    fixed_s: dict[str, Seconds] = Field(default_factory=dict)
    sweep_every_s: Annotated[float, Field(ge=10, le=3_600)] = 60.0
    listing_every_s: Annotated[float, Field(ge=10, le=3_600)] = 60.0

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
    enabled: bool = True
    ws_url: WebsocketUrl = "wss://stream.binance.com:9443"
    rest_url: RestUrl = "https://api.binance.com"
    symbols: Literal["*"] | list[str] | TopSymbols = TopSymbols()
    kinds: list[Kind] = Field(
        default=["trade", "book_ticker", "depth", "kline_1m", "mini_ticker"], min_length=1
    )
    redundancy: Literal[1, 2] = 1
    ws_client: WsClient = "aiohttp"
    streams_per_feed: int = Field(default=200, ge=1, le=MAX_STREAMS_PER_FEED)
    first_snapshot_limit: int = Field(
        default=100, ge=1, le=MAX_DEPTH_LIMIT, description="levels a side while there is no weight for more"
    )
    snapshot_limit: int = Field(
        default=1_000, ge=1, le=MAX_DEPTH_LIMIT, description="levels a side in the end"
    )
    deepest_snapshot_limit: int = Field(
        default=MAX_DEPTH_LIMIT, ge=1, le=MAX_DEPTH_LIMIT, description="of the deepest books"
    )
    deepest_books: int = Field(default=0, ge=0, le=5_000, description="in each shard, the most active ones")
    audit_every_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    audit_levels: int = Field(default=100, ge=1, le=MAX_DEPTH_LIMIT, description="levels a side of an audit")
    snapshot_every_s: Annotated[float, Field(ge=5, le=86_400)] = 300.0
    stored_levels: int = Field(
        default=1_000, ge=1, le=5_000, description="levels a side of a stored snapshot"
    )
    latest_book_levels: int = Field(
        default=20, ge=1, le=1_000, description="levels a side that are published"
    )
    latest_book_every_s: Annotated[float, Field(ge=0, le=60)] = 1.0

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


class AlertsSection(_Section):
    """Who is told of trouble, and from when on something is trouble. No `urls`: the log alone is told."""

    urls: list[SecretStr] = Field(default=[], description="of apprise; they may hold passwords")
    name: str = Field(default="ingest", min_length=1, max_length=80, description="begins every subject")
    min_severity: Literal["warning", "critical"] = "warning"
    disabled: list[AlertRule] = []
    stream_stale_s: Seconds = 60.0
    stale_share: Share = 0.05
    stale_share_critical: Share = 0.25
    feed_reconnects: int = Field(default=5, ge=1, le=1_000)
    feed_reconnects_window_s: Seconds = 600.0
    shard_restarts: int = Field(default=3, ge=1, le=1_000)
    shard_restarts_window_s: Seconds = 600.0
    database_stalled_s: Seconds = 30.0
    rest_ban_s: Seconds = 1.0
    rest_ban_critical_s: Seconds = 300.0
    clock_offset_s: Seconds = 0.5
    clock_offset_critical_s: Seconds = 5.0
    exchange_down_s: Seconds = 30.0
    table_age_s: Seconds = 15.0
    recovered_after_s: Annotated[float, Field(ge=0, le=3_600)] = 60.0
    group_wait_s: Annotated[float, Field(ge=0, le=300)] = 5.0
    remind_every_s: Annotated[float, Field(ge=60, le=604_800)] = 14_400.0
    burst: int = Field(default=10, ge=1, le=1_000)
    per_hour: Annotated[float, Field(gt=0, le=3_600)] = 30.0
    deadline_s: Annotated[float, Field(ge=1, le=300)] = 20.0
    give_up_after_s: Annotated[float, Field(ge=1, le=86_400)] = 3_600.0

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
    """What `ingest deadman` calls silence. `hours` are UTC, such as `Mon-Fri 08:00-18:00`."""

    max_silence_s: Seconds = 300.0
    hours: list[str] = Field(default=["Mon-Sun 00:00-24:00"], min_length=1)
    table_max_age_s: Seconds = 60.0
    deadline_s: Annotated[float, Field(ge=5, le=600)] = 30.0

    @field_validator("hours", mode="before")
    @classmethod
    def _one_or_more(cls, value: JsonValue) -> JsonValue:
        # Not at commas as elsewhere: `Sat,Sun 10:00-12:00` is one entry.
        return [value] if isinstance(value, str) else value


class Settings(_Section):
    """The whole tree. The secrets in it are `database.url`, `database.password` and `alerts.urls`."""

    database: DatabaseSection = DatabaseSection()
    service: ServiceSection = ServiceSection()
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


def _contradictions(settings: Settings, file: str, origins: dict[tuple[str, str], str]) -> list[str]:
    """What is right by itself and wrong beside another setting, or beside what is on the disk."""
    found = []
    checks = (
        _too_many_lines(settings),
        _storage_contradictions(settings),
        _password_mistakes(settings.database),
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
        if not name.startswith("INGEST_") or name in _OTHER_VARIABLES or name.startswith("INGEST_TEST_"):
            continue
        section, _, key = name.removeprefix("INGEST_").lower().partition("_")
        if section not in Settings.model_fields:
            sections = ", ".join(f"INGEST_{known.upper()}_*" for known in Settings.model_fields)
            mistakes.append(f"{name}: no such setting; expected one of {sections}")
            continue
        value = environment[name]
        # A password of digits is none the less a text.
        yield name, section, key, value if (section, key) == _PASSWORD else _value_of(value)


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
    secrets = (["database", "url"], [*_PASSWORD], ["alerts", "urls"], ["database"], ["alerts"])
    secret = location[:2] in secrets
    given = "" if secret or item["type"] in {"missing", "extra_forbidden"} else f" (given: {item['input']!r})"
    return f"{place or file}: {key}: {message}{given}"
