"""What a database URL says of password and TLS."""

from pathlib import Path

import pytest

from ingest.errors import ConfigError
from ingest.store import dsn

URL = "postgresql://me@db.example:5433/market?sslmode=require"


def a_file(folder: Path, content: bytes = b"pa:ss/wo@rd \n") -> Path:
    path = folder / "pass word"
    path.write_bytes(content)
    return path


def test_url_without_anything_of_ours_is_left_alone() -> None:
    """Even where it is malformed: the driver is asked."""
    for url in (URL, "postgresql://me:top/secret@127.0.0.1:5432/x", "postgresql:///x?host=/run"):
        assert dsn.for_driver(url) == (url, None)


def test_password_file_is_read_at_each_connection(tmp_path: Path) -> None:
    """The line end is not part of it, everything else is; the driver's URL does not name the file."""
    path = a_file(tmp_path)
    url, password = dsn.for_driver(dsn.with_password_file(URL, path))
    assert password is not None
    first = password()
    path.write_text("another")

    assert (url, first, password()) == (URL, "pa:ss/wo@rd ", "another")


def test_other_clients_get_the_password_itself(tmp_path: Path) -> None:
    """Escaped, so that no character of it is taken for a part of the URL."""
    named = dsn.with_password_file(URL, a_file(tmp_path))

    assert dsn.resolved(named) == URL.replace("me@", "me:pa%3Ass%2Fwo%40rd%20@")
    assert dsn.resolved(URL) == URL


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (URL, URL.replace("me@", "me:p%40@")),
        ("postgresql:///x?host=/run&user=me", "postgresql://:p%40@/x?host=/run&user=me"),
        ("postgresql://me@a:1,b:2/x", "postgresql://me:p%40@a:1,b:2/x"),
    ],
)
def test_password_is_put_into_any_url(url: str, expected: str) -> None:
    """Whether it names the user before the host, behind it, or not at all."""
    assert dsn.with_password(url, "p@") == expected


@pytest.mark.parametrize(
    ("url", "has"),
    [
        (URL, False),
        ("postgresql://db.example:5433/x", False),
        ("postgresql://me:x@db/x", True),
        ("postgresql:///x?host=/run&password=x", True),
        ("postgresql://me@db/x?password_file=/run/x", True),
    ],
)
def test_url_that_brings_its_password_is_known(url: str, *, has: bool) -> None:
    """In each place where one may stand."""
    assert dsn.has_password(url) is has


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "cannot be read"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff\xfe", "is not UTF-8")],
)
def test_password_file_that_has_none_is_named(tmp_path: Path, content: bytes | None, why: str) -> None:
    """It may be away just now: an error of the operating system's kind, which is waited out."""
    path = tmp_path / "gone" if content is None else a_file(tmp_path, content)
    with pytest.raises(OSError, match=why) as raised:
        dsn.read_password(path)

    assert str(path) in str(raised.value)


def test_mistakes_are_told_together_and_without_the_url() -> None:
    """Words that nobody knows, and files that are not there."""
    query = "sslmode=verify_full&sslrootcert=/nowhere/ca.pem&target_session_attrs=primary&sslkey=/nowhere/k"
    with pytest.raises(ConfigError) as raised:
        dsn.for_driver(f"postgresql://me:hunter2@db/x?{query}")

    lines = str(raised.value).splitlines()
    assert [line.split(": ")[1].split(" is")[0] for line in lines] == ["sslmode", "sslrootcert", "sslkey"]
    assert "/nowhere/ca.pem" in lines[1]
    assert "hunter2" not in str(raised.value)


def test_file_that_everybody_may_read_is_known(tmp_path: Path) -> None:
    """One that cannot be looked at is not."""
    path = a_file(tmp_path)
    path.chmod(0o600)
    closed = dsn.is_open_to_all(path)
    path.chmod(0o604)

    assert (closed, dsn.is_open_to_all(path), dsn.is_open_to_all(tmp_path / "none")) == (False, True, False)
