"""A recorded demo session to read, and notebooks executed on it."""

import ast
import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import asyncpg
import nbformat
from nbclient import NotebookClient

from ingest.cli.demo_processes import data_dir
from ingest.cli.notebooks import recorded_session
from ingest.store.embedded import EmbeddedPostgres
from tests.simulation.service import environment

FOLDER = Path(__file__).parents[2] / "notebooks"
_DEMO = ("--duration", "30", "--symbols", "24", "--rate", "900")
_CELL_S = 120
_COMMAND_S = 60.0


class Executed(NamedTuple):
    """What a notebook has shown: pictures, all text, and its last answer, the numbers."""

    images: int
    text: str
    sums: dict[str, object]


class Session:
    """The database of a session, asked directly."""

    def __init__(self, url: str, private: Path) -> None:
        self.url = url
        self._private = private

    def value(self, query: str, *arguments: object) -> object:
        """The only value of the only row."""
        return asyncio.run(self._value(query, *arguments))

    async def _value(self, query: str, *arguments: object) -> object:
        connection = await asyncpg.connect(self.url, timeout=_COMMAND_S, command_timeout=_COMMAND_S)
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close(timeout=_COMMAND_S)

    def execute(self, name: str) -> Executed:
        """Run all cells in a kernel of its own, with a reader's rights; an error there is one here."""
        path = FOLDER / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        place = {"metadata": {"path": str(FOLDER)}}
        client = NotebookClient(
            notebook, timeout=_CELL_S, startup_timeout=_CELL_S, kernel_name="python3", resources=place
        )
        url = f"{self.url}&options={quote('-c role=ingest_reader')}"
        client.execute(env=environment(INGEST_DATABASE_URL=url, IPYTHONDIR=str(self._private)))
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        stderr = [output.text for output in outputs if output.get("name") == "stderr"]
        assert not stderr, stderr
        texts = [output.get("text") or output.data.get("text/plain", "") for output in outputs]
        images = [output for output in outputs if "image/png" in output.get("data", {})]
        return Executed(len(images), "\n".join(texts), ast.literal_eval(texts[-1]))


@contextmanager
def recorded(folder: Path, private: Path) -> Iterator[Session]:
    """What `ingest notebooks` records where there is no database, with its server running.

    `private` is for what kernels write for themselves.
    """
    session = recorded_session(folder, _DEMO)
    server = EmbeddedPostgres(data_dir(session) / "postgres", durable=False)
    with asyncio.Runner() as runner:
        url = runner.run(server.start())
        try:
            yield Session(url, private)
        finally:
            runner.run(server.stop())
