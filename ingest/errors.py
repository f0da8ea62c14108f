"""The error tree. Each class knows whether trying again can help (`transient`).

IngestError
├── ConfigError            wrong configuration or use; every mistake in one message
├── ExchangeError          the exchange's side
│   ├── FeedClosed         a websocket ended, for a named reason          transient
│   ├── RestUnavailable    REST answered 5xx, rubbish, or not in time     transient
│   ├── RateLimited        429 or 418, with the time until which to wait  transient
│   ├── RestRefused        a 4xx that repeating cannot change
│   └── LocationRefused    451: the exchange does not serve this place
├── BudgetExhausted        no room in the shared budget before the deadline  transient
├── StoreError             the database's side
│   ├── StoreUnavailable   connection lost, starting up, out of slots     transient
│   ├── RowsRefused        the server will not take these bytes
│   └── SchemaMismatch     migrations and this program do not agree
├── SpoolError             the spool's folder cannot be used, or another process uses the file
├── CaptureUnreadable      a file is no capture of ours, or its header is damaged
├── ExportError            a file of an export was not made
├── EmbeddedServerError    the bundled PostgreSQL cannot be run here
├── BoardError             the freshness board's file is not one of ours
└── (ReadRefused           what a reader does not answer, and why: `ingest.reader.errors`)
"""

from typing import ClassVar


class IngestError(Exception):
    """Base of all errors that this program raises on purpose."""

    transient: ClassVar[bool] = False


class ConfigError(IngestError):
    """Configuration or command line is wrong; the message lists every mistake with its place."""


class ExchangeError(IngestError):
    """Something the exchange did or refused."""


class FeedClosed(ExchangeError):
    """A feed's websocket has ended."""

    transient = True

    def __init__(self, reason: str, *, code: int | None = None) -> None:
        super().__init__(f"{reason} (close code {code})" if code is not None else reason)
        self.reason = reason
        self.code = code


class RestUnavailable(ExchangeError):
    """REST gave no usable answer; the result is unknown and a read may be repeated."""

    transient = True


class RateLimited(ExchangeError):
    """REST answered 429 or 418."""

    transient = True

    def __init__(self, status: int, retry_after_s: float) -> None:
        super().__init__(f"HTTP {status}: wait {retry_after_s:g} s")
        self.status = status
        self.retry_after_s = retry_after_s


class RestRefused(ExchangeError):
    """REST refused the request itself (HTTP 4xx); `code` is the exchange's, where it named one."""

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class LocationRefused(ExchangeError):
    """HTTP 451: the exchange does not serve the place that this machine calls from."""


class BudgetExhausted(IngestError):
    """The budget shared by all shards of this IP has no room before the deadline."""

    transient = True


class StoreError(IngestError):
    """Something the database did or refused; `sqlstate` when it named one."""

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class StoreUnavailable(StoreError):
    """The database cannot be asked now; the outcome of a write may be unknown."""

    transient = True


class RowsRefused(StoreError):
    """The server understood and will not take these rows."""


class SchemaMismatch(StoreError):
    """The database's schema is not the one that this program writes to."""


class SpoolError(IngestError):
    """The spool's file cannot be used here, or another process has it open."""


class CaptureUnreadable(IngestError):
    """A file is not a capture that this program can read; the message says what it is not."""


class ExportError(IngestError):
    """A file of an export was not made; the message says why, be it the disk or what is missing."""


class EmbeddedServerError(IngestError):
    """The bundled PostgreSQL cannot be initialised or started; the message says what to do."""


class BoardError(IngestError):
    """A board file is missing, truncated, or of another layout version."""


def leaves(group: BaseExceptionGroup[IngestError]) -> list[IngestError]:
    """The errors of a group, however deep it is nested; at least one, in the order in which they came."""
    found: list[IngestError] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
