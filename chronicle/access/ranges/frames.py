"""Frames: columns of a query as NumPy, Arrow, pandas or polars; each library is imported when it is asked for.

Inside, a price is an int64 mantissa at one exponent for the whole answer (INT64_MIN: none), a word is a code into a
short list. How numbers leave is the caller's choice: ``float`` (the nearest float64, NaN for none), ``int``
(mantissas; the exponents are in the metadata) or ``decimal`` (exact: Arrow decimal128, Python Decimal in NumPy).
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chronicle.access.ranges.scaling import Quotients
from chronicle.core.decimals import to_decimal
from chronicle.core.errors import ConfigError
from chronicle.core.fresh import fresh_array
from chronicle.core.layout import INT64_MIN

__all__ = ["Column", "Columnar", "Decimals", "library"]

Decimals = Literal["float", "int", "decimal"]
Chunk = dict[str, NDArray[Any]]
ROWS_PER_BATCH = 65_536
WIDE = ("volume", "notional", "wide_price", "wide_size")


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name and what it holds: ``time``, ``price``, ``size``, ``word`` (code into `words`) or ``plain``.

    ``volume`` (a sum of sizes) and ``notional`` (of price times size) are 128-bit: int64[rows, 2] (high, low) inside;
    so are ``wide_price`` and ``wide_size``, and ``float`` is float64 (see :mod:`chronicle.access.ranges.scaling`).
    `width` above 0 makes it two-dimensional: that many values a row.
    """

    name: str
    role: str = "plain"
    dtype: str = "<i8"
    words: tuple[str, ...] = ()
    width: int = 0

    def in_form(self, form: str) -> Column:
        """Return the column in a form of :class:`chronicle.access.ranges.scaling.Scaling`."""
        if self.role not in ("price", "size"):
            return self
        if form == "float":
            return Column(self.name, "float", "<f8")
        return Column(self.name, f"wide_{self.role}")

    def empty(self) -> NDArray[Any]:
        """Return the column without rows."""
        width = 2 if self.role in WIDE else self.width
        return np.empty((0, width) if width else 0, dtype=self.dtype)


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
        return self._arrow(library("pyarrow"), column, values)

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
            arrays = [self._arrow(arrow, column, chunk[column.name], ours=ours) for column in self.columns]
            yield arrow.RecordBatch.from_arrays(arrays, schema=schema)

    def arrow_schema(self) -> Any:
        """Return the pyarrow.Schema; the exponents are in its metadata."""
        library("pyarrow")
        return _schema(tuple(self.columns), self.price_exponent, self.size_exponent, self.decimals)

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
                if _some_untold(column, values):
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

        return lazy_frame(self, self._narrowed)

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
        return _exponent_of(column, self.price_exponent, self.size_exponent)

    def _numpy(self, column: Column, values: NDArray[Any]) -> NDArray[Any]:
        if column.role == "word":
            return np.take(np.asarray(column.words, dtype=np.str_), values)
        if column.role in WIDE:
            return _wide_numpy(values, self._exponent(column), self.decimals)
        if column.role not in ("price", "size") or self.decimals == "int":
            return np.asarray(values)
        exponent = self._exponent(column)
        if self.decimals == "float":
            return np.asarray(values) if values.dtype == np.float64 else floats(values, exponent)
        exact = [None if value == INT64_MIN else to_decimal(value, exponent) for value in values.ravel().tolist()]
        out = np.empty(len(exact), dtype=object)
        out[:] = exact
        return out.reshape(values.shape)

    def _arrow(self, arrow: Any, column: Column, values: NDArray[Any], *, ours: bool = False) -> Any:
        """Return `values` as an Arrow array; those that are `ours` may be overwritten."""
        if column.width:
            flat = Column(column.name, column.role, column.dtype)
            inner = self._arrow(arrow, flat, np.ascontiguousarray(values).reshape(-1))
            return arrow.FixedSizeListArray.from_arrays(inner, column.width)
        if column.role == "time":
            if _some_untold(column, values):
                return arrow.array(values, type=_time_type(), mask=values <= 0)
            return _over(arrow, _time_type(), values)
        if column.role == "word":
            codes = np.ascontiguousarray(values if values.dtype == np.uint8 else values.astype(np.int32, copy=False))
            kind, words = arrow.dictionary(_key_type(arrow, column), arrow.string()), _dictionary(column.words)
            return arrow.DictionaryArray.from_buffers(kind, len(codes), [None, arrow.py_buffer(codes)], words)
        if column.role in WIDE:
            return self._wide_arrow(arrow, column, values)
        if column.role == "float":
            return _float_array(arrow, values)
        if column.role not in ("price", "size"):
            return _over(arrow, arrow.from_numpy_dtype(values.dtype), values)
        exponent = self._exponent(column)
        if self.decimals == "float":
            if values.dtype == np.float64:
                return _float_array(arrow, values)
            out, count = divided(values, exponent, ours=ours)
            if not count:
                return _over(arrow, arrow.float64(), out)
            return arrow.array(out, mask=np.isnan(out))
        missing = values == INT64_MIN if values.size and values.min() == INT64_MIN else None
        if self.decimals == "int":
            return arrow.array(values, mask=missing)
        return decimal_array(arrow, values, missing, exponent)

    def _wide_arrow(self, arrow: Any, column: Column, values: NDArray[Any]) -> Any:
        exponent = self._exponent(column)
        if self.decimals == "float":
            return arrow.array(_wide_numpy(values, exponent, "float"))
        kind = arrow.decimal128(38, exponent if self.decimals == "decimal" else 0)
        low_first = np.ascontiguousarray(values[:, ::-1])
        missing = values[:, 0] == INT64_MIN
        if not missing.any():
            return arrow.Array.from_buffers(kind, len(values), [None, arrow.py_buffer(low_first)])
        validity = arrow.py_buffer(np.packbits(~missing, bitorder="little").tobytes())
        low_first[missing] = 0
        return arrow.Array.from_buffers(kind, len(values), [validity, arrow.py_buffer(low_first)])


