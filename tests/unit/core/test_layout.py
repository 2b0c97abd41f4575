"""layout.py, the NumPy dtypes and the tables of docs/format/queue.md say the same."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from chronicle.core import layout
from chronicle.core.dtypes import DTYPES, HEADER_DTYPE, SEEK_DTYPE
from chronicle.core.layout import Kind

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "format" / "queue.md"
ROW = re.compile(r"^\| (\d+) \| (\d+) \| `(\w+)` \| (\w+) \|")

STRUCTS = {
    Kind.ROLL: layout.ROLL_BODY,
    Kind.INSTRUMENT: layout.INSTRUMENT_BODY,
    Kind.STATUS: layout.STATUS_BODY,
    Kind.GAP: layout.GAP_BODY,
    Kind.CHECK: layout.CHECK_BODY,
    Kind.WIRE: layout.WIRE_BODY,
    Kind.BOOK_DELTA: layout.BOOK_DELTA_BODY,
    Kind.BOOK_SNAPSHOT: layout.BOOK_SNAPSHOT_BODY,
    Kind.ORDER: layout.ORDER_BODY,
    Kind.ORDER_SNAPSHOT: layout.ORDER_SNAPSHOT_BODY,
    Kind.TRADE: layout.TRADE_BODY,
    Kind.QUOTE: layout.QUOTE_BODY,
    Kind.CANDLE: layout.CANDLE_BODY,
    Kind.PROGRESS: layout.PROGRESS_BODY,
}


def tables() -> dict[str, list[tuple[int, int, str]]]:
    found: dict[str, list[tuple[int, int, str]]] = {}
    title = ""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line == "HEADER":
            title = "HEADER"
        elif match := re.match(r"^### (\w+) \(kind (\d+)", line):
            title = match.group(1)
            assert Kind[title] == int(match.group(2))
        elif line.startswith("## "):
            title = ""
        elif title and (row := ROW.match(line)):
            found.setdefault(title, []).append((int(row.group(1)), int(row.group(2)), row.group(3)))
    return found


def fields(dtype: np.dtype, skip: int = 0) -> list[tuple[int, int, str]]:
    assert dtype.names is not None
    assert dtype.fields is not None
    return [(dtype.fields[name][1], dtype.fields[name][0].itemsize, name) for name in dtype.names[skip:]]


def test_document_describes_the_header_as_the_dtype_does() -> None:
    assert tables()["HEADER"] == fields(HEADER_DTYPE)


@pytest.mark.parametrize("kind", list(DTYPES))
def test_document_describes_every_kind_as_the_dtype_does(kind: Kind) -> None:
    assert tables()[kind.name] == fields(DTYPES[kind], skip=len(HEADER_DTYPE.names or ()))


@pytest.mark.parametrize("kind", list(DTYPES))
def test_struct_and_dtype_read_the_same_fields(kind: Kind) -> None:
    dtype = DTYPES[kind]
    body = bytes((number * 37 + 11) % 256 for number in range(STRUCTS[kind].size))
    assert dtype.itemsize == layout.HEADER_BYTES + len(body)
    row = np.frombuffer(bytes(layout.HEADER_BYTES) + body, dtype=dtype)[0]
    names = [name for name in (dtype.names or ())[len(HEADER_DTYPE.names or ()) :] if not name.startswith("_pad")]
    assert [int(row[name]) for name in names] == list(STRUCTS[kind].unpack(body))


def test_every_stored_kind_is_documented() -> None:
    documented = set(tables()) - {"HEADER"}
    assert documented == {kind.name for kind in DTYPES}
    assert {kind.name for kind in Kind} == documented


def test_commit_word_is_the_header_s_first_eight_bytes() -> None:
    header = layout.HEADER.pack(80, 32, 128, 66, 1, 2, 3, 4, 5, 6, 7)
    assert int.from_bytes(header[:8], "little") == layout.word(80, 32, 128, 66)


def test_seek_entry_matches_its_dtype() -> None:
    assert SEEK_DTYPE.itemsize == layout.SEEK_ENTRY_BYTES == layout.SEEK_ENTRY.size
