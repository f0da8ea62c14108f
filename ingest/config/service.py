"""The tables of the service's own parts, from the database to the limits it keeps. Pure."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    field_validator,
)

from ingest.binance.limits import (
    MAX_CONNECTS,
    REQUEST_WEIGHT_PER_MIN,
)
from ingest.config.vocabulary import EVERY_OTHER_KIND, Seconds, Section, Share, known_kind
from ingest.feed.rotation import Rotation, parse_quiet_time
from ingest.store.dsn import with_password, with_password_file


class DatabaseSection(Section):
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


class ServiceSection(Section):
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
            known_kind(name)
        return value


class HttpSection(Section):
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


class BatchSection(Section):
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


class SpoolSection(Section):
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


class CaptureSection(Section):
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


class LimitsSection(Section):
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


class BackfillSection(Section):
    """Repairs of gaps by REST; README, "Repairs"."""

    enabled: bool = True
    """Shards repair the gaps of their streams. Off, gaps stay open until `ingest backfill` is called."""
    weight_share: Annotated[float, Field(ge=0.1, le=1)] = 0.6
    """Of `limits.weight_per_min`, the most that repairs may use: 120,000 trades a minute. The rest is left to
    snapshots and sweeps, without which nobody would know what is stale."""
