"""Help on narrow terminals: every command teaches with an example, and no line is broken in the middle of a word."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from chronicle.cli.helping import fitted
from chronicle.cli.main import cli


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield from commands(command, (*path, name))


def help_of(path: tuple[str, ...], columns: int) -> str:
    context = cli.make_context("chronicle", ["--help", *path], resilient_parsing=True, terminal_width=columns)
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found is not None
        command = found
        context = command.context_class(command, info_name=name, parent=context)
    return command.get_help(context)


@pytest.mark.parametrize("path", list(commands(cli)), ids=lambda path: " ".join(path) or "chronicle")
def test_help_fits_80_columns_and_has_an_example(path: tuple[str, ...]) -> None:
    text = help_of(path, 80)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    names = [" ".join(path), " ".join(path).replace("manifest ", "tier ")]  # one command in two groups
    assert any(f"  chronicle {name}".rstrip() in text.split("Options:")[1] for name in names)
    told, wide = ("".join(each.replace(" \\\n", "").split()) for each in (text, help_of(path, 120)))
    assert told == wide, "nothing is lost by wrapping"


def test_prose_is_wrapped_and_an_example_goes_on_below() -> None:
    lines = [
        "\b",
        "Examples:",
        "  chronicle x --home data       what it does in some words",
        "  short   one",
        "\b",
        "One line that is wide",
        "of prose, too wide here to fit.",
    ]
    text = "\n".join(lines)
    assert fitted(text, 34).splitlines() == [
        *lines[:2],
        "  chronicle x --home data",
        "        what it does in some words",
        *lines[3:],
    ]
    assert fitted(text, 30).splitlines()[-3:] == ["\b", "One line that is wide of", "prose, too wide here to fit."]
    assert fitted(text, 80) == text
