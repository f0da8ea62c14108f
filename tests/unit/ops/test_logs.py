"""What a log line looks like, and what is never in one."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from ingest.ops.logs import LogSettings, configure_logs, redact_text


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    """Leave the process's logging as it was found."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def json_logs(settings: LogSettings | None = None) -> io.StringIO:
    stream = io.StringIO()
    configure_logs(settings or LogSettings(), stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def only_line(stream: io.StringIO) -> dict[str, object]:
    (line,) = lines(stream)
    return line


def test_event_is_one_json_line_with_time_level_and_fields() -> None:
    """A machine finds time (UTC), level, event, logger, the process's fields and the event's own."""
    stream = json_logs(LogSettings(fields={"shard": 3}))
    structlog.get_logger("ingest.feed").info("ws.disconnect", feed=2, code=1006, reason="reset", age_s=3.5)

    line = only_line(stream)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {
        "event": "ws.disconnect",
        "level": "info",
        "logger": "ingest.feed",
        "shard": 3,
        "feed": 2,
        "code": 1006,
        "reason": "reset",
        "age_s": 3.5,
    }


def test_libraries_log_through_the_same_lines() -> None:
    """An event of the standard library's logging has the same shape, arguments filled in."""
    stream = json_logs(LogSettings(fields={"shard": 3}))
    logging.getLogger("asyncpg").warning("lost %s after %d s", "connection", 5)

    line = only_line(stream)
    assert (line["event"], line["level"], line["shard"]) == ("lost connection after 5 s", "warning", 3)


@pytest.mark.parametrize("name", ["aiohttp.access", "binance.ws", "websockets.client"])
def test_talkative_libraries_are_heard_from_warning_on(name: str) -> None:
    """What a library tells once per message is left out at any level of ours."""
    stream = json_logs(LogSettings(level="debug"))
    logging.getLogger(name).info("chatter")
    logging.getLogger(name).warning("trouble")

    assert [line["event"] for line in lines(stream)] == ["trouble"]


def test_lost_connections_of_the_database_are_not_told_by_the_driver_too() -> None:
    """A future of the driver's that nobody waits for any more is no news; one of anybody else's is."""
    stream = json_logs()
    unasked = "Future exception was never retrieved\nfuture: <Future finished>"
    logging.getLogger("asyncpg.pool").warning("Failed to restore the pool connection floor; retrying")
    for error in (asyncpg.ConnectionDoesNotExistError("closed"), OSError("reset")):
        logging.getLogger("asyncio").error(unasked, exc_info=error)
    logging.getLogger("asyncio").error("Task was destroyed", exc_info=asyncpg.InterfaceError("x"))

    told = [(line["event"], str(line["exception"]).splitlines()[-1]) for line in lines(stream)]
    assert told == [
        (unasked, "OSError: reset"),
        ("Task was destroyed", "asyncpg.exceptions._base.InterfaceError: x"),
    ]


def test_events_below_the_level_are_left_out() -> None:
    """The level is that of the least important event shown."""
    stream = json_logs(LogSettings(level="warning"))
    structlog.get_logger("x").info("quiet")
    structlog.get_logger("x").warning("loud")

    assert only_line(stream)["event"] == "loud"


@pytest.mark.parametrize(
    ("log_format", "stream", "is_json"),
    [
        ("auto", io.StringIO(), True),
        ("auto", Terminal(), False),
        ("console", io.StringIO(), False),
        ("json", Terminal(), True),
    ],
)
def test_format_follows_the_terminal_unless_told(log_format: str, stream: io.StringIO, is_json: bool) -> None:
    """People get text, machines JSON, and either can be asked for."""
    configure_logs(LogSettings(format=log_format), stream=stream)  # type: ignore[arg-type]
    structlog.get_logger("x").info("started")

    assert stream.getvalue().startswith("{") is is_json
    assert "started" in stream.getvalue()


def test_set_up_twice_writes_each_line_once() -> None:
    """A second set-up replaces the first."""
    first, second = json_logs(), json_logs()
    structlog.get_logger("x").info("once")

    assert (len(lines(first)), len(lines(second))) == (0, 1)


def test_file_gets_json_lines_and_rotates_within_its_bound(tmp_path: Path) -> None:
    """The file is made with its folder, and old ones are kept up to their number and size."""
    path = tmp_path / "logs" / "supervisor.log"
    configure_logs(LogSettings(file=path, file_bytes=2_000, files_kept=2), stream=Terminal())
    for n in range(100):
        structlog.get_logger("x").info("tick", n=n)

    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["supervisor.log", "supervisor.log.1", "supervisor.log.2"]
    assert all(file.stat().st_size <= 2_000 for file in files)
    assert json.loads(path.read_text().splitlines()[-1])["n"] == 99


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_traceback_is_in_the_line_without_its_password(log_format: str) -> None:
    """An exception's text and traceback are redacted like any other field."""
    stream = io.StringIO()
    configure_logs(LogSettings(format=log_format), stream=stream)  # type: ignore[arg-type]
    try:
        raise OSError("cannot connect to postgresql://ingest:tops3cret@db/market")
    except OSError:
        structlog.get_logger("x").exception("store.failed")
        logging.getLogger("asyncpg").exception("failed")

    assert stream.getvalue().count("postgresql://ingest:***@db/market") >= 2
    assert "Traceback" in stream.getvalue()
    assert "tops3cret" not in stream.getvalue()


def test_passwords_are_hidden_however_deep_they_are() -> None:
    """Fields named like a secret and texts inside containers, exceptions and keys of mappings."""
    stream = json_logs()
    structlog.get_logger("x").info(
        "connecting to postgresql://a:s3cr3t@h/d",
        url="postgresql://a:s3cr3t@h/d",
        options={"password": "s3cr3t", "urls": ["https://a:s3cr3t@h/x"]},
        error=ValueError("bad dsn: host=h password=s3cr3t dbname=d"),
        api_key="s3cr3t",
    )

    assert "s3cr3t" not in stream.getvalue()
    assert "dbname=d" in stream.getvalue()
    assert only_line(stream)["options"] == {"password": "***", "urls": ["https://a:***@h/x"]}


def test_value_that_contains_itself_ends() -> None:
    """A container within itself is cut at a depth instead of being followed for ever."""
    stream = json_logs()
    loop: list[object] = []
    loop.append(loop)
    structlog.get_logger("x").info("odd", value=loop)

    assert only_line(stream)["event"] == "odd"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:p@host:5432/db", "postgresql://u:***@host:5432/db"),
        ("postgres://u:p@ss/wo:rd@host/db", "postgres://u:***@host/db"),
        ("postgresql+asyncpg://u:p@host/db", "postgresql+asyncpg://u:***@host/db"),
        ("postgresql://:p@host/db", "postgresql://:***@host/db"),
        ("https://user:pw@proxy:3128", "https://user:***@proxy:3128"),
        ("host=h password=pw user=u", "host=h password=*** user=u"),
        ("host=h password='p w\\' x' user=u", "host=h password=*** user=u"),
        ("postgresql://h/d?password=pw&user=u", "postgresql://h/d?password=***&user=u"),
        ("PGPASSWORD=pw psql", "PGPASSWORD=*** psql"),
        ("{'password': 'p w', 'host': 'h'}", "{'password': ***, 'host': 'h'}"),
    ],
)
def test_password_in_a_text_is_hidden(text: str, expected: str) -> None:
    """URLs, keyword DSNs, query parameters, variables and printed mappings."""
    assert redact_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "wss://stream.binance.com:9443/ws/btcusdt@depth@100ms",
        "wss://stream.binance.com:9443/stream?streams=btcusdt@trade/ethusdt@trade",
        "postgresql://u@host:5432/db",
        'password authentication failed for user "ingest"',
        "http://127.0.0.1:8080/freshz?max_age=5",
    ],
)
def test_text_without_a_password_is_left_alone(text: str) -> None:
    """A port, a stream's name and the word password are not secrets."""
    assert redact_text(text) == text


@given(
    password=st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1).filter(lambda p: "*" not in p)
)
def test_no_password_of_a_database_url_gets_through(password: str) -> None:
    """Whatever a password is made of, escaped or not, nothing of it is left before the host."""
    assert redact_text(f"failed: postgresql://u:{password}@host/db!") == "failed: postgresql://u:***@host/db!"


def test_standard_error_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output belongs to the commands."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logs(LogSettings())
    structlog.get_logger("x").info("started")

    assert only_line(stream)["event"] == "started"
