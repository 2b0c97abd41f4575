"""Frames: columns of a query as NumPy, Arrow, pandas or polars; each library is imported when it is asked for.

Inside, a price is an int64 mantissa at one exponent for the whole answer (INT64_MIN: none), a word is a code into a
short list. How numbers leave is the caller's choice: ``float`` (the nearest float64, NaN for none), ``int``
(mantissas; the exponents are in the metadata) or ``decimal`` (exact: Arrow decimal128, Python Decimal in NumPy).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.access.libraries import library
from chronicle.access.ranges.arrow_columns import arrow_array, arrow_schema
from chronicle.access.ranges.columns import ROWS_PER_BATCH, WIDE, Chunk, Column, Decimals, exponent_of, some_untold
from chronicle.access.ranges.numbers import floats, wide_numbers
from chronicle.core.decimals import to_decimal
from chronicle.core.errors import ConfigError
from chronicle.core.layout import INT64_MIN

__all__ = ["Columnar"]


class Columnar(ABC):
    """What has columns: iterate it in batches, or collect it whole.

    Subclasses give `columns`, the exponents, and the chunks.
    """

    columns: tuple[Column, ...]
    decimals: Decimals
    price_exponent: int
    size_exponent: int

    @abstractmethod
    def _chunks(self) -> Iterator[Chunk]:
        """Yield the answer as columns of equal length, in order."""

    def _shown(self) -> Iterator[Chunk]:
        """Yield the same for frames: prices and sizes that leave as floats may be float64 already, NaN for none."""
        return self._chunks()

    def _shown_cuts(self, rows: int) -> Iterator[Chunk]:
        """Yield that in chunks of at most `rows` rows."""
        return self._cuts(rows)

    def _cuts(self, rows: int) -> Iterator[Chunk]:
        """Yield chunks of at most `rows` rows."""
        for chunk in self._chunks():
            count = len(next(iter(chunk.values())))
            for start in range(0, count, rows):
                yield {name: values[start : start + rows] for name, values in chunk.items()}

    def batches(self, rows: int = ROWS_PER_BATCH) -> Iterator[Chunk]:
        """Yield the answer as NumPy columns, at most `rows` rows at a time; memory stays bounded.

        Yields
        ------
        dict of str to ndarray
            As :meth:`to_numpy`.
        """
        _check_rows(rows)
        for chunk in self._shown_cuts(rows):
            yield {column.name: self._numpy(column, chunk[column.name]) for column in self.columns}

    def chunks(self, rows: int = ROWS_PER_BATCH) -> Iterator[Chunk]:
        """Yield the columns as they are kept inside (mantissas, codes, ns), at most `rows` rows at a time."""
        _check_rows(rows)
        yield from self._cuts(rows)

    def arrow_column(self, name: str, values: NDArray[Any]) -> Any:
        """Return `values` of the column `name`, as :meth:`chunks` gives them, as a pyarrow.Array."""
        column = next(column for column in self.columns if column.name == name)
        return arrow_array(library("pyarrow"), column, values, self._exponent(column), self.decimals)

    def to_numpy(self) -> Chunk:
        """Return {column: array}: times int64 ns UTC, prices and sizes as `decimals` says, words as text."""
        whole = self._whole()
        return {column.name: self._numpy(column, whole[column.name]) for column in self.columns}

    def arrow_batches(self, rows: int = ROWS_PER_BATCH) -> Iterator[Any]:
        """Yield pyarrow.RecordBatch of at most `rows` rows.

        Raises
        ------
        ConfigError
            When pyarrow is not installed.
        """
        _check_rows(rows)
        yield from self._record_batches(self._shown_cuts(rows))

    def _record_batches(self, chunks: Iterator[Chunk]) -> Iterator[Any]:
        arrow = library("pyarrow")
        schema = self.arrow_schema()
        ours = len({column.name for column in self.columns}) == len(self.columns)  # nobody reads a chunk after us
        for chunk in chunks:
            arrays = [
                arrow_array(arrow, column, chunk[column.name], self._exponent(column), self.decimals, ours=ours)
                for column in self.columns
            ]
            yield arrow.RecordBatch.from_arrays(arrays, schema=schema)

    def arrow_schema(self) -> Any:
        """Return the pyarrow.Schema; the exponents are in its metadata."""
        library("pyarrow")
        return arrow_schema(tuple(self.columns), self.price_exponent, self.size_exponent, self.decimals)

    def to_arrow(self) -> Any:
        """Return a pyarrow.Table: times as timestamp[ns, UTC], words as dictionaries, levels as fixed-size lists.

        Raises
        ------
        ConfigError
            When pyarrow is not installed.
        """
        arrow = library("pyarrow")
        return arrow.Table.from_batches(list(self._record_batches(self._shown())), schema=self.arrow_schema())

    def to_pandas(self) -> Any:
        """Return a pandas.DataFrame; a column of levels becomes one column a level (``bid_price_0`` ...).

        Raises
        ------
        ConfigError
            When pandas is not installed.
        """
        pandas = library("pandas")
        whole = self._whole()
        data: dict[str, Any] = {}
        for column in self.columns:
            values = whole[column.name]
            if column.role == "time":
                data[column.name] = pandas.to_datetime(values, unit="ns", utc=True)
                if some_untold(column, values):
                    data[column.name] = data[column.name].where(values > 0)
            elif column.role == "word":
                data[column.name] = pandas.Categorical.from_codes(values.astype(np.int32), list(column.words))
            elif column.width:
                shown = self._numpy(column, values)
                data |= {f"{column.name}_{level}": shown[:, level] for level in range(column.width)}
            else:
                data[column.name] = self._numpy(column, values)
        frame = pandas.DataFrame(data)
        frame.attrs = {"price_exponent": self.price_exponent, "size_exponent": self.size_exponent}
        return frame

    def to_polars(self) -> Any:
        """Return a polars.DataFrame.

        Raises
        ------
        ConfigError
            When polars or pyarrow is not installed.
        """
        return library("polars").from_arrow(self.to_arrow())

    def lazy(self) -> Any:
        """Return a polars.LazyFrame: read when it is collected, only the columns that the query needs, in batches.

        Raises
        ------
        ConfigError
            When polars or pyarrow is not installed.
        """
        from chronicle.access.ranges.lazy_frames import lazy_frame

        def batches(names: Sequence[str] | None, rows: int) -> Iterator[Any]:
            return (self if names is None else self._narrowed(names)).arrow_batches(rows)

        return lazy_frame(self.arrow_schema(), batches)

    def _narrowed(self, names: Sequence[str]) -> Columnar:
        """Return the same answer with only some of its columns."""
        other = copy(self)
        other.columns = tuple(column for column in self.columns if column.name in names) or self.columns[:1]
        return other

    def __repr__(self) -> str:
        names = ", ".join(column.name for column in self.columns)
        return (
            f"<{type(self).__name__} of {names}; not read yet: to_pandas(), to_polars(), to_arrow(), batches() ...>"
        )

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Give the answer as an Arrow stream: DuckDB, polars and others take it as it is."""
        arrow = library("pyarrow")
        reader = arrow.RecordBatchReader.from_batches(self.arrow_schema(), self.arrow_batches())
        return reader.__arrow_c_stream__(requested_schema)

    def _whole(self) -> Chunk:
        chunks = list(self._shown())
        if not chunks:
            return {column.name: column.empty() for column in self.columns}
        return {column.name: np.concatenate([chunk[column.name] for chunk in chunks]) for column in self.columns}

    def _exponent(self, column: Column) -> int:
        return exponent_of(column, self.price_exponent, self.size_exponent)

    def _numpy(self, column: Column, values: NDArray[Any]) -> NDArray[Any]:
        if column.role == "word":
            return np.take(np.asarray(column.words, dtype=np.str_), values)
        if column.role in WIDE:
            return wide_numbers(values, self._exponent(column), self.decimals)
        if column.role not in ("price", "size") or self.decimals == "int":
            return np.asarray(values)
        exponent = self._exponent(column)
        if self.decimals == "float":
            return np.asarray(values) if values.dtype == np.float64 else floats(values, exponent)
        exact = [None if value == INT64_MIN else to_decimal(value, exponent) for value in values.ravel().tolist()]
        out = np.empty(len(exact), dtype=object)
        out[:] = exact
        return out.reshape(values.shape)


def _check_rows(rows: int) -> None:
    if rows < 1:
        raise ConfigError("a batch needs at least one row", expected=">= 1", found=rows)
