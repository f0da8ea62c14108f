"""The embedded server of a service, found by whoever only wants to ask it."""

from pathlib import Path

from ingest.store.embedded import EmbeddedPostgres


def embedded_folder_of(data_dir: Path) -> Path:
    """Where a service with this data folder keeps its embedded server."""
    return data_dir / "postgres"


def embedded_url_of(data_dir: Path) -> str | None:
    """Its URL while a process has it running, else None. Starts and claims nothing."""
    folder = embedded_folder_of(data_dir)
    return EmbeddedPostgres(folder).url_of_running() if folder.is_dir() else None
