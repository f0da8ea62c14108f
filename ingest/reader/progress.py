"""How far a long reading has come, on the terminal or in a notebook."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ingest.reader.answer import Answer


@contextmanager
def shown(title: str, *, visible: bool) -> Iterator[Callable[[Answer, datetime], None]]:
    """A bar while the block lasts; call what is yielded with each part and the end of the whole."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not visible) as bar:
        task = bar.add_task(title, total=1.0, rows=0)
        rows = 0
        first: datetime | None = None

        def told(part: Answer, end: datetime) -> None:
            nonlocal rows, first
            rows += len(part)
            assert part.start is not None
            assert part.end is not None
            first = part.start if first is None else first
            bar.update(task, completed=(part.end - first) / (end - first), rows=rows)

        yield told
