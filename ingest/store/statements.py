"""SQL by name. Every statement of the program stands in `sql/queries`, introduced by `-- name:`.

An installed wheel finds the files below the package, a checkout beside it. Nothing here, and nothing
that uses it, puts SQL together from pieces: statements have parameters, or there are several.
"""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import ingest
from ingest.errors import SchemaMismatch

_NAME: Final = re.compile(r"^-- name: *([a-z0-9_]+) *$", re.MULTILINE)


def sql_folder() -> Path:
    """The folder with `migrations` and `queries`; SchemaMismatch when the installation has none."""
    package = Path(ingest.__file__).parent
    for folder in (package / "_sql", package.parent / "sql"):
        if (folder / "queries").is_dir():
            return folder
    raise SchemaMismatch("this installation lacks its SQL files: install the package again")


def statement(name: str) -> str:
    """The text of one named statement; KeyError naming it, and its likely meaning, when there is none."""
    try:
        return _statements()[name]
    except KeyError:
        raise KeyError(f"no SQL statement named {name!r} in {sql_folder() / 'queries'}") from None


@functools.cache
def _statements() -> Mapping[str, str]:
    found: dict[str, str] = {}
    for file in sorted((sql_folder() / "queries").glob("*.sql")):
        for name, text in parse_statements(file.read_text(encoding="utf-8")):
            if name in found:
                raise ValueError(f"two SQL statements are named {name!r}; the second is in {file.name}")
            found[name] = text
    return MappingProxyType(found)


def parse_statements(text: str) -> list[tuple[str, str]]:
    """Split a file into (name, statement); what stands before the first name is commentary."""
    _, *pieces = _NAME.split(text)
    return [(name, body.strip()) for name, body in zip(pieces[::2], pieces[1::2], strict=True)]
