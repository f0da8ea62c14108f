"""The secrets of a configuration, to be blotted out of whatever somebody else's error quotes. Pure."""

from urllib.parse import parse_qsl, unquote, urlsplit

from ingest.config import Settings

_LEAST_LENGTH = 3
"""Shorter ones are found in every other word."""


def secrets_of(settings: Settings) -> list[str]:
    """Every text that must not be shown, in each of its spellings."""
    database, http = settings.database, settings.http
    found = {each.get_secret_value() for each in (database.password, http.password, http.token)}
    found |= _in_url(database.url.get_secret_value())
    for url in settings.alerts.urls:
        text = url.get_secret_value()
        found |= {text, *_in_url(text)}
    found |= {*_in_url(settings.spot.ws_url), *_in_url(settings.spot.rest_url)}
    return sorted(secret for secret in found if len(secret) >= _LEAST_LENGTH)


def _in_url(url: str) -> set[str]:
    """The password of a URL, and what its parameters call one."""
    parts = urlsplit(url)
    written = parts.netloc.rpartition("@")[0].partition(":")[2]
    found = {written, unquote(written)}
    return found | {value for name, value in parse_qsl(parts.query) if "pass" in name and "/" not in value}
