"""What there is to configure, read from the code: every key with its default, unit and reason.

Decides nothing: `ingest.config` has the keys, and the reason of each stands below it there. Two forms, which
`make docs` writes and a test compares: a reference in Markdown, and an `ingest.toml` in which every key is a
comment, so that the file as it is changes nothing.
"""

import ast
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from inspect import cleandoc, getmodule, getsource
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Final, Literal, NamedTuple, get_args, get_origin

import annotated_types
import orjson
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from ingest import config
from ingest.config import Settings
from ingest.ops.logs import redact_text

HIDDEN: Final = "***"
_WIDTH: Final = 110


class Key(NamedTuple):
    """One key. `default` is a TOML value; `unit` and `allowed` are empty where there is nothing to say."""

    name: str
    default: str
    unit: str
    allowed: str
    reason: str


class Section(NamedTuple):
    """One table of the file, such as `storage.keep_days`."""

    name: str
    about: str
    keys: tuple[Key, ...]


# ---------------------------------------------------------------------- what there is


def sections() -> list[Section]:
    """All tables, in the order of the code, those within others behind them."""
    return [
        section for name, field in Settings.model_fields.items() for section in _sections(name, field.default)
    ]


def _sections(name: str, table: BaseModel) -> Iterator[Section]:
    """A table and those in it; `table` is its default."""
    model = type(table)
    keys = tuple(
        _key(name, model, key, field)
        for key, field in model.model_fields.items()
        if not _is_table(key, getattr(table, key))
    )
    yield Section(name, " ".join(cleandoc(model.__doc__ or "").split()), keys)
    for key in model.model_fields:
        inner = getattr(table, key)
        if _is_table(key, inner):
            yield from _sections(f"{name}.{key}", inner)


def secret_keys() -> list[str]:
    """The keys whose values are never shown, with their tables."""
    return [
        f"{name}.{key}"
        for name, table in Settings.model_fields.items()
        for key, field in type(table.default).model_fields.items()
        if "SecretStr" in str(field.annotation)
    ]


def _is_table(key: str, default: object) -> bool:
    """A union with a table in it is a value all the same."""
    return isinstance(default, BaseModel) and key != "symbols"


def _key(section: str, model: type[BaseModel], key: str, field: FieldInfo) -> Key:
    default = field.get_default(call_default_factory=True)
    reason = _reasons(model).get(key, "")
    return Key(key, toml_value(default), unit_of(f"{section}.{key}", field), _allowed(field), reason)


def _reasons(model: type[BaseModel]) -> Mapping[str, str]:
    """By key, of the bases too: the text below the key."""
    known: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if (module := getmodule(each)) is not None and module.__name__.startswith(config.__name__):
            known |= _reasons_in(module).get(each.__name__, {})
    return known


@cache
def _reasons_in(module: ModuleType) -> Mapping[str, Mapping[str, str]]:
    """By class and key. Read from the source, as Python itself forgets it."""
    return {
        node.name: {
            name: reason
            for key, text in zip(node.body, node.body[1:], strict=False)
            if (name := _annotated_name(key)) and (reason := _text(text))
        }
        for node in ast.parse(getsource(module)).body
        if isinstance(node, ast.ClassDef)
    }


def _annotated_name(node: ast.stmt) -> str:
    return node.target.id if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else ""


def _text(node: ast.stmt) -> str:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    value = node.value.value if is_text else None  # type: ignore[attr-defined]
    return " ".join(value.split()) if isinstance(value, str) else ""


_BY_ENDING: Final = (
    ("_hours", "hours"),
    ("_days", "days"),
    ("_mib", "MiB"),
    ("_s", "s"),
    ("share", "share"),
    ("share_critical", "share"),
    ("_levels", "levels a side"),
    ("_limit", "levels a side"),
)
_UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "database.connections": "connections",
        "service.http_port": "port",
        "service.shards": "processes",
        "batch.rows": "rows",
        "batch.bytes": "bytes",
        "capture.level": "level",
        "limits.connects_per_5_min": "connections in 5 min",
        "limits.weight_per_min": "weight a minute",
        "silence.factor": "times",
        "spot.redundancy": "lines",
        "spot.streams_per_feed": "streams",
        "spot.deepest_books": "books",
        "alerts.feed_reconnects": "times",
        "alerts.shard_restarts": "times",
        "alerts.burst": "messages",
        "alerts.per_hour": "messages an hour",
    }
)


def unit_of(path: str, field: FieldInfo) -> str:
    """Of a number, by its name or that of its table; empty for what is no number."""
    table, _, key = path.rpartition(".")
    if path in _UNITS:
        return _UNITS[path]
    if field.annotation not in {int, float} and get_origin(field.annotation) is not dict:
        return ""
    endings = [unit for name in (key, table) for ending, unit in _BY_ENDING if name.endswith(ending)]
    return endings[0] if endings else ""


