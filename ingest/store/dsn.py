"""What a database URL says beside the place: where the password comes from, and how TLS is used.

The driver reads the URL itself, with all that libpq's connection strings know of hosts, TLS and the password
(`passfile=`, PGPASSWORD and PGPASSFILE, ~/.pgpass). One parameter is ours: `password_file=` names a file that
holds the password and nothing else, and is read anew for each connection, so that a changed password needs
no restart. What is wrong with a URL is said before anything is tried, and never by quoting the URL.
"""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote_plus, urlsplit, urlunsplit

from ingest.errors import ConfigError

_PASSWORD_FILE: Final = "password_file"  # noqa: S105 - the name of a parameter
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")
_CHOICES: Final = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "primary", "standby", "prefer-standby", "read-write", "read-only"),
}


class Dsn(NamedTuple):
    """What the driver is given: a URL that it knows all of, and what reads the password, if a file has it."""

    url: str
    password: Callable[[], str] | None


def for_driver(url: str) -> Dsn:
    """Split off what only this program knows.

    ConfigError for a word or a file that is not there; ValueError for a URL that cannot be read at all, whose
    text may hold a part of the password.
    """
    _check(url)
    path = password_file(url)
    if path is None:
        return Dsn(url, None)
    return Dsn(_without_password_file(url), lambda: read_password(path))


def resolved(url: str) -> str:
    """The URL as any other client of PostgreSQL knows it: with the password in it, as the file has it now."""
    dsn = for_driver(url)
    return dsn.url if dsn.password is None else with_password(dsn.url, dsn.password())


def with_password(url: str, password: str) -> str:
    """The URL with a password, for the user that it names or that the environment names."""
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user if at else ''}:{quote(password, safe='')}@{place}"))


def with_password_file(url: str, path: Path) -> str:
    """The URL with the name of the file that holds the password."""
    parts = urlsplit(url)
    ours = f"{_PASSWORD_FILE}={quote(str(path.absolute()), safe='/')}"
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, ours)))))


def has_password(url: str) -> bool:
    """Whether the URL itself holds a password, or names the file that does."""
    parts = urlsplit(url)
    named = {name for name, _ in parse_qsl(parts.query)}
    return ":" in parts.netloc.rpartition("@")[0] or bool(named & {"password", _PASSWORD_FILE})


def password_file(url: str) -> Path | None:
    """The file that holds the password, if the URL names one."""
    found = [value for name, value in parse_qsl(urlsplit(url).query) if name == _PASSWORD_FILE]
    return Path(found[-1]) if found else None


def read_password(path: Path) -> str:
    """The text of the file without the line end behind it; OSError when there is none to be had now."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        why = f"the password file cannot be read: {error.strerror}"
        raise OSError(error.errno, why, str(path)) from error
    except UnicodeDecodeError:
        raise OSError(f"the password file is not UTF-8: {path}") from None
    if not (password := text.rstrip("\r\n")):
        raise OSError(f"the password file is empty: {path}")
    return password


def is_open_to_all(path: Path) -> bool:
    """Whether every user of the machine may read the file; False when it cannot be told."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _check(url: str) -> None:
    mistakes = list(_mistakes(url))
    if mistakes:
        raise ConfigError("\n".join(f"the database URL: {mistake}" for mistake in mistakes))


def _mistakes(url: str) -> Iterator[str]:
    for name, value in parse_qsl(urlsplit(url).query):
        if name in _CHOICES and value not in _CHOICES[name]:
            yield f"{name} is none of {', '.join(_CHOICES[name])}"
        elif name in _FILES and not os.access(value, os.R_OK):
            yield f"{name}: {value}: there is no such file, or it may not be read"


def _without_password_file(url: str) -> str:
    parts = urlsplit(url)
    kept = [part for part in parts.query.split("&") if unquote_plus(part.partition("=")[0]) != _PASSWORD_FILE]
    return urlunsplit(parts._replace(query="&".join(kept)))
