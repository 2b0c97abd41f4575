"""What ``tier status`` prints: for each tier what it holds, for each broken move why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.errors import ChronicleError
from chronicle.core.layout import NONE
from chronicle.core.local import LocalSource
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.manifest.manifest_stocks import Stock
from chronicle.storage.stores.opening import is_url, local_folder
from chronicle.storage.stores.stores import LocalStore
from chronicle.storage.tiers.planning import Plan
from chronicle.storage.tiers.planning import plan as plan_moves
from chronicle.storage.tiers.policy import DELETE, HOT, Policy, Prices, TierState, default_policy
from chronicle.storage.tiers.state import gather, hot_entries, merge_hot, of_current, same_segment, visible

__all__ = ["RawHeld", "TierRow", "TierStatus", "tier_status"]


@dataclass(frozen=True, slots=True)
class TierRow:
    """One tier. Bytes are of sealed segments; times are ts_recv in ns (NONE: no records).

    `sealed_first_ns` and `sealed_last_ns` say when its oldest and newest segment were sealed; `cost_month` is what
    it costs at the policy's prices.
    """

    tier: str
    path: str
    encoding: str
    segments: int
    stored_bytes: int
    raw_bytes: int
    ts_first: int
    ts_last: int
    free_bytes: int | None
    open_segments: int = 0
    sealed_first_ns: int = NONE
    sealed_last_ns: int = NONE
    cost_month: float = 0.0

    @property
    def ratio(self) -> float | None:
        """Stored over raw bytes."""
        return self.stored_bytes / self.raw_bytes if self.raw_bytes else None


@dataclass(frozen=True, slots=True)
class RawHeld:
    """Sealed segments of a raw queue that stay hot because of a shard: it stands at `frontier_index` (None: it has
    not begun), and of all shards it is the farthest behind."""

    queue: str
    shard: str
    frontier_index: int | None
    segments: int
    bytes: int


@dataclass(frozen=True, slots=True)
class TierStatus:
    """All tiers, interrupted moves, copies that wait for deletion, and segments that could not be read.

    `pending` is what the policy would do now, `failed` what the last runs of the agent could not do, and why.
    """

    tiers: tuple[TierRow, ...]
    interrupted: tuple[Entry, ...]
    retired_copies: int
    catalogs_behind: tuple[str, ...]
    errors: tuple[ChronicleError, ...]
    pending: Plan
    failed: tuple[dict[str, Any], ...] = ()
    damaged: tuple[dict[str, Any], ...] = ()
    raw_held: tuple[RawHeld, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for ``--json``."""
        return {
            "tiers": [asdict(row) | {"ratio": row.ratio} for row in self.tiers],
            "interrupted": [
                {"queue": entry.queue, "number": entry.number, "place": entry.place}
                | (asdict(entry.intent) if entry.intent else {})
                for entry in self.interrupted
            ],
            "retired_copies": self.retired_copies,
            "catalogs_behind": list(self.catalogs_behind),
            "errors": [error.to_dict() for error in self.errors],
            "pending": {"moves": len(self.pending.moves), "held": len(self.pending.held)}
            | {"source_bytes": self.pending.source_bytes, "requests": self.pending.requests},
            "failed": list(self.failed),
            "damaged": list(self.damaged),
            "raw_held": [asdict(row) for row in self.raw_held],
        }


