"""Databento files: DBN versions 1 to 3, plain or zstd (any number of frames), legacy DBZ, and the CSV form of MBO.

A frame's payload is the records (CSV: rows) of one event of one instrument, verbatim, its address
``dbn:VENUE:DATASET:SYMBOL``, its ts_recv that of the last of them: the event was known then. What an event is:
:func:`chronicle.feed.captures.dbn_format.is_by_message`. Records of schemas that are not taken come as frames too,
and the adapter counts them. Metadata are read by Databento's own package (extra ``dbn``), records split by their
lengths.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from chronicle.core.errors import DecodeError
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.captures import dbn_format as dbn
from chronicle.feed.captures.dbn_csv import is_dbn_csv, open_dbn_csv
from chronicle.feed.captures.dbn_package import read_definition, read_metadata
from chronicle.feed.captures.merge import Stream
from chronicle.feed.captures.names import natural_key
from chronicle.feed.captures.text import read_chunks
from chronicle.feed.marks import Line

__all__ = ["is_dbn", "open_dbn"]

METADATA_BYTES_MAX: Final = 256 * 1024 * 1024
EVENT_RECORDS_MAX: Final = 100_000
"""A longer event (a snapshot) becomes several frames of one ts_recv."""
SKIPPED_MAX: Final = 4_096
"""So many skipped records in a row are one frame."""
_SKIPPABLE: Final = b"\x50\x2a\x4d\x18"
_DAY_NS: Final = 86_400 * 10**9


def is_dbn(path: Path) -> bool:
    """Whether `path` is a DBN or DBZ file, or MBO rows as Databento writes them as CSV."""
    try:
        with open(path, "rb") as file:
            head = file.read(12)
        if head[:4] == _SKIPPABLE:
            return head[8:11] == b"DBZ"
        start = next(read_chunks(path), b"")
    except (OSError, DecodeError):
        return False
    return start[:3] == b"DBN" or is_dbn_csv(start)


def open_dbn(paths: list[Path], venue: str | None) -> tuple[list[Line], list[Stream]]:
    """Return one line per dataset and schema, and one stream per file.

    Raises
    ------
    DecodeError
        When a file is neither DBN nor Databento's CSV.
    ConfigError
        When the package that reads the metadata is not installed.
    """
    groups: dict[str, list[_File]] = {}
    lines, streams = [], []
    csv = [path for path in paths if is_dbn_csv(next(read_chunks(path), b""))]
    for path in paths:
        if path not in csv:
            file = _File.open(path)
            groups.setdefault(f"{file.dataset}:{file.schema}", []).append(file)
    names = _defined_names([file for files in groups.values() for file in files])
    for number, group in enumerate(sorted(groups, key=natural_key), start=1):
        lines.append(Line(number, f"dbn:{group}", "dbn", announced=False))
        streams += [
            Stream(f"dbn:{group}:{file.path.name}", number, partial(_read, file, names, venue, number))
            for file in sorted(groups[group], key=lambda file: (file.start, file.path.name))
        ]
    own_lines, own_streams = open_dbn_csv(csv, venue, first=len(lines) + 1)
    return lines + own_lines, streams + own_streams


@dataclass(frozen=True, slots=True)
class _File:
    """One file: what its metadata say. `skip` bytes come before the (compressed) records of a DBZ file."""

    path: Path
    dataset: str
    schema: str
    start: int
    skip: int
    metadata_bytes: int
    names: dict[int, list[tuple[int, int, str]]]
    """Per instrument id: from, to (ns), raw symbol."""

    @classmethod
    def open(cls, path: Path) -> _File:
        data, skip = _metadata_bytes(path)
        metadata = read_metadata(data, path)
        try:
            names = _mappings(metadata)
            dataset, schema, start = str(metadata.dataset), str(metadata.schema or "mixed"), int(metadata.start)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise DecodeError(f"the metadata of the DBN file make no sense: {error}", path=path) from error
        return cls(path, dataset, schema, start, skip, 0 if skip else len(data), names)

    def records(self) -> Iterator[memoryview]:
        """Yield the records, verbatim."""
        rest, left = b"", self.metadata_bytes
        for chunk in read_chunks(self.path, self.skip):
            data = chunk
            if left:
                cut = min(left, len(data))
                data, left = data[cut:], left - cut
            data = rest + data if rest else data
            view, at, end = memoryview(data), 0, len(data)
            while at < end:
                length = data[at] * 4
                if length < dbn.HEADER_BYTES:
                    raise DecodeError("a DBN record has an impossible length", path=self.path, found=length)
                if at + length > end:
                    break
                yield view[at : at + length]
                at += length
            rest = data[at:]
        if rest or left:
            hint = "the file is torn"
            raise DecodeError(
                "the DBN data end in the middle of a record", path=self.path, found=len(rest), hint=hint
            )

    def name_at(self, instrument: int, ts: int, defined: dict[int, str]) -> str:
        """Return the symbol of an instrument id at a time."""
        found = self.names.get(instrument)
        if found:
            for start, end, name in found:
                if start <= ts < end:
                    return name
            return found[-1][2]
        return defined.get(instrument) or f"ID{instrument}"


def _metadata_bytes(path: Path) -> tuple[bytes, int]:
    """Return what the package reads the metadata from, and how many bytes of a DBZ file stand before its records."""
    with open(path, "rb") as file:
        head = file.read(8)
        if head[:4] == _SKIPPABLE:
            size = int.from_bytes(head[4:8], "little")
            if size > METADATA_BYTES_MAX:
                raise DecodeError("the DBZ metadata are too long", path=path, found=size)
            return head + file.read(size), 8 + size
    data = bytearray()
    wanted = 8
    for chunk in read_chunks(path):
        data += chunk
        if wanted == 8 and len(data) >= 8:
            wanted = 8 + int.from_bytes(data[4:8], "little")
            if data[:3] != b"DBN" or wanted > METADATA_BYTES_MAX:
                expected = "DBN and its version, then metadata"
                raise DecodeError("this is no DBN file", path=path, expected=expected, found=bytes(data[:8]))
        if len(data) >= wanted:
            break
    if len(data) < wanted or wanted == 8:
        raise DecodeError("the DBN file ends within its metadata", path=path, found=len(data), hint="it is torn")
    return bytes(data[:wanted]), 0


def _mappings(metadata: Any) -> dict[int, list[tuple[int, int, str]]]:
    """Return the symbols by instrument id, whichever way the file maps them."""
    names: dict[int, list[tuple[int, int, str]]] = {}
    for key, intervals in metadata.mappings.items():
        for interval in intervals:
            value = str(interval["symbol"])
            number, name = (value, str(key)) if value.isdigit() else (str(key), value)
            if number.isdigit() and name:
                entry = (_midnight(interval["start_date"]), _midnight(interval["end_date"]), name)
                names.setdefault(int(number), []).append(entry)
    return names


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**9


def _defined_names(files: list[_File]) -> dict[int, str]:
    """Return the symbols that definition files of the capture give, for files whose metadata map none."""
    names: dict[int, str] = {}
    for file in files:
        if file.schema == "definition" and any(not other.names for other in files):
            for record in file.records():
                if record[1] == dbn.DEFINITION:
                    names[int.from_bytes(record[4:8], "little")] = str(read_definition(bytes(record)).raw_symbol)
    return names


def _read(file: _File, defined: dict[int, str], venue: str | None, number: int) -> Iterator[Frame]:
    events = _Events(file, defined, venue or dbn.venue_of_dataset(file.dataset), number)
    try:
        for record in file.records():
            yield from events.take(record)
    except DecodeError:
        yield from events.flush()  # what came before the damage
        raise
    yield from events.flush()


class _Event:
    """Records of one event so far."""

    __slots__ = ("count", "instrument", "key", "parts", "ts_recv")

    def __init__(self, instrument: int, key: tuple[int, ...]) -> None:
        self.instrument = instrument
        self.key = key
        self.parts: list[bytes] = []
        self.count = 0
        self.ts_recv = 0


class _Events:
    """Groups a file's records into frames."""

    def __init__(self, file: _File, defined: dict[int, str], venue: str, number: int) -> None:
        self._file, self._defined, self._venue, self._number = file, defined, venue, number
        self._by_message = dbn.is_by_message(file.dataset)
        self._open: dict[int, _Event] = {}
        self._names: dict[tuple[int, int], str] = {}

    def take(self, record: memoryview) -> Iterator[Frame]:
        """Add a record; yield the frames that are whole now."""
        _, rtype, publisher, instrument, ts_event = dbn.HEADER.unpack_from(record)
        if rtype not in (dbn.MBO, dbn.MBP_1, dbn.MBP_10) or len(record) < (56 if rtype == dbn.MBO else 80):
            yield from self._alone(record, rtype, instrument, ts_event)
            return
        flags, at = (record[36], 52) if rtype == dbn.MBO else (record[30], 44)
        key = (rtype, publisher, ts_event, int.from_bytes(record[at : at + 4], "little"))
        slot = instrument
        if self._by_message:
            slot = 0
            event = self._open.get(0)
            if event is not None and (event.key != key or event.instrument != instrument):
                yield self._close(0)
        event = self._open.get(slot)
        if event is None:
            yield from self._close_skipped()
            event = self._open[slot] = _Event(instrument, key)
        self._add(event, record, dbn.received_at(record, rtype, ts_event))
        ends = not self._by_message and flags & dbn.FLAG_LAST
        clear = rtype == dbn.MBO and record[38] == ord("R") and not flags & dbn.FLAG_SNAPSHOT
        if ends or clear or event.count >= EVENT_RECORDS_MAX:
            yield self._close(slot)

    def _alone(self, record: memoryview, rtype: int, instrument: int, ts_event: int) -> Iterator[Frame]:
        """Yield a record that is an event by itself; collect those that are skipped."""
        ts_recv = dbn.received_at(record, rtype, ts_event)
        if rtype in dbn.TAKEN:
            if self._by_message:
                yield from self.flush()
            event = _Event(instrument, ())
            self._add(event, record, ts_recv)
            yield self._frame(event)
            return
        slot = -1
        event_or_none = self._open.get(slot)
        if event_or_none is not None and event_or_none.key != (rtype,):
            yield self._close(slot)
        event = self._open.setdefault(slot, _Event(instrument, (rtype,)))
        self._add(event, record, ts_recv)
        if event.count >= SKIPPED_MAX:
            yield self._close(slot)

    def flush(self) -> Iterator[Frame]:
        """Yield what is there, at the end of the file; events of orders that lack their end are named so."""
        for slot in list(self._open):
            of_orders = self._open[slot].key[0] == dbn.MBO
            yield self._frame(self._open.pop(slot), ended=self._by_message or not of_orders)

    def _close_skipped(self) -> Iterator[Frame]:
        if -1 in self._open:
            yield self._close(-1)

    def _close(self, slot: int) -> Frame:
        return self._frame(self._open.pop(slot))

    @staticmethod
    def _add(event: _Event, record: memoryview, ts_recv: int) -> None:
        event.parts.append(bytes(record))
        event.count += 1
        event.ts_recv = max(event.ts_recv, ts_recv)

    def _frame(self, event: _Event, *, ended: bool = True) -> Frame:
        where = (event.instrument, event.ts_recv // _DAY_NS)
        name = self._names.get(where)
        if name is None:
            name = self._file.name_at(event.instrument, event.ts_recv, self._defined)
            self._names[where] = name
        address = f"{dbn.SCHEME if ended else dbn.UNENDED}:{self._venue}:{self._file.dataset}:{name}"
        return Frame(WireForm.BINARY, self._number, address, event.ts_recv, b"".join(event.parts))
