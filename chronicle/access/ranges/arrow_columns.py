"""Columns as Arrow: their types, schemas and arrays, over the same memory wherever the bytes are Arrow's already."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.access.libraries import library
from chronicle.access.ranges.columns import WIDE, Column, Decimals, exponent_of, some_untold
from chronicle.access.ranges.numbers import divided, wide_numbers
from chronicle.access.ranges.scaling import Quotients
from chronicle.core.layout import INT64_MIN

__all__ = ["arrow_array", "arrow_schema", "decimal_array"]


def arrow_array(
    arrow: Any, column: Column, values: NDArray[Any], exponent: int, decimals: Decimals, *, ours: bool = False
) -> Any:
    """Return the values of a column as a pyarrow.Array; those that are `ours` may be overwritten."""
    if column.width:
        flat = Column(column.name, column.role, column.dtype)
        inner = arrow_array(arrow, flat, np.ascontiguousarray(values).reshape(-1), exponent, decimals)
        return arrow.FixedSizeListArray.from_arrays(inner, column.width)
    if column.role == "time":
        if some_untold(column, values):
            return arrow.array(values, type=_time_type(), mask=values <= 0)
        return _over(arrow, _time_type(), values)
    if column.role == "word":
        codes = np.ascontiguousarray(values if values.dtype == np.uint8 else values.astype(np.int32, copy=False))
        kind, words = arrow.dictionary(_key_type(arrow, column), arrow.string()), _dictionary(column.words)
        return arrow.DictionaryArray.from_buffers(kind, len(codes), [None, arrow.py_buffer(codes)], words)
    if column.role in WIDE:
        return _wide_array(arrow, values, exponent, decimals)
    if column.role == "float":
        return _float_array(arrow, values)
    if column.role not in ("price", "size"):
        return _over(arrow, arrow.from_numpy_dtype(values.dtype), values)
    if decimals == "float":
        if values.dtype == np.float64:
            return _float_array(arrow, values)
        out, count = divided(values, exponent, ours=ours)
        if not count:
            return _over(arrow, arrow.float64(), out)
        return arrow.array(out, mask=np.isnan(out))
    missing = values == INT64_MIN if values.size and values.min() == INT64_MIN else None
    if decimals == "int":
        return arrow.array(values, mask=missing)
    return decimal_array(arrow, values, missing, exponent)


def _wide_array(arrow: Any, values: NDArray[Any], exponent: int, decimals: Decimals) -> Any:
    if decimals == "float":
        return arrow.array(wide_numbers(values, exponent, "float"))
    kind = arrow.decimal128(38, exponent if decimals == "decimal" else 0)
    low_first = np.ascontiguousarray(values[:, ::-1])
    missing = values[:, 0] == INT64_MIN
    if not missing.any():
        return arrow.Array.from_buffers(kind, len(values), [None, arrow.py_buffer(low_first)])
    validity = arrow.py_buffer(np.packbits(~missing, bitorder="little").tobytes())
    low_first[missing] = 0
    return arrow.Array.from_buffers(kind, len(values), [validity, arrow.py_buffer(low_first)])


@cache
def _time_type() -> Any:
    return library("pyarrow").timestamp("ns", tz="UTC")


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
def arrow_schema(columns: tuple[Column, ...], price_exponent: int, size_exponent: int, decimals: Decimals) -> Any:
    """Return the Arrow schema of columns; what is asked for often has one."""
    arrow = library("pyarrow")
    fields = []
    for column in columns:
        kind = _arrow_type(arrow, column, exponent_of(column, price_exponent, size_exponent), decimals)
        fields.append(arrow.field(column.name, arrow.list_(kind, column.width) if column.width else kind))
    exponents = {"price_exponent": str(price_exponent), "size_exponent": str(size_exponent)}
    return arrow.schema(fields, metadata=exponents | {"decimals": decimals})


@lru_cache(maxsize=64)
def _dictionary(words: tuple[str, ...]) -> Any:
    """Return words as an Arrow array: every batch of an answer shares one."""
    arrow = library("pyarrow")
    return arrow.array(list(words), type=arrow.string())


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
