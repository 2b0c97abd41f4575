"""Options that many commands share: --home, --json, times, and the home they name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from chronicle.core.errors import NotFoundError, RangeError
from chronicle.core.times import parse_time

__all__ = [
    "SIZE",
    "TIME",
    "home_option",
    "json_option",
    "need_home",
    "need_place",
    "place_option",
    "resolve_home",
    "version_options",
]

DEFAULT_HOME = "chronicle-data"
Command = TypeVar("Command", bound=Callable[..., Any])


class _TimeType(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    """A moment: ISO 8601 (naive means UTC) or integer ns since 1970; becomes int ns."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_time(value)
        except RangeError as error:
            self.fail(str(error), param, ctx)


TIME = _TimeType()


class _SizeType(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    """A size in bytes: ``64MiB``, ``1.5GB`` or a number; becomes int."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from chronicle.config.units import parse_bytes

        try:
            return parse_bytes(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


SIZE = _SizeType()


def _home_callback(ctx: click.Context, param: click.Parameter, value: str | None) -> Path:
    return resolve_home(value)


def resolve_home(value: str | None) -> Path:
    """Return the home that --home, $CHRONICLE_HOME or the default names. It need not exist."""
    text = value if value is not None else os.environ.get("CHRONICLE_HOME") or DEFAULT_HOME
    if not text or "\0" in text:
        raise click.BadParameter("the home's name is empty", param_hint="--home")
    if "://" in text:
        raise click.BadParameter(
            "this command works on a home of this host; a URL is for those that only read", param_hint="--home"
        )
    return Path(text).expanduser()


def home_option(command: Command) -> Command:
    """Add ``--home DIR``, given to the command as a Path called `home`."""
    option = click.option(
        "--home",
        metavar="DIR",
        default=None,
        callback=_home_callback,
        help="The home; default $CHRONICLE_HOME, else ./chronicle-data.",
    )
    return option(command)


def place_option(command: Command) -> Command:
    """Add ``--home`` to a command that only reads: a home, an archive root, or the URL of one."""
    option = click.option(
        "--home",
        metavar="DIR|URL",
        default=None,
        callback=_place_callback,
        help="The home, or an archive's root or URL; default $CHRONICLE_HOME, else ./chronicle-data.",
    )
    return option(command)


def version_options(command: Command) -> Command:
    """Add ``--version`` and ``--as-of``: which version of the clean queues is read (:func:`chronicle.open`)."""
    number = click.option("--version", type=int, metavar="N", help="Read version N: a rebuild under HOME/rebuilt/N.")
    as_of = click.option("--as-of", type=TIME, help="Read the newest version that was whole at this time.")
    return number(as_of(command))


def _place_callback(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | str:
    found = value if value is not None else os.environ.get("CHRONICLE_HOME") or ""
    return found if "://" in found else resolve_home(value)


def need_place(place: Path | str) -> Path | str:
    """Return `place` if it is a URL or a folder (see :func:`need_home`)."""
    return place if isinstance(place, str) else need_home(place)


def json_option(command: Command) -> Command:
    """Add ``--json``, given to the command as a bool called `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")(command)


def need_home(home: Path) -> Path:
    """Return `home` if it is a folder (it may be empty and uninitialised).

    Raises
    ------
    NotFoundError
        When there is nothing, or a file.
    """
    if not os.path.isdir(home):
        raise NotFoundError(
            "there is no home here" if not os.path.exists(home) else "the home is a file, not a folder",
            path=home,
            hint="create one with `chronicle init`, or name another with --home or CHRONICLE_HOME",
        )
    return home
