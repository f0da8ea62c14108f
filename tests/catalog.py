"""All that a database says of its schema, as lines that can be compared, and as a page to read.

    python -m tests.catalog      writes sql/SCHEMA.md anew (`make schema`)

Looks at the catalogs alone. Partitions that are made as time goes by are left out; the default ones are not.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ingest.store.embedded import EmbeddedPostgres
from ingest.store.migrate import migrate
from ingest.store.sessions import connected

if TYPE_CHECKING:
    import asyncpg

    from ingest.store.sessions import Connection

PAGE: Final = Path(__file__).parents[1] / "sql" / "SCHEMA.md"

_OURS: Final = "('spot', 'spot_raw', 'usdm', 'usdm_raw', 'ops')"
_RELATIONS: Final = f"""
    SELECT c.*, n.nspname || '.' || c.relname AS place
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname IN {_OURS}
        AND (NOT c.relispartition OR pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT')
"""
_FUNCTIONS: Final = f"""
    SELECT p.*, n.nspname || '.' || p.proname AS place, pg_get_function_identity_arguments(p.oid) AS arguments
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname IN {_OURS}
"""
_SCHEMAS: Final = f"SELECT n.* FROM pg_namespace AS n WHERE n.nspname IN {_OURS}"


def _sorted_rights(column: str) -> str:
    """Rights are listed in the order in which they were granted, which means nothing."""
    return f"ARRAY(SELECT one::text FROM unnest({column}) AS one ORDER BY 1)"


_LINES: Final = f"""
WITH r AS MATERIALIZED ({_RELATIONS}), f AS MATERIALIZED ({_FUNCTIONS}), s AS MATERIALIZED ({_SCHEMAS})
SELECT format('schema %s: %s', nspname, obj_description(oid, 'pg_namespace')) FROM s
UNION ALL
SELECT format('relation %s %s %s %s: %s',
    place, relkind, relpersistence, reloptions, obj_description(oid, 'pg_class'))
FROM r WHERE relkind <> 'i' AND relkind <> 'I'
UNION ALL
SELECT format('column %s.%s %s %s not null %s default %s identity %s generated %s: %s',
    r.place, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated, col_description(r.oid, a.attnum))
FROM r JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = r.oid AND d.adnum = a.attnum
WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT format('constraint %s %s %s valid %s', r.place, c.conname, pg_get_constraintdef(c.oid), c.convalidated)
FROM r JOIN pg_constraint AS c ON c.conrelid = r.oid
UNION ALL
SELECT format('index %s %s', r.place, pg_get_indexdef(i.indexrelid))
FROM r JOIN pg_index AS i ON i.indrelid = r.oid
UNION ALL
SELECT format('partitioned %s %s', place, pg_get_partkeydef(oid)) FROM r WHERE relkind = 'p'
UNION ALL
SELECT format('view %s %s', place, pg_get_viewdef(oid)) FROM r WHERE relkind IN ('v', 'm')
UNION ALL
SELECT format('trigger %s %s', r.place, pg_get_triggerdef(t.oid))
FROM r JOIN pg_trigger AS t ON t.tgrelid = r.oid AND NOT t.tgisinternal
UNION ALL
SELECT format('function %s', pg_get_functiondef(oid)) FROM f WHERE prokind IN ('f', 'p')
UNION ALL
SELECT format('function %s(%s): %s', place, arguments, obj_description(oid, 'pg_proc')) FROM f
UNION ALL
SELECT format('rights of %s: %s', place, {_sorted_rights("relacl")}) FROM r WHERE relacl IS NOT NULL
UNION ALL
SELECT format('rights of %s(%s): %s', place, arguments, {_sorted_rights("proacl")})
FROM f WHERE proacl IS NOT NULL
UNION ALL
SELECT format('rights of %s: %s', nspname, {_sorted_rights("nspacl")}) FROM s WHERE nspacl IS NOT NULL
"""

# What readers meet: spot_raw may change, and is left out.
_READ_RELATIONS: Final = f"""
SELECT r.oid, r.place, obj_description(r.oid, 'pg_class') AS words,
    CASE r.relkind WHEN 'v' THEN 'view' ELSE 'table' END AS sort
FROM ({_RELATIONS}) AS r
WHERE r.relkind IN ('r', 'p', 'v', 'm') AND r.place NOT LIKE '%\\_raw.%'
ORDER BY r.place LIKE 'ops.%', r.place
"""
_READ_COLUMNS: Final = """
SELECT
    attname::text AS name,
    format_type(atttypid, atttypmod) AS type_name,
    col_description(attrelid, attnum) AS words
FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_READ_FUNCTIONS: Final = f"""
SELECT
    f.place,
    f.arguments,
    pg_get_function_result(f.oid) AS result,
    obj_description(f.oid, 'pg_proc') AS words
FROM ({_FUNCTIONS}) AS f
WHERE f.place NOT LIKE '%\\_raw.%' AND f.prokind IN ('f', 'p')
ORDER BY f.place LIKE 'ops.%', f.place, f.arguments
"""

_HEAD: Final = """\
# The schema, as its readers meet it

Made of a migrated database by `make schema`; a test compares the two. Schema `spot` is the contract with
readers, `ops` says how the service is. In more words: the README, "Reading the data".
"""


async def lines_of(connection: "Connection") -> list[str]:
    """Everything that migrations make, sorted: two databases have the same schema if these are the same."""
    return sorted(row[0] for row in await connection.fetch(_LINES))


async def uncommented(connection: "Connection") -> list[str]:
    """Relations, columns and functions that readers meet and that have no comment."""
    found: list[str] = []
    for relation in await connection.fetch(_READ_RELATIONS):
        found += [relation["place"]] if not relation["words"] else []
        columns = await connection.fetch(_READ_COLUMNS, relation["oid"])
        found += [f"{relation['place']}.{column['name']}" for column in columns if not column["words"]]
    functions = await connection.fetch(_READ_FUNCTIONS)
    return found + [f"{each['place']}({each['arguments']})" for each in functions if not each["words"]]


async def page_of(connection: "Connection") -> str:
    """The reference for people."""
    parts = [_HEAD]
    for relation in await connection.fetch(_READ_RELATIONS):
        columns = await connection.fetch(_READ_COLUMNS, relation["oid"])
        parts.append(
            f"\n## `{relation['place']}`\n\n{relation['words']} ({relation['sort']}).\n\n{_table(columns)}"
        )
    parts.append("\n## Functions\n\n| function | answer | what it says |\n|---|---|---|\n")
    for each in await connection.fetch(_READ_FUNCTIONS):
        call = f"`{each['place']}({each['arguments']})`"
        parts.append(f"| {call} | `{each['result']}` | {_cell(each['words'])} |\n")
    return "".join(parts)


def _table(columns: "Sequence[asyncpg.Record]") -> str:
    rows = [f"| {each['name']} | {each['type_name']} | {_cell(each['words'])} |\n" for each in columns]
    return "| column | type | what it says |\n|---|---|---|\n" + "".join(rows)


def _cell(words: str | None) -> str:
    return (words or "").replace("|", "\\|")


async def _write_page() -> None:
    with tempfile.TemporaryDirectory(prefix="ingest-schema-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", durable=False)
        url = await server.start()
        try:
            await migrate(url, deadline_s=60)
            async with connected(url) as connection:
                PAGE.write_text(await page_of(connection), encoding="utf-8")
        finally:
            await server.stop()


if __name__ == "__main__":
    asyncio.run(_write_page())
