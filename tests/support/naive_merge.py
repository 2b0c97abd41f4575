"""The obvious merge: every event with its key in one list, sorted; and a raw stream as if one feed had written it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chronicle.core import layout
from chronicle.core.layout import INT64_MIN, Flag, Kind, StatusCode
from chronicle.core.membership import Decision
from chronicle.core.records import Record, pack_details, pack_record
from chronicle.etl.config import EtlConfig
from tests.support.etl_streams import MemorySink, RawStream, pipeline, split


def merged_events(streams: Mapping[str, RawStream], decisions: Sequence[Decision]) -> list[bytes]:
    """Return the events of all raw queues in the order of the merge, with numbers that do not collide."""
    if not decisions:
        decisions = [Decision(next(iter(streams)), 0, joins=True, at=INT64_MIN)]
    found: list[tuple[int, int, float, bytes]] = []
    for raw, stream in streams.items():
        own = [decision for decision in decisions if decision.raw == raw]
        index, key = 0, INT64_MIN
        for place, decision in enumerate(own):
            if not decision.joins:
                found.append((key + 1, decision.number, index - 0.5, _left(raw, decision.number, key + 1)))
                continue
            end = own[place + 1].at if place + 1 < len(own) else stream.next_index
            key = max(key, decision.at)
            for first, data in stream.events:
                if index <= first < end:
                    records = list(split(data))
                    key = max(records[0].ts_recv, decision.at)
                    found.append((key, decision.number, first, _renumbered(records, decision.number)))
            index = end
    return [data for *_, data in sorted(found, key=lambda row: row[:3])]


def naive_run(events: Sequence[bytes], config: EtlConfig) -> MemorySink:
    """Return what a pipeline of one raw queue makes of the events."""
    sink = MemorySink()
    machine = pipeline(sink, config)
    machine.feed(b"".join(events), 0)
    machine.flush()
    return sink


def compared(records: Sequence[Record]) -> list[bytes]:
    """Return records without what says where they stood: lineage, and ts_recv where a queue raised it."""
    out, last = [], 0
    for record in records:
        data = bytearray(record.data)
        ts_recv = max(last, record.ts_recv)
        if ts_recv > record.ts_recv:
            data[6] |= int(Flag.BAD_TS_RECV)
        last = ts_recv
        data[8:16] = ts_recv.to_bytes(8, "little")
        data[24:32] = bytes(8)
        data[36:38] = bytes(2)
        if record.kind == Kind.GAP:
            data[88:96] = bytes(8)
        out.append(bytes(data))
    return out


def _renumbered(records: Sequence[Record], number: int) -> bytes:
    out = bytearray()
    for record in records:
        data = bytearray(record.data)
        if record.instrument:
            data[32:36] = (number << 20 | record.instrument).to_bytes(4, "little")
        data[36:38] = (number << 12 | record.source).to_bytes(2, "little")
        out += data
    return bytes(out)


def _left(raw: str, number: int, ts_recv: int) -> bytes:
    details = pack_details({"raw": raw, "reason": "left the merge by decision"})
    body = layout.STATUS_BODY.pack(StatusCode.LEFT, len(details)) + details
    return pack_record(Kind.STATUS, body, ts_recv=max(ts_recv, 1), flags=Flag.LAST, source=number << 12)
