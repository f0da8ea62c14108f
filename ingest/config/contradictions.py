"""What is right by itself and wrong beside another setting, or beside what is on the disk."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from ingest.config.secret_files import secret_in
from ingest.config.service import DatabaseSection, HttpSection
from ingest.config.tree import Settings
from ingest.errors import ConfigError
from ingest.store.dsn import has_password


def contradictions(settings: Settings, file: str, origins: dict[tuple[str, str], str]) -> list[str]:
    """Each in words, with its place: `file`, or where `origins` has one of its keys from."""
    found = []
    checks = (
        _too_many_lines(settings),
        _storage_contradictions(settings),
        _password_mistakes(settings.database),
        _http_secret_mistakes(settings.http),
    )
    for keys, mistake in chain.from_iterable(checks):
        place = next((origins[key] for key in keys if key in origins), file)
        found.append(f"{place}: [{keys[0][0]}] {mistake}")
    return found


_Contradiction: TypeAlias = tuple[tuple[tuple[str, str], ...], str]
"""The keys, as section and name, that do not go together, and why; the first is the one to blame."""


def _too_many_lines(settings: Settings) -> Iterator[_Contradiction]:
    lines, shards = settings.spot.redundancy, settings.service.shards
    if lines > shards:
        needed = f"{lines} lines of a stream take [service] shards = {lines} or more (given: {shards})"
        yield (("spot", "redundancy"), ("service", "shards")), f"redundancy: {needed}"


def _storage_contradictions(settings: Settings) -> Iterator[_Contradiction]:
    storage, spool = settings.storage, settings.spool
    after_s, reach_s = storage.compress_after_s, spool.max_age_s if spool.enabled else 0.0
    if after_s and after_s < reach_s:
        why = f"rows may come from the spool {reach_s:g} s late ([spool] max_age_s): chunks must wait"
        yield (("storage", "compress_after_s"), ("spool", "max_age_s")), f"compress_after_s: {why}"
    window = storage.candle_window_days
    why = f"candles of {window:g} days are made anew from these: keep them one day longer, or for ever (0)"
    for kind in ("trade", "candle_1s", "candle_1m", "candle_1h"):
        kept: float = getattr(storage.keep_days, kind)
        if kept and kept < window + 1:
            yield (("storage", "keep_days"), ("storage", "candle_window_days")), f"keep_days.{kind}: {why}"


def _password_mistakes(database: DatabaseSection) -> Iterator[_Contradiction]:
    url, file = database.url.get_secret_value(), database.password_file
    ways = {
        "url": bool(url) and has_password(url),
        "password": bool(database.password.get_secret_value()),
        "password_file": bool(file),
    }
    given = [key for key, is_given in ways.items() if is_given]
    if len(given) > 1:
        key = given[-1]
        yield (("database", key),), f"{key}: given more than once, also by {' and '.join(given[:-1])}"
    elif given and not url:
        key = given[0]
        yield (("database", key),), f"{key}: the embedded server has none; name another one by url"
    if file and not Path(file).is_file():
        yield (("database", "password_file"),), f"password_file: there is no such file (given: {file!r})"


def _http_secret_mistakes(http: HttpSection) -> Iterator[_Contradiction]:
    for key, given, file in (
        ("password", http.password, http.password_file),
        ("token", http.token, http.token_file),
    ):
        if file and given.get_secret_value():
            yield (("http", f"{key}_file"), ("http", key)), f"{key}_file: given more than once, also by {key}"
        elif file:
            try:
                secret_in(file)
            except ConfigError as error:
                yield (("http", f"{key}_file"),), f"{key}_file: {error}"
