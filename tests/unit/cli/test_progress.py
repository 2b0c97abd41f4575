"""Progress is for people: drawn on a terminal, nothing in a pipe."""

from __future__ import annotations

import io
import sys

import pytest

from chronicle.cli.progress import bar, share


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in the place of stderr; in the test itself, because pytest captures each phase anew."""
    screen = Terminal()
    for name, value in (("TERM", "xterm"), ("COLUMNS", "140"), ("LINES", "30")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_a_share_is_drawn_with_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    with share("gaps") as step:
        assert step is not None
        step(0.25, "kraken:BTC-EUR: 1 of 4 segments opened")
    shown = terminal.getvalue()
    assert "gaps" in shown
    assert "25%" in shown
    assert "kraken:BTC-EUR: 1 of 4 segments opened" in shown


def test_steps_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    with bar(4, "symbols") as step:
        step("one")
        step("two")
    assert "2/4" in terminal.getvalue()


def test_a_pipe_sees_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with share("gaps") as step, bar(4, "symbols") as count:
        assert step is None
        count("one")
    assert pipe.getvalue() == ""
