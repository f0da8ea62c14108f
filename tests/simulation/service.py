"""The real service against the exchange double, both as processes: started, asked, killed, stopped.

Nothing here knows how the service works inside. What it stores is asked with SQL, what its shards say is
read from their boards, what happened at the exchange is asked from the double. Whoever starts something
through these classes ends it with `end()`, which leaves no process behind, whatever has failed before.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import asyncpg
import orjson

from ingest.board.layout import BoardSnapshot
from ingest.board.mapped import board_path, read_board
from ingest.errors import BoardError
from ingest.store.embedded import EmbeddedPostgres

DEADLINE_S = 60.0
_POLL_S = 0.1
_ASK_S = 30.0
_STOP_S = 30.0
_TOLD_LINES = 25
_REPOSITORY = Path(__file__).parents[2]

T = TypeVar("T")


class NotInTime(AssertionError):
    """What was waited for did not come; says what it was, and the last answer."""


def wait_until(
    what: str, condition: Callable[[], T | None], *, deadline_s: float = DEADLINE_S, poll_s: float = _POLL_S
) -> T:
    """Ask until the answer is true, and return it. Errors of a service that is away are waited out."""
    until_s = time.monotonic() + deadline_s
    last: object = None
    while time.monotonic() < until_s:
        try:
            last = answer = condition()
        except (OSError, BoardError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            last = error
        else:
            if answer:
                return answer
        time.sleep(poll_s)
    raise NotInTime(f"{what}: not within {deadline_s:g} s; last answer: {last!r}")


def environment(**ours: str) -> dict[str, str]:
    """The test's environment without anybody's configuration, able to import the package anywhere."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    return {**inherited, "PYTHONPATH": str(_REPOSITORY), **ours}


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie that merely nobody has waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return not Path("/proc/self").exists()
    return state != "Z"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Double:
    """The exchange double in a process of its own, and its control door."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._ready = folder / "double.json"
        self._log = folder / "double.log"
        self._ready.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "ingest",
            "simulate",
            "--port",
            "0",
            "--ready-file",
            str(self._ready),
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--die-with-parent", *options],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment(),
                cwd=folder,
            )
        self.ws_url = self.rest_url = ""

    def wait_ready(self) -> None:
        """Until it listens."""
        try:
            wait_until("the double listens", self._is_ready)
        except NotInTime:
            sys.stderr.write(self._log.read_text(errors="replace"))
            raise
        addresses = orjson.loads(self._ready.read_bytes())
        self.ws_url, self.rest_url = addresses["ws_url"], addresses["rest_url"]

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text(errors="replace")
        return self._ready.exists()

    def ask(self, path: str, body: object = None, *, method: str | None = None) -> Any:
        """JSON of an address; with a body (or method) not GET."""
        data = None if body is None else orjson.dumps(body)
        request = urllib.request.Request(self.rest_url + quote(path, safe="/?&="), data, method=method)
        with urllib.request.urlopen(request, timeout=_ASK_S) as answer:
            return orjson.loads(answer.read())

    def tell(self, verb: str) -> None:
        """start, pause, resume or finish."""
        self.ask(f"/_double/{verb}", {}, method="POST")

    def state(self) -> dict[str, Any]:
        return dict(self.ask("/_double/state"))

    def fault(self, action: str, **fields: object) -> int:
        """Order a fault, now; returns its id."""
        (record,) = self.ask("/_double/faults", {"action": action, **fields})
        return int(record["id"])

    def lift(self, fault_id: int) -> None:
        self.ask(f"/_double/faults/{fault_id}", method="DELETE")

    def touched(self, fault_id: int) -> int:
        """Frames, requests or connections that a fault has changed so far."""
        return next(int(f["touched"]) for f in self.ask("/_double/faults") if f["id"] == fault_id)

    def set_status(self, symbol: str, status: str) -> None:
        self.ask(f"/_double/symbols/{symbol}/status", {"status": status})

    def skip_ids(self, symbol: str, kind: str, ids: int) -> None:
        """The exchange itself leaves out ids, which nobody will ever have."""
        self.ask(f"/_double/symbols/{symbol}/skip", {"kind": kind, "ids": ids})

    def list_symbol(self, symbol: str) -> None:
        """A symbol that the exchange has never had begins to trade."""
        self.ask(f"/_double/symbols/{symbol}", method="POST")

    def delist(self, symbol: str) -> None:
        self.ask(f"/_double/symbols/{symbol}", method="DELETE")

    def ledger(self, symbol: str, kind: str) -> dict[int, int]:
        """What happened: the digest of each event by its id."""
        columns = self.ask(f"/_double/ledger?symbol={symbol}&kind={kind}")
        assert columns["dropped"] == 0
        return dict(zip(columns["ids"], columns["digests"], strict=True))

    def happened(self, kind: str) -> dict[str, int]:
        """How many events of a kind each symbol has had."""
        series = self.ask("/_double/ledger")["series"]
        return {each["symbol"]: each["happened"] for each in series if each["kind"] == kind}

    def violations(self) -> dict[str, int]:
        """Which limits of the exchange we broke, and how often."""
        counters: dict[str, int] = self.state()["violations"]
        return {name: count for name, count in counters.items() if count}

    def end(self) -> None:
        """Stop it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        _end(self._process)


