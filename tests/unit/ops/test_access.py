"""`ingest.ops.access`: which headers are let in."""

import base64

import pytest

from ingest.ops.access import Access


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


BOTH = Access(user="ops", password="pässword:with:colons", token="t0ken")


@pytest.mark.parametrize(
    "header",
    [
        basic("ops:pässword:with:colons"),
        "Bearer t0ken",
        "bearer  t0ken ",
        "bAsIc " + basic("ops:pässword:with:colons")[6:],
    ],
)
def test_either_secret_is_let_in(header: str) -> None:
    """Schemes are written as one likes; a password may have colons and any letters."""
    assert BOTH.admits(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Bearer",
        "Bearer t0ken2",
        "Bearer t0ke",
        "Bearer t0k\udce9n",
        "t0ken",
        "Basic t0ken",
        "Basic ö",
        "Basic !!!!",
        basic("ops:"),
        basic("ops:wrong"),
        basic("other:pässword:with:colons"),
        basic("pässword:with:colons"),
        f"Bearer {basic('ops:pässword:with:colons')[6:]}",
        "Digest t0ken",
    ],
)
def test_everything_else_is_not(header: str) -> None:
    """Nothing that is malformed is an error either: it is not the secret."""
    assert not BOTH.admits(header)


def test_secret_that_is_not_set_lets_nobody_in() -> None:
    """An empty password or token is no password or token."""
    assert not Access(token="t0ken").admits(basic("ops:"))
    assert not Access(token="t0ken").admits(basic(":"))
    assert not Access(user="ops", password="secret").admits("Bearer ")


def test_challenge_names_what_would_do() -> None:
    """A browser asks only where a password would do."""
    assert [challenge.split()[0] for challenge in BOTH.challenges()] == ["Basic", "Bearer"]
    assert [challenge.split()[0] for challenge in Access(token="t0ken").challenges()] == ["Bearer"]


def test_service_is_open_until_a_secret_is_set() -> None:
    """A name alone is none; and nothing of it is shown by accident."""
    assert Access(user="ops").is_open
    assert not Access(token="t0ken").is_open
    assert "t0ken" not in repr(BOTH)
    assert "word" not in repr(BOTH)
