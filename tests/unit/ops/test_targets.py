"""`ingest.ops.targets`: what may be seen of an apprise URL."""

import logging

import pytest
from pydantic import SecretStr

from ingest.errors import ConfigError
from ingest.ops.targets import blotted, open_targets, shown_name

MAIL = SecretStr("mailtos://bot:s3cr3t-word@mail.example.org:465?to=ops@example.net&from=bot@example.org")
TELEGRAM = SecretStr("tgram://123456789:abcdefg_hijklmnop/lead2gold")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (MAIL, "mailtos://mail.example.org"),
        (SecretStr("json://user:pw@127.0.0.1:8080/hook/token?key=1"), "json://127.0.0.1"),
        (TELEGRAM, "tgram, 2nd of [alerts] urls"),
        (SecretStr("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"), "slack, 2nd of [alerts] urls"),
        (SecretStr("json://pass word@h/"), "json://h"),
        (SecretStr("json://[bad"), "json, 2nd of [alerts] urls"),
        (SecretStr("no url but a password"), "no scheme, 2nd of [alerts] urls"),
    ],
)
def test_name_shows_no_secret(url: SecretStr, name: str) -> None:
    """Scheme and position; the host only of services whose host is one."""
    assert shown_name(url, 2) == name


def test_every_part_of_a_url_is_blotted_but_its_host() -> None:
    """Reasons of failures may quote the URL; password, user, addresses and tokens go, the host stays."""
    text = "SMTP bot s3cr3t-word refused by mail.example.org for ops@example.net"

    assert blotted(text, MAIL) == "SMTP *** *** refused by mail.example.org for ***"


def test_tokens_in_the_place_of_a_host_are_blotted() -> None:
    """Also when they come back percent-decoded or joined."""
    text = "POST https://api.telegram.org/bot123456789:abcdefg_hijklmnop/sendMessage chat lead2gold"

    shown = blotted(text, TELEGRAM)

    assert "123456789" not in shown
    assert "abcdefg" not in shown
    assert "lead2gold" not in shown


def test_wrong_urls_are_all_named_by_position_alone() -> None:
    """The message holds nothing of the URLs but their schemes."""
    with pytest.raises(ConfigError) as caught:
        open_targets(
            [MAIL, SecretStr("nosuch://u:hunter2@h"), SecretStr("tgram://hunter2/x"), SecretStr("hunter2")]
        )

    message = str(caught.value)
    assert message.splitlines() == [
        "[alerts] urls: the 2nd is not one that apprise understands (nosuch://…)",
        "[alerts] urls: the 3rd is not one that apprise understands (tgram://…)",
        "[alerts] urls: the 4th is not one that apprise understands (no scheme)",
    ]


class _Heard(logging.Handler):
    """All that arrives where this program's logs come together."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_opening_says_nothing_of_a_url_anywhere(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither standard error nor the log gets what apprise says about a URL."""
    caplog.set_level("DEBUG")
    heard = _Heard()
    logging.getLogger().addHandler(heard)
    try:
        (target,) = open_targets([MAIL])
        with pytest.raises(ConfigError):
            open_targets([SecretStr("tgram://hunter2hunter2/x")])
    finally:
        logging.getLogger().removeHandler(heard)

    assert target.name == "mailtos://mail.example.org"
    assert "".join((*capsys.readouterr(), *heard.lines)) == ""
