"""`ingest.doctor.exchange`: what the exchange's answers, and their absence, mean."""

import pytest

from ingest.doctor.exchange import (
    ClockLimits,
    ListingAnswer,
    Names,
    RestAnswer,
    SocketAnswer,
    judge_ban,
    judge_clock,
    judge_listing,
    judge_names,
    judge_no_room,
    judge_rest,
    judge_socket,
)
from ingest.doctor.findings import Level

OK, WARNING, FAILED = Level.OK, Level.WARNING, Level.FAILED
HOST = "api.binance.com"


@pytest.mark.parametrize(
    ("names", "level", "said"),
    [
        (Names(HOST, ("52.84.150.1", "2600:9000::1")), OK, "2 addresses"),
        (Names(HOST, trouble="Name or service not known"), FAILED, "Name or service not known"),
        (Names(HOST), FAILED, "no address"),
        (Names(HOST, ("10.0.0.1",)), WARNING, "10.0.0.1: no address of the public internet"),
        (Names(HOST, ("0.0.0.0",)), WARNING, "0.0.0.0"),
        (Names("double", ("172.16.0.5",)), OK, "172.16.0.5"),
        (Names("double.default.svc", ("10.0.0.1",)), OK, "10.0.0.1"),
    ],
)
def test_name_leads_to_the_public_internet(names: Names, level: Level, said: str) -> None:
    """A filter or a captive portal answers with an address of its own; a local name is meant to be local."""
    found = judge_names(names)

    assert (found.level, said in found.found) == (level, True)


@pytest.mark.parametrize(
    ("answer", "level", "said", "advised"),
    [
        (RestAnswer(HOST, 200, server_ms=1, answered_ns=25_000_000), OK, "answers, in 25 ms", ""),
        (RestAnswer(HOST, 451), FAILED, "does not serve this location", "data-api.binance.vision"),
        (RestAnswer(HOST, 403), FAILED, "HTTP 403", "firewall forgets"),
        (RestAnswer(HOST, 418, retry_after_s=120), FAILED, "for 120 s (HTTP 418)", "asking makes it longer"),
        (RestAnswer(HOST, 429), FAILED, "HTTP 429", "find who else asks"),
        (RestAnswer(HOST, 503), WARNING, "in trouble (HTTP 503)", "status page"),
        (RestAnswer(HOST, 302), FAILED, "as the exchange does not", "rest_url"),
        (RestAnswer(HOST, 200), FAILED, "as the exchange does not", "rest_url"),
        (RestAnswer(HOST, trouble="refused"), FAILED, "is not reached: refused", "without a proxy"),
        (RestAnswer(HOST, trouble="unknown CA", is_tls_trouble=True), FAILED, "no TLS: unknown CA", "clock"),
    ],
)
def test_answer_of_rest_says_what_stands_in_the_way(
    answer: RestAnswer, level: Level, said: str, advised: str
) -> None:
    """Location, ban, firewall, an exchange in trouble, somebody else's answer, or nobody's."""
    found = judge_rest(answer)

    assert (found.level, said in found.found, advised in found.advice) == (level, True, True)


def test_offset_is_that_of_the_middle_of_the_question() -> None:
    """Half of the way is there, half is back."""
    answer = RestAnswer(HOST, 200, server_ms=10_000, asked_ns=11_000_000_000, answered_ns=12_000_000_000)

    assert answer.offset_s == 1.5
    assert RestAnswer(HOST, 503).offset_s is None


@pytest.mark.parametrize(
    ("offset_s", "round_trip_s", "level"),
    [
        (0.1, 0.0, OK),
        (-0.4, 0.0, OK),
        (0.6, 0.4, OK),
        (0.6, 0.0, WARNING),
        (-0.6, 0.1, WARNING),
        (-3_600.0, 0.1, FAILED),
    ],
)
def test_clock_may_be_off_by_what_the_way_took(offset_s: float, round_trip_s: float, level: Level) -> None:
    """Beyond that it is wrong."""
    found = judge_clock(offset_s, round_trip_s, ClockLimits(), whose="the exchange")

    assert found.level is level
    assert ("ahead of" if offset_s > 0 else "behind") in found.found


def test_ban_that_is_known_is_told_without_asking() -> None:
    """And so is a share that is used up."""
    assert judge_ban(HOST, 90.0).level is FAILED
    assert "it was not asked" in judge_ban(HOST, 90.0).found
    assert judge_no_room("x", "no room for 1 connects").level is WARNING


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        (ListingAnswer(200, "", 2), OK),
        (ListingAnswer(400, "Invalid symbol.", 2), FAILED),
        (ListingAnswer(503, "", 2), WARNING),
    ],
)
def test_symbols_that_are_named_must_be_listed(answer: ListingAnswer, level: Level) -> None:
    """Or the start refuses them."""
    assert judge_listing(answer).level is level


STREAM = "btcusdt@trade"
OPEN = SocketAnswer(HOST, STREAM, is_open=True)


@pytest.mark.parametrize(
    ("answer", "level", "said"),
    [
        (OPEN._replace(data_came=True), OK, "sends btcusdt@trade"),
        (OPEN._replace(listed=(STREAM,)), WARNING, "nothing of it came"),
        (OPEN._replace(stream="rareusdt@trade", listed=()), OK, "may be right for a rare symbol"),
        (OPEN, FAILED, "answers nothing on it"),
        (OPEN._replace(ended="close code 1008 Too many"), FAILED, "close code 1008"),
        (SocketAnswer(HOST, STREAM, status=451), FAILED, "does not serve this location"),
        (SocketAnswer(HOST, STREAM, status=429), FAILED, "refuses connections of this address"),
        (SocketAnswer(HOST, STREAM, status=502), WARNING, "in trouble"),
        (SocketAnswer(HOST, STREAM, status=404), FAILED, "as the exchange does not"),
        (SocketAnswer(HOST, STREAM, trouble="timed out"), FAILED, "not reached: timed out"),
        (SocketAnswer(HOST, STREAM, trouble="bad CA", is_tls_trouble=True), FAILED, "no TLS"),
    ],
)
def test_websocket_must_open_answer_and_bring_data(answer: SocketAnswer, level: Level, said: str) -> None:
    """An acknowledgement proves nothing: streams that are not there are acknowledged, too."""
    found = judge_socket(answer)

    assert (found.level, said in found.found) == (level, True)
