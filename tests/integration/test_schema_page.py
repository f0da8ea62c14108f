"""The schema that is documented is the one that migrations make."""

from ingest.store.sessions import connected
from tests.catalog import PAGE, page_of, uncommented


async def test_page_shows_the_schema_that_migrations_make(migrated_url: str) -> None:
    """sql/SCHEMA.md is what a migrated database says, word for word: `make schema` writes it."""
    async with connected(migrated_url) as connection:
        assert PAGE.read_text(encoding="utf-8") == await page_of(connection), "run `make schema`"


async def test_all_that_readers_meet_is_commented(migrated_url: str) -> None:
    """Every relation, column and function outside the raw schemas has words about it."""
    async with connected(migrated_url) as connection:
        assert await uncommented(connection) == []
