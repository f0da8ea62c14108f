"""Control messages of a connection."""

import orjson
import pytest

from ingest.sim.limits import Limits, Violations
from ingest.sim.subscriptions import ErrorShape, Json, Outcome, Subscriptions


def _subscriptions(
    *, combined: bool = True, error_shape: ErrorShape = "top", streams: int = 1024
) -> Subscriptions:
    limits = Limits(streams_per_connection=streams)
    return Subscriptions(limits, Violations(), combined=combined, error_shape=error_shape)


def _send(subscriptions: Subscriptions, message: Json) -> Outcome:
    return subscriptions.receive(orjson.dumps(message))


def _reply(subscriptions: Subscriptions, message: Json) -> Json:
    reply = _send(subscriptions, message).reply
    assert reply is not None
    answer: Json = orjson.loads(reply)
    return answer


def test_subscribe_adds_names_and_acknowledges() -> None:
    """Known or not, every name is acknowledged and listed."""
    subscriptions = _subscriptions()

    outcome = _send(subscriptions, {"method": "SUBSCRIBE", "params": ["btcusdt@trade", "nonsense"], "id": 1})
    assert outcome.reply == b'{"result":null,"id":1}'
    assert outcome.added == ["btcusdt@trade", "nonsense"]
    listed = _reply(subscriptions, {"method": "LIST_SUBSCRIPTIONS", "id": "abc"})
    assert listed == {"result": ["btcusdt@trade", "nonsense"], "id": "abc"}


def test_subscribing_again_is_a_renewal() -> None:
    """A name that is there already is acknowledged and reported as renewed."""
    subscriptions = _subscriptions()
    subscriptions.from_url(["a@trade"])

    outcome = _send(subscriptions, {"method": "SUBSCRIBE", "params": ["a@trade", "b@trade"], "id": 2})
    assert (outcome.added, outcome.renewed) == (["b@trade"], ["a@trade"])


def test_unsubscribe_removes_names() -> None:
    """Unknown names are acknowledged as well."""
    subscriptions = _subscriptions()
    subscriptions.from_url(["a@trade"])

    outcome = _send(subscriptions, {"method": "UNSUBSCRIBE", "params": ["a@trade", "b@trade"], "id": None})
    assert (outcome.removed, outcome.reply) == (["a@trade"], b'{"result":null,"id":null}')


def test_combined_property_is_read_and_set() -> None:
    """It starts as the URL says and can be changed."""
    subscriptions = _subscriptions(combined=False)
    query: Json = {"method": "GET_PROPERTY", "params": ["combined"], "id": 1}

    assert _reply(subscriptions, query) == {"result": False, "id": 1}
    _send(subscriptions, {"method": "SET_PROPERTY", "params": ["combined", True], "id": 2})
    assert _reply(subscriptions, query) == {"result": True, "id": 1}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"method": "GET_PROPERTY", "params": ["colour"], "id": 1}, 0),
        ({"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1}, 1),
        ({"method": "SET_PROPERTY", "params": ["combined"], "id": 1}, 1),
        ({"method": "SET_PROPERTY", "params": ["combined", True, 3], "id": 1}, 2),
        ({"method": "GET_PROPERTY", "params": [], "id": 1}, 2),
        ({"method": "LISTEN", "id": 1}, 2),
        ({"id": 1}, 2),
        ([1], 2),
        ({"method": "SUBSCRIBE", "params": [7], "id": 1}, 2),
        ({"method": "SUBSCRIBE", "params": "a@trade", "id": 1}, 2),
        ({"method": "SUBSCRIBE", "params": ["a@trade"], "id": 1.5}, 2),
        ({"method": "SUBSCRIBE", "params": ["a@trade"], "id": 2**63}, 2),
        ({"method": "SUBSCRIBE", "params": ["a@trade"], "id": "x" * 37}, 2),
    ],
)
def test_bad_requests_have_the_documented_codes(message: Json, code: int) -> None:
    """Each mistake is answered with its code, at the top level by default."""
    answer = _reply(_subscriptions(), message)

    assert isinstance(answer, dict)
    assert answer["code"] == code


def test_text_that_is_no_json_has_code_three() -> None:
    """The reply names the place and has no id."""
    reply = _subscriptions().receive(b'{"method": "SUBSCRIBE", ')

    assert reply.reply is not None
    assert orjson.loads(reply.reply)["code"] == 3


def test_errors_can_be_nested() -> None:
    """The other shape that clients have seen."""
    answer = _reply(_subscriptions(error_shape="nested"), {"id": 5})

    assert isinstance(answer, dict)
    assert isinstance(answer["error"], dict)
    assert answer["error"]["code"] == 2


def test_long_message_is_not_answered_and_has_no_effect() -> None:
    """One byte above the limit and the exchange says nothing; it is counted."""
    violations = Violations()
    subscriptions = Subscriptions(Limits(), violations, combined=True)
    message = orjson.dumps({"method": "SUBSCRIBE", "params": ["a@trade"], "id": 1})

    assert subscriptions.receive(message + b" " * (4089 - len(message))) == Outcome()
    assert (subscriptions.names, violations.long_requests) == ({}, 1)
    assert subscriptions.receive(message + b" " * (4088 - len(message))).reply is not None


def test_too_many_streams_are_refused_together() -> None:
    """A request that would exceed the limit changes nothing and is counted."""
    violations = Violations()
    subscriptions = Subscriptions(Limits(streams_per_connection=2), violations, combined=True)

    answer = _reply(subscriptions, {"method": "SUBSCRIBE", "params": ["a", "b", "c"], "id": 1})
    assert isinstance(answer, dict)
    assert (answer["code"], subscriptions.names, violations.too_many_streams) == (4, {}, 1)
    assert subscriptions.from_url(["a", "b", "c"]) is None
