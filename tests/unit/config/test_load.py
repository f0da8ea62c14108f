"""`ingest.config`."""

import tomllib
from pathlib import Path

import pytest

from ingest.config import Settings, TopSymbols, http_secrets, load_settings, proxy_variables, sources
from ingest.errors import ConfigError
from ingest.feed.rotation import QuietTime, Rotation


def _file(folder: Path, text: str) -> Path:
    path = folder / "ingest.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_for_a_laptop() -> None:
    """Nothing configured: live spot, the embedded database, loopback only."""
    settings = load_settings(environment={})

    assert settings == Settings()
    assert settings.spot.ws_url == "wss://stream.binance.com:9443"
    assert settings.database.url.get_secret_value() == ""
    assert settings.service.http_host == "127.0.0.1"


def test_documented_keys_are_read(tmp_path: Path) -> None:
    """The keys that other programs rely on arrive where they belong."""
    path = _file(
        tmp_path,
        """
        [database]
        url = "postgresql://u:secret@db/ingest"
        [service]
        shards = 4
        http_port = 9000
        freshz_max_age_s = { "*" = 60, kline_1s = 5 }
        [spot]
        symbols = { quote = ["USDT", "USDC"], top = 200 }
        kinds = ["trade", "kline_1s"]
        [silence]
        floor_s = { trade = 2.5 }
        fixed_s = { kline_1s = 9, "BTCUSDT:trade" = 5.5 }
        [usdm]
        enabled = false
        """,
    )

    settings = load_settings(path, {})

    assert settings.service.shards == 4
    assert settings.service.freshz_max_age_s == {"*": 60.0, "kline_1s": 5.0}
    assert settings.spot.symbols == TopSymbols(quote=["USDT", "USDC"], top=200)
    assert settings.silence.floor_s.of("trade") == 2.5
    assert settings.silence.floor_s.of("kline_1s") == 10.0
    assert settings.silence.fixed_for("BTCUSDT", "trade") == 5.5
    assert settings.silence.fixed_for("ETHUSDT", "trade") is None
    assert settings.silence.fixed_for("ETHUSDT", "kline_1s") == 9.0
    assert settings.database.url.get_secret_value().endswith("@db/ingest")


def test_every_mistake_is_reported_at_once_with_file_and_key(tmp_path: Path) -> None:
    """Six mistakes in file and environment give six lines, each with its place."""
    path = _file(
        tmp_path,
        """
        colour = "red"
        [service]
        http_port = 99999
        shrads = 2
        [spot]
        kinds = ["trade", "tarde"]
        ws_url = "https://stream.example"
        symbols = 7
        """,
    )

    with pytest.raises(ConfigError) as caught:
        load_settings(path, {"INGEST_SERVICE_SHARDS": "many", "INGEST_SPTO_SYMBOLS": "X"})

    sections = ", ".join(f"INGEST_{name.upper()}_*" for name in Settings.model_fields)
    lines = str(caught.value).splitlines()
    places = {tuple(line.split(": ")[:2]) for line in lines}
    assert places == {
        (str(path), "[colour]"),
        (str(path), "[service] http_port"),
        (str(path), "[service] shrads"),
        (str(path), "[spot] kinds.1"),
        (str(path), "[spot] ws_url"),
        (str(path), "[spot] symbols"),
        ("INGEST_SERVICE_SHARDS", "[service] shards"),
        ("INGEST_SPTO_SYMBOLS", f"no such setting; expected one of {sections}"),
    }


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[database]\nurl = "mysql://u:hunter2@db/x"', "[database] url"),
        ('database = "postgresql://u:hunter2@db/x"', "[database]"),
        ('alerts = ["mailto://u:hunter2@mail.example"]', "[alerts]"),
        ('[alerts]\nurls = { a = "mailto://u:hunter2@mail.example" }', "[alerts] urls"),
        ('http = "hunter2"', "[http]"),
        ('[http]\npassword = ["hunter2"]', "[http] password"),
        ("[http]\ntoken = { hunter2 = 1 }", "[http] token"),
    ],
)
def test_password_is_never_in_a_message(tmp_path: Path, text: str, place: str) -> None:
    """A wrong URL, or one that stands where its section should, is refused without being repeated."""
    with pytest.raises(ConfigError) as caught:
        load_settings(_file(tmp_path, text), {})

    assert f"{place}: " in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_password_is_not_shown_by_printing_settings() -> None:
    """Settings may be logged: the secret prints as stars."""
    settings = load_settings(environment={"INGEST_DATABASE_URL": "postgresql://u:hunter2@db/x"})

    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", "*"),
        ("BTCUSDT, ETHUSDT", ["BTCUSDT", "ETHUSDT"]),
        ('["A","B"]', ["A", "B"]),
        ("币安USDT", ["币安USDT"]),
    ],
)
def test_symbols_from_a_variable(text: str, expected: object) -> None:
    """Lists may be written as words with commas or as TOML; symbols need not be ASCII."""
    settings = load_settings(environment={"INGEST_SPOT_SYMBOLS": text})

    assert settings.spot.symbols == expected


