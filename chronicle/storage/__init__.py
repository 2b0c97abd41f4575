"""Storage: tiers, policy, agent, manifest and archive encoding of sealed segments."""

from chronicle.storage.agent import Failure, Report, agent_lock, apply_plan, make_plan, run_once
from chronicle.storage.archive import ArchivedSegment
from chronicle.storage.encode import EncodeOptions, encode_segment
from chronicle.storage.manifest import Entry, Manifest
from chronicle.storage.policy import (
    Held,
    Move,
    Plan,
    Policy,
    Rule,
    TierPolicy,
    default_policy,
    plan,
    policy_from_mapping,
)
from chronicle.storage.rebuild import RebuildReport, rebuild_manifest
from chronicle.storage.source import ArchiveSource, TieredSource, open_source
from chronicle.storage.status import TierRow, TierStatus, tier_status
from chronicle.storage.stores import LocalStore, Store
from chronicle.storage.verify import Finding, VerifyReport, verify

__all__ = [
    "ArchiveSource",
    "ArchivedSegment",
    "EncodeOptions",
    "Entry",
    "Failure",
    "Finding",
    "Held",
    "LocalStore",
    "Manifest",
    "Move",
    "Plan",
    "Policy",
    "RebuildReport",
    "Report",
    "Rule",
    "Store",
    "TierPolicy",
    "TierRow",
    "TierStatus",
    "TieredSource",
    "VerifyReport",
    "agent_lock",
    "apply_plan",
    "default_policy",
    "encode_segment",
    "make_plan",
    "open_source",
    "plan",
    "policy_from_mapping",
    "rebuild_manifest",
    "run_once",
    "tier_status",
    "verify",
]
