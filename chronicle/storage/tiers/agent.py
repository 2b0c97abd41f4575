"""The tiering agent: performs a plan, settles what an earlier run left behind, deletes what is due. One per home."""

from __future__ import annotations

from pathlib import Path

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.errors import ChronicleError
from chronicle.storage.manifest.manifest import Manifest
from chronicle.storage.tiers.agent_lock import agent_lock
from chronicle.storage.tiers.moves import Hook, no_hook
from chronicle.storage.tiers.planning import Plan
from chronicle.storage.tiers.planning import plan as plan_moves
from chronicle.storage.tiers.policy import Policy
from chronicle.storage.tiers.report import Report
from chronicle.storage.tiers.run import AgentOptions, Progress, Run
from chronicle.storage.tiers.state import gather

__all__ = ["AgentOptions", "agent_lock", "apply_plan", "make_plan", "run_once"]


def make_plan(
    home: str | Path, policy: Policy, *, everything: bool = False, prefix: str = "", clock: Clock | None = None
) -> tuple[Plan, list[ChronicleError]]:
    """Return what the policy would move now, and segments that could not be read. Nothing is written."""
    now_ns = (clock or SystemClock()).now_ns()
    state, errors = gather(home, policy, now_ns=now_ns, everything=everything)
    return plan_moves(state, policy, now_ns, everything=everything, prefix=prefix), errors


def apply_plan(
    home: str | Path,
    plan: Plan,
    policy: Policy,
    *,
    clock: Clock | None = None,
    progress: Progress | None = None,
    hook: Hook = no_hook,
    options: AgentOptions | None = None,
) -> Report:
    """Perform a plan: settle interrupted moves first, then move, publish catalogs, delete due sources.

    Raises
    ------
    QueueLockedError
        When another agent works on this home.
    StateError
        When another home archives into a tier of the plan; nothing was moved.
    CapacityError, StoreError
        When the manifest or a catalog cannot be written. What single moves met is in the report.
    """
    clock = clock or SystemClock()
    home = Path(home)
    with agent_lock(home, now_ns=clock.now_ns()):
        manifest = Manifest.open(home, create=True)
        assert manifest is not None
        agent = Run(home, manifest, policy, clock, hook, options or AgentOptions())
        agent.settle()
        agent.perform(plan, progress)
        return agent.report


def run_once(
    home: str | Path,
    policy: Policy,
    *,
    everything: bool = False,
    prefix: str = "",
    clock: Clock | None = None,
    progress: Progress | None = None,
    options: AgentOptions | None = None,
) -> Report:
    """Plan and apply: one duty cycle of ``chronicle tier run``."""
    clock = clock or SystemClock()
    plan, _ = make_plan(home, policy, everything=everything, prefix=prefix, clock=clock)
    return apply_plan(home, plan, policy, clock=clock, progress=progress, options=options)
