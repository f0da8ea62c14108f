"""`ingest.cli`: exit codes and messages."""

from pathlib import Path

import pytest

from ingest.cli import main


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    code = caught.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize("command", ["run", "demo", "simulate", "migrate", "status", "book", "notebooks"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` says what a command does."""
    assert _run(command, "--help") == 0
    assert f"ingest {command}" in capsys.readouterr().out


def test_unknown_command_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the word that was wrong."""
    assert _run("rum") == 2
    assert "rum" in capsys.readouterr().err


def test_wrong_configuration_prints_every_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, one line a mistake, no traceback."""
    monkeypatch.setenv("INGEST_SERVICE_SHARDS", "0")
    file = tmp_path / "ingest.toml"
    file.write_text("[service]\nhttp_port = -1\n[spot]\nkinds = []\n", encoding="utf-8")

    assert _run("migrate", "--config", str(file)) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 4
    assert f"{file}: [service] http_port" in message
    assert f"{file}: [spot] kinds" in message
    assert "INGEST_SERVICE_SHARDS: [service] shards" in message


def test_time_that_cannot_be_read_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """The option and an example are named."""
    assert _run("book", "BTCUSDT", "--at", "yesterday") == 2
    assert "--at" in capsys.readouterr().err


@pytest.mark.parametrize(
    "time",
    [
        "0001-01-01",
        "0001-01-01T00:00+12:00",
        "1969-12-31T23:59:59",
        "2200-01-01",
        "9999-12-31T23:59:59.999999",
        "9999-12-31T23:59:59-12:00",
    ],
)
@pytest.mark.parametrize("option", ["book --at", "backfill --from", "verify --from"])
def test_time_that_no_exchange_has_is_wrong_use(
    option: str, time: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told as such, instead of as whatever fails first behind it."""
    command, flag = option.split()

    assert _run(command, "BTCUSDT", flag, time) == 2
    told = capsys.readouterr().err
    assert f"'{flag}': '{time}' lies before 1970 or behind 2199" in told


def test_unreachable_database_is_an_error_without_its_password(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, and the secret stays one."""
    monkeypatch.setenv("INGEST_DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:1/x")

    assert _run("migrate") == 1
    output = capsys.readouterr()
    assert output.err.startswith("error: database: ConnectionRefusedError")
    assert "error:" in output.err
    assert "hunter2" not in output.err + output.out


def test_demo_refuses_a_folder_with_something_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an earlier demo left would spoil the account."""
    (tmp_path / "service.log").touch()

    assert _run("demo", "--keep", str(tmp_path)) == 2
    assert "not empty" in capsys.readouterr().err
