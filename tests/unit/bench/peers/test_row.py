"""How many messages a peer is given."""

from pathlib import Path

import pytest

from tests.bench.peers.client import database_words
from tests.bench.peers.row import PeerJob, Phase, affordable, trial_messages


def job(messages: int, *, seconds: float = 8.0) -> PeerJob:
    return PeerJob(
        mode="mix",
        kinds=("trade",),
        round=0,
        symbols=3,
        messages=messages,
        seconds=seconds,
        ws_port=1,
        rest_port=2,
        database_url="",
        server_pid=0,
        folder=Path(),
    )


@pytest.mark.parametrize(
    ("wall_s", "messages"),
    [(0.1, 98_000), (1.0, 16_000), (20.0, 2_000)],
    ids=["fast", "slow", "slower than that"],
)
def test_peer_gets_what_it_can_take_in_its_time(wall_s: float, messages: int) -> None:
    """All that is left if it is fast enough, else by the trial's rate, and never fewer than in the trial."""
    assert affordable(Phase(2_000, 2_000, 0.1, wall_s), job(100_000)) == messages


def test_trial_takes_a_quarter_of_few_messages() -> None:
    """Something is left to be measured."""
    assert trial_messages(job(100)) == 25
    assert trial_messages(job(1_000_000)) == 2_000


def test_programs_are_told_the_database_in_words() -> None:
    """The folder of the embedded server's socket is its host."""
    url = "postgresql://postgres@/peers?host=%2Ftmp%2Fsome%20where&port=5432"

    assert database_words(url) == {
        "host": "/tmp/some where",
        "port": "5432",
        "user": "postgres",
        "database": "peers",
    }
