"""Lazy frames: an answer as a polars.LazyFrame that reads when it is collected, in batches of bounded memory.

Polars tells a source which columns a query needs and which rows pass: the columns are all that is decoded, and a
predicate is applied batch by batch, before a batch leaves.

Source: polars' plugin interface, ``polars.io.plugins.register_io_source``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from chronicle.access.ranges.frames import ROWS_PER_BATCH, library

if TYPE_CHECKING:
    from chronicle.access.ranges.frames import Columnar

__all__ = ["lazy_frame"]


def lazy_frame(answer: Columnar, narrowed: Callable[[Sequence[str]], Columnar]) -> Any:
    """Return `answer` as a polars.LazyFrame.

    Parameters
    ----------
    answer : Columnar
    narrowed : callable
        Makes the same answer with only some columns.
    """
    polars = library("polars")
    plugins = library("polars.io.plugins")
    schema = polars.from_arrow(answer.arrow_schema().empty_table()).schema

    def source(
        with_columns: list[str] | None, predicate: Any, n_rows: int | None, batch_size: int | None
    ) -> Iterator[Any]:
        chosen = answer if with_columns is None else narrowed(with_columns)
        left = n_rows
        for batch in chosen.arrow_batches(batch_size or ROWS_PER_BATCH):
            frame = polars.from_arrow(batch)
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            yield frame if predicate is None else frame.filter(predicate)
            if left == 0:
                return

    return plugins.register_io_source(source, schema=schema, validate_schema=False, is_pure=True)