def _some_untold(column: Column, values: NDArray[Any]) -> bool:
    """Return whether a venue told no time in some rows: 0 or -1 is no moment of 1970."""
    return column.name == "ts_event" and len(values) > 0 and bool(values.min() <= 0)


@cache
def _time_type() -> Any:
    return library("pyarrow").timestamp("ns", tz="UTC")


def _exponent_of(column: Column, price: int, size: int) -> int:
    if column.role == "notional":
        return price + size
    return price if column.role in ("price", "wide_price") else size


def _arrow_type(arrow: Any, column: Column, exponent: int, decimals: Decimals) -> Any:
    """Return the Arrow type of a column's values (of a wide one's single values)."""
    if column.role == "time":
        return _time_type()
    if column.role == "word":
        return arrow.dictionary(_key_type(arrow, column), arrow.string())
    if column.role not in ("price", "size", *WIDE):
        return arrow.from_numpy_dtype(np.dtype(column.dtype))
    if decimals == "float":
        return arrow.float64()
    if decimals == "int":
        return arrow.decimal128(38, 0) if column.role in WIDE else arrow.int64()
    return arrow.decimal128(38, exponent)


@lru_cache(maxsize=64)
def _schema(columns: tuple[Column, ...], price_exponent: int, size_exponent: int, decimals: Decimals) -> Any:
    """Return the Arrow schema of columns; what is asked for often has one."""
    arrow = library("pyarrow")
    fields = []
    for column in columns:
        kind = _arrow_type(arrow, column, _exponent_of(column, price_exponent, size_exponent), decimals)
        fields.append(arrow.field(column.name, arrow.list_(kind, column.width) if column.width else kind))
    exponents = {"price_exponent": str(price_exponent), "size_exponent": str(size_exponent)}
    return arrow.schema(fields, metadata=exponents | {"decimals": decimals})


@lru_cache(maxsize=64)
def _dictionary(words: tuple[str, ...]) -> Any:
    """Return words as an Arrow array: every batch of an answer shares one."""
    arrow = library("pyarrow")
    return arrow.array(list(words), type=arrow.string())


