"""A table, and what is known about it."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from ingest.events import StreamKey
from ingest.reader.arrow import MissingPackage, needs

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow as pa


class Answer:
    """Rows in the order of their times, and how far they can be relied on.

    `arrow` is the `pyarrow.Table`; whatever takes Arrow data takes the answer itself
    (`polars.DataFrame(answer)`, DuckDB, `pyarrow.table(answer)`). `stream` is None where no single stream is
    meant. The rows are those of [start, end) at `as_of`, by the database's clock; up to `known_until` nothing
    that the exchange had published is missing but what the caller has let pass. All times are UTC.
    """

    __slots__ = ("arrow", "as_of", "end", "known_until", "start", "stream")

    def __init__(
        self,
        arrow: "pa.Table",
        *,
        as_of: datetime,
        stream: StreamKey | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        known_until: datetime | None = None,
    ) -> None:
        self.arrow = arrow
        self.as_of = as_of
        self.stream = stream
        self.start = start
        self.end = end
        self.known_until = known_until

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __iter__(self) -> Iterator[dict[str, object]]:
        """Each row as a dict; slow, for a few."""
        return iter(self.arrow.to_pylist())

    def polars(self) -> "polars.DataFrame":
        """As polars, numbers and times without a copy where polars can."""
        try:
            import polars
        except ImportError:
            raise MissingPackage(needs("polars")) from None
        frame = polars.from_arrow(self.arrow)
        assert isinstance(frame, polars.DataFrame)
        return frame

    def pandas(self) -> "pandas.DataFrame":
        """As pandas; times are datetime64[us, UTC], exact prices Python's `Decimal`."""
        try:
            import pandas  # noqa: F401
        except ImportError:
            raise MissingPackage(needs("pandas")) from None
        return self.arrow.to_pandas()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.arrow.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        name = str(self.stream) if self.stream else "answer"
        known = f", known until {self.known_until.isoformat()}" if self.known_until else ""
        return f"<{name}: {len(self):,} rows as of {self.as_of.isoformat()}{known}>"

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        from html import escape

        try:
            shown: str = self.polars()._repr_html_()
        except MissingPackage:
            shown = f"<pre>{escape(str(self.arrow))}</pre>"
        return f"<small>{escape(repr(self))}</small>{shown}"
