"""`ingest.shard.job`: what the supervisor writes is what the shard reads, without the secret."""

from pathlib import Path

import orjson
import pytest

from ingest.config import Settings, load_settings
from ingest.errors import ConfigError
from ingest.events import StreamKey
from ingest.shard.job import job_path, load_job, write_job
from ingest.shard.plan import FeedPlan, ShardPlan

SECRET_URL = "postgresql://ingest:s3cret@db.example/ingest"
PLAN = ShardPlan(
    1,
    (
        FeedPlan(2, (StreamKey("spot", "BTCUSDT", "trade"), StreamKey("spot", "BTCUSDT", "depth"))),
        FeedPlan(3, (StreamKey("spot", "币安人生USDT", "trade"),), line=2),
    ),
)
IDS = {"BTCUSDT": 7, "币安人生USDT": 8, "ETHUSDT": 9}


def written(tmp_path: Path) -> Path:
    settings = load_settings(
        environment={
            "INGEST_DATABASE_URL": SECRET_URL,
            "INGEST_SERVICE_DATA_DIR": str(tmp_path),
            "INGEST_SILENCE_FIXED_S": "{ trade = 4.5 }",
        }
    )
    path = job_path(tmp_path, 1)
    write_job(path, PLAN, settings, IDS)
    return path


def test_shard_reads_what_the_supervisor_wrote(tmp_path: Path) -> None:
    """Plan, settings and the ids of its own symbols."""
    job = load_job(written(tmp_path), SECRET_URL)

    assert job.plan == PLAN
    assert job.symbol_ids == {"BTCUSDT": 7, "币安人生USDT": 8}
    assert job.settings.silence.fixed_for("BTCUSDT", "trade") == 4.5
    assert job.settings.service.data_dir == tmp_path
    assert job.settings.database.url.get_secret_value() == SECRET_URL


def test_secret_is_not_in_the_file(tmp_path: Path) -> None:
    """The database's URL travels in the environment alone."""
    assert "s3cret" not in written(tmp_path).read_text(encoding="utf-8")


def test_secret_that_stands_apart_is_not_in_the_file_either(tmp_path: Path) -> None:
    """Nor is it told to the shard twice: the URL that it gets has it, or the name of its file."""
    environment = {"INGEST_DATABASE_URL": "postgresql://me@db/x", "INGEST_DATABASE_PASSWORD": "s3cret"}
    settings = load_settings(environment=environment)
    path = job_path(tmp_path, 1)
    write_job(path, PLAN, settings, IDS)
    job = load_job(path, settings.database.dsn)

    assert "s3cret" not in path.read_text(encoding="utf-8")
    assert job.settings.database.dsn == settings.database.dsn == "postgresql://me:s3cret@db/x"


def test_who_may_look_at_the_page_is_none_of_a_shard_s_business(tmp_path: Path) -> None:
    """Neither the secrets nor where they lie."""
    settings = load_settings(environment={"INGEST_HTTP_PASSWORD": "s3cret", "INGEST_HTTP_TOKEN": "t0ken"})
    path = job_path(tmp_path, 1)
    write_job(path, PLAN, settings, IDS)

    assert "http" not in orjson.loads(path.read_bytes())["settings"]
    assert load_job(path, SECRET_URL).settings.http == Settings().http


def test_job_appears_whole(tmp_path: Path) -> None:
    """No draft is left beside it."""
    assert [path.name for path in written(tmp_path).parent.iterdir()] == ["shard-1.json"]


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"settings": {"service": {"shards": 0}}}'])
def test_file_that_is_no_job_is_refused(tmp_path: Path, text: str | None) -> None:
    """With the path, so that somebody can look."""
    path = tmp_path / "shard-0.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"shard-0\.json: not a shard's job"):
        load_job(path, SECRET_URL)


def test_job_with_half_a_plan_is_refused(tmp_path: Path) -> None:
    """Every part of it is missed, whichever it is."""
    path = written(tmp_path)
    whole = path.read_text(encoding="utf-8")
    for key in ("shard", "feeds", "symbol_ids", "settings"):
        path.write_text(whole.replace(f'"{key}":', f'"no_{key}":'), encoding="utf-8")
        with pytest.raises(ConfigError, match="not a shard's job"):
            load_job(path, SECRET_URL)
