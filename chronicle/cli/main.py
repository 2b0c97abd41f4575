"""``chronicle``: the top of the command line, and how every failure ends."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from chronicle import __version__
from chronicle.cli.commands import COMMANDS
from chronicle.cli.lazy import LazyGroup
from chronicle.cli.show import printable
from chronicle.core.errors import CapacityError, ChronicleError

__all__ = ["cli", "main", "run"]

INTERRUPTED = 130
PIPE_CLOSED = 141
CRASHED = 70
"""EX_SOFTWARE of sysexits.h: a mistake of ours, not of the input."""

_EPILOG = """\
\b
A first look (a simulated exchange, feed, ETL and tiers, about half a minute):
  chronicle demo --dir demo
  chronicle ls --home demo
\b
Captures on disk to books (see `chronicle feed replay --help` for the formats):
  chronicle init --home data
  chronicle feed replay capture.jsonl --format cryptofeed --home data
  chronicle etl run --drain --home data
  chronicle book kraken:BTC-EUR --at 2021-04-17T16:50:00Z --home data
\b
Every command takes --home DIR after its name; without it $CHRONICLE_HOME counts, else ./chronicle-data.
Commands that a program may read take --json. Exit codes: 0 done, 1 failed, 2 wrong use, 3 not found,
4 foreign or newer file, 5 corruption, 6 locked, 7 no space, 8 unreadable input, 130 interrupted.
"""


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=_EPILOG,
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name="chronicle")
def cli() -> None:
    """Capture market data, refine it into clean queues, keep it in tiers, and read it back as one stream."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    code = run(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _close_pipe()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; every failure is told on stderr, none with a traceback.

    With ``--json`` a failure is also one JSON object with the key ``error`` on stdout.
    """
    as_json = "--json" in arguments
    try:
        _invoke(arguments)
        return 0
    except click.exceptions.Exit as stop:
        return int(stop.exit_code)
    except click.ClickException as error:
        return _usage_error(error, as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except ChronicleError as error:
        return _known_error(error, as_json=as_json)
    except BrokenPipeError:
        return _close_pipe()
    except OSError as error:
        return _known_error(_system_error(error), as_json=as_json)
    except Exception as error:  # the last line of defence: a short note instead of a traceback
        return _crash(error)


def _invoke(arguments: list[str]) -> None:
    """Run click's command; unlike ``cli.main`` this leaves every failure, a closed pipe included, to us."""
    if "_CHRONICLE_COMPLETE" in os.environ:
        cli.main(args=arguments, prog_name="chronicle")
    with cli.make_context("chronicle", arguments) as context:
        cli.invoke(context)


def _known_error(error: ChronicleError, *, as_json: bool) -> int:
    _maybe_traceback()
    click.echo(f"chronicle: {_one_line(str(error))}", err=True)
    if as_json:
        _echo_object(error.to_dict())
    return error.exit_code


def _system_error(error: OSError) -> ChronicleError:
    """Return our error for a refusal of the system that no command turned into its own."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return CapacityError(
            "no space left", path=error.filename, hint="free space; nothing that was committed is lost"
        )
    return ChronicleError(f"the system refused: {error.strerror or error}", path=error.filename)


def _usage_error(error: click.ClickException, *, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        click.echo(context.get_help(), err=True)
        return error.exit_code
    where = f" (see {context.command_path} --help)" if context is not None else ""
    click.echo(f"chronicle: {_one_line(error.format_message())}{where}", err=True)
    if as_json:
        _echo_object({"error": "usage", "message": error.format_message()})
    return error.exit_code


def _crash(error: Exception) -> int:
    _maybe_traceback()
    note = f"chronicle: stopped by a mistake of its own: {type(error).__name__}: {_one_line(str(error))[:400]}"
    click.echo(note, err=True)
    click.echo(
        f"Please report it with the command you ran and chronicle {__version__}, Python {sys.version.split()[0]}; "
        "run it again with CHRONICLE_DEBUG=1 for the traceback. Committed records are safe.",
        err=True,
    )
    return CRASHED


def _maybe_traceback() -> None:
    if os.environ.get("CHRONICLE_DEBUG", "") not in {"", "0"}:
        import traceback

        traceback.print_exc()


def _echo_object(value: dict[str, object]) -> None:
    import json

    try:
        click.echo(json.dumps(value, ensure_ascii=False))
    except BrokenPipeError:
        _close_pipe()


def _one_line(message: str) -> str:
    return printable(" ".join(message.split()))


def _close_pipe() -> int:
    """Leave silently when the reader of our output went away (`chronicle scan ... | head`)."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    os.close(sink)
    return PIPE_CLOSED
