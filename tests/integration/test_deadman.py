"""`ingest deadman` and `ingest alerts`, on a real database, telling a real webhook."""

import asyncio
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import structlog

from ingest.cli import main
from tests.integration.alert_receivers import DEADLINE_S, Swallower, smtp_server, webhook
from tests.plugin_database import with_database

INSERT = """
INSERT INTO ops.stream_state (
    market, symbol, kind, shard, feed, state, diagnosis, last_event_ts, last_recv_ts, last_commit_ts,
    threshold_s, reconnects, open_gaps, updated_at
)
SELECT 'spot', $1, 'trade', 0, '0', $2, '', event, event, event, 60, 0, 0,
    clock_timestamp() - make_interval(secs => $4)
FROM (SELECT clock_timestamp() - make_interval(secs => $3) AS event) AS e
"""


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """The commands set up logging of the whole process."""
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if handler.name == "ingest"]:
        root.removeHandler(handler)
    logging.captureWarnings(capture=False)


@dataclass
class Switch:
    """The command line, with its configuration in the environment."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    url: str

    def configure(self, **variables: str) -> None:
        for name, value in variables.items():
            self.monkeypatch.setenv(f"INGEST_{name}", value)

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        code = await asyncio.to_thread(_exit_code, arguments)
        output = self.capsys.readouterr()
        return code, output.out, output.err

    async def stream(
        self, symbol: str = "BTCUSDT", *, state: str = "live", age_s: float = 1.0, written_s: float = 0.0
    ) -> None:
        """Make the freshness table say this of a stream, and nothing else of any."""
        connection = await asyncpg.connect(self.url, timeout=DEADLINE_S)
        try:
            await connection.execute("DELETE FROM ops.stream_state")
            await connection.execute(INSERT, symbol, state, age_s, written_s)
        finally:
            await connection.close(timeout=DEADLINE_S)


def _exit_code(arguments: tuple[str, ...]) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture
def switch(migrated_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Switch:
    """A migrated database that the command finds by itself."""
    made = Switch(monkeypatch, capsys, migrated_url)
    made.configure(DATABASE_URL=migrated_url, ALERTS_NAME="prod")
    return made


async def test_fed_database_is_fresh(switch: Switch) -> None:
    """Exit code 0, one line, nobody told."""
    await switch.stream()

    code, out, err = await switch.run("deadman")

    assert (code, err) == (0, "")
    assert re.match(r"fresh: 1 streams, newest event \d+ s old", out)


async def test_silence_is_exit_code_3_and_a_letter(switch: Switch) -> None:
    """No event for longer than was said."""
    await switch.stream(age_s=100)
    async with webhook() as hook:
        switch.configure(ALERTS_URLS=hook.url)
        code, out, _ = await switch.run("deadman", "--max-silence", "90")

    assert code == 3
    assert re.match(r"silent: the newest committed event of all 1 streams is \d+ min \d+ s old", out)
    (post,) = hook.posts
    assert post["title"] == "[prod] CRITICAL: no event reaches the database"
    assert post["type"] == "failure"
    assert re.search(r"\d+ min \d+ s old, the limit is 1 min 30 s", post["message"])


async def test_table_that_nobody_writes_is_exit_code_3(switch: Switch) -> None:
    """The supervisor is dead, and the table's last word was `live`."""
    await switch.stream(written_s=100)
    code, out, _ = await switch.run("deadman", "--table-max-age", "90")

    assert code == 3
    assert re.match(r"table_old: the freshness table was last written \d+ min \d+ s ago", out)


async def test_empty_table_is_exit_code_3(switch: Switch) -> None:
    """After a crash of the server the table is empty until a supervisor writes it."""
    code, out, _ = await switch.run("deadman")

    assert code == 3
    assert out.startswith("table_old: the freshness table is empty")


async def test_event_from_the_future_hides_no_silence(switch: Switch) -> None:
    """The exchange's clock may lie; then the commit's time counts."""
    await switch.stream(age_s=400)
    await _execute(switch, "UPDATE ops.stream_state SET last_event_ts = now() + interval '1 day'")

    assert (await switch.run("deadman"))[0] == 3


async def test_silence_is_told_once_and_its_end_too(switch: Switch, tmp_path: Path) -> None:
    """Five runs of cron with a state file: two letters."""
    memory = str(tmp_path / "deadman.json")
    async with webhook() as hook:
        switch.configure(ALERTS_URLS=hook.url)
        await switch.stream(age_s=400)
        codes = [(await switch.run("deadman", "--state-file", memory))[0] for _ in range(2)]
        assert (tmp_path / "deadman.json").exists()
        await switch.stream()
        codes += [(await switch.run("deadman", "--state-file", memory))[0] for _ in range(2)]

    assert codes == [3, 3, 0, 0]
    assert [post["title"] for post in hook.posts] == [
        "[prod] CRITICAL: no event reaches the database",
        "[prod] Recovered: the database is fed again",
    ]
    assert list(tmp_path.iterdir()) == []


