"""Help texts on narrow terminals: prose is wrapped anew, examples go on in indented lines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import click

__all__ = ["HelpContext", "fitted"]

VERBATIM = "\b"
"""Click's mark of a paragraph that it leaves alone."""


class HelpFormatter(click.HelpFormatter):
    """Fits what click would print as it is."""

    def write_text(self, text: str) -> None:
        """Write a help text, indented as far as the formatter is."""
        super().write_text(fitted(text, self.width - self.current_indent))


class HelpContext(click.Context):
    """The context of every command."""

    formatter_class = HelpFormatter


def fitted(text: str, width: int) -> str:
    """Return a help text whose verbatim paragraphs have no line longer than `width`, where words allow that."""
    lines: list[str] = []
    prose: list[str] = []
    is_verbatim = False
    for line in text.splitlines():
        is_end = line == VERBATIM or not line.strip()
        if is_verbatim and not is_end and not line[0].isspace():
            prose.append(line)
            continue
        lines += _prose(prose, width)
        prose = []
        if is_end:
            is_verbatim = line == VERBATIM
        lines += _example(line, width) if is_verbatim and not is_end else [line]
    return "\n".join([*lines, *_prose(prose, width)])


def _prose(lines: list[str], width: int) -> list[str]:
    """Return lines of prose as they are, or wrapped anew where one of them is too wide."""
    if all(len(line) <= width for line in lines):
        return lines
    return textwrap.wrap(" ".join(lines), width, break_long_words=False, break_on_hyphens=False)


def _example(line: str, width: int) -> Iterator[str]:
    """Yield an indented line, in several where it is too wide; what explains a command goes below it."""
    if len(line) <= width:
        yield line
        return
    indent = len(line) - len(line.lstrip())
    command, _, words = line.strip().partition("   ")
    parts = _wrapped(command, width - 2, indent, indent + 4)
    yield from (f"{part} \\" for part in parts[:-1])  # it can be copied as it stands
    yield parts[-1]
    yield from _wrapped(words.strip(), width, indent + 6, indent + 6)


def _wrapped(text: str, width: int, first: int, further: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=" " * first,
        subsequent_indent=" " * further,
        break_long_words=False,
        break_on_hyphens=False,
    )
