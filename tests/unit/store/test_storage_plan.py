"""From the configuration to the way each table is kept."""

from datetime import timedelta

from ingest.buffer.tables import TABLES
from ingest.config import Settings, load_settings, storage_plan
from ingest.store.storage_plan import OPEN_CANDLES, TablePlan

DAY = timedelta(days=1)


def by_name(settings: Settings) -> dict[str, TablePlan]:
    return {table.relation: table for table in storage_plan(settings).tables}


def test_every_table_of_the_writer_is_planned() -> None:
    """None is kept by accident; segments and order are columns of the table."""
    plans = by_name(Settings())

    assert plans.keys() == {f"{table.schema}.{table.name}" for table in TABLES}
    for table in TABLES:
        plan = plans[f"{table.schema}.{table.name}"]
        named = {plan.ts_column, *plan.segment_by.split(", ")}
        named |= {part.removesuffix(" DESC") for part in plan.order_by.split(", ")}
        assert named <= set(table.columns)
        assert set(table.key) == named


def test_defaults_are_those_of_the_readme() -> None:
    """Depth for a week, trades for a quarter, candles of the exchange for ever; a day to a chunk."""
    plans = by_name(Settings())

    assert plans["spot_raw.depth_deltas"].keep == plans["spot_raw.depth_snapshots"].keep == 7 * DAY
    assert plans["spot_raw.trades"].keep == 90 * DAY
    assert plans["spot_raw.klines"].keep is None
    assert plans["spot_raw.trades"].chunk == plans["spot_raw.trades"].compress_after == DAY
    assert storage_plan(Settings()).candles == {
        "spot_raw.candles_1s": 30 * DAY,
        "spot_raw.candles_1m": 730 * DAY,
        "spot_raw.candles_1h": None,
        "spot_raw.candles_1d": None,
    }


def test_open_candles_are_never_compressed() -> None:
    """However early the rest is; a later time for all is theirs too, and none is none."""
    early = by_name(load_settings(environment={}))
    late = by_name(load_settings(environment={"INGEST_STORAGE_COMPRESS_AFTER_S": str(60 * 86_400)}))
    never = by_name(load_settings(environment={"INGEST_STORAGE_COMPRESS_AFTER_S": "0"}))

    assert early["spot_raw.klines"].compress_after == OPEN_CANDLES
    assert late["spot_raw.klines"].compress_after == 60 * DAY
    assert {plan.compress_after for plan in never.values()} == {None}


def test_plan_answers_for_every_relation() -> None:
    """Tables and candles; what it does not name is kept."""
    plan = storage_plan(Settings())

    assert plan.keep_of("spot_raw.trades") == 90 * DAY
    assert plan.keep_of("spot_raw.candles_1s") == 30 * DAY
    assert plan.keep_of("spot_raw.candles_1d") is None
    assert plan.keep_of("spot_raw.else") is None
