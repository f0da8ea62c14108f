"""What a shard is told to do: a file that the supervisor writes and the shard reads once.

It holds the shard's part of the plan and the resolved settings, so that a shard which is started
again does what it did before, whatever has become of the configuration file meanwhile. The one
secret, the database's URL with its password, is not in it: that travels in the environment
(`DATABASE_URL_VARIABLE`). Where a file holds the password, the URL has the name of the file alone.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import orjson
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from ingest.config import Settings
from ingest.errors import ConfigError
from ingest.events import StreamKey
from ingest.shard.plan import FeedPlan, ShardPlan

DATABASE_URL_VARIABLE = "INGEST_DATABASE_URL"


class ShardJob(BaseModel):
    """Settings carry the database's URL again once the job is loaded."""

    model_config = ConfigDict(frozen=True)

    plan: ShardPlan
    settings: Settings
    symbol_ids: dict[str, int]


def job_path(data_dir: Path, shard: int) -> Path:
    """Where the job of a shard lies under the data folder."""
    return data_dir / "run" / f"shard-{shard}.json"


def write_job(path: Path, plan: ShardPlan, settings: Settings, symbol_ids: Mapping[str, int]) -> None:
    """Write the job without its secret; the file appears whole or not at all."""
    public = settings.model_dump(
        mode="json", exclude={"database": {"url", "password", "password_file"}, "http": True}
    )
    feeds = [
        {"feed": feed.feed, "line": feed.line, "streams": [list(key) for key in feed.streams]}
        for feed in plan.feeds
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    ids = {symbol: symbol_ids[symbol] for symbol in {key.symbol for key in plan.streams}}
    draft.write_bytes(
        orjson.dumps({"shard": plan.shard, "feeds": feeds, "symbol_ids": ids, "settings": public})
    )
    draft.replace(path)


def load_job(path: Path, database_url: str) -> ShardJob:
    """Read a job. Raises ConfigError when it cannot be read or is not one."""
    try:
        tree = orjson.loads(path.read_bytes())
        settings = Settings.model_validate(tree["settings"])
        feeds = tuple(
            FeedPlan(feed["feed"], tuple(StreamKey(*key) for key in feed["streams"]), feed["line"])
            for feed in tree["feeds"]
        )
        database = settings.database.model_copy(update={"url": SecretStr(database_url)})
        return ShardJob(
            plan=ShardPlan(tree["shard"], feeds),
            settings=settings.model_copy(update={"database": database}),
            symbol_ids=tree["symbol_ids"],
        )
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValidationError) as error:
        raise ConfigError(f"{path}: not a shard's job: {error}") from error


def database_url_from_environment() -> str:
    """The URL that the supervisor has put into this process's environment."""
    return os.environ.get(DATABASE_URL_VARIABLE, "")
