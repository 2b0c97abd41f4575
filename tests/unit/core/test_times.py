"""What names a moment: exact where it fits int64 ns, an error of ours where it does not."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from chronicle.core.errors import RangeError
from chronicle.core.times import parse_time

MOMENT = 1_618_678_150_500_000_000


@pytest.mark.parametrize(
    "value",
    [
        MOMENT,
        str(MOMENT),
        np.int64(MOMENT),
        "2021-04-17T16:49:10.5Z",
        "2021-04-17 16:49:10.5",
        "2021-04-17T18:49:10.5+02:00",
        datetime(2021, 4, 17, 16, 49, 10, 500_000, tzinfo=UTC),
        datetime(2021, 4, 17, 16, 49, 10, 500_000),  # noqa: DTZ001 - naive means UTC
        np.datetime64("2021-04-17T16:49:10.5"),
        pd.Timestamp("2021-04-17 16:49:10.5"),
        pd.Timestamp("2021-04-17 16:49:10.5").as_unit("ms"),
    ],
)
def test_every_form_names_the_same_ns(value: Any) -> None:
    assert parse_time(value) == MOMENT


@pytest.mark.parametrize(
    "value",
    [
        np.datetime64("9999-01-01"),
        np.datetime64("1600-01-01T00:00:00"),
        np.datetime64("NaT"),
        pd.NaT,
        pd.Timestamp(datetime(9999, 1, 1, tzinfo=UTC)),
        datetime.max.replace(tzinfo=UTC),
        date.min,
        99999999999999999999,
        "2021-13-01",
        "yesterday",
        "",
        1.5,
        True,
        None,
    ],
)
def test_what_names_no_moment_is_an_error_of_ours(value: Any) -> None:
    with pytest.raises(RangeError):
        parse_time(value)
