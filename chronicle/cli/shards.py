"""Which shard a command means, and what the settings say of it; and how a shard's report is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli.progress import working
from chronicle.config.settings import Settings
from chronicle.core.errors import ConfigError
from chronicle.core.selection import Selection

if TYPE_CHECKING:
    from chronicle.etl import EtlConfig, EtlReport

__all__ = ["etl_config", "live_line", "other_shards", "print_report", "shard_name", "shard_standing"]


def shard_name(settings: Settings, shard: str | None) -> str:
    """Return the shard to run: the one named, or the only one there is.

    Raises
    ------
    ConfigError
        When it is not configured, or there are several and none is named.
    """
    names = [item.name for item in settings.etl.shards]
    if shard is None:
        if len(names) == 1:
            return names[0]
        raise ConfigError(
            "several shards are configured: which one is this?", expected=", ".join(names), hint="give --shard NAME"
        )
    if shard not in names:
        raise ConfigError(f"there is no shard {shard!r}", expected=", ".join(names), hint="[etl] shards names them")
    return shard


def etl_config(settings: Settings, shard: str) -> EtlConfig:
    """Return what shapes the output of `shard`."""
    from chronicle.etl import EtlConfig
    from chronicle.etl.config import TIMEFRAMES

    own = next(item for item in settings.etl.shards if item.name == shard)
    return EtlConfig(
        snapshot_interval_ns=settings.etl.snapshot_interval_ns,
        snapshot_deltas=settings.etl.snapshot_deltas,
        symbols=own.symbols,
        candles=tuple(TIMEFRAMES) if settings.etl.candles else (),
        venues=own.venues,
        share=own.share,
    )


def other_shards(settings: Settings, shard: str) -> dict[str, Selection]:
    """Return what the other configured shards work on, by name: no instrument may fall to two."""
    return {
        item.name: Selection(item.symbols, item.venues, item.share)
        for item in settings.etl.shards
        if item.name != shard
    }


def shard_standing(home: Path, settings: Settings, shard: str, index: int | None) -> str:
    """Return how far a shard is that holds raw segments back, and what to do about it."""
    from chronicle.core.local import LocalSource

    source = LocalSource(home)
    where = "which has not begun" if index is None else f"which is at record {index:,}"
    if shard not in {item.name for item in settings.etl.shards}:
        todo = f"is not in [etl] shards: `chronicle etl retire {shard}`"
    elif any(source.queue(name).writer() for name in source.queues(f"etl/{shard}/")):
        todo = "runs: `chronicle etl status`"
    else:
        todo = f"does not run: `chronicle etl run --shard {shard}`"
    return f"shard {shard}, {where} and {todo}"


@contextmanager
def live_line(what: str) -> Iterator[Callable[[EtlReport], None] | None]:
    """Yield a progress callback that keeps one line on a terminal's stderr; None elsewhere."""
    with working(f"{what} (the first run compiles kernels: some seconds)") as say:

        def progress(report: EtlReport) -> None:
            lag = sum(lane.lag_records for lane in report.lanes)
            behind = f", {lag:,} behind" if lag else ""
            if say is not None:
                say(f"{what}: {report.records:,} raw to {report.clean_records:,} clean records{behind}")

        yield None if say is None else progress


def print_report(report: EtlReport) -> None:
    """Print what a shard did, for a person."""
    rate = report.records / report.seconds if report.seconds > 0 else 0.0
    click.echo(
        f"shard {report.shard}: {report.records:,} raw records became {report.clean_records:,} clean ones\n"
        f"  in {report.seconds:.1f} s, {rate:,.0f} records/s"
    )
    if report.counts:
        click.echo("  " + ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in report.counts.items()))
    for lane in report.lanes:
        click.echo(
            f"  {lane.raw_queue}: up to record {lane.frontier_index:,}, {lane.lag_records:,} behind, "
            f"{lane.streams:,} streams"
        )
