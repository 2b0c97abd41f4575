"""Lazy frames: an answer as a polars.LazyFrame that reads when it is collected, in batches of bounded memory.

Polars tells a source which columns a query needs and which rows pass: the columns are all that is decoded, and a
predicate is applied batch by batch, before a batch leaves.

Source: polars' plugin interface, ``polars.io.plugins.register_io_source``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from chronicle.access.libraries import library
from chronicle.access.ranges.columns import ROWS_PER_BATCH

__all__ = ["lazy_frame"]


def lazy_frame(schema: Any, batches: Callable[[Sequence[str] | None, int], Iterator[Any]]) -> Any:
    """Return an answer as a polars.LazyFrame.

    Parameters
    ----------
    schema : pyarrow.Schema
    batches : callable
        Given the names of columns (None: all) and a number of rows, yields the answer's pyarrow.RecordBatch of at
        most so many.
    """
    polars = library("polars")
    plugins = library("polars.io.plugins")
    frame_schema = polars.from_arrow(schema.empty_table()).schema

    def source(
        with_columns: list[str] | None, predicate: Any, n_rows: int | None, batch_size: int | None
    ) -> Iterator[Any]:
        left = n_rows
        for batch in batches(with_columns, batch_size or ROWS_PER_BATCH):
            frame = polars.from_arrow(batch)
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            yield frame if predicate is None else frame.filter(predicate)
            if left == 0:
                return

    return plugins.register_io_source(source, schema=frame_schema, validate_schema=False, is_pure=True)
