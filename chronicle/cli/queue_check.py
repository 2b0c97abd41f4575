"""``chronicle queue check``: every byte of a queue against its checksums and its own word."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option

_EPILOG = """\
\b
Examples:
  chronicle queue check raw/main.q --home demo
  chronicle queue check clean/kraken/btc_eur/book --json --home demo
\b
Exit code 5 when anything is damaged. A torn tail (a writer was killed in the middle of an event) is
normal: the next writer clears it. Damage before it is for `chronicle queue repair`, or for a copy in
another tier.
"""


@click.command("check", epilog=_EPILOG)
@click.argument("queue")
@home_option
@json_option
@click.pass_context
def command(ctx: click.Context, queue: str, home: Path, as_json: bool) -> None:
    """Verify QUEUE on this host and name the first bad byte of each damaged segment."""
    from chronicle.cli.queue import find_queue
    from chronicle.config.units import format_bytes
    from chronicle.core.check import check_queue
    from chronicle.core.errors import CorruptionError

    checks = check_queue(find_queue(home, queue))
    damaged = [item for item in checks if not item.ok]
    if as_json:
        show.echo_json(
            [
                {
                    "segment": item.number,
                    "path": str(item.path),
                    "state": item.state,
                    "ok": item.ok,
                    "records": item.record_count,
                    "checked_bytes": item.checked_bytes,
                    "torn_bytes": item.torn_bytes,
                    "bad_offset": None if item.bad_offset < 0 else item.bad_offset,
                    "problem": item.problem or None,
                }
                for item in checks
            ]
        )
    else:
        for item in checks:
            torn = f", {item.torn_bytes} bytes of a torn event behind them" if item.torn_bytes else ""
            verdict = f"ok: {item.record_count:,} records, {format_bytes(item.checked_bytes)} checked{torn}"
            if not item.ok:
                verdict = f"DAMAGED: {item.problem}"
            click.echo(f"segment {item.number} ({item.state}): {verdict}")
        whole = sum(item.record_count for item in checks if item.ok)
        click.echo(f"{len(checks)} segments, {whole:,} records, {len(damaged)} damaged")
    if damaged:
        ctx.exit(CorruptionError.exit_code)
