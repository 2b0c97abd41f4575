"""A live feed's status as Prometheus' text format, and whether it is ready.

Source: prometheus.io/docs/instrumenting/exposition_formats (text-based format 0.0.4). Labels are venue, line, queue:
their number is that of the connections, whatever the venues list. Only streams with holes are named, the worst of
each line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from chronicle.feed.limits import BreakerState
from chronicle.feed.status import FeedStatus, LineStatus

__all__ = ["CONTENT_TYPE", "problems", "render_metrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECOND_NS: Final = 10**9

_Rows = Iterable[tuple[dict[str, str], float]]


def render_metrics(status: FeedStatus, now_ns: int) -> str:
    """Return the metrics of a live feed, one family after the other, each with its help."""
    families: list[tuple[str, str, str, _Rows]] = [
        ("up", "gauge", "1 while the feed runs.", [({}, float(not status.ended))]),
        ("frames_total", "counter", "Frames written to the wire queue.", [({}, status.frames)]),
        ("records_total", "counter", "Records written to the raw queue.", [({}, status.records)]),
        ("decode_errors_total", "counter", "Frames that could not be read whole.", [({}, status.decode_errors)]),
        ("gaps_total", "counter", "Holes in venues' counts over a connection.", [({}, status.lost)]),
        ("scanned_total", "counter", "Messages that compiled scans read.", [({}, status.scanned)]),
        ("declined_total", "counter", "Messages that scans left to the plain adapter.", [({}, status.declined)]),
        ("clamped_times_total", "counter", "Frames whose clock had stepped back.", [({}, status.clamped)]),
        ("resyncs_total", "counter", "Snapshots asked for again, for the ETL's gaps.", [({}, status.resyncs)]),
        ("resyncs_dropped_total", "counter", "Requests over the rate limit.", [({}, status.resyncs_dropped)]),
        *_line_families(status, now_ns),
        *_rest_families(status),
        *_queue_families(status),
    ]
    return "".join(_family(*family) for family in families)


def problems(status: FeedStatus) -> list[str]:
    """Return why the feed is not ready: nothing when every line is up and no book stream stalls."""
    found = ["the feed has ended"] if status.ended else []
    for line in status.lines:
        where = f"line {line.number} ({line.venue})"
        if not line.is_up:
            found.append(f"{where} is down: {line.last_error or 'not connected yet'}")
        elif line.stalled:
            found.append(f"{where} has {line.stalled} stalled streams, oldest {line.oldest_stream}")
    return found


def _line_families(status: FeedStatus, now_ns: int) -> list[tuple[str, str, str, _Rows]]:
    lines = [(_labels(line), line) for line in status.lines]

    def rows(value: str, scale: float = 1.0) -> _Rows:
        return [(labels, getattr(line, value) * scale) for labels, line in lines]

    oldest = [(labels, _age(line.oldest_stream_ts, now_ns)) for labels, line in lines if line.oldest_stream_ts]
    newest = [(labels, _age(line.last_frame_ts, now_ns)) for labels, line in lines if line.last_frame_ts]
    streams = [
        (labels | {"stream": name}, float(count))
        for labels, line in lines
        for name, count in line.gap_streams.items()
    ]
    return [
        ("line_up", "gauge", "1 while the connection is open.", rows("is_up")),
        ("line_messages_total", "counter", "Messages received.", rows("frames")),
        ("line_bytes_total", "counter", "Bytes of messages received.", rows("bytes")),
        ("line_connects_total", "counter", "How often the connection was opened.", rows("connect_count")),
        ("line_failures_total", "counter", "How often it failed or was lost.", rows("failure_count")),
        ("line_last_message_age_seconds", "gauge", "Since the last message.", newest),
        ("line_oldest_stream_age_seconds", "gauge", "Since the stream that is silent longest spoke.", oldest),
        ("line_streams", "gauge", "Instruments that spoke on the line.", rows("stream_count")),
        ("line_stalled_streams", "gauge", "Book streams silent for longer than [feed] stall_after.", rows("stalled")),
        ("line_renewals_total", "counter", "Streams subscribed to anew because they were silent.", rows("renewed")),
        ("line_receive_lag_seconds", "gauge", "Receipt behind the venue's time.", rows("lag_ns", 1 / SECOND_NS)),
        (
            "line_clock_behind_seconds",
            "gauge",
            "Our clock behind the venue's, at least.",
            rows("clock_behind_ns", 1 / SECOND_NS),
        ),
        ("line_first_total", "counter", "Events that a redundant line had first.", rows("first")),
        ("line_missed_total", "counter", "Events that a redundant line never had.", rows("missed")),
        ("line_behind_total", "counter", "Events that a redundant line had behind another.", rows("later")),
        ("line_behind_seconds_total", "counter", "By how much, in all.", rows("behind_ns", 1 / SECOND_NS)),
        ("line_behind_seconds_max", "gauge", "By how much at most.", rows("behind_ns_max", 1 / SECOND_NS)),
        ("line_gaps_total", "counter", "Holes in the numbers of the line's books.", rows("gaps")),
        ("stream_gaps_total", "counter", "Those of the streams with the most.", streams),
    ]


def _rest_families(status: FeedStatus) -> list[tuple[str, str, str, _Rows]]:
    rest = [({"venue": item.venue}, item) for item in status.rest]
    states = [(labels, float(BreakerState[item.breaker.upper()])) for labels, item in rest]
    return [
        ("rest_breaker_state", "gauge", "0 closed, 1 half open, 2 open.", states),
        ("rest_requests_total", "counter", "HTTP requests.", [(key, item.requests) for key, item in rest]),
        ("rest_failures_total", "counter", "Those that failed.", [(key, item.failures) for key, item in rest]),
        (
            "rest_refused_total",
            "counter",
            "Not made: breaker open.",
            [(key, item.refused) for key, item in rest],
        ),
    ]


def _queue_families(status: FeedStatus) -> list[tuple[str, str, str, _Rows]]:
    queues = [({"queue": item.name}, item) for item in status.queues]
    depths = [(labels, item.committed - item.read) for labels, item in queues if item.read >= 0]
    return [
        (
            "queue_committed",
            "gauge",
            "Index behind the last record.",
            [(key, item.committed) for key, item in queues],
        ),
        ("queue_synced", "gauge", "Index up to which power may fail.", [(key, item.synced) for key, item in queues]),
        ("queue_depth", "gauge", "Records that the slowest named reader has still to read.", depths),
    ]


def _labels(line: LineStatus) -> dict[str, str]:
    return {"venue": line.venue, "line": str(line.number)}


def _age(ts: int, now_ns: int) -> float:
    return max(0, now_ns - ts) / SECOND_NS


def _family(name: str, kind: str, text: str, rows: _Rows) -> str:
    full = f"chronicle_feed_{name}"
    lines = [f"# HELP {full} {text}", f"# TYPE {full} {kind}"]
    lines += [f"{full}{_label_text(labels)} {_number(value)}" for labels, value in rows]
    return "\n".join(lines) + "\n"


def _label_text(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    escaped = (
        f'{key}="' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        for key, value in labels.items()
    )
    return "{" + ",".join(escaped) + "}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.9g}"