class Service:
    """`ingest run` with a data folder of its own."""

    def __init__(self, folder: Path, double: Double | None, **sections: Mapping[str, object]) -> None:
        self.data_dir = folder / "var"
        self.config = folder / "ingest.toml"
        self.log = folder / "service.log"
        self.folder = folder
        urls = {"ws_url": double.ws_url, "rest_url": double.rest_url} if double is not None else {}
        service = {"data_dir": str(self.data_dir), "http_port": free_port(), "log_format": "json"}
        tree: dict[str, Mapping[str, object]] = {"service": service, "spot": urls}
        for name, values in sections.items():
            tree[name] = {**tree.get(name, {}), **values}
        self.http_port = int(str(tree["service"]["http_port"]))
        self._database_url = str(sections.get("database", {}).get("url", ""))
        self.config.write_text("\n".join(_toml(tree)), encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    # ------------------------------------------------------------------ life

    def start(self, **variables: str) -> None:
        """Start the supervisor, with these in its environment; returns at once."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ingest", "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(**variables),
                cwd=self.folder,
            )

    def wait_ready(self) -> None:
        """Until every planned stream has a row in the freshness table and shards commit."""
        wait_until("the service is ready", self._is_ready, deadline_s=2 * DEADLINE_S)

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.last_words()
        return self.http("/readyz")[0] == 200

    def stop(self) -> int:
        """SIGTERM, as a service manager would; returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=_STOP_S)

    def kill(self) -> None:
        """SIGKILL to the supervisor, and to nothing else."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=_STOP_S)

    def end(self) -> None:
        """Leave nothing behind: politely, then by force."""
        if self.process is not None:
            _end(self.process)
        for pid in self.pids_ever():
            if is_running(pid) and self.is_ours(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def is_ours(self, pid: int) -> bool:
        """A number from the log may long belong to somebody else; our processes name our folder."""
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return not Path("/proc/self").exists()
        return str(self.data_dir).encode() in command

    # ------------------------------------------------------------------ its processes

    def shard_pids(self) -> dict[int, int]:
        """The shards that run now, by number."""
        rows = self.rows("SELECT shard, pid FROM ops.shards WHERE pid IS NOT NULL")
        return {row["shard"]: row["pid"] for row in rows if is_running(row["pid"])}

    def database_pid(self) -> int | None:
        """The embedded server's process, from its own pid file."""
        for file in self.data_dir.glob("postgres/*/postmaster.pid"):
            return int(file.read_text().splitlines()[0])
        return None

    def pids_ever(self) -> list[int]:
        """Every process that the log says was started, and the database's."""
        started = [line["pid"] for line in self.log_lines("shard.started")]
        database = self.database_pid()
        return started + ([database] if database is not None else [])

    def log_lines(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of one event."""
        return [line for line in self.log_objects()[0] if line.get("event") == event]

    def log_objects(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The log's whole lines from a byte on, and up to which byte they go."""
        if not self.log.exists():
            return [], offset
        with self.log.open("rb") as log:
            log.seek(offset)
            whole = log.read().rpartition(b"\n")
        found = []
        for line in whole[0].splitlines():
            with contextlib.suppress(orjson.JSONDecodeError):
                decoded = orjson.loads(line)
                if isinstance(decoded, dict):
                    found.append(decoded)
        return found, offset + len(whole[0]) + len(whole[1])

    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_TOLD_LINES:])

    # ------------------------------------------------------------------ what it says

    def rows(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows of the database. ConnectionError while the embedded one is away."""
        url = self._database_url or EmbeddedPostgres(self.data_dir / "postgres").url_of_running()
        if url is None:
            raise ConnectionError("the database is not running")
        return asyncio.run(_fetch(url, sql, arguments))

    def value(self, sql: str, *arguments: object) -> Any:
        """The only column of the only row."""
        return self.rows(sql, *arguments)[0][0]

    @contextlib.contextmanager
    def locked(self, *tables: str) -> Iterator[None]:
        """While this lasts the tables can be read and not be written."""
        url = EmbeddedPostgres(self.data_dir / "postgres").url_of_running()
        assert url is not None
        with asyncio.Runner() as runner:
            connection = runner.run(asyncpg.connect(url, timeout=DEADLINE_S, command_timeout=DEADLINE_S))
            try:
                lock = f"BEGIN; LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE"
                runner.run(connection.execute(lock))
                yield
            finally:
                connection.terminate()

    def http(self, path: str) -> tuple[int, bytes]:
        """Status and body of one of its addresses."""
        url = f"http://127.0.0.1:{self.http_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=_ASK_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def boards(self) -> list[BoardSnapshot]:
        """What each shard says of itself."""
        numbers = sorted(self.shard_pids())
        return [read_board(board_path(self.data_dir, number)) for number in numbers]

    def books(self) -> tuple[int, int]:
        """How many books are live, and how many are wanted."""
        headers = [board.header for board in self.boards()]
        return sum(h.books_live for h in headers), sum(h.books_wanted for h in headers)

    def newest(self, table: str, column: str, symbol: str) -> int:
        """The highest id of a symbol; -1 without any row."""
        sql = f"SELECT coalesce(max({column}), -1) FROM spot.{table} WHERE symbol = $1"
        return int(self.value(sql, symbol))

    def newest_trade(self, symbol: str) -> int:
        return self.newest("trades", "trade_id", symbol)

    def wait_for_trades_after(self, symbol: str, trade_id: int) -> None:
        """Until a newer trade of the symbol is stored."""
        wait_until(f"trades of {symbol} go on", lambda: self.newest_trade(symbol) > trade_id)

    def wait_books_live(self) -> None:
        """Until every book is live."""

        def all_live() -> bool:
            live, wanted = self.books()
            return 0 < wanted == live

        wait_until("all books are live", all_live)


async def _fetch(url: str, sql: str, arguments: Sequence[object]) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url, timeout=_ASK_S, command_timeout=_ASK_S)
    try:
        return await connection.fetch(sql, *arguments)
    finally:
        await connection.close(timeout=_ASK_S)


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=_STOP_S)


def _toml(tree: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """Values print as JSON, which is TOML for all that is used here; a table in a section is inline."""
    for section, values in tree.items():
        yield f"[{section}]"
        for key, value in values.items():
            yield f"{key} = {_toml_value(value)}"


def _toml_value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml_value(each)}" for key, each in value.items()) + " }"
    return orjson.dumps(value).decode()


@contextlib.contextmanager
def a_double(folder: Path, *options: str) -> Iterator[Double]:
    """A double that listens."""
    double = Double(folder, *options)
    try:
        double.wait_ready()
        yield double
    finally:
        double.end()


@contextlib.contextmanager
def a_service(folder: Path, double: Double, **sections: Mapping[str, object]) -> Iterator[Service]:
    """A service that is ready."""
    service = Service(folder, double, **sections)
    try:
        service.start()
        service.wait_ready()
        yield service
    except BaseException:
        sys.stderr.write(f"--- last lines of the service's log\n{service.last_words()}\n")
        raise
    finally:
        service.end()


@contextlib.contextmanager
def database_alone(service: Service) -> Iterator[None]:
    """The embedded database of a service that has stopped, so that its rows can be looked at."""
    server = EmbeddedPostgres(service.data_dir / "postgres")
    with asyncio.Runner() as runner:
        runner.run(server.start())
        try:
            yield
        finally:
            runner.run(server.stop())