def divided(values: NDArray[np.int64], exponent: int, *, ours: bool = False) -> tuple[NDArray[np.float64], int]:
    """Return mantissas as the nearest float64, and how many of them are INT64_MIN (none, given as NaN).

    Exact division, not a product with 0.1**n. A process that has the compiler loaded divides in its own loop, and
    where the values are `ours` in their own memory.
    """
    if "numba" in sys.modules and values.ndim == 1:
        from chronicle.access.kernels.floats import divide, divide_in_place

        if ours and values.flags.writeable and values.flags.c_contiguous and values.dtype == np.int64:
            missing = int(divide_in_place(values, 10.0**exponent))
            return values.view(np.float64), missing
        out: NDArray[np.float64] = fresh_array(values.size, np.float64)
        missing = int(divide(values, 10.0**exponent, out))
    else:
        out = fresh_array(values.size, np.float64).reshape(values.shape)
        np.true_divide(values, 10.0**exponent, out=out)
        missing = int(np.count_nonzero(values == INT64_MIN))
    if missing:
        out[values == INT64_MIN] = np.nan
    return out, missing


def floats(values: NDArray[np.int64], exponent: int) -> NDArray[np.float64]:
    """Return mantissas as the nearest float64; INT64_MIN gives NaN."""
    return divided(values, exponent)[0]


def wide_floats(values: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return int64[n, 2] (high, low) as float64: exact where it fits int64, else to one unit in the last place."""
    high, low = values[:, 0], values[:, 1]
    small = high == low >> 63
    return np.where(small, low.astype(np.float64), high * 2.0**64 + np.ascontiguousarray(low).view(np.uint64))


def _wide_numpy(values: NDArray[np.int64], exponent: int, decimals: Decimals) -> NDArray[Any]:
    """Return 128-bit sums (high, low): float64, or Python's int or Decimal, which have no bound."""
    if decimals == "float":
        whole = wide_floats(values)
        return whole / 10.0**exponent if exponent else whole
    sums = [(one << 64) + (other & (1 << 64) - 1) for one, other in values.tolist()]
    out = np.empty(len(sums), dtype=object)
    out[:] = sums if decimals == "int" else [to_decimal(value, exponent) for value in sums]
    out[values[:, 0] == INT64_MIN] = None  # no sum comes near
    return out


def _key_type(arrow: Any, column: Column) -> Any:
    """Return the type of a column's codes: a byte where they are one, so that they leave as they are."""
    return arrow.int8() if column.dtype == "u1" else arrow.int32()


def _float_array(arrow: Any, values: NDArray[np.float64]) -> Any:
    """Return float64 values as an Arrow array, null where one is NaN."""
    if not isinstance(values, Quotients) and (not len(values) or np.isnan(values.min())):
        return arrow.array(values, mask=np.isnan(values))
    return _over(arrow, arrow.float64(), values)


def _over(arrow: Any, kind: Any, values: NDArray[Any]) -> Any:
    """Return an Arrow array of `kind` over the memory of `values`, without a copy or a look at them."""
    return arrow.Array.from_buffers(kind, len(values), [None, arrow.py_buffer(np.ascontiguousarray(values))])


def decimal_array(arrow: Any, values: NDArray[np.int64], missing: NDArray[np.bool_] | None, exponent: int) -> Any:
    """Return decimal128(38, exponent) over the mantissas: sixteen bytes each, sign-extended."""
    wide = np.empty((len(values), 2), dtype=np.int64)
    wide[:, 0] = values if missing is None else np.where(missing, 0, values)
    wide[:, 1] = wide[:, 0] >> 63
    validity = None
    if missing is not None:
        validity = arrow.py_buffer(np.packbits(~missing, bitorder="little").tobytes())
    kind = arrow.decimal128(38, exponent)
    return arrow.Array.from_buffers(kind, len(values), [validity, arrow.py_buffer(wide.tobytes())])


def library(name: str, extra: str = "frames") -> Any:
    """Import a library that an extra brings.

    Raises
    ------
    ConfigError
        When it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{name} is needed for this and is not installed", hint=f"pip install 'chronicle-md[{extra}]'"
        ) from error


def _check_rows(rows: int) -> None:
    if rows < 1:
        raise ConfigError("a batch needs at least one row", expected=">= 1", found=rows)


def check_decimals(decimals: str) -> None:
    """Raise ConfigError unless `decimals` is a way numbers can leave."""
    ways: Sequence[str] = ("float", "int", "decimal")
    if decimals not in ways:
        raise ConfigError(f"there is no way {decimals!r} to give numbers", expected=" | ".join(ways), found=decimals)
