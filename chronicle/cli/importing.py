"""``chronicle import``: exported records back into queues."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home
from chronicle.cli.progress import bar
from chronicle.core.errors import NotFoundError

if TYPE_CHECKING:
    from chronicle.access.formats.importing import Imported

_EPILOG = """\
\b
Examples:
  chronicle export copy --format records --home data
  chronicle import copy --home other
  chronicle import copy/trade --home trades
\b
Takes what `chronicle export --format records` wrote, whole queues from their first segment on. Every row is
compared with the checksum of the export before anything is written; the sealed segments that come out are the
ones that went in, byte for byte. A queue that is in the home already is refused.
"""


@click.command("import", epilog=_EPILOG)
@click.argument("paths", nargs=-1, required=True, metavar="FOLDER...", type=click.Path(path_type=Path))
@home_option
@json_option
def command(paths: tuple[Path, ...], home: Path, as_json: bool) -> None:
    """Make clean queues of exported records."""
    for path in paths:
        if not path.exists():
            raise NotFoundError("there is nothing to import", path=path)
    from chronicle.access.libraries import library

    library("pyarrow")
    from chronicle.access.formats.importing import files_of, import_records

    files = files_of(paths)
    if home.exists():
        need_home(home)
    with bar(len(files), "import") as step:

        def tell(path: Path, done: Imported) -> None:
            step(f"{done.records:,} records")

        done = import_records(home, files, tell)
    if as_json:
        show.echo_json(done.to_dict())
    else:
        click.echo(f"{done.records:,} records, {done.segments:,} segments, {done.queues:,} queues in {home}")
