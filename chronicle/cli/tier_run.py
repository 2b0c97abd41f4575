"""``chronicle tier run``: the tiering agent."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.bar import Bar
from chronicle.cli.options import home_option, json_option, need_home

if TYPE_CHECKING:
    from chronicle.config.settings import AgentSettings
    from chronicle.storage.tiers.policy import Policy

SETTLE_NS = 500_000_000

_EPILOG = """\
\b
Examples:
  chronicle tier run --home demo
  chronicle tier run --interval 1m --home demo
  chronicle tier run --json --home demo              a JSON line after each cycle that did something
\b
It ends on SIGTERM or Ctrl-C after the move in hand. One agent works on a home.
"""


@click.command("run", epilog=_EPILOG)
@click.option("--interval", help="How often to look, as 10s; default [agent] interval.")
@home_option
@json_option
@click.pass_context
def command(ctx: click.Context, interval: str | None, home: Path, as_json: bool) -> None:
    """Move what is due, look again after a while, and so on until stopped.

    A move that fails (a full disk) is told on stderr and tried again in the next cycle.
    """
    from chronicle.cli.stopping import stopping
    from chronicle.cli.tier_apply import print_report
    from chronicle.cli.tiering import options_of, policy_of
    from chronicle.config import load_settings
    from chronicle.config.units import parse_duration
    from chronicle.core.errors import ChronicleError, ConfigError
    from chronicle.storage.tiers.agent import run_once
    from chronicle.storage.tiers.watching import SealWatch

    settings = load_settings(need_home(home), os.environ)
    try:
        pause_ns = settings.agent.interval_ns if interval is None else parse_duration(interval)
    except ValueError as error:
        raise ConfigError(f"cannot use --interval: {error}") from error
    policy = policy_of(settings, home)
    wake = threading.Event()
    with stopping(wake) as stopper, SealWatch(home, wake) as watch, Bar(sys.stderr) as bar:
        if not as_json:
            woken = f" ({watch.failure})" if watch.failure else ", and when a segment was sealed"
            click.echo(f"agent of {home}: looking every {pause_ns / 1e9:g} s{woken}")
        options = options_of(settings, stopper.event.is_set)
        while not stopper.event.is_set():
            wake.clear()
            report = run_once(home, policy, progress=bar.progress, options=options)
            bar.clear()
            if report.moved or report.expired or report.finished or report.undone or report.failures:
                if as_json:
                    click.echo(show.json_line(report.to_dict()))
                else:
                    print_report(report)
            try:
                report.raise_for_failures()
            except ChronicleError as error:
                show.note(f"chronicle: {error}; tried again in {pause_ns / 1e9:g} s")
            if settings.agent.scrub_ns and not stopper.event.is_set():
                _scrub(home, policy, settings.agent, pause_ns)
            if not stopper.event.is_set():
                wake.wait(pause_ns / 1e9)
            stopper.event.wait(min(pause_ns, SETTLE_NS) / 1e9)  # segments are sealed several at once
    ctx.exit(stopper.exit_code)


def _scrub(home: Path, policy: Policy, settings: AgentSettings, pause_ns: int) -> None:
    """Prove the next objects; say what was damaged."""
    from chronicle.storage.manifest.manifest import Manifest
    from chronicle.storage.tiers.policy import DELETE, HOT
    from chronicle.storage.tiers.repair import scrub, scrub_budget

    manifest = Manifest.open(home)
    totals = {} if manifest is None else manifest.totals()
    stored = sum(count for place, (_, count, _) in totals.items() if place not in (HOT, DELETE))
    budget = scrub_budget(stored, settings.scrub_ns, pause_ns)
    report = scrub(home, policy, budget_bytes=budget, bandwidth_bytes=settings.bandwidth)
    for item in report.damaged:
        outcome = f"replaced by {item.copy}" if item.copy else "no whole copy was found"
        show.note(f"chronicle: segment {item.entry.number} of {item.entry.queue}: {item.error}; {outcome}")
