"""`ingest.ops.page_history`: an hour of samples, made of what boards count."""

from dataclasses import replace

from ingest.board.layout import BoardSnapshot
from ingest.ops.page_history import SAMPLES, History, Sample
from ingest.supervisor.freshness import ServiceFacts
from tests.unit.board.builders import NOW_WALL_NS, RUNNING, S, a_board, a_shard, ago_ns, some_facts


def a_counting_board(
    *, shard: int = 0, pid: int = 42, frames: int = 0, rows: int = 0, **header: int
) -> BoardSnapshot:
    board = a_board(shard=shard, header=RUNNING._replace(frames=frames, rows_committed=rows, **header))  # type: ignore[arg-type]
    return replace(board, identity=board.identity._replace(pid=pid))


def after(facts: ServiceFacts, seconds: float) -> ServiceFacts:
    """The same facts, so many seconds later."""
    passed_ns = round(seconds * S)
    return replace(
        facts,
        now_wall_ns=facts.now_wall_ns + passed_ns,
        now_monotonic_ns=facts.now_monotonic_ns + passed_ns,
    )


def sampled(*boards: BoardSnapshot | None, every_s: float = 5.0) -> list[Sample]:
    """The samples of a service with one shard, whose board is another at each moment."""
    history = History()
    for turn, board in enumerate(boards):
        history.add(after(some_facts(a_shard(board)), turn * every_s))
    return list(history.samples)


def test_first_sample_has_no_rates() -> None:
    """A rate wants two moments; the date is the wall clock's."""
    (sample,) = sampled(a_counting_board(frames=100, rows=50))

    assert (sample.at_ms, sample.messages_per_s, sample.rows_per_s) == (NOW_WALL_NS // 1_000_000, None, None)


def test_rates_are_what_the_counters_rose_by() -> None:
    """Over the time that has really passed."""
    _, sample = sampled(
        a_counting_board(frames=100, rows=50), a_counting_board(frames=1_100, rows=150), every_s=10
    )

    assert (sample.messages_per_s, sample.rows_per_s) == (100, 10)


def test_rates_are_of_all_shards_and_delays_of_the_worst() -> None:
    """Rates add up; a latency is as bad as that of the worst shard."""
    history = History()
    for frames in (0, 50):
        boards = [
            a_counting_board(
                shard=shard,
                frames=frames,
                rows=frames,
                commit_latency_p50_us=1_000 * (shard + 1),
                commit_latency_p99_us=9_000 * (shard + 1),
                loop_lag_max_us=500 * (shard + 1),
                oldest_buffered_recv_ns=ago_ns(shard),
            )
            for shard in (0, 1)
        ]
        history.add(after(some_facts(*map(a_shard, boards)), frames / 10))
    sample = history.samples[-1]

    assert (sample.messages_per_s, sample.rows_per_s) == (20, 20)
    assert (sample.commit_p50_ms, sample.commit_p99_ms, sample.loop_lag_ms) == (2, 18, 1)
    assert sample.waiting_s == 6


def test_counters_of_a_new_process_begin_at_zero() -> None:
    """A restart is neither a negative rate nor one of everything that the process before had counted."""
    _, sample = sampled(a_counting_board(frames=9_000), a_counting_board(pid=43, frames=50))

    assert sample.messages_per_s == 10


def test_board_of_a_former_process_tells_nothing() -> None:
    """Its numbers stand, and are not of now."""
    history = History()
    facts = some_facts(a_shard(a_counting_board(pid=41, frames=7, loop_lag_max_us=5), pid=42))
    history.add(facts)
    history.add(after(facts, 5))

    assert history.samples[-1][1:] == (0, 0, None, None, None, None)


def test_shard_whose_board_was_away_for_a_moment_is_not_counted_twice() -> None:
    """Its counters go on where they were."""
    *_, sample = sampled(a_counting_board(frames=9_000), None, a_counting_board(frames=9_050))

    assert sample.messages_per_s == 10


def test_latency_of_a_service_that_commits_nothing_is_not_known() -> None:
    """The board still has the percentiles of the last commits, which would look like the best of times."""
    board = a_counting_board(rows=10, commit_latency_p50_us=5, commit_latency_p99_us=6)
    _, sample = sampled(board, board)

    assert (sample.rows_per_s, sample.commit_p50_ms, sample.commit_p99_ms) == (0, None, None)


def test_hour_is_bounded() -> None:
    """The oldest samples go; what came since a number is given as far as it is kept."""
    history = History()
    for turn in range(SAMPLES + 30):
        history.add(after(some_facts(), turn))

    assert (len(history.samples), history.taken) == (SAMPLES, SAMPLES + 30)
    assert [len(history.since(taken)) for taken in (0, SAMPLES + 28, SAMPLES + 30, SAMPLES + 99)] == [
        SAMPLES,
        2,
        0,
        0,
    ]
    assert history.since(SAMPLES + 29) == [history.samples[-1]]
