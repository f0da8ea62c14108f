"""What the exchange, and the way to it, have answered. Pure.

One question for each of its two addresses: REST (its clock) and a websocket (subscribe to one stream, and ask
which streams there are). Both must be passed by DNS, the network, TLS and the exchange's own doorkeepers.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

from ingest.doctor.findings import Finding, failed, ok, warning

PROBE_SYMBOL: Final = "BTCUSDT"
"""Of its trades there are always some, so that silence means something."""

_LOCATION: Final = (
    'run it where the exchange serves, or try rest_url = "https://data-api.binance.vision" and '
    'ws_url = "wss://data-stream.binance.vision" in [spot], which answer in more places'
)
_STATUSES: Final = "http-429-418-451"


class Names(NamedTuple):
    """What the resolver said of a host; `trouble` is empty when it found `addresses`."""

    host: str
    addresses: Sequence[str] = ()
    trouble: str = ""


def judge_names(names: Names) -> Finding:
    """Whether a host has addresses, and whether they can be the exchange's."""
    check = f"DNS of {names.host}"
    if names.trouble or not names.addresses:
        advice = "check the resolver (`getent hosts`), and the spelling of ws_url and rest_url in [spot]"
        return failed(check, names.trouble or "no address", advice, "feed-down")
    if _is_ours(names.host):
        return ok(check, ", ".join(names.addresses))
    strange = [address for address in names.addresses if not ip_address(address.partition("%")[0]).is_global]
    if strange:
        found = f"{', '.join(strange)}: no address of the public internet, so this is not the exchange"
        advice = "a filter, a captive portal or a hosts file answers for it: ask whoever runs the network"
        return warning(check, found, advice, "feed-down")
    return ok(check, f"{len(names.addresses)} addresses")


def _is_ours(host: str) -> bool:
    """A name that is meant to lead to a private address, such as that of an exchange double."""
    return "." not in host or host.endswith((".local", ".internal", ".svc", ".localhost", ".lan"))


class RestAnswer(NamedTuple):
    """`status` is None when nobody answered: then `trouble` says how that showed. Times are of our clock."""

    host: str
    status: int | None = None
    trouble: str = ""
    is_tls_trouble: bool = False
    retry_after_s: float | None = None
    server_ms: int | None = None
    asked_ns: int = 0
    answered_ns: int = 0

    @property
    def offset_s(self) -> float | None:
        """Our clock minus the exchange's, in the middle of the question."""
        if self.server_ms is None:
            return None
        return ((self.asked_ns + self.answered_ns) / 2 - self.server_ms * 1e6) / 1e9


def judge_rest(answer: RestAnswer) -> Finding:
    """Whether the exchange's REST serves us."""
    check, host = "exchange by REST", answer.host
    if answer.status is None:
        return _unreached(check, host, answer.trouble, is_tls=answer.is_tls_trouble)
    if answer.status == 200 and answer.server_ms is not None:
        took_ms = (answer.answered_ns - answer.asked_ns) / 1e6
        return ok(check, f"{host} answers, in {took_ms:.0f} ms")
    if answer.status in {418, 429}:
        wait = f" for {answer.retry_after_s:.0f} s" if answer.retry_after_s is not None else ""
        advice = "wait, as asking makes it longer; find who else asks, and lower weight_per_min in [limits]"
        return failed(
            check, f"{host} refuses this address{wait} (HTTP {answer.status})", advice, "rest-banned"
        )
    return _refused(check, host, answer.status)


def judge_ban(host: str, banned_for_s: float) -> Finding:
    """The service knows of a ban: the exchange was not asked."""
    found = f"{host} has banned this address for {banned_for_s:.0f} s more; it was not asked"
    return failed("exchange by REST", found, "wait until it is over; find who else asks", "rest-banned")


def judge_no_room(check: str, trouble: str) -> Finding:
    """Our own share of the exchange's limits is used up: it was not asked."""
    advice = "wait some minutes; if it lasts, see what uses it (`ingest_budget_used`)"
    return warning(check, f"not asked: {trouble}", advice, "budget-nearly-used")


def _unreached(check: str, host: str, trouble: str, *, is_tls: bool) -> Finding:
    if is_tls:
        advice = "a proxy of the network breaks TLS open, or this machine's clock or certificates are old"
        return failed(check, f"{host}: no TLS: {trouble}", advice, "feed-down")
    advice = "check the firewall and the way out of this network; the service needs it without a proxy"
    return failed(check, f"{host} is not reached: {trouble}", advice, "feed-down")


