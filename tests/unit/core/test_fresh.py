"""Fresh arrays: of the size and type that was asked for, the caller's own, with and without Arrow."""

from __future__ import annotations

import gc
import sys

import numpy as np
import pytest

from chronicle.core.fresh import POOLED_FROM_BYTES, fresh_array


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.int32, np.uint8])
@pytest.mark.parametrize("rows", [0, 1, 1000, POOLED_FROM_BYTES + 1])
@pytest.mark.parametrize("with_arrow", [True, False])
def test_a_fresh_array_can_be_written_and_shares_nothing(
    dtype: type, rows: int, with_arrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if with_arrow:
        pytest.importorskip("pyarrow")
    else:
        monkeypatch.delitem(sys.modules, "pyarrow", raising=False)
    arrays = [fresh_array(rows, dtype) for _ in range(3)]
    for number, array in enumerate(arrays):
        array[:] = number
    for number, array in enumerate(arrays):
        assert array.shape == (rows,)
        assert array.dtype == dtype
        assert (array == number).all()


def test_large_arrays_come_from_arrow_s_pool_and_go_back() -> None:
    arrow = pytest.importorskip("pyarrow")
    gc.collect()  # what other tests left behind goes before, not in the middle
    gc.disable()
    try:
        before = arrow.total_allocated_bytes()
        array = fresh_array(POOLED_FROM_BYTES, np.int64)
        assert arrow.total_allocated_bytes() >= before + array.nbytes
        del array
        assert arrow.total_allocated_bytes() == before
    finally:
        gc.enable()
