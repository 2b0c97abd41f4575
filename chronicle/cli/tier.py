"""``chronicle tier``: sealed segments to colder places."""

from __future__ import annotations

import click

from chronicle.cli.commands import GROUPS
from chronicle.cli.lazy import LazyGroup

_EPILOG = """\
\b
Tiers and rules are in chronicle.toml ([[tiers]], [[policy]], [agent]; docs/configuration.md). Without
them: hot is the home, warm is HOME/archive (zstd), everything sealed goes there after 2 hours.
\b
Examples:
  chronicle tier status --home demo
  chronicle tier plan --all --home demo        what would move, and what it costs
  chronicle tier apply --home demo             move what is due, once
  chronicle tier run --home demo               the agent: again and again, until SIGTERM
"""


@click.group("tier", cls=LazyGroup, table=GROUPS["tier"], epilog=_EPILOG, no_args_is_help=True)
def group() -> None:
    """See where sealed segments are, and move them to colder tiers."""
