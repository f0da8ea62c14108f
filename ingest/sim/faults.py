"""Faults as data: what shall go wrong, where, when and for how long; read from TOML or JSON.

Pure. `injection` carries them out. A script is a list of tables named `fault`:

    [[fault]]
    action = "mute_stream"
    at_s = 10          # after the start of the exchange (live: after the request); default 0
    for_s = 20         # default: until lifted
    symbol = "BTCUSDT" # which streams; default all
    kind = "trade"
    connection = 2     # which connection, by its number; default all
    fraction = 0.5     # of the frames, streams, connections or requests that the action is about

Unknown actions and keys, wrong types and impossible values are all reported at once (`FaultError`).
"""

import dataclasses
import tomllib
from collections.abc import Mapping
from typing import ClassVar, Literal, TypeAlias, get_args, get_origin

Until: TypeAlias = Literal["lifted", "reconnect", "resubscribe"]
NoticeForm: TypeAlias = Literal["own", "raw", "combined"]
Damage: TypeAlias = Literal["truncated", "non_utf8", "unknown_event", "wrong_type", "oversized", "altered"]


class FaultError(ValueError):
    """A fault's description is wrong; `mistakes` lists everything that is."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What all faults have: when, and where. An empty selector means everything."""

    action: ClassVar[str] = ""

    at_s: float = 0.0
    for_s: float | None = None
    symbol: str | None = None
    kind: str | None = None
    connection: int | None = None
    fraction: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MuteStream(Fault):
    """Matching streams are silent: on the connections that carry them when it begins (until these
    reconnect, or subscribe again), or on all until lifted."""

    action: ClassVar[str] = "mute_stream"
    until: Until = "reconnect"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MuteFeed(Fault):
    """The connections that are there when it begins carry no data any more; pings and replies go on."""

    action: ClassVar[str] = "mute_feed"
    until: Until = "reconnect"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HalfOpen(Fault):
    """The server neither reads nor writes on the connections any more, and does not close them."""

    action: ClassVar[str] = "half_open"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Fault):
    """The connections are reset (TCP RST)."""

    action: ClassVar[str] = "reset"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Close(Fault):
    """The connections are closed with a websocket close frame."""

    action: ClassVar[str] = "close"
    code: int = 1001
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown(Fault):
    """`serverShutdown` is sent, and the connections are closed `close_after_s` later.

    The documentation shows two forms of it; `own` is that of the connection.
    """

    action: ClassVar[str] = "server_shutdown"
    close_after_s: float | None = 5.0
    form: NoticeForm = "own"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Drop(Fault):
    """Frames are lost; `n` is how many at most."""

    action: ClassVar[str] = "drop"
    n: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(Fault):
    """Frames are sent twice; `n` is how many at most."""

    action: ClassVar[str] = "duplicate"
    n: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reorder(Fault):
    """A frame is sent after the next `by` frames of its stream and connection."""

    action: ClassVar[str] = "reorder"
    n: int | None = None
    by: int = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Malformed(Fault):
    """A damaged copy is sent before the frame, or (with `replace`) in its place."""

    action: ClassVar[str] = "malformed"
    n: int | None = None
    damage: Damage = "truncated"
    replace: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(Fault):
    """New websocket connections are refused: with an HTTP status, or closed at once when it is 0."""

    action: ClassVar[str] = "refuse"
    status: int = 503
    n: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RestFault(Fault):
    """REST answers wrongly. `path` is the call (`depth`); status 200 only delays or makes stale.

    With `html` the body is an HTML page. With `stale` the depth call answers with the book of the
    moment when the fault began, with `empty` with a book of no levels. `silent` closes the connection
    without an answer.
    """

    action: ClassVar[str] = "rest"
    path: str | None = None
    status: int = 503
    code: int = -1000
    message: str = "An unknown error occurred while processing the request."
    retry_after_s: int | None = None
    delay_s: float = 0.0
    html: bool = False
    stale: bool = False
    empty: bool = False
    silent: bool = False
    n: int | None = None


_ACTIONS: dict[str, type[Fault]] = {
    kind.action: kind
    for kind in (
        MuteStream,
        MuteFeed,
        HalfOpen,
        Reset,
        Close,
        Shutdown,
        Drop,
        Duplicate,
        Reorder,
        Malformed,
        Refuse,
        RestFault,
    )
}


def faults_from_toml(text: str) -> tuple[Fault, ...]:
    """The faults of a script."""
    try:
        script = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FaultError([f"not TOML: {error}"]) from error
    return faults_from_script(script)


def faults_from_script(script: Mapping[str, object]) -> tuple[Fault, ...]:
    """The faults of a script that has been parsed already; mistakes carry the place of the fault."""
    tables = script.get("fault", [])
    mistakes = [f"unknown key {key!r} beside [[fault]]" for key in script if key != "fault"]
    faults: list[Fault] = []
    if not isinstance(tables, list):
        raise FaultError([*mistakes, "`fault` must be a list of tables"])
    for number, table in enumerate(tables, 1):
        try:
            faults.append(fault_from(table))
        except FaultError as error:
            mistakes += [f"fault {number}: {mistake}" for mistake in error.mistakes]
    if mistakes:
        raise FaultError(mistakes)
    return tuple(faults)


def fault_from(table: object) -> Fault:
    """One fault from a mapping with `action` and its fields."""
    if not isinstance(table, Mapping):
        raise FaultError(["must be a table"])
    action = table.get("action")
    kind = _ACTIONS.get(action) if isinstance(action, str) else None
    if kind is None:
        raise FaultError([f"unknown action {action!r}; known are {', '.join(_ACTIONS)}"])
    given = {str(key): value for key, value in table.items() if key != "action"}
    fields = {field.name: field for field in dataclasses.fields(kind)}
    mistakes = [f"{action} has no {key!r}" for key in given if key not in fields]
    for name, value in given.items():
        if name in fields:
            mistakes += _mistakes(name, value, fields[name].type)
    if mistakes:
        raise FaultError(mistakes)
    return kind(**given)


def fault_as_dict(fault: Fault) -> dict[str, object]:
    """The fault as a mapping that `fault_from` reads; fields at their defaults are left out."""
    given = {
        field.name: getattr(fault, field.name)
        for field in dataclasses.fields(fault)
        if getattr(fault, field.name) != field.default
    }
    return {"action": fault.action, **given}


_RANGES: dict[str, tuple[float, float]] = {
    "fraction": (0.0, 1.0),
    "status": (0, 599),
    "code": (-9999, 4999),
    "by": (1, 1000),
    "n": (1, 10**9),
    "connection": (1, 10**9),
}


def _mistakes(name: str, value: object, wanted: object) -> list[str]:
    options = get_args(wanted) or (wanted,)
    if get_origin(wanted) is Literal:
        return [] if value in options else [f"{name} must be one of {', '.join(map(str, options))}"]
    if not any(_is_a(value, option) for option in options):
        return [f"{name} must be {_named(options)}, not {value!r}"]
    low, high = _RANGES.get(name, (0.0, float("inf")))
    if isinstance(value, int | float) and not isinstance(value, bool) and not low <= value <= high:
        return [f"{name} must be between {low:g} and {high:g}, not {value!r}"]
    return []


def _is_a(value: object, wanted: object) -> bool:
    if wanted is type(None):
        return value is None
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(wanted, type) and isinstance(value, wanted)


def _named(options: tuple[object, ...]) -> str:
    names = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
    return " or ".join(names[option] for option in options if option in names)