def _refused(check: str, host: str, status: int) -> Finding:
    if status == 451:
        return failed(check, f"{host} does not serve this location (HTTP 451)", _LOCATION, _STATUSES)
    if status == 403:
        advice = f"wait some minutes, its firewall forgets; if it lasts: {_LOCATION}"
        return failed(check, f"{host} refuses this address (HTTP 403)", advice, _STATUSES)
    if status >= 500:
        advice = "wait, and see its status page; the service tries again by itself"
        return warning(check, f"{host} is in trouble (HTTP {status})", advice, "exchange-rest-down")
    advice = "is it the exchange? See ws_url and rest_url in [spot], and what is between"
    return failed(
        check,
        f"{host} answers as the exchange does not (HTTP {status})",
        advice,
        "connects-and-nothing-comes",
    )


class ClockLimits(NamedTuple):
    warning_s: float = 0.5
    failed_s: float = 5.0


def judge_clock(offset_s: float, round_trip_s: float, limits: ClockLimits, *, whose: str) -> Finding:
    """Our clock beside another one; what the way may have taken is not held against it."""
    check = f"clock and {whose}"
    off_s = max(0.0, abs(offset_s) - round_trip_s / 2)
    found = f"ours is {abs(offset_s):.3f} s {'ahead of' if offset_s > 0 else 'behind'} {whose}"
    advice = (
        "run time synchronisation (`timedatectl`, `chronyc tracking`): ages and receive times are wrong by it"
    )
    if off_s >= limits.failed_s:
        return failed(check, found, advice, "clock-offset")
    return warning(check, found, advice, "clock-offset") if off_s >= limits.warning_s else ok(check, found)


class ListingAnswer(NamedTuple):
    """What `exchangeInfo` said of the symbols that are named in the configuration."""

    status: int
    message: str
    symbols: int


def judge_listing(answer: ListingAnswer) -> Finding:
    """Whether the exchange lists the symbols that are named."""
    check = "symbols"
    if answer.status == 200:
        return ok(check, f"the exchange lists all {answer.symbols} that are named")
    if answer.status == 400:
        advice = "mend symbols in [spot]; `ingest run` says which names are not listed"
        return failed(check, f"the exchange does not know all of them: {answer.message}", advice)
    advice = "try again later; symbols in [spot] could not be compared with the exchange's list"
    return warning(check, f"not compared (HTTP {answer.status})", advice)


class SocketAnswer(NamedTuple):
    """How far a websocket came. `status` is that of a refused handshake; `ended` how it ended early."""

    host: str
    stream: str
    status: int | None = None
    trouble: str = ""
    is_tls_trouble: bool = False
    is_open: bool = False
    listed: Sequence[str] | None = None
    data_came: bool = False
    ended: str = ""


def judge_socket(answer: SocketAnswer) -> Finding:
    """Whether a stream can be had: opened, subscribed, and data on it."""
    check, host = "exchange by websocket", answer.host
    if answer.status is not None:
        if answer.status in {418, 429}:
            advice = "wait five minutes: 300 connections are allowed in that time from one address"
            found = f"{host} refuses connections of this address (HTTP {answer.status})"
            return failed(check, found, advice, _STATUSES)
        return _refused(check, host, answer.status)
    if not answer.is_open:
        return _unreached(check, host, answer.trouble, is_tls=answer.is_tls_trouble)
    if answer.data_came:
        return ok(check, f"{host} sends {answer.stream}")
    if answer.ended:
        advice = "see what is between: a proxy or firewall that ends websockets"
        return failed(
            check, f"{host} has ended the connection: {answer.ended}", advice, "drops-without-a-close-frame"
        )
    if answer.listed is None:
        advice = "see what is between, such as a proxy that does not pass websockets on, and ws_url in [spot]"
        found = f"{host} takes the connection, and answers nothing on it"
        return failed(check, found, advice, "connects-and-nothing-comes")
    return _silent(check, answer)


def _silent(check: str, answer: SocketAnswer) -> Finding:
    found = f"{answer.host} has acknowledged {answer.stream}, and nothing of it came meanwhile"
    if not answer.stream.startswith(PROBE_SYMBOL.lower()):
        return ok(check, f"{found}, which may be right for a rare symbol")
    advice = "is ws_url in [spot] an address of spot? Others acknowledge what they do not have"
    return warning(check, found, advice, "connects-and-nothing-comes")
