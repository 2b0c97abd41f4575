"""Storage: tiers, policy, agent, manifest and archive encoding of sealed segments.

Names are loaded when they are first asked for: listing a home needs no agent, and no decoder. The function
:func:`chronicle.storage.verify.verify` is imported from its module, whose name it has.
"""

from typing import TYPE_CHECKING

from chronicle.core.lazy import lazy_names

if TYPE_CHECKING:
    from chronicle.storage.agent import AgentOptions, agent_lock, apply_plan, make_plan, run_once
    from chronicle.storage.archive import ArchivedSegment
    from chronicle.storage.encode import EncodeOptions, encode_segment
    from chronicle.storage.entry import Entry
    from chronicle.storage.manifest import Manifest
    from chronicle.storage.planning import Held, Move, Plan, plan
    from chronicle.storage.policy import Hold, Limits, Policy, Prices, Rule, TierPolicy, default_policy
    from chronicle.storage.rebuild import RebuildReport, rebuild_manifest
    from chronicle.storage.report import Failure, Report
    from chronicle.storage.source import ArchiveSource, TieredSource, open_source
    from chronicle.storage.status import TierRow, TierStatus, tier_status
    from chronicle.storage.stores import LocalStore, Store
    from chronicle.storage.verify import Finding, VerifyReport

__all__ = [
    "AgentOptions",
    "ArchiveSource",
    "ArchivedSegment",
    "EncodeOptions",
    "Entry",
    "Failure",
    "Finding",
    "Held",
    "Hold",
    "Limits",
    "LocalStore",
    "Manifest",
    "Move",
    "Plan",
    "Policy",
    "Prices",
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
    "rebuild_manifest",
    "run_once",
    "tier_status",
]

_HOMES = {
    "AgentOptions": "agent",
    "ArchiveSource": "source",
    "ArchivedSegment": "archive",
    "EncodeOptions": "encode",
    "Entry": "entry",
    "Failure": "report",
    "Finding": "verify",
    "Held": "planning",
    "Hold": "policy",
    "Limits": "policy",
    "LocalStore": "stores",
    "Manifest": "manifest",
    "Move": "planning",
    "Plan": "planning",
    "Policy": "policy",
    "Prices": "policy",
    "RebuildReport": "rebuild",
    "Report": "report",
    "Rule": "policy",
    "Store": "stores",
    "TierPolicy": "policy",
    "TierRow": "status",
    "TierStatus": "status",
    "TieredSource": "source",
    "VerifyReport": "verify",
    "agent_lock": "agent",
    "apply_plan": "agent",
    "default_policy": "policy",
    "encode_segment": "encode",
    "make_plan": "agent",
    "open_source": "source",
    "plan": "planning",
    "rebuild_manifest": "rebuild",
    "run_once": "agent",
    "tier_status": "status",
}

__getattr__ = lazy_names(__name__, _HOMES)
