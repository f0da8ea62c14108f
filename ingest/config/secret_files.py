"""Secrets of HTTP, which may stand in files. Reads these, and nothing else."""

from pathlib import Path

from ingest.config.tree import Settings
from ingest.errors import ConfigError


def http_secrets(settings: Settings) -> tuple[str, str, str]:
    """User, password and token that HTTP wants; the latter two empty where they are not wanted.

    Raises ConfigError for a file that cannot be read any more.
    """
    http = settings.http
    password = secret_in(http.password_file) if http.password_file else http.password.get_secret_value()
    token = secret_in(http.token_file) if http.token_file else http.token.get_secret_value()
    return http.user, password, token


def secret_in(file: str) -> str:
    """What stands in a file, without the line's end. Empty, it would let everybody in: that is a mistake."""
    try:
        secret = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(f"{file!r} cannot be read: {why}") from error
    if not secret:
        raise ConfigError(f"{file!r} is empty")
    return secret
