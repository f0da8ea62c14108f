"""The whole tree of settings, and what others are handed of it. Pure."""

from ingest.config.alerts import AlertsSection, DeadmanSection
from ingest.config.market import SilenceSection, SpotSection, UsdmSection
from ingest.config.service import (
    BackfillSection,
    BatchSection,
    CaptureSection,
    DatabaseSection,
    HttpSection,
    LimitsSection,
    ServiceSection,
    SpoolSection,
)
from ingest.config.storage import StorageSection
from ingest.config.vocabulary import Section
from ingest.store.sessions import SessionLimits
from ingest.store.storage_plan import StoragePlan, make_plan


class Settings(Section):
    """The whole tree.

    The secrets in it are `database.url`, `database.password`, `http.password`, `http.token`, `alerts.urls`.
    """

    database: DatabaseSection = DatabaseSection()
    service: ServiceSection = ServiceSection()
    http: HttpSection = HttpSection()
    batch: BatchSection = BatchSection()
    spool: SpoolSection = SpoolSection()
    storage: StorageSection = StorageSection()
    capture: CaptureSection = CaptureSection()
    limits: LimitsSection = LimitsSection()
    backfill: BackfillSection = BackfillSection()
    silence: SilenceSection = SilenceSection()
    spot: SpotSection = SpotSection()
    usdm: UsdmSection = UsdmSection()
    alerts: AlertsSection = AlertsSection()
    deadman: DeadmanSection = DeadmanSection()


def session_limits(settings: Settings) -> SessionLimits:
    """The configured deadlines of database sessions."""
    database = settings.database
    return SessionLimits(connect_s=database.connect_timeout_s, statement_s=database.statement_timeout_s)


def storage_plan(settings: Settings) -> StoragePlan:
    """The configured way of keeping each table."""
    storage = settings.storage
    return make_plan(
        timescale=settings.database.timescale,
        chunk_hours=storage.chunk_hours.model_dump(),
        keep_days=storage.keep_days.model_dump(),
        compress_after_s=storage.compress_after_s,
        candle_window_days=storage.candle_window_days,
    )


def history_leaves(settings: Settings) -> int:
    """The request weight a minute that questions about the past leave to all others."""
    return int(settings.limits.weight_per_min * (1 - settings.backfill.weight_share))
