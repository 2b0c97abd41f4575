"""``chronicle feed``: what arrives, into the raw and wire queues."""

from __future__ import annotations

import click

from chronicle.cli.commands import GROUPS
from chronicle.cli.lazy import LazyGroup

_EPILOG = """\
\b
Examples:
  chronicle feed venues
  chronicle feed replay capture.jsonl.zst --format cryptofeed --home data
"""


@click.group("feed", cls=LazyGroup, table=GROUPS["feed"], epilog=_EPILOG, no_args_is_help=True)
def group() -> None:
    """Take market data in: recorded captures and live connections."""
