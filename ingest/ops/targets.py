"""One place that letters are sent to: an apprise URL, and what may be shown of it.

Decides what a failure to deliver is called and which part of a URL may be seen. Apprise URLs hold
passwords and tokens, often where other URLs have their host, so none is ever logged, printed or quoted
in an error: a target has a name made of its scheme, its position, and its host where that is known to
be one. Apprise's own log lines, and those of its HTTP library, which may quote parts of a URL, go
nowhere; the reason of a failure is taken from them with every part of the URL blotted out.

A call runs in a daemon thread of its own: what hangs on a dead endpoint delays neither the event loop
nor the end of the process, as a thread of `asyncio.to_thread` would. A target has at most one such
thread; while it hangs, further letters fail at once.
"""

import asyncio
import logging
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock, Thread
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from ingest.errors import ConfigError, IngestError
from ingest.ops.logs import HIDDEN, redact_text
from ingest.ops.notices import Letter, Tone

with warnings.catch_warnings():
    # On Python 3.11 and 3.12 apprise looks for a module of the standard library that is deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    import apprise

_HOST_IS_A_HOST: Final = frozenset("form forms json jsons mailto mailtos xml xmls".split())
_SCHEME: Final = re.compile(r"([a-z][a-z0-9]{0,19})://", re.IGNORECASE)
_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,80}")
_REASON_LENGTH: Final = 200
_NO_SCHEME: Final = "no scheme"

_KINDS: Final = {
    Tone.INFO: apprise.NotifyType.INFO,
    Tone.SUCCESS: apprise.NotifyType.SUCCESS,
    Tone.WARNING: apprise.NotifyType.WARNING,
    Tone.CRITICAL: apprise.NotifyType.FAILURE,
}


class NotDelivered(IngestError):
    """A letter did not reach its target; the message has the reason and no secret."""

    transient = True