def _allowed(field: FieldInfo) -> str:
    """Bounds and choices."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(toml_value(choice) for choice in get_args(field.annotation))
    if field.annotation is bool:
        return "true, false"
    least = next((_bound(bound) for bound in field.metadata if _is_lower(bound)), "")
    most = next((f"{bound.le:,g}" for bound in field.metadata if isinstance(bound, annotated_types.Le)), "")
    return f"{least} to {most}" if least and most else f"{least} or more" if least else ""


def _is_lower(bound: object) -> bool:
    return isinstance(bound, annotated_types.Ge | annotated_types.Gt)


def _bound(bound: annotated_types.Ge | annotated_types.Gt) -> str:
    return f"{bound.ge:,g}" if isinstance(bound, annotated_types.Ge) else f"above {bound.gt:,g}"


# ---------------------------------------------------------------------- TOML


def toml_value(value: object) -> str:
    """A value as TOML writes it; what may be secret is hidden unless it is empty."""
    if isinstance(value, SecretStr):
        return toml_value(HIDDEN if value.get_secret_value() else "")
    if isinstance(value, BaseModel):
        return toml_value({name: getattr(value, name) for name in type(value).model_fields})
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_bare(str(key))} = {toml_value(each)}" for key, each in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(each) for each in value)}]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | Path):
        # A basic string of TOML escapes what a string of JSON does.
        return orjson.dumps(str(value)).decode()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bare(key: str) -> str:
    return key if key.isascii() and key.replace("_", "").isalnum() else orjson.dumps(key).decode()


_TEMPLATE_HEAD: Final = """\
Every key with its default, as a comment: this file as it is changes nothing. `ingest config --template` has
written it; `ingest config` shows what is in force. Each key can be overridden by a variable that is named
after table and key, such as INGEST_SPOT_SYMBOLS=BTCUSDT,ETHUSDT."""


def annotated_toml() -> str:
    """The file with everything in it commented."""
    lines = [*_commented(_TEMPLATE_HEAD)]
    for section in sections():
        lines += ["", *_commented(section.about), f"[{section.name}]"]
        for key in section.keys:
            about = [*_commented(" ".join(filter(None, (_plain(key.reason), _measure(key)))))]
            lines += ["", *about, f"#{key.name} = {key.default}"]
    return "\n".join(lines) + "\n"


def _commented(text: str) -> list[str]:
    return textwrap.wrap(
        _plain(text), _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )


def _plain(text: str) -> str:
    return text.replace("`", "").replace("[apprise](https://github.com/caronc/apprise)", "apprise")


def _measure(key: Key) -> str:
    words = ", ".join(filter(None, (key.unit, key.allowed)))
    return f"({words})" if words else ""


def effective_toml(settings: Settings, read_from: Sequence[str]) -> str:
    """What is in force, secrets hidden; what differs from the default says so."""
    lines = [f"# read from: {', '.join(read_from) or 'nothing; these are the defaults'}"]
    for section in sections():
        lines += ["", f"[{section.name}]"]
        table: object = settings
        for name in section.name.split("."):
            table = getattr(table, name)
        for key in section.keys:
            value = _shown(key.name, getattr(table, key.name))
            note = "" if value == key.default else f"  # default: {key.default}"
            lines.append(f"{key.name} = {value}{note}")
    return "\n".join(lines) + "\n"


def _shown(key: str, value: object) -> str:
    """An address without the password in it says more than asterisks; whatever else is secret is hidden."""
    is_address = key == "url" and isinstance(value, SecretStr) and "://" in value.get_secret_value()
    text = toml_value(value.get_secret_value() if is_address and isinstance(value, SecretStr) else value)
    return redact_text(text)


# ---------------------------------------------------------------------- Markdown


_REFERENCE_HEAD: Final = """\
# Configuration

<!-- written by `make docs`, from ingest/config -->

One TOML file: `--config`, else `$INGEST_CONFIG`, else `ingest.toml` where there is one. Each key can be
overridden by a variable that is named after table and key, `INGEST_SPOT_SYMBOLS=BTCUSDT,ETHUSDT`; its value
is read as TOML where that works, and as text otherwise, with commas between words. A table within a table is
one value there: `INGEST_STORAGE_KEEP_DAYS='{ depth = 3 }'`. Everything is read once, at the start. All
mistakes are reported together, each with its file (or variable), its key and what is expected; they end the
command with exit code 2.

`ingest config` shows what is in force and where it came from, without secrets. `ingest config --template`
prints [a file](ingest.toml) with every key as a comment. Secrets are
%s:
no log line, error or page repeats them.
"""


def markdown() -> str:
    """The reference."""
    *first, last = [f"`{name}`" for name in secret_keys()]
    parts = [_REFERENCE_HEAD % f"{', '.join(first)} and {last}"]
    for section in sections():
        rows = ["| key | default | unit | allowed | what it is, and why |", "|---|---|---|---|---|"]
        rows += [_row(key) for key in section.keys]
        table = "\n".join(rows) + "\n" if section.keys else ""
        parts.append(f"## {section.name}\n\n{section.about}\n\n{table}")
    return "\n".join(parts).rstrip("\n") + "\n"


def _row(key: Key) -> str:
    cells = (f"`{key.name}`", f"`{key.default}`", key.unit, key.allowed, key.reason)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
