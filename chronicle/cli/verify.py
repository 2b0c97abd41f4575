"""``chronicle verify``: every sealed byte, in every tier."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.options import json_option, need_place, place_option
from chronicle.cli.progress import working

if TYPE_CHECKING:
    from collections.abc import Callable

    from chronicle.access.trust.proof import RecordProof
    from chronicle.core.source import SegmentInfo

_EPILOG = """\
\b
Examples:
  chronicle verify --home demo
  chronicle verify --deep --home demo                    also every record, the seek index made again, and
                                                         clean queues compared with what raw gives again
  chronicle verify --queues clean/kraken/ --json --home demo
  chronicle verify --home /srv/chronicle/archive         an archive root by itself
  chronicle verify --home s3://bucket/prefix             one in an object store
\b
Exit code 5 when anything was found. Nothing is changed.
"""


@click.command("verify", epilog=_EPILOG)
@click.option("--deep", is_flag=True, help="Also walk every record, and compare with what raw gives again.")
@click.option("--queues", "prefix", default="", metavar="PREFIX", help="Only queues whose names start so.")
@place_option
@json_option
@click.pass_context
def command(ctx: click.Context, deep: bool, prefix: str, home: Path | str, as_json: bool) -> None:
    """Prove that every sealed segment is whole, unchanged, and at exactly one published place."""
    from chronicle.config.units import format_bytes
    from chronicle.core.errors import CorruptionError
    from chronicle.storage.tiers.verify import verify

    with working("verify") as say:
        look = None if say is None else _told(say)
        report = verify(need_place(home), deep=deep, prefix=prefix, progress=look)
        if say is not None and deep:
            say("verify: clean queues made again from raw (the first run compiles)")
        proof = _records(home) if deep and not prefix and isinstance(home, Path) else None
    ok = report.ok and not (proof and proof.differences)
    if as_json:
        show.echo_json(
            {
                "ok": ok,
                "queues": report.queues,
                "segments": report.segments,
                "raw_bytes": report.raw_bytes,
                "findings": [finding.to_dict() for finding in report.findings],
                "records": None if proof is None else asdict(proof),
            }
        )
    else:
        for finding in report.findings:
            where = f"{finding.queue} segment {finding.number}: " if finding.queue else ""
            click.echo(f"{finding.kind}: {where}{finding.message}")
        proven = "all is proven" if report.segments else "there is nothing to prove"
        verdict = proven if report.ok else f"{len(report.findings)} findings"
        size = format_bytes(report.raw_bytes)
        for difference in proof.differences if proof else ():
            click.echo(f"different: {difference}")
        for reason in proof.passed_over if proof else ():
            click.echo(f"not compared with raw: {reason}")
        if proof and proof.compared:
            click.echo(f"{len(proof.compared)} clean queues were made again from raw and compared, record by record")
        click.echo(f"{report.segments} segments of {report.queues} queues, {size} of sealed bytes: {verdict}")
    if not ok:
        ctx.exit(CorruptionError.exit_code)


def _records(home: Path) -> RecordProof | None:
    """Compare the clean queues of a home with what raw gives again; None for an archive root."""
    from chronicle.access.trust.proof import prove_records
    from chronicle.cli.shards import etl_config
    from chronicle.cli.sources import open_source
    from chronicle.config import load_settings
    from chronicle.storage.stores.source import TieredSource

    source = open_source(home)
    if not isinstance(source, TieredSource):
        return None
    settings = load_settings(home, os.environ)
    shards = {item.name: etl_config(settings, item.name) for item in settings.etl.shards}
    return prove_records(home, source, shards)


def _told(say: Callable[[str], None]) -> Callable[[int, SegmentInfo], None]:
    """Return what tells a person of each segment that was checked."""
    from chronicle.config.units import format_bytes

    size = 0

    def progress(checked: int, info: SegmentInfo) -> None:
        nonlocal size
        size += info.size_bytes
        say(f"verify: {checked:,} segments, {format_bytes(size)}, {info.queue}")

    return progress