class Target:
    """One place that letters go to. `name` may be shown to anybody."""

    def __init__(self, name: str, url: SecretStr, sender: apprise.Apprise) -> None:
        self.name = name
        self._url = url
        self._sender = sender
        self._one_call = Lock()

    async def deliver(self, letter: Letter, *, deadline_s: float) -> None:
        """Send it. Raises NotDelivered when the other side refuses it or does not answer in time."""
        if not self._one_call.acquire(blocking=False):
            raise NotDelivered("the call before this one has not come back yet")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()
        caller = Thread(
            target=self._call, args=(letter, loop, answer), name=f"alert to {self.name}", daemon=True
        )
        try:
            caller.start()
        except RuntimeError as error:
            self._one_call.release()
            raise NotDelivered("no thread could be started for it") from error
        await _accepted(answer, deadline_s)

    def _call(self, letter: Letter, loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[str]") -> None:
        """What the thread does; it outlives the wait for it when the other side hangs."""
        reason = "the service of apprise broke"
        try:
            # Apprise turns what its services raise into a result. Should one of them get past it, its text
            # may quote the URL, so it is not looked at.
            with suppress(Exception):
                reason = self._send(letter)
        finally:
            self._one_call.release()
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(_settle, answer, reason)

    def _send(self, letter: Letter) -> str:
        """Why it failed; empty when it did not."""
        result = self._sender.notify(
            title=redact_text(letter.subject),
            body=redact_text(letter.body),
            notify_type=_KINDS[letter.tone],
            body_format=apprise.NotifyFormat.TEXT,
        )
        return "" if result else self._reason([entry.message for entry in result.logs()])

    def _reason(self, messages: Sequence[str]) -> str:
        first_line = messages[-1].strip().partition("\n")[0] if messages else ""
        return blotted(first_line, self._url)[:_REASON_LENGTH] or "refused without a reason"


def _settle(answer: "asyncio.Future[str]", reason: str) -> None:
    if not answer.done():
        answer.set_result(reason)


async def _accepted(answer: "asyncio.Future[str]", deadline_s: float) -> None:
    try:
        async with asyncio.timeout(deadline_s):
            reason = await answer
    except TimeoutError:
        raise NotDelivered(f"no answer within {deadline_s:g} s") from None
    if reason:
        raise NotDelivered(reason)


def open_targets(urls: Sequence[SecretStr]) -> tuple[Target, ...]:
    """The targets of these URLs, in their order; connects to nothing.

    Raises ConfigError naming the position of every URL that apprise does not understand. The first
    call takes about a second: apprise loads all of its services.
    """
    _silence_libraries()
    senders = [_sender(url) for url in urls]
    wrong = [
        f"[alerts] urls: the {_ordinal(number)} is not one that apprise understands ({_shown_scheme(url)})"
        for number, (url, sender) in enumerate(zip(urls, senders, strict=True), start=1)
        if sender is None
    ]
    if wrong:
        raise ConfigError("\n".join(wrong))
    return tuple(
        Target(shown_name(url, number), url, sender)
        for number, (url, sender) in enumerate(zip(urls, senders, strict=True), start=1)
        if sender is not None
    )


def _sender(url: SecretStr) -> apprise.Apprise | None:
    # No time limit of its own: apprise would keep it with threads that the process waits for at its end.
    asset = apprise.AppriseAsset(
        app_id="ingest",
        app_desc="ingest",
        service_timeout=0,
        allow_templates=False,
        pgp_autogen=False,
        pem_autogen=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        service = apprise.Apprise.instantiate(url.get_secret_value(), asset=asset)
    if service is None:
        return None
    # E-mail would be sent as HTML otherwise.
    service.notify_format = apprise.NotifyFormat.TEXT
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    return sender


def shown_name(url: SecretStr, number: int) -> str:
    """What may be seen of a URL: `mailto://mail.example.org`, or `tgram, 2nd of [alerts] urls`."""
    scheme = _scheme(url)
    if scheme in _HOST_IS_A_HOST:
        with suppress(ValueError):
            host = urlsplit(url.get_secret_value()).hostname or ""
            if _HOST.fullmatch(host):
                return f"{scheme}://{host}"
    return f"{scheme}, {_ordinal(number)} of [alerts] urls"


def blotted(text: str, url: SecretStr) -> str:
    """The text without any part of the URL that might be secret."""
    # The host of a mail server or a webhook is none, and the reader wants to know it.
    host = shown_name(url, 1).partition("://")[2]
    parts = _secret_parts(url.get_secret_value(), host)
    pieces = text.split(host) if host else [text]
    return redact_text(host.join(_without(piece, parts) for piece in pieces))


def _without(text: str, parts: Sequence[str]) -> str:
    for part in parts:
        text = text.replace(part, HIDDEN)
    return text


def _secret_parts(url: str, host: str) -> list[str]:
    """Longest first. Two letters are no secret, and blotting them out would leave no text."""
    try:
        query = parse_qsl(urlsplit(url).query)
    except ValueError:
        query = []
    pieces = {*re.split(r"[/?#&=@:,+]", url.partition("://")[2]), *(value for _, value in query)}
    parts = pieces | {unquote(piece) for piece in pieces}
    parts -= {host, *(name for name, _ in query)}
    return sorted((part for part in parts if len(part) > 2), key=len, reverse=True)


def _shown_scheme(url: SecretStr) -> str:
    scheme = _scheme(url)
    return scheme if scheme == _NO_SCHEME else f"{scheme}://…"


def _scheme(url: SecretStr) -> str:
    found = _SCHEME.match(url.get_secret_value())
    return found[1].lower() if found else _NO_SCHEME


def _ordinal(number: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{endings.get(number if number < 20 else number % 10, 'th')}"


def _silence_libraries() -> None:
    for name in ("apprise", "urllib3", "requests"):
        library = logging.getLogger(name)
        library.propagate = False
        library.setLevel(logging.WARNING)
        if not library.handlers:
            library.addHandler(logging.NullHandler())