def test_variables_win_over_the_file_and_overrides_over_both(tmp_path: Path) -> None:
    """File, then environment, then the command line."""
    path = _file(tmp_path, "[service]\nshards = 3\nhttp_port = 1")
    environment = {"INGEST_SERVICE_SHARDS": "5", "INGEST_SERVICE_HTTP_PORT": "2"}

    settings = load_settings(path, environment, {"service": {"http_port": 3}})

    assert (settings.service.shards, settings.service.http_port) == (5, 3)


def test_empty_and_doubled_lists_are_refused() -> None:
    """A list that names nothing, or something twice, is a mistake."""
    for symbols in ("[]", '["A","A"]'):
        with pytest.raises(ConfigError, match=r"\[spot\] symbols"):
            load_settings(environment={"INGEST_SPOT_SYMBOLS": symbols})


def test_missing_named_file_is_an_error(tmp_path: Path) -> None:
    """A file that was asked for must be there."""
    with pytest.raises(ConfigError, match="no such file"):
        load_settings(tmp_path / "nowhere.toml", {})


def test_broken_toml_names_the_file(tmp_path: Path) -> None:
    """What cannot be parsed is reported with the parser's position."""
    path = _file(tmp_path, "[service\n")

    with pytest.raises(ConfigError, match="ingest.toml"):
        load_settings(path, {})


def test_what_is_not_built_is_refused() -> None:
    """Futures have a name and no implementation, and nothing has three lines: asking for them is an error."""
    with pytest.raises(ConfigError, match=r"\[usdm\] enabled"):
        load_settings(environment={"INGEST_USDM_ENABLED": "true"})
    with pytest.raises(ConfigError, match=r"\[spot\] redundancy"):
        load_settings(environment={"INGEST_SPOT_REDUNDANCY": "3"})


def test_library_that_is_not_there_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install; not by a shard that cannot dial."""
    environment = {"INGEST_SPOT_WS_CLIENT": "picows"}
    assert load_settings(environment=environment).spot.ws_client == "picows"

    monkeypatch.setattr("ingest.config.market.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"INGEST_SPOT_WS_CLIENT: .*pip install 'ingest\[picows\]'"):
        load_settings(environment=environment)


def test_two_lines_take_two_shards() -> None:
    """A contradiction between two settings is reported like any other mistake, where it was made."""
    environment = {"INGEST_SPOT_REDUNDANCY": "2"}

    assert load_settings(environment=environment).spot.redundancy == 2
    with pytest.raises(ConfigError, match=r"INGEST_SPOT_REDUNDANCY: .*shards = 2 or more \(given: 1\)"):
        load_settings(environment={**environment, "INGEST_SERVICE_SHARDS": "1"})


def test_chunks_wait_for_what_may_come_late() -> None:
    """The columnstore must lie beyond the reach of the spool; without either there is nothing to say."""
    early = {"INGEST_STORAGE_COMPRESS_AFTER_S": "3600"}

    with pytest.raises(
        ConfigError, match=r"INGEST_STORAGE_COMPRESS_AFTER_S: \[storage\] compress_after_s: .*late"
    ):
        load_settings(environment=early)
    assert (
        load_settings(environment={**early, "INGEST_SPOOL_ENABLED": "false"}).storage.compress_after_s
        == 3_600
    )
    assert load_settings(environment={"INGEST_STORAGE_COMPRESS_AFTER_S": "0"}).storage.compress_after_s == 0


def test_trades_outlive_the_window_of_the_candles() -> None:
    """What candles are made anew from must be there; for ever is long enough."""
    with pytest.raises(ConfigError, match=r"INGEST_STORAGE_KEEP_DAYS: \[storage\] keep_days.trade: .*3 days"):
        load_settings(environment={"INGEST_STORAGE_KEEP_DAYS": "{ trade = 3 }"})
    for days in ("4", "0"):
        load_settings(environment={"INGEST_STORAGE_KEEP_DAYS": f"{{ trade = {days} }}"})


def test_unknown_edition_is_refused() -> None:
    """With the ones there are."""
    with pytest.raises(ConfigError, match=r"\[database\] timescale: .*'auto', 'off', 'apache' or 'full'"):
        load_settings(environment={"INGEST_DATABASE_TIMESCALE": "community"})


def test_what_the_readme_shows_is_the_default() -> None:
    """Its block has what one needs first, and changes nothing; the reference has the rest."""
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    shown = tomllib.loads("[database]" + readme.partition("```toml\n[database]")[2].partition("```")[0])

    assert Settings.model_validate(shown) == Settings()


def test_what_is_read_is_told_without_values(tmp_path: Path) -> None:
    """The file, and the names of variables that are settings."""
    path = _file(tmp_path, "")
    environment = {"INGEST_DATABASE_URL": "postgresql://x", "INGEST_TEST_X": "1", "PATH": "/bin"}

    assert sources(path, environment) == [str(path), "INGEST_DATABASE_URL"]
    assert sources(None, {"INGEST_CONFIG": str(path)}) == [str(path)]


def test_variables_that_name_a_proxy_are_found_in_either_spelling() -> None:
    """Empty ones name none."""
    environment = {"HTTPS_PROXY": "http://u:p@proxy", "http_proxy": "x", "ALL_PROXY": "", "NO_PROXY": "*"}

    assert proxy_variables(environment) == ["HTTPS_PROXY", "http_proxy"]


def test_quiet_time_of_day_is_read_and_checked() -> None:
    """In UTC; without one, connections are replaced by their age alone."""
    environment = {"INGEST_LIMITS_ROTATE_AT": "04:00-05:00", "INGEST_LIMITS_MAX_CONNECTION_AGE_S": "82800"}

    assert load_settings(environment={}).limits.rotation == Rotation(84_600.0)
    assert load_settings(environment=environment).limits.rotation == Rotation(
        82_800.0, QuietTime(14_400.0, 3_600.0)
    )
    with pytest.raises(ConfigError, match="INGEST_LIMITS_ROTATE_AT: .*such as 04:00-05:00"):
        load_settings(environment={"INGEST_LIMITS_ROTATE_AT": "at night"})


def test_password_may_stand_apart_from_the_url(tmp_path: Path) -> None:
    """In a variable, digits and all, or in a file, of which only the name goes on."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    url = {"INGEST_DATABASE_URL": "postgresql://me@db/x"}
    by_variable = load_settings(environment={**url, "INGEST_DATABASE_PASSWORD": "0123"})
    by_file = load_settings(environment={**url, "INGEST_DATABASE_PASSWORD_FILE": str(secret)})

    assert by_variable.database.dsn == "postgresql://me:0123@db/x"
    assert by_file.database.dsn == f"postgresql://me@db/x?password_file={secret}"
    assert "0123" not in repr(by_variable)
    assert Settings().database.dsn == ""


