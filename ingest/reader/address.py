"""Which database is meant when none is named.

The one place of the reader that looks at the environment. Asked in this order: the URL given, then
INGEST_DATABASE_URL, then the embedded server of a service that runs on this machine.
"""

import os
from pathlib import Path
from typing import Final

from ingest.errors import ConfigError
from ingest.store.running import embedded_url_of

_URL: Final = "INGEST_DATABASE_URL"
_DATA_DIR: Final = "INGEST_SERVICE_DATA_DIR"


def database_address(url: str | None, data_dir: str | Path | None = None) -> str:
    """A URL; ConfigError, saying what to do, when there is none.

    `data_dir` is that of the service whose embedded server is meant, by default INGEST_SERVICE_DATA_DIR or
    `var`.
    """
    if url:
        return url
    if data_dir is None and (named := os.environ.get(_URL)):
        return named
    folder = Path(data_dir or os.environ.get(_DATA_DIR) or "var")
    running = embedded_url_of(folder)
    if running is None:
        raise ConfigError(
            f"no database: give a URL, or set {_URL}, or start the service (`ingest run`); "
            f"no embedded PostgreSQL runs under {folder.absolute()}"
        )
    return running