async def test_letter_that_was_refused_is_sent_by_the_next_run(switch: Switch, tmp_path: Path) -> None:
    """The exit code does not wait for delivery, the memory does."""
    memory = str(tmp_path / "deadman.json")
    await switch.stream(age_s=400)
    async with webhook() as hook:
        switch.configure(ALERTS_URLS=hook.url, ALERTS_GIVE_UP_AFTER_S="1", DEADMAN_DEADLINE_S="5")
        hook.status = 500
        code, _, err = await switch.run("deadman", "--state-file", memory)
        hook.status = 200
        again, _, _ = await switch.run("deadman", "--state-file", memory)

    assert (code, again) == (3, 3)
    assert "hook-passw0rd" not in err
    assert len(hook.posts) == 1


async def test_damaged_memory_starts_anew(switch: Switch, tmp_path: Path) -> None:
    """Better told twice than never."""
    memory = tmp_path / "deadman.json"
    memory.write_text('{"finding": "something else"}')
    await switch.stream(age_s=400)
    async with webhook() as hook:
        switch.configure(ALERTS_URLS=hook.url)
        code, _, err = await switch.run("deadman", "--state-file", str(memory))

    assert (code, len(hook.posts)) == (3, 1)
    assert "starting anew" in err


async def test_memory_that_cannot_be_written_stops_no_letter(switch: Switch, tmp_path: Path) -> None:
    """A read-only disk costs repetitions, not the alert."""
    await switch.stream(age_s=400)
    async with webhook() as hook:
        switch.configure(ALERTS_URLS=hook.url)
        code, _, err = await switch.run("deadman", "--state-file", str(tmp_path / "absent" / "memory"))

    assert (code, len(hook.posts)) == (3, 1)
    assert "No such file" in err


async def test_nobody_is_told_with_no_notify(switch: Switch) -> None:
    """The exit code alone."""
    await switch.stream(age_s=400)
    async with webhook() as hook:
        switch.configure(ALERTS_URLS=hook.url)
        code, _, _ = await switch.run("deadman", "--no-notify")

    assert (code, hook.posts) == (3, [])


async def test_mail_arrives_too(switch: Switch) -> None:
    """The same letter by SMTP."""
    await switch.stream(age_s=400)
    async with smtp_server() as box:
        switch.configure(ALERTS_URLS=box.url)
        await switch.run("deadman")

    assert [mail["Subject"] for mail in box.messages] == ["[prod] CRITICAL: no event reaches the database"]


async def test_hours_that_do_not_hold_now_judge_no_silence(switch: Switch) -> None:
    """A silent day off is none."""
    await switch.stream(age_s=400)
    connection = await asyncpg.connect(switch.url, timeout=DEADLINE_S)
    tomorrow = await connection.fetchval(
        "SELECT to_char((now() AT TIME ZONE 'UTC') + interval '2 days', 'Dy')"
    )
    await connection.close(timeout=DEADLINE_S)

    code, out, _ = await switch.run("deadman", "--hours", f"{tomorrow} 00:00-24:00")

    assert (code, out.split(":")[0]) == (0, "not_judged")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hours", "Mon 8-18"], "hours: expected"),
        (["--notify"], "[alerts] urls is empty"),
        (["--max-silence", "0"], "max-silence"),
    ],
)
async def test_wrong_use_is_exit_code_2(switch: Switch, arguments: list[str], message: str) -> None:
    """Before anything is asked."""
    code, _, err = await switch.run("deadman", *arguments)

    assert code == 2
    assert message in err


async def test_wrong_alert_url_is_exit_code_2_without_the_url(switch: Switch) -> None:
    """It is found out before it is needed, and not shown."""
    switch.configure(ALERTS_URLS="nosuch://user:hunter2@host")
    code, out, err = await switch.run("deadman")

    assert code == 2
    assert "the 1st is not one that apprise understands (nosuch://…)" in err
    assert "hunter2" not in out + err


async def test_database_without_schema_is_unreachable(switch: Switch) -> None:
    """Exit code 1, and somebody is told: nobody knows how the data are."""
    switch.configure(DATABASE_URL=with_database(switch.url, "template1"))
    async with webhook() as hook:
        switch.configure(ALERTS_URLS=hook.url)
        code, out, _ = await switch.run("deadman")

    assert (code, out.split(":")[0]) == (1, "unreachable")
    assert hook.posts[0]["title"] == "[prod] CRITICAL: the database cannot be asked"
    assert "does not exist" in hook.posts[0]["message"]


async def test_server_that_swallows_everything_is_given_up(switch: Switch) -> None:
    """A socket that takes the connection and says nothing costs no more than the deadline."""
    async with Swallower() as dead, webhook() as hook:
        parts = urlsplit(switch.url)
        swallowing = parts._replace(netloc=f"ingest:hunter2@127.0.0.1:{dead.port}").geturl()
        switch.configure(DATABASE_URL=swallowing, ALERTS_URLS=hook.url)
        async with asyncio.timeout(DEADLINE_S):
            code, out, err = await switch.run("deadman", "--deadline", "5")

    assert (code, out.split(":")[0]) == (1, "unreachable")
    assert len(hook.posts) == 1
    assert "hunter2" not in out + err + hook.posts[0]["message"]


