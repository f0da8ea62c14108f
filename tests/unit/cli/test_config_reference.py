"""`ingest.cli.config_reference`: the reference says what the code does, and nothing is left out."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from ingest.cli import main
from ingest.cli.config_reference import (
    Key,
    Section,
    annotated_toml,
    effective_toml,
    markdown,
    secret_keys,
    sections,
    toml_value,
)
from ingest.config import Settings, load_settings

DOCS = Path(__file__).parents[3] / "ingest" / "docs"
EVERY_KEY = [
    pytest.param(section, key, id=f"{section.name}.{key.name}")
    for section in sections()
    for key in section.keys
]


def leaves_of(table: BaseModel, path: str) -> set[str]:
    """Paths of all keys, as the code has them; `symbols` is one value, whatever its form."""
    found = set()
    for name in type(table).model_fields:
        value = getattr(table, name)
        inner = isinstance(value, BaseModel) and name != "symbols"
        found |= leaves_of(value, f"{path}{name}.") if inner else {path + name}
    return found


def test_every_key_is_there_once() -> None:
    """Those of the code, no more and no fewer."""
    told = [f"{section.name}.{key.name}" for section in sections() for key in section.keys]

    assert len(told) == len(set(told))
    assert set(told) == leaves_of(Settings(), "")


@pytest.mark.parametrize(("section", "key"), EVERY_KEY)
def test_every_key_has_a_reason_and_every_number_a_unit(section: Section, key: Key) -> None:
    """The text below it in `ingest.config`; whoever adds a key says why."""
    assert key.reason.endswith("."), f"say below {key.name} in ingest/config what it is, and why"
    if re.fullmatch(r"-?[0-9.]+", key.default):
        assert key.unit, f"name the unit of {section.name}.{key.name} in ingest/cli/config_reference.py"
    assert section.about


def test_reference_is_what_the_code_says() -> None:
    """`make docs` writes it anew."""
    assert (DOCS / "configuration.md").read_text(encoding="utf-8") == markdown()


def test_template_is_what_the_code_says() -> None:
    """`make docs` writes it anew."""
    assert (DOCS / "ingest.toml").read_text(encoding="utf-8") == annotated_toml()


def test_template_as_it_is_changes_nothing() -> None:
    """Every key in it is a comment."""
    assert load_settings(DOCS / "ingest.toml", {}) == Settings()


def test_template_with_every_key_in_force_changes_nothing(tmp_path: Path) -> None:
    """What is commented are the defaults, and all of them can be read."""
    lines = annotated_toml().splitlines()
    in_force = [re.sub(r"^#(?=[a-z0-9_]+ = )", "", line) for line in lines]
    path = tmp_path / "ingest.toml"
    path.write_text("\n".join(in_force), encoding="utf-8")

    assert load_settings(path, {}) == Settings()
    tree = tomllib.loads(path.read_text(encoding="utf-8"))
    assert tree["storage"]["keep_days"]["depth"] == 7
    assert sum(line.startswith("#") and " = " in line and line[1] != " " for line in lines) == len(EVERY_KEY)


def test_configuration_in_force_is_shown_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What differs from the default says so, and where it was read is told."""
    path = tmp_path / "my.toml"
    path.write_text('[alerts]\nurls = ["json://user:hunter1@host/hunter2"]\n')
    monkeypatch.setenv("INGEST_DATABASE_URL", "postgresql://me:hunter3@db/x")
    monkeypatch.setenv("INGEST_SPOT_SYMBOLS", "BTCUSDT,ETHUSDT")
    monkeypatch.setenv("INGEST_SPOT_REST_URL", "https://me:hunter4@host")

    with pytest.raises(SystemExit) as ended:
        main(["config", "--config", str(path)])

    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert "hunter" not in told
    assert 'url = "postgresql://me:***@db/x"  # default: ""' in told
    assert 'urls = ["***"]' in told
    assert 'symbols = ["BTCUSDT", "ETHUSDT"]  # default: {' in told
    assert told.startswith(
        f"# read from: {path}, INGEST_DATABASE_URL, INGEST_SPOT_REST_URL, INGEST_SPOT_SYMBOLS"
    )
    assert tomllib.loads(told)["service"]["http_port"] == 8080


def test_secret_that_looks_like_an_address_is_hidden() -> None:
    """A token may hold anything; of addresses only the database's is shown, without its password."""
    told = effective_toml(load_settings(environment={"INGEST_HTTP_TOKEN": "a://hunter1"}), [])

    assert 'token = "***"' in told
    assert "hunter" not in told


def test_reference_names_every_secret() -> None:
    """Also those that a later section brings along."""
    assert {"database.url", "http.password", "http.token", "alerts.urls"} <= set(secret_keys())


def test_defaults_in_force_are_shown_without_a_source() -> None:
    """And nothing is said to differ."""
    told = effective_toml(Settings(), [])

    assert told.startswith("# read from: nothing")
    assert "# default:" not in told


def test_values_are_written_as_toml() -> None:
    """Words, numbers, tables with odd keys, nothing."""
    value = {"*": 60.0, "BTCUSDT:trade": 0.5, "plain": [], "text": 'a "b" \\', "yes": True}

    assert tomllib.loads(f"value = {toml_value(value)}")["value"] == value
    assert toml_value({}) == "{}"


def test_reference_and_template_are_printed_one_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    """Both at once are wrong use."""
    for option, text in (("--reference", markdown()), ("--template", annotated_toml())):
        with pytest.raises(SystemExit):
            main(["config", option])
        assert capsys.readouterr().out == text
    with pytest.raises(SystemExit) as ended:
        main(["config", "--reference", "--template"])
    assert ended.value.code == 2
