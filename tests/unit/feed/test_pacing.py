"""`ingest.feed.pacing`."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.feed.pacing import Pacer


def test_first_message_goes_at_once() -> None:
    """Nothing has been sent: no wait."""
    assert Pacer(0.3).reserve(100.0) == 0.0


def test_pong_pushes_the_next_control_message_back() -> None:
    """A pong counts too, so what follows keeps its distance from it."""
    pacer = Pacer(0.3)
    pacer.sent_pong(100.0)

    assert abs(pacer.reserve(100.0) - 0.3) < 1e-9


@given(st.lists(st.floats(0.0, 2.0), min_size=2, max_size=60))
def test_any_second_holds_at_most_four_control_messages(pauses: list[float]) -> None:
    """Whenever they are asked for, control messages leave room for a pong in every second."""
    pacer, now_s, sent_s = Pacer(0.3), 0.0, []
    for pause in pauses:
        now_s += pause
        sent_s.append(now_s + pacer.reserve(now_s))

    crowded = [at for at in sent_s if sum(at <= other < at + 1.0 - 1e-9 for other in sent_s) > 4]
    assert crowded == []