def tier_status(home: str | Path, policy: Policy | None = None, *, clock: Clock | None = None) -> TierStatus:
    """Return the status of a home's tiers. Reads headers and the manifest, writes nothing.

    Parameters
    ----------
    home : path
        May be empty or absent.
    policy : Policy, optional
        Default :func:`default_policy`.
    """
    policy = policy or default_policy(home)
    manifest = Manifest.open(home)
    now_ns = (clock or SystemClock()).now_ns()
    found, errors = hot_entries(home, now_ns=now_ns)
    moving = [] if manifest is None else manifest.pending()
    recorded = [] if manifest is None else [*manifest.at_place(HOT), *moving]
    hot = visible(
        home, merge_hot({entry.key: entry for entry in recorded}, _here(found, manifest)).values(), manifest
    )
    prices = policy.prices
    rows = [_hot_row(home, [entry for entry in hot if entry.place == HOT], prices.get(HOT) or Prices())]
    stocks = [] if manifest is None else of_current(home, manifest.stocks(), manifest)
    unknown = {stock.place for stock in stocks} - {*policy.names, DELETE}
    for name in (*policy.names[1:], *sorted(unknown)):
        encoding = policy.tier(name).encoding if name in policy.names else "not configured"
        root = policy.tier(name).root if name in policy.names else (manifest and manifest.root(name)) or ""
        here = [stock for stock in stocks if stock.place == name]
        sealed = None if manifest is None or not here else manifest.sealed_span(name)
        rows.append(_row(name, root, encoding, here, sealed, prices.get(name) or Prices()))
    state = gather(home, policy, now_ns=now_ns, hot=(found, errors))[0]
    return TierStatus(
        tiers=tuple(rows),
        interrupted=tuple(entry for entry in hot if entry.intent),
        retired_copies=sum(len(entry.retired) for entry in visible(home, moving, manifest) if entry.place != DELETE),
        catalogs_behind=tuple(manifest.dirty()) if manifest else (),
        errors=tuple(errors),
        pending=plan_moves(state, policy, now_ns),
        failed=tuple(manifest.failures()) if manifest else (),
        damaged=tuple(manifest.damaged()) if manifest else (),
        raw_held=tuple(_raw_held(state)) if policy.raw_waits_for_etl else (),
    )


def _raw_held(state: TierState) -> Iterator[RawHeld]:
    """Yield who holds which raw queue back, of each queue the shard that is the farthest behind."""
    for queue, shards in sorted(state.frontiers.items()):
        shard, index = min(shards.items(), key=lambda item: (item[1] is not None, item[1] or 0, item[0]))
        here = [row for row in state.segments if row.queue == queue and row.place == HOT]
        waiting = [row for row in here if index is None or index < row.end_index]
        if waiting:
            yield RawHeld(queue, shard, index, len(waiting), sum(row.stored_bytes for row in waiting))


def _here(found: list[Entry], manifest: Manifest | None) -> list[Entry]:
    """Return the segments in the home that no other place has: a copy that waits for its deletion is none."""
    if manifest is None:
        return found
    recorded = ((entry, manifest.get(entry.key)) for entry in found)
    return [one for one, other in recorded if other is None or other.place == HOT or not same_segment(one, other)]


def _hot_row(home: str | Path, here: list[Entry], prices: Prices) -> TierRow:
    filled = [entry for entry in here if entry.record_count]
    return TierRow(
        tier=HOT,
        path=str(home),
        encoding="none",
        segments=len(here),
        stored_bytes=sum(entry.length for entry in here),
        raw_bytes=sum(entry.file_bytes for entry in here),
        ts_first=min((entry.ts_first for entry in filled), default=NONE),
        ts_last=max((entry.ts_last for entry in filled), default=NONE),
        free_bytes=LocalStore(home).free_bytes(),
        open_segments=_open_segments(home),
        sealed_first_ns=min((entry.sealed_seen_ns for entry in here), default=NONE),
        sealed_last_ns=max((entry.sealed_seen_ns for entry in here), default=NONE),
        cost_month=prices.month(sum(entry.length for entry in here)),
    )


def _row(
    tier: str, root: str | Path, encoding: str, here: list[Stock], sealed: tuple[int, int] | None, prices: Prices
) -> TierRow:
    filled = [stock for stock in here if stock.first != NONE]
    stored = sum(stock.stored_bytes for stock in here)
    return TierRow(
        tier=tier,
        path=str(root),
        encoding=encoding,
        segments=sum(stock.segments for stock in here),
        stored_bytes=stored,
        raw_bytes=sum(stock.file_bytes for stock in here),
        ts_first=min((stock.ts_first for stock in filled), default=NONE),
        ts_last=max((stock.ts_last for stock in filled), default=NONE),
        free_bytes=None if is_url(root) or not str(root) else LocalStore(local_folder(root)).free_bytes(),
        sealed_first_ns=NONE if sealed is None else sealed[0],
        sealed_last_ns=NONE if sealed is None else sealed[1],
        cost_month=prices.month(stored),
    )


def _open_segments(home: str | Path) -> int:
    source = LocalSource(home)
    return sum(
        path.suffix == ".open" for queue in source.queues() for path in source.queue(queue).segment_files().values()
    )
