"""How commands end: exit codes, one line on stderr, an object with --json, never a traceback."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from chronicle.cli import main as main_module
from chronicle.cli.commands import COMMANDS, GROUPS
from chronicle.cli.main import cli, run
from chronicle.core.errors import ConfigError
from tests.support.patience import HANG_SECONDS


def paths() -> list[list[str]]:
    """Every command as its words, groups included."""
    found: list[list[str]] = [[]]
    for name in COMMANDS:
        found.append([name])
        found += [[name, inner] for inner in GROUPS.get(name, {})]
    return found


def command_of(words: list[str]) -> click.Command:
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        inner = command.get_command(click.Context(command), word)
        assert inner is not None
        command = inner
    return command


@pytest.mark.parametrize("words", paths(), ids=" ".join)
def test_every_help_teaches_with_examples_that_parse(words, capsys):
    assert run([*words, "--help"]) == 0
    text = re.sub(r" \\\n\s+", " ", capsys.readouterr().out)  # a wide one goes on in the next line
    examples = [line for line in text.splitlines() if re.match(r"\s+([A-Z_]+=\S+ )?chronicle \w", line)]
    assert examples, f"{words} shows no example"
    for line in examples:
        check_example(line)


def check_example(line: str) -> None:
    """Parse an example without running it: its commands, options and arguments must exist."""
    bare = re.split(r"\s{2,}|\s\|\s|\s>\s|`", line.strip())[0]
    arguments = [part for part in shlex.split(bare) if not re.match(r"[A-Z_]+=", part)]
    assert arguments.pop(0) == "chronicle"
    command: click.Command = cli
    while isinstance(command, click.Group):
        assert arguments, line
        inner = command.get_command(click.Context(command), arguments[0])
        if inner is None and arguments[0].startswith("-"):
            return
        assert inner is not None, line
        arguments.pop(0)
        command = inner
    context = (
        command.make_context("example", list(arguments), resilient_parsing=False)
        if "--help" not in arguments
        else None
    )
    if context is not None:
        context.close()


@pytest.mark.parametrize("words", paths(), ids=" ".join)
def test_an_unknown_option_is_a_usage_error(words, capsys):
    assert run([*words, "--no-such-option"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("chronicle: ")
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("name", ["initt", "que", "\x1b[31m", "ｂｏｏｋ", "../init"])
def test_an_unknown_command_names_a_close_one(name, capsys):
    assert run([name]) == 2
    assert capsys.readouterr().err.startswith("chronicle: ")


def test_a_known_error_has_its_code_one_line_and_an_object(capsys, tmp_path):
    arguments = ["queue", "check", "raw/main", "--home", str(tmp_path), "--json"]
    assert run(arguments) == 3
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    value = json.loads(captured.out)
    assert (value["error"], value["path"]) == ("not_found", str(tmp_path))


def test_a_mistake_of_ours_is_a_short_note(monkeypatch, capsys):
    def broken(_: object) -> None:
        raise ZeroDivisionError("secret\ndetails")

    monkeypatch.setattr(main_module, "_invoke", broken)
    monkeypatch.delenv("CHRONICLE_DEBUG", raising=False)
    assert run([]) == 70
    error = capsys.readouterr().err
    assert "ZeroDivisionError: secret details" in error
    assert "Traceback" not in error
    monkeypatch.setenv("CHRONICLE_DEBUG", "1")
    assert run([]) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "code"),
    [(KeyboardInterrupt(), 130), (click.Abort(), 130), (ConfigError("x"), 2), (PermissionError(13, "no", "/x"), 1)],
)
def test_exit_codes(monkeypatch, capsys, raised, code):
    def failing(_: object) -> None:
        raise raised

    monkeypatch.setattr(main_module, "_invoke", failing)
    assert run([]) == code
    assert "Traceback" not in capsys.readouterr().err


def chronicle(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("CHRONICLE_")}
    environ["PYTHONPATH"] = os.getcwd()
    return subprocess.Popen(
        [sys.executable, "-m", "chronicle", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
        **options,
    )


@pytest.fixture
def filled_home(tmp_path):
    from chronicle.core.layout import Kind
    from chronicle.core.queue import Queue

    queue = Queue.create(tmp_path / "raw" / "main.q", name="raw/main.q", segment_bytes=1 << 20)
    with queue.appender() as appender:
        for number in range(5000):
            appender.append(Kind.TRADE, bytes(40), ts_recv=number + 1)
    return tmp_path


def test_a_closed_pipe_is_silent(filled_home):
    with chronicle("queue", "dump", "raw/main", "--home", str(filled_home)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=HANG_SECONDS) == 141


def test_ctrl_c_ends_with_130(filled_home):
    with chronicle("queue", "dump", "raw/main", "--follow", "--home", str(filled_home)) as process:
        assert process.stdout is not None
        for _ in range(5000):
            assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 130
    assert b"Traceback" not in error


LIGHT = [["--help"], ["queue", "--help"], ["queue", "inspect"], ["init", "--help"], ["clean", "--dry-run"]]


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_light_commands_import_no_kernel(arguments, filled_home):
    code = (
        "import sys; from chronicle.cli.main import run; code = run(sys.argv[1:]);"
        "heavy = {'numba', 'numpy', 'pyarrow', 'pandas', 'polars', 'rich'} & set(sys.modules); "
        "print(sorted(heavy), file=sys.stderr); sys.exit(code or bool(heavy))"
    )
    environ = dict(os.environ, CHRONICLE_HOME=str(filled_home), PYTHONPATH=os.getcwd())
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environ, capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stderr


def documented() -> list[str]:
    """Every command line that the documents and the hints of errors name."""
    root = Path(__file__).resolve().parents[3]
    found: set[str] = set()
    for path in [*root.glob("docs/**/*.md"), *root.glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        found.update(re.findall(r"`(chronicle [a-z][^`\n]*)`", text))
        found.update(line.strip() for line in text.splitlines() if re.match(r"\s*(\$ )?chronicle [a-z]", line))
    for path in root.glob("chronicle/**/*.py"):
        found.update(re.findall(r"`(chronicle [a-z][^`\n{]*)`", path.read_text(encoding="utf-8")))
        found.update(
            re.findall(
                r"hint=\"[^\"]*?(chronicle (?:" + "|".join(COMMANDS) + r")\b[a-z ]*)",
                path.read_text(encoding="utf-8"),
            )
        )
    return sorted(line.removeprefix("$ ") for line in found)


def test_every_command_that_a_document_or_a_hint_names_exists():
    for line in documented():
        words = line.split()[1:]
        if not words[0].isalpha() or words[0] in {"can", "does", "is"}:
            continue
        assert words[0] in COMMANDS, line
        inner = GROUPS.get(words[0])
        if inner and len(words) > 1 and words[1].isalpha():
            assert words[1].split("|")[0] in inner, line
