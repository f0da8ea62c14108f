"""`ingest.cli.tables`: the verdict on what was read."""

from ingest.cli.tables import Status


def a_status(*shard_states: str, well: int = 2, age_s: float | None = 1.0) -> Status:
    """Two streams; a shard for each state."""
    kind = {"streams": 2, "well": well, "live": well, "stale": 2 - well}
    shards = [{"shard": number, "state": state} for number, state in enumerate(shard_states)]
    return Status(
        kinds=[kind],  # type: ignore[list-item]
        not_live=[],
        shards=shards,  # type: ignore[arg-type]
        incidents=[],
        gaps={},
        open_gaps=0,
        age_s=age_s,
    )


def test_all_is_well_when_streams_and_shards_are() -> None:
    """Nothing is late, and everybody works."""
    assert a_status("running", "running").verdict == ("well", "all 2 streams are fresh, or rightly silent")


def test_open_incident_is_told_though_all_streams_are_fresh() -> None:
    """A standstill of the exchange costs nothing, and somebody will ask why nothing comes."""
    standstill = a_status("running")._replace(incidents=[{"diagnosis": "exchange_down"}])  # type: ignore[list-item]

    assert standstill.verdict == (
        "well",
        "all 2 streams are fresh, or rightly silent; 1 incident is open (exchange_down)",
    )


def test_shard_that_does_not_work_is_told_though_all_streams_are_fresh() -> None:
    """Another one carries its streams, and /readyz says no."""
    word, sentence = a_status("running", "quarantined").verdict

    assert word == "degraded"
    assert sentence == "all 2 streams are fresh, or rightly silent, but shard 1 is quarantined"


def test_late_streams_come_first() -> None:
    """They are what a reader wants to know; the shard is why."""
    word, sentence = a_status("running", "down", well=1).verdict

    assert word == "degraded"
    assert sentence == "1 of 2 streams are not fresh; shard 1 is down"


def test_table_that_nobody_writes_says_nothing_of_shards() -> None:
    """What stands there is of another time."""
    assert a_status("running", "down", age_s=60.0).verdict[0] == "away"
