"""Groups whose commands are imported only when they run, so that help and light commands answer at once."""

from __future__ import annotations

import importlib
from typing import Any

import click

from chronicle.cli.helping import HelpContext
from chronicle.core.errors import ConfigError

__all__ = ["LazyGroup"]


class LazyGroup(click.Group):
    """A click group over a table: command name -> ("package.module:attribute", one line of help).

    The help of a group shows the table's lines without importing a command's module. Examples at the end of a
    command's help are kept as they are written where there is room.
    """

    context_class = HelpContext

    def __init__(self, *args: Any, table: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry[0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), entry
        command.context_class = HelpContext
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.table:
            import difflib

            close = difflib.get_close_matches(args[0], self.table, n=1)
            hint = f"did you mean {close[0]}?" if close else f"try: {ctx.command_path} --help"
            raise ConfigError(f"{ctx.command_path} has no command {args[0]!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])
