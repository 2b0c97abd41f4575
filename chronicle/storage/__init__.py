"""Storage: tiers, policy, agent, manifest and archive encoding of sealed segments.

Names are loaded when they are first asked for: listing a home needs no agent, and no decoder. The function
:func:`chronicle.storage.tiers.verify.verify` is imported from its module, whose name it has.
"""

from typing import TYPE_CHECKING

from chronicle.core.lazy import lazy_names

if TYPE_CHECKING:
    from chronicle.storage.codec.archive import ArchivedSegment
    from chronicle.storage.codec.encode import EncodeOptions, encode_segment
    from chronicle.storage.manifest.entry import Entry
    from chronicle.storage.manifest.manifest import Manifest
    from chronicle.storage.manifest.rebuild import RebuildReport, rebuild_manifest
    from chronicle.storage.stores.source import ArchiveSource, TieredSource, open_source
    from chronicle.storage.stores.stores import LocalStore, Store
    from chronicle.storage.tiers.agent import AgentOptions, agent_lock, apply_plan, make_plan, run_once
    from chronicle.storage.tiers.planning import Held, Move, Plan, plan
    from chronicle.storage.tiers.policy import Hold, Limits, Policy, Prices, Rule, TierPolicy, default_policy
    from chronicle.storage.tiers.report import Failure, Report
    from chronicle.storage.tiers.status import TierRow, TierStatus, tier_status
    from chronicle.storage.tiers.verify import Finding, VerifyReport

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
    "AgentOptions": "tiers.agent",
    "ArchiveSource": "stores.source",
    "ArchivedSegment": "codec.archive",
    "EncodeOptions": "codec.encode",
    "Entry": "manifest.entry",
    "Failure": "tiers.report",
    "Finding": "tiers.verify",
    "Held": "tiers.planning",
    "Hold": "tiers.policy",
    "Limits": "tiers.policy",
    "LocalStore": "stores.stores",
    "Manifest": "manifest.manifest",
    "Move": "tiers.planning",
    "Plan": "tiers.planning",
    "Policy": "tiers.policy",
    "Prices": "tiers.policy",
    "RebuildReport": "manifest.rebuild",
    "Report": "tiers.report",
    "Rule": "tiers.policy",
    "Store": "stores.stores",
    "TierPolicy": "tiers.policy",
    "TierRow": "tiers.status",
    "TierStatus": "tiers.status",
    "TieredSource": "stores.source",
    "VerifyReport": "tiers.verify",
    "agent_lock": "tiers.agent",
    "apply_plan": "tiers.agent",
    "default_policy": "tiers.policy",
    "encode_segment": "codec.encode",
    "make_plan": "tiers.agent",
    "open_source": "stores.source",
    "plan": "tiers.planning",
    "rebuild_manifest": "manifest.rebuild",
    "run_once": "tiers.agent",
    "tier_status": "tiers.status",
}

__getattr__ = lazy_names(__name__, _HOMES)
