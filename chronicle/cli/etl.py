"""``chronicle etl``: raw queues in, clean queues out."""

from __future__ import annotations

import click

from chronicle.cli.commands import GROUPS
from chronicle.cli.lazy import LazyGroup

_EPILOG = """\
\b
Examples:
  chronicle etl run --drain --home data       work off what is captured, seal, end
  chronicle etl run --home data               follow a live feed until SIGTERM
  chronicle etl status --home data
  chronicle etl leave raw/b.q --home data     a dead feed's queue holds the others back no longer
  chronicle etl retire old --home data        a shard that is configured no longer holds raw back no longer
  chronicle etl rebuild --into again --verify --home data
"""


@click.group("etl", cls=LazyGroup, table=GROUPS["etl"], epilog=_EPILOG, no_args_is_help=True)
def group() -> None:
    """Refine raw queues into clean ones: books, trades and quotes per instrument."""