async def test_endpoint_that_swallows_everything_does_not_keep_the_process(
    switch: Switch, tmp_path: Path
) -> None:
    """The process ends within its deadline although the thread that sends never comes back."""
    await switch.stream(age_s=400)
    async with Swallower() as dead:
        switch.configure(ALERTS_URLS=f"json://127.0.0.1:{dead.port}/?rto=3600")
        command = [sys.executable, "-m", "ingest", "deadman", "--deadline", "5"]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=2 * DEADLINE_S, check=False
        )

    assert done.returncode == 3
    assert "not every target has taken the alert in time" in done.stderr


async def test_embedded_server_that_does_not_run_is_not_started(switch: Switch, tmp_path: Path) -> None:
    """To start it would hide that nothing runs."""
    switch.configure(DATABASE_URL="", SERVICE_DATA_DIR=str(tmp_path / "var"))
    code, out, _ = await switch.run("deadman", "--deadline", "5")

    assert code == 1
    assert "the embedded PostgreSQL does not run" in out
    assert not (tmp_path / "var").exists()


# ---------------------------------------------------------------------- ingest alerts


async def test_dry_run_prints_what_would_be_sent(switch: Switch) -> None:
    """For a stream that the table says is stale, to places without their secrets; nothing is sent."""
    await switch.stream("ETHUSDT", state="stale", age_s=500)
    async with webhook() as hook:
        switch.configure(ALERTS_URLS=hook.url)
        code, out, err = await switch.run("alerts", "--dry-run")

    assert (code, hook.posts) == (3, [])
    assert "would be told: json://127.0.0.1" in out
    assert "Subject: [prod] spot:ETHUSDT:trade is stale" in out
    assert "passw0rd" not in out + err


async def test_dry_run_of_a_healthy_database_says_so(switch: Switch) -> None:
    """Exit code 0."""
    await switch.stream()
    code, out, _ = await switch.run("alerts", "--dry-run")

    assert code == 0
    assert "nobody: [alerts] urls is empty" in out
    assert "there is nothing to tell" in out


async def test_dry_run_sees_reconnects_and_shards(switch: Switch) -> None:
    """Ends of feeds that were not planned count, rotations do not; shards given up are told."""
    await switch.stream()
    await _execute(
        switch,
        """
        INSERT INTO ops.feed_sessions (market, feed, shard, url, connected_at, closed_at, reason, streams)
        SELECT 'spot', f::text, 0, 'wss://x', now() - n * interval '1 min', now() - n * interval '1 min',
            CASE f WHEN 1 THEN 'connection_lost' ELSE 'rotation' END, 1
        FROM generate_series(1, 2) AS f, generate_series(1, 6) AS n
        """,
        """
        INSERT INTO ops.shards
            (shard, state, restarts, rows_committed, rows_waiting, rows_refused, updated_at)
        VALUES (1, 'given up', 3, 0, 0, 0, now())
        """,
    )
    code, out, _ = await switch.run("alerts", "--dry-run")

    assert code == 3
    subjects = [line for line in out.splitlines() if line.startswith("Subject")]
    assert subjects == [
        "Subject: [prod] CRITICAL: Shard 1 is in quarantine",
        "Subject: [prod] Feed 1 of shard 0 was reconnected 6 times",
    ]


async def _execute(switch: Switch, *statements: str) -> None:
    connection = await asyncpg.connect(switch.url, timeout=DEADLINE_S)
    try:
        for text in statements:
            await connection.execute(text)
    finally:
        await connection.close(timeout=DEADLINE_S)


async def test_trial_tells_which_places_took_it(switch: Switch) -> None:
    """One delivered, one failed with its reason: exit code 1."""
    async with webhook() as good, webhook() as bad:
        bad.status = 403
        switch.configure(ALERTS_URLS=f"{good.url} {bad.url}")
        code, out, err = await switch.run("alerts", "--test")

    assert code == 1
    delivered, failed = out.splitlines()
    assert delivered == "json://127.0.0.1: delivered"
    assert failed.startswith("json://127.0.0.1: failed:")
    assert "403" in failed
    assert good.posts[0]["title"] == "[prod] Test of the alerts"
    assert "passw0rd" not in out + err


async def test_trial_needs_a_place(switch: Switch) -> None:
    """Nowhere to send is a mistake of configuration; no option at all is wrong use."""
    assert (await switch.run("alerts", "--test"))[0] == 2
    assert (await switch.run("alerts"))[0] == 2


async def test_trial_can_be_looked_at_first(switch: Switch) -> None:
    """Both options: printed, not sent."""
    async with webhook() as hook:
        switch.configure(ALERTS_URLS=hook.url)
        code, out, _ = await switch.run("alerts", "--test", "--dry-run")

    assert (code, hook.posts) == (0, [])
    assert "Subject: [prod] Test of the alerts" in out


async def test_whatever_ignores_its_deadline_is_ended() -> None:
    """The last resort: the process ends, and its exit code says that nobody knows."""
    program = "import time; from ingest.cli.deadman import _ended_by\nwith _ended_by(0.1): time.sleep(3600)"
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        check=False,
    )

    assert done.returncode == 1
    assert "did not come to its end" in done.stderr
