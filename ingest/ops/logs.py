"""Structured logs: one event a line, on standard error and, if asked for, in a file that rotates.

Decides how a log line looks and what may not be in it; never what is logged. Packages get their
logger with `structlog.get_logger()`; libraries that use the standard `logging` come out the same way.
Nothing logs once per message: events are for what happens to feeds, batches and processes.

    warning   something was wrong and nothing was lost
    error     data were lost, or somebody must help

Invariants: every line has `timestamp` (wall time, UTC, ISO 8601), `level` and `event`; no line has a
password, whether it came in a URL, a keyword DSN, a field of that name or a traceback.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Literal, TextIO, TypeAlias

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat: TypeAlias = Literal["auto", "console", "json"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]

HIDDEN = "***"
MAX_DEPTH = 6
_OUR_HANDLER = "ingest"

_DRIVER = "asyncpg"
_DRIVER_POOL = "asyncpg.pool"
_UNASKED = "Future exception was never retrieved"
# Libraries that tell at INFO or DEBUG what our own events tell better, or tell it once per message.
_QUIET_LIBRARIES = ("aiohttp.access", "asyncio", "binance", "picows", "urllib3", "websockets")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """`auto` is console on a terminal and JSON elsewhere; the file is always JSON.

    A file belongs to one process: two processes that rotate the same one lose lines.
    """

    level: LogLevel = "info"
    format: LogFormat = "auto"
    file: Path | None = None
    file_bytes: int = 20_000_000
    files_kept: int = 5
    fields: Mapping[str, str | int] = field(default_factory=dict)
    """On every line of this process, such as its shard's number."""


def configure_logs(settings: LogSettings, *, stream: TextIO | None = None) -> None:
    """Set up logging of this process; called again, it replaces what it had set up.

    `stream` instead of standard error. OSError when the file cannot be opened.
    """
    before = _before_rendering(settings)
    handlers = _handlers(settings, stream or sys.stderr, before)
    _install(handlers, logging.getLevelNamesMapping()[settings.level.upper()])
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _before_rendering(settings: LogSettings) -> list[Processor]:
    fields = dict(settings.fields)

    def add_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        for name, value in fields.items():
            event.setdefault(name, value)
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        add_fields,
    ]


def _handlers(settings: LogSettings, stream: TextIO, before: list[Processor]) -> list[logging.Handler]:
    console = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    to_stream = logging.StreamHandler(stream)
    to_stream.setFormatter(_formatter(before, _console(stream) if console else _json()))
    if settings.file is None:
        return [to_stream]
    settings.file.parent.mkdir(parents=True, exist_ok=True)
    to_file = RotatingFileHandler(
        settings.file, maxBytes=settings.file_bytes, backupCount=settings.files_kept, encoding="utf-8"
    )
    to_file.setFormatter(_formatter(before, _json()))
    return [to_stream, to_file]


def _json() -> Processor:
    return structlog.processors.JSONRenderer(default=str)


def _console(stream: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


def _formatter(before: list[Processor], renderer: Processor) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Before the redaction, which is the last to touch the text: tracebacks hold values too.
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
    )


def _install(handlers: list[logging.Handler], level: int) -> None:
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if handler.name == _OUR_HANDLER]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.name = _OUR_HANDLER
        handler.addFilter(_is_news)
        root.addHandler(handler)
    root.setLevel(level)
    for library in _QUIET_LIBRARIES:
        logging.getLogger(library).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)


def _is_news(record: logging.LogRecord) -> bool:
    """Not what the database driver leaves behind, with a traceback, for each connection that it loses.

    Whoever used the connection has told of it; these are the pool's own attempts, and answers that nobody
    waits for any more.
    """
    if record.name == _DRIVER_POOL:
        return record.levelno > logging.WARNING
    kind = record.exc_info[0] if record.exc_info else None
    is_drivers = kind is not None and kind.__module__.partition(".")[0] == _DRIVER
    return not (is_drivers and record.name == "asyncio" and record.getMessage().startswith(_UNASKED))


# A database URL that is itself malformed (a raw slash in the password) must not show it either, so for
# these schemes everything up to the last @ goes. Elsewhere the password ends at a slash: the path of
# wss://host:9443/ws/btcusdt@depth has an @ of its own.
_DATABASE_URL = re.compile(r"(?i)(\bpostgres(?:ql)?(?:\+\w+)?://[^\s:/@]*:)\S*@")
_ANY_URL = re.compile(r"(://[^\s:/?#@]*:)[^\s/?#]*@")
_HIDDEN_NAME = r"(?:\w*passw(?:or)?d|passphrase|\w*secret(?:_?key)?|api_?key)"
_KEYWORD = re.compile(
    rf"(?i)(\b{_HIDDEN_NAME}['\"]?\s*[=:]\s*)"
    r"('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s&,;)}\]]+)"
)
_SECRET_FIELD = re.compile(rf"(?i){_HIDDEN_NAME}")


def redact_text(text: str) -> str:
    """The text with every password in it replaced by three asterisks."""
    text = _DATABASE_URL.sub(rf"\g<1>{HIDDEN}@", text)
    text = _ANY_URL.sub(rf"\g<1>{HIDDEN}@", text)
    return _KEYWORD.sub(rf"\g<1>{HIDDEN}", text)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Take the secrets out of every field of an event, however deep."""
    return _redacted_fields(event, 0)


def _redacted_fields(fields: Mapping[str, object], depth: int) -> MutableMapping[str, object]:
    return {
        name: HIDDEN if _SECRET_FIELD.fullmatch(str(name)) else _redacted(value, depth + 1)
        for name, value in fields.items()
    }


def _redacted(value: object, depth: int) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping) and depth < MAX_DEPTH:
        return _redacted_fields(value, depth)
    if isinstance(value, list | tuple | set | frozenset) and depth < MAX_DEPTH:
        return [_redacted(item, depth + 1) for item in value]
    # Everything else is going to be text anyway: an exception, a path, a URL object.
    return redact_text(value if isinstance(value, str) else str(value))
