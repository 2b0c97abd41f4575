"""Export: what of a store goes into which file, and the writing of it.

A file holds one channel of one instrument of one UTC day, under ``FOLDER/CHANNEL/venue=V/symbol=S/date=D/``. It is
written beside its name, synced and renamed: a reader sees a whole file or none, and what a stopped run left out is
written by running it again. A file replaces the one that had its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chronicle.access.formats.forms import DBN_CHANNELS
from chronicle.access.opened.lanes import lanes_of
from chronicle.core.durable import file_errors, written_aside
from chronicle.core.errors import ConfigError

if TYPE_CHECKING:
    from chronicle.access.formats.export_rows import ExportTable
    from chronicle.access.opened.segments import Shelf
    from chronicle.access.ranges.columns import Decimals
    from chronicle.core.source import SegmentInfo

__all__ = ["CHANNELS", "FORMATS", "REGISTERS", "ExportJob", "Exported", "Unit"]

CHANNELS = ("book", "trade", "quote", "candle")
FORMATS = ("parquet", "arrow", "csv", "jsonl", "npz", "dbn", "records")
REGISTERS = ("delta", "iceberg")
ENDINGS = {"records": "parquet"}
DAY_NS = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class Unit:
    """One file to be: the rows of `symbol` in [start, end) of one UTC day, or all records of one segment."""

    channel: str
    symbol: str
    path: str
    start: int = 0
    end: int = 0
    segment: SegmentInfo | None = None


@dataclass(slots=True)
class Exported:
    """What an export wrote."""

    files: int = 0
    rows: int = 0
    bytes: int = 0

    def to_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


class ExportJob:
    """An export: :meth:`units` says what it would write, :meth:`run` writes it.

    Parameters
    ----------
    folder : Path
        Where to; created when it is not there.
    symbols, channels : sequence of str
        Canonical names; channels of CHANNELS.
    start, end : int or None
        Range on ts_recv.
    form : str
        One of FORMATS. ``npz`` merges book and trades into hftbacktest's events; ``dbn`` has no candles; ``records``
        holds every record in full and can be imported again.
    decimals : "decimal", "float" or "int"
        How prices and sizes leave (not for npz, dbn and records).
    register : str, optional
        Of Parquet: also a Delta or Iceberg table over each channel's files.

    Raises
    ------
    ConfigError
        When a choice is not known or does not fit another, or a library is not installed.
    """

    def __init__(
        self,
        shelf: Shelf,
        folder: Path,
        symbols: Sequence[str],
        channels: Sequence[str],
        start: int | None,
        end: int | None,
        *,
        form: str = "parquet",
        decimals: Decimals = "decimal",
        register: str | None = None,
    ) -> None:
        for wrong, known, what in ((form, FORMATS, "format"), *((one, CHANNELS, "channel") for one in channels)):
            if wrong not in known:
                raise ConfigError(f"there is no {what} {wrong!r} to export", expected=" | ".join(known), found=wrong)
        if register is not None and (register not in REGISTERS or form != "parquet"):
            raise ConfigError(
                "only Parquet is registered as a table",
                expected=f"parquet and {' | '.join(REGISTERS)}",
                found=f"{form} and {register}",
            )
        self.folder, self.form, self.decimals, self.register = folder, form, decimals, register
        self.symbols, self.start, self.end = tuple(symbols), start, end
        self.channels = ("book",) if form == "npz" else tuple(channels)
        if form == "dbn":
            self.channels = tuple(channel for channel in channels if channel in DBN_CHANNELS)
        self._shelf = shelf

    def units(self) -> list[Unit]:
        """Return the files to be, by channel, instrument and time; days without a segment have none."""
        make = self._whole_segments if self.form == "records" else self._days
        return [unit for channel in self.channels for symbol in self.symbols for unit in make(channel, symbol)]

    def run(self, progress: Callable[[Unit, Exported], None] | None = None) -> Exported:
        """Write every unit; `progress` is called after each with what was written so far.

        Raises
        ------
        CapacityError, StoreError
            When a file cannot be written; those before it stay.
        """
        units, done = self.units(), Exported()
        tables: dict[str, ExportTable] = {}
        for unit in units:
            path = self.folder / unit.path
            with file_errors("make a folder", path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(path) as temporary:
                rows = self._write(unit, temporary, tables)
                if rows:
                    done.files, done.rows = done.files + 1, done.rows + rows
                    done.bytes += temporary.stat().st_size
                else:
                    temporary.unlink(missing_ok=True)
            if progress is not None:
                progress(unit, done)
        if self.register is not None:
            from chronicle.access.formats.registers import register

            for channel, table in tables.items():
                register(self.register, self.folder, channel, table.schema)
        return done

    def _write(self, unit: Unit, path: Path, tables: dict[str, ExportTable]) -> int:
        if self.form == "npz":
            from chronicle.access.formats.hftbacktest import write_npz

            return write_npz(self._shelf, unit.symbol, unit.start, unit.end, path)
        if self.form == "dbn":
            from chronicle.access.formats.dbn import write_dbn

            return write_dbn(self._shelf, unit.channel, unit.symbol, unit.start, unit.end, path)
        if self.form == "records":
            from chronicle.access.formats.record_rows import write_records

            return write_records(self._shelf, unit.segment, path) if unit.segment is not None else 0
        from chronicle.access.formats.export_rows import ExportTable, write_file

        table = tables.get(unit.channel)
        if table is None:
            table = tables[unit.channel] = ExportTable(
                self._shelf,
                unit.channel,
                self.symbols,
                self.start,
                self.end,
                decimals=self.decimals,
                stamps="us" if self.register else "ns",
                keys=self.register != "delta",
            )
        batches = table.batches(unit.symbol, unit.start, unit.end)
        return write_file(path, self.form, table.schema, batches, {"instrument": unit.symbol})

    def _days(self, channel: str, symbol: str) -> Iterator[Unit]:
        infos = [
            info
            for lane in lanes_of(self._shelf, symbol, channel, fresh=True)
            for info in self._shelf.segments(lane.queue, fresh=True)
        ]
        days: set[int] = set()
        for info in infos:
            first = info.ts_first if self.start is None else max(info.ts_first, self.start)
            last = info.ts_last if self.end is None else min(info.ts_last, self.end - 1)
            days |= set(range(first // DAY_NS, last // DAY_NS + 1))
        for day in sorted(days):
            start, end = day * DAY_NS, (day + 1) * DAY_NS
            start = start if self.start is None else max(start, self.start)
            end = end if self.end is None else min(end, self.end)
            yield Unit(channel, symbol, self._path(channel, symbol, start, "part-0"), start, end)

    def _whole_segments(self, channel: str, symbol: str) -> Iterator[Unit]:
        """Yield a unit for each segment that reaches into the range."""
        for lane in lanes_of(self._shelf, symbol, channel, fresh=True):
            for info in self._shelf.segments(lane.queue, fresh=True):
                reaches = self.start is None or info.ts_last >= self.start
                if reaches and (self.end is None or info.ts_first < self.end):
                    name = f"lane-{lane.number}-segment-{info.number:010d}"
                    path = self._path(channel, symbol, info.ts_first, name)
                    yield Unit(channel, symbol, path, info.ts_first, info.ts_last + 1, info)

    def _path(self, channel: str, symbol: str, ts: int, name: str) -> str:
        from chronicle.core.times import format_ns

        venue, _, instrument = symbol.partition(":")
        folders = f"venue={_escaped(venue)}/symbol={_escaped(instrument)}/date={format_ns(ts)[:10]}"
        return f"{channel}/{folders}/{name}.{ENDINGS.get(self.form, self.form)}"


def _escaped(text: str) -> str:
    """Return `text` as hive's folders write it: what is not plain becomes %XX."""
    from urllib.parse import quote

    return quote(text, safe="-_.")
