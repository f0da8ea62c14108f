"""The image, as far as it can be known without an engine: judged by hadolint, and its steps carried out."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.deploy.containerfile import FILE, Build, in_context, steps, words_of
from tests.deploy.pods import OVERLAYS, pod
from tests.deploy.tools import REPOSITORY, hadolint, run

FINAL = 1
BUILD_TOOLS = ("pip", "hatchling", "editables")
MOST_MIB = 260


def test_hadolint_has_nothing_to_say() -> None:
    """Every rule of its, none left out."""
    code, said = run(hadolint(), "--no-color", FILE)

    assert (code, said) == (0, "")


def test_image_runs_as_the_user_that_the_manifests_name() -> None:
    """By number, which Kubernetes can tell from root, and who owns the data folder."""
    (user,) = words_of("USER", FINAL)
    (made,) = words_of("RUN", FINAL)
    for overlay in OVERLAYS:
        security = pod(overlay, "ingest").spec["securityContext"]
        assert user == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert "--owner 10001 --group 10001" in made


def test_image_asks_itself_whether_it_is_alive() -> None:
    """At the port that it serves, the question whose answer another start may change."""
    (check,) = words_of("HEALTHCHECK", FINAL)
    (environment,) = (words for words in words_of("ENV", FINAL) if "INGEST_" in words)
    command = json.loads(check.partition("CMD ")[2])

    assert command[:2] == ["python", "-c"]
    compile(command[2], "healthcheck", "exec")
    assert "http://127.0.0.1:8080/livez" in command[2]
    assert "INGEST_SERVICE_HTTP_PORT=8080" in environment
    assert words_of("EXPOSE", FINAL) == ["8080"]
    assert words_of("STOPSIGNAL", FINAL) == ["SIGTERM"]


def test_image_is_made_of_what_is_locked() -> None:
    """Hashes are asked for, nothing is compiled, and one base serves both stages."""
    installs = [step.words for step in steps() if step.verb == "RUN" and "pip install" in step.words]

    assert len({words.split()[0] for stage in (0, 1) for words in words_of("FROM", stage)}) == 1
    assert "--require-hashes -r requirements.lock" in installs[0]
    assert "--only-binary :all:" in installs[0]
    assert "--no-deps --no-build-isolation" in installs[1]


def test_engine_is_sent_the_sources_and_nothing_else() -> None:
    """No history, no tests, no data, no configuration of somebody's own with its passwords."""
    sent = {path.name for path in REPOSITORY.iterdir() if in_context(path)}

    assert sent == {"requirements.lock", "pyproject.toml", "README.md", "LICENSE", "sql", "ingest"}
    assert not in_context(REPOSITORY / "ingest" / "cli" / "__pycache__" / "run.cpython-313.pyc")
    assert in_context(REPOSITORY / "ingest" / "cli" / "run.py")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """/opt/ingest as the steps make it."""
    build = Build(tmp_path_factory.mktemp("container"))
    build.carry_out()
    return build.made


def in_image(built: Path, *command: str, folder: Path) -> str:
    """What a program of the image says, in an empty folder and with its variables only."""
    done = subprocess.run(
        [str(built / "bin" / command[0]), *command[1:]],
        cwd=folder,
        env={"PATH": f"{built / 'bin'}:/usr/bin:/bin", "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(900)
def test_steps_make_a_program_that_works(built: Path, tmp_path: Path) -> None:
    """In an empty folder, from the wheel: the command, the SQL, the migrations, and all that is no Python."""
    assert "Usage: ingest" in in_image(built, "ingest", "--help", folder=tmp_path)
    look = (
        "from ingest.store.migrate import load_migrations; from ingest.store.statements import sql_folder;"
        "from ingest.config import load_settings; load_settings();"
        "print(len(load_migrations()), sql_folder())"
    )
    migrations, folder = in_image(built, "python", "-c", look, folder=tmp_path).split()
    assert int(migrations) == len([*(REPOSITORY / "sql" / "migrations").glob("*.sql")])
    assert Path(folder).is_relative_to(built)


@pytest.mark.timeout(900)
def test_image_has_every_file_of_the_package(built: Path) -> None:
    """Pages, recordings, documents: what lies in the package is found beside it."""
    (package,) = built.glob("lib/python3.*/site-packages/ingest")
    sources = {
        path.relative_to(REPOSITORY / "ingest")
        for path in (REPOSITORY / "ingest").rglob("*")
        if path.is_file() and in_context(path)
    }
    there = {path.relative_to(package) for path in package.rglob("*") if path.is_file()}

    assert sources - there == set()


@pytest.mark.timeout(900)
def test_image_is_small_and_ready_for_a_disk_that_cannot_be_written(built: Path) -> None:
    """No tools to build with; each module is compiled, in a way that no change of times undoes."""
    (site,) = built.glob("lib/python3.*/site-packages")
    files = [path for path in site.rglob("*") if path.is_file()]
    modules = list((site / "ingest").rglob("*.py"))
    compiled = {re.sub(r"\.cpython-\d+$", "", path.stem) for path in (site / "ingest").rglob("*.pyc")}

    assert not any((site / name).exists() for name in BUILD_TOOLS)
    assert {path.stem for path in modules} <= compiled
    assert sum(path.stat().st_size for path in files) < MOST_MIB * 2**20
