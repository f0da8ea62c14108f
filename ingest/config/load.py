"""Configuration: one TOML file, overridden by `INGEST_*` variables, read once into a frozen tree.

The only reader of configuration files and of the environment. All mistakes are reported together,
each with its file (or variable), its key and what is expected. A variable is named after section and
key: `INGEST_SERVICE_HTTP_PORT=9000` is `http_port` in `[service]`; its value is read as TOML where
that works and as text otherwise, lists of words may be separated by commas.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import (
    ValidationError,
)
from pydantic_core import ErrorDetails

from ingest.config.contradictions import contradictions
from ingest.config.tree import Settings
from ingest.config.vocabulary import JsonValue, Tree
from ingest.errors import ConfigError

DEFAULT_FILE = Path("ingest.toml")
_PASSWORD = ("database", "password")
_HTTP_SECRETS = (("http", "password"), ("http", "token"))
_TEXTS = frozenset({_PASSWORD, ("http", "user"), *_HTTP_SECRETS})
"""What is a text even when it looks like a number: a variable's value is not read as TOML."""
_OTHER_VARIABLES = frozenset({"INGEST_CONFIG"})
"""`INGEST_*` names that are not settings."""
_PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy"})


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
        mistakes += contradictions(settings, places, origins)
    if settings is None or mistakes:
        raise ConfigError("\n".join(mistakes))
    return settings


def sources(file: Path | None = None, environment: Mapping[str, str] | None = None) -> list[str]:
    """What `load_settings` reads: the file, where there is one, and the names of the variables; no values.

    Raises ConfigError when the file that is named is not there.
    """
    environment = os.environ if environment is None else environment
    path = _file_to_read(file, environment)
    return [*([str(path)] if path else []), *sorted(filter(_is_setting, environment))]


def proxy_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """Names of the variables by which other programs find a proxy, in either spelling, without the values."""
    environment = os.environ if environment is None else environment
    return sorted(name for name in environment if name.lower() in _PROXY_VARIABLES and environment[name])


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
        if not _is_setting(name):
            continue
        section, _, key = name.removeprefix("INGEST_").lower().partition("_")
        if section not in Settings.model_fields:
            sections = ", ".join(f"INGEST_{known.upper()}_*" for known in Settings.model_fields)
            mistakes.append(f"{name}: no such setting; expected one of {sections}")
            continue
        value = environment[name]
        # A password of digits is none the less a text.
        yield name, section, key, value if (section, key) in _TEXTS else _value_of(value)


def _is_setting(variable: str) -> bool:
    is_ours = variable.startswith("INGEST_") and variable not in _OTHER_VARIABLES
    return is_ours and not variable.startswith("INGEST_TEST_")


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
    whole = (["database"], ["alerts"], ["http"])
    secrets = (["database", "url"], [*_PASSWORD], ["alerts", "urls"], *map(list, _HTTP_SECRETS), *whole)
    secret = location[:2] in secrets
    given = "" if secret or item["type"] in {"missing", "extra_forbidden"} else f" (given: {item['input']!r})"
    return f"{place or file}: {key}: {message}{given}"
