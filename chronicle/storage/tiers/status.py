"""What ``tier status`` prints: for each tier what it holds, for each broken move why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.errors import ChronicleError
from chronicle.core.layout import NONE
from chronicle.core.local import LocalSource
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.stores.opening import is_url, local_folder
from chronicle.storage.stores.stores import LocalStore
from chronicle.storage.tiers.planning import Plan
from chronicle.storage.tiers.planning import plan as plan_moves
from chronicle.storage.tiers.policy import DELETE, HOT, Policy, Prices, default_policy
from chronicle.storage.tiers.state import gather, hot_entries, merge_hot, visible

__all__ = ["TierRow", "TierStatus", "tier_status"]


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
    recorded = {} if manifest is None else {entry.key: entry for entry in manifest.entries()}
    now_ns = (clock or SystemClock()).now_ns()
    found, errors = hot_entries(home, now_ns=now_ns)
    entries = [entry for entry in visible(home, merge_hot(recorded, found).values()) if entry.place != DELETE]
    prices = policy.prices
    rows = [_row(HOT, home, "none", entries, prices.get(HOT), open_segments=_open_segments(home))]
    rows.extend(_row(tier.name, tier.root, tier.encoding, entries, prices.get(tier.name)) for tier in policy.tiers)
    for name in sorted({entry.place for entry in entries} - set(policy.names)):
        root = manifest.root(name) if manifest else None
        rows.append(_row(name, root or "", "not configured", entries, None))
    return TierStatus(
        tiers=tuple(rows),
        interrupted=tuple(entry for entry in entries if entry.intent),
        retired_copies=sum(len(entry.retired) for entry in entries),
        catalogs_behind=tuple(manifest.dirty()) if manifest else (),
        errors=tuple(errors),
        pending=plan_moves(gather(home, policy, now_ns=now_ns)[0], policy, now_ns),
        failed=tuple(manifest.failures()) if manifest else (),
        damaged=tuple(manifest.damaged()) if manifest else (),
    )


def _row(
    tier: str,
    root: str | Path,
    encoding: str,
    entries: list[Entry],
    prices: Prices | None,
    *,
    open_segments: int = 0,
) -> TierRow:
    here = [entry for entry in entries if entry.place == tier]
    filled = [entry for entry in here if entry.record_count]
    return TierRow(
        tier=tier,
        path=str(root),
        encoding=encoding,
        segments=len(here),
        stored_bytes=sum(entry.length for entry in here),
        raw_bytes=sum(entry.file_bytes for entry in here),
        ts_first=min((entry.ts_first for entry in filled), default=NONE),
        ts_last=max((entry.ts_last for entry in filled), default=NONE),
        free_bytes=None if is_url(root) or not str(root) else LocalStore(local_folder(root)).free_bytes(),
        open_segments=open_segments,
        sealed_first_ns=min((entry.sealed_seen_ns for entry in here), default=NONE),
        sealed_last_ns=max((entry.sealed_seen_ns for entry in here), default=NONE),
        cost_month=(prices or Prices()).month(sum(entry.length for entry in here)),
    )


def _open_segments(home: str | Path) -> int:
    source = LocalSource(home)
    return sum(
        path.suffix == ".open" for queue in source.queues() for path in source.queue(queue).segment_files().values()
    )
