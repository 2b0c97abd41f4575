"""``chronicle queue bench``: what a queue costs on this machine and in this folder."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option

_EPILOG = """\
\b
Examples:
  chronicle queue bench
  chronicle queue bench --folder /dev/shm --records 1000000 --json
\b
Every figure is a Python call less an empty call of the same loop, of one process on a machine that others may use:
compare figures of one run, not of two. `tools/bench.py queue` has peers and readers in other processes.
"""


@click.command("bench", epilog=_EPILOG)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the queue is made and removed again; default the home, or the temporary folder.",
)
@click.option("--records", type=click.IntRange(1_000, 50_000_000), default=200_000, show_default=True)
@home_option
@json_option
def command(folder: Path | None, records: int, home: Path, as_json: bool) -> None:
    """Measure appends, rolls and reads of a queue made for it."""
    import shutil
    import tempfile

    from chronicle.core.benchmark import measure_queue
    from chronicle.core.clock import SystemClock

    base = folder or (home if home.is_dir() else Path(tempfile.gettempdir()))
    place = Path(tempfile.mkdtemp(prefix="queue-bench-", dir=base))
    try:
        measures = measure_queue(place, records, SystemClock())
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if as_json:
        show.echo_json({"folder": str(base), "measures": [measure.to_dict() for measure in measures]})
        return
    click.echo(f"in {base}, records of 64 bytes, ns")
    show.echo_table(
        ("what", "p50", "p99", "p99.9", "max", "n"),
        [(m.name, *(f"{value:,.1f}" for value in (m.p50, m.p99, m.p999, m.worst)), f"{m.count:,}") for m in measures],
        right=("p50", "p99", "p99.9", "max", "n"),
    )
