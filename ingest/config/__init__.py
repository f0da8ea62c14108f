"""Configuration: one TOML file, overridden by `INGEST_*` variables, read once into a frozen tree.

    vocabulary      what several tables share
    service         the tables, and storage, market, alerts: below each key stands what it is, and why
    tree            all tables together, and what others are handed of them
    contradictions  what is wrong only beside something else
    secret_files    secrets that stand in files of their own
    load            reads file and environment, and reports all mistakes together

Nobody else reads a file of configuration, or the environment.
"""

from ingest.config.load import load_settings, proxy_variables, sources
from ingest.config.market import SilenceSection, SpotSection, TopSymbols
from ingest.config.secret_files import http_secrets
from ingest.config.service import BackfillSection, CaptureSection, DatabaseSection, ServiceSection
from ingest.config.tree import Settings, history_leaves, session_limits, storage_plan
from ingest.config.vocabulary import Tree

__all__ = [
    "BackfillSection",
    "CaptureSection",
    "DatabaseSection",
    "ServiceSection",
    "Settings",
    "SilenceSection",
    "SpotSection",
    "TopSymbols",
    "Tree",
    "history_leaves",
    "http_secrets",
    "load_settings",
    "proxy_variables",
    "session_limits",
    "sources",
    "storage_plan",
]
