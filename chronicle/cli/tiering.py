"""From settings to the tier policy that storage performs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chronicle.config.settings import TIER_CLASSES, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from chronicle.storage.tiers.agent import AgentOptions
    from chronicle.storage.tiers.policy import Policy

__all__ = ["options_of", "policy_of"]


def address(path: str, home: Path) -> str | Path:
    """Return a tier's address: a URL as it is, a folder relative to the home."""
    return path if "://" in path else home / Path(path).expanduser()


def policy_of(settings: Settings, home: Path) -> Policy:
    """Return the policy of `settings`: tiers from hot to cold, rules whose tiers exist, limits, holds, prices."""
    from chronicle.storage.tiers.policy import DELETE, HOT, Hold, Limits, Policy, Prices, Rule, TierPolicy

    order = sorted(settings.tiers, key=lambda tier: TIER_CLASSES.index(tier.tier_class))
    tiers = tuple(
        TierPolicy(
            tier.name,
            address(tier.path, home),
            tier.encoding,
            tier.level,
            dict(tier.options),
            tier.pack if "://" in tier.path else 0,
            tier.pack_wait_ns,
        )
        for tier in order
        if tier.name != HOT
    )
    known = {tier.name for tier in order}
    rules = tuple(
        Rule(rule.source, rule.target, rule.after_ns, rule.match)
        for rule in settings.policy
        if {rule.source, rule.target} <= known | {DELETE}
    )
    agent = settings.agent
    limited = [tier for tier in order if tier.bytes_max or tier.free_min]
    return Policy(
        tiers,
        rules,
        agent.keep,
        agent.grace_ns,
        agent.raw_waits_for_etl,
        tuple(Hold(hold.kind, hold.match, hold.start_ts, hold.end_ts, hold.reason) for hold in settings.holds),
        {tier.name: Limits(tier.bytes_max, tier.free_min, tier.free_target) for tier in limited},
        {tier.name: Prices(tier.price_gb_month, tier.price_puts, tier.price_gets) for tier in order},
    )


def options_of(settings: Settings, stop: Callable[[], bool] | None = None) -> AgentOptions:
    """Return how the agent performs plans."""
    from chronicle.storage.tiers.agent import AgentOptions

    agent = settings.agent
    return AgentOptions(agent.at_once, agent.bandwidth, stop or (lambda: False))
