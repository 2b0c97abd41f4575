"""``chronicle verify``: every sealed byte, in every tier."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.options import json_option, need_place, place_option

if TYPE_CHECKING:
    from chronicle.core.source import SegmentInfo

_EPILOG = """\
\b
Examples:
  chronicle verify --home demo
  chronicle verify --deep --home demo                    also every record, and the seek index made again
  chronicle verify --queues clean/kraken/ --json --home demo
  chronicle verify --home /srv/chronicle/archive         an archive root by itself
\b
Exit code 5 when anything was found. Nothing is changed.
"""


@click.command("verify", epilog=_EPILOG)
@click.option("--deep", is_flag=True, help="Also walk every record.")
@click.option("--queues", "prefix", default="", metavar="PREFIX", help="Only queues whose names start so.")
@place_option
@json_option
@click.pass_context
def command(ctx: click.Context, deep: bool, prefix: str, home: Path | str, as_json: bool) -> None:
    """Prove that every sealed segment is whole, unchanged, and at exactly one published place."""
    from chronicle.config.units import format_bytes
    from chronicle.core.errors import CorruptionError
    from chronicle.storage.verify import verify

    report = verify(need_place(home), deep=deep, prefix=prefix, progress=_progress if sys.stderr.isatty() else None)
    if as_json:
        show.echo_json(
            {
                "ok": report.ok,
                "queues": report.queues,
                "segments": report.segments,
                "raw_bytes": report.raw_bytes,
                "findings": [finding.to_dict() for finding in report.findings],
            }
        )
    else:
        for finding in report.findings:
            where = f"{finding.queue} segment {finding.number}: " if finding.queue else ""
            click.echo(f"{finding.kind}: {where}{finding.message}")
        verdict = "all is proven" if report.ok else f"{len(report.findings)} findings"
        size = format_bytes(report.raw_bytes)
        click.echo(f"{report.segments} segments of {report.queues} queues, {size} of sealed bytes: {verdict}")
    if not report.ok:
        ctx.exit(CorruptionError.exit_code)


def _progress(checked: int, info: SegmentInfo) -> None:
    sys.stderr.write(f"{checked} {info.queue[:60]:<60}\r")
    sys.stderr.flush()