def test_http_secrets_come_from_variables_or_files(tmp_path: Path) -> None:
    """Digits and all; of a file the line's end is not part of the secret. Nothing set: nothing wanted."""
    secret = tmp_path / "secret"
    secret.write_text("t0ken with spaces \n")
    environment = {
        "INGEST_HTTP_USER": "0123",
        "INGEST_HTTP_PASSWORD": "0456",
        "INGEST_HTTP_TOKEN_FILE": str(secret),
    }
    settings = load_settings(environment=environment)

    assert http_secrets(settings) == ("0123", "0456", "t0ken with spaces")
    assert "0456" not in repr(settings)
    assert http_secrets(Settings()) == ("ingest", "", "")


def test_http_secrets_that_cannot_be_meant_are_mistakes(tmp_path: Path) -> None:
    """Given twice, or in a file that is empty or not there: an open door is never the answer."""
    by_file = "INGEST_HTTP_PASSWORD_FILE"
    empty, none = tmp_path / "empty", tmp_path / "none"
    empty.write_text("\n")
    said = []
    for environment in (
        {"INGEST_HTTP_TOKEN": "hunter2", "INGEST_HTTP_TOKEN_FILE": str(empty)},
        {"INGEST_HTTP_TOKEN_FILE": str(empty)},
        {by_file: str(none)},
        {"INGEST_HTTP_USER": "a:b"},
    ):
        with pytest.raises(ConfigError) as raised:
            load_settings(environment=environment)
        said.append(str(raised.value))

    assert said == [
        "INGEST_HTTP_TOKEN_FILE: [http] token_file: given more than once, also by token",
        f"INGEST_HTTP_TOKEN_FILE: [http] token_file: '{empty}' is empty",
        f"{by_file}: [http] password_file: '{none}' cannot be read: No such file or directory",
        "INGEST_HTTP_USER: [http] user: expected a name without a colon (given: 'a:b')",
    ]


def test_password_is_given_once_and_for_a_server_that_wants_one(tmp_path: Path) -> None:
    """More than one, none to be read, or one for the embedded server is a mistake; none is repeated."""
    url = {"INGEST_DATABASE_URL": "postgresql://me:hunter1@db/x"}
    variables = {"INGEST_DATABASE_PASSWORD": "hunter2"}
    file = {"INGEST_DATABASE_PASSWORD_FILE": str(tmp_path / "none")}
    said = []
    for environment in ({**url, **variables}, {**url, **file}, variables):
        with pytest.raises(ConfigError) as raised:
            load_settings(environment=environment)
        said += str(raised.value).splitlines()

    assert [line.partition(": [database] ")[2] for line in said] == [
        "password: given more than once, also by url",
        "password_file: given more than once, also by url",
        f"password_file: there is no such file (given: '{tmp_path / 'none'}')",
        "password: the embedded server has none; name another one by url",
    ]
    assert said[0].startswith("INGEST_DATABASE_PASSWORD: ")
    assert "hunter" not in "".join(said)
