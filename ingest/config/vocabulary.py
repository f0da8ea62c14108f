"""What several tables of the configuration share: kinds, addresses, spans. Pure."""

from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
)

from ingest.binance.streams import is_kind

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
Tree: TypeAlias = dict[str, JsonValue]
EVERY_OTHER_KIND = "*"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


def known_kind(kind: str) -> str:
    if not is_kind(kind):
        raise ValueError(
            f"unknown kind {kind!r}: trade, agg_trade, book_ticker, depth, kline_1m (any interval), "
            "mini_ticker, ticker, avg_price"
        )
    return kind


def _url_with(schemes: tuple[str, ...], url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(f"expected {' or '.join(scheme + '://host' for scheme in schemes)}")
    return url.rstrip("/")


def words_in(text: str) -> JsonValue:
    words: list[JsonValue] = [word.strip() for word in text.split(",")]
    return [word for word in words if word]


Kind: TypeAlias = Annotated[str, AfterValidator(known_kind)]
WebsocketUrl: TypeAlias = Annotated[str, AfterValidator(lambda url: _url_with(("wss", "ws"), url))]
RestUrl: TypeAlias = Annotated[str, AfterValidator(lambda url: _url_with(("https", "http"), url))]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=86_400)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]
