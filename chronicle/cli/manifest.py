"""``chronicle manifest``: what says where every sealed segment is; the same commands are under ``chronicle tier``."""

from __future__ import annotations

import click

from chronicle.cli.commands import GROUPS
from chronicle.cli.lazy import LazyGroup

_EPILOG = """\
\b
The manifest is an index: nothing in it is needed to read a segment whose file is known.
\b
Examples:
  chronicle manifest log --last 20 --home demo       who moved what when; the chain of hashes is checked
  chronicle manifest rebuild --home demo             again from the segments alone, where it was lost or damaged
"""


@click.group("manifest", cls=LazyGroup, table=GROUPS["manifest"], epilog=_EPILOG, no_args_is_help=True)
def group() -> None:
    """See the manifest's history, and make it again from the segments."""
