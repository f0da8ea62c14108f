"""Entries of a manifest as tests want them."""

from ingest.export.manifest import Entry


def an_entry(path: str = "trade/A/2026-01-02.parquet", *, from_ts: str = "a", to_ts: str = "b") -> Entry:
    """A file that is complete."""
    return Entry(
        path=path,
        market="spot",
        symbol="A",
        kind="trade",
        from_ts=from_ts,
        to_ts=to_ts,
        rows=0,
        first_id=None,
        last_id=None,
        min_ts=None,
        max_ts=None,
        bytes=0,
        sha256="",
        columns={},
        numbers="decimal",
        is_complete=True,
        schema_version=1,
        program_version="0",
        exported_at="c",
    )
