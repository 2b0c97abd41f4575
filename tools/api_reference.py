"""Write docs/api.md from the docstrings of the public names: ``make docs``, or with a file's name as argument."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "docs" / "api.md"
PACKAGES = ("chronicle", "chronicle.access", "chronicle.core", "chronicle.etl")
HEAD = """# API reference

Made from the docstrings by `make docs`. What is not here is not public. `docs/guide/researcher.md` shows the reader
at work.
"""


def reference() -> str:
    """Return the whole document."""
    parts, seen = [HEAD], set()
    for package in PACKAGES:
        module = importlib.import_module(package)
        parts.append(f"\n## {package}\n")
        parts.append(_text(module.__doc__))
        for name in module.__all__:
            value = getattr(module, name)
            if name == "__version__" or id(value) in seen:
                continue
            seen.add(id(value))
            parts.append(_entry(name, value))
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _entry(name: str, value: object) -> str:
    if inspect.isclass(value):
        lines = [f"\n### {name}\n", _text(value.__doc__)]
        for method, member in sorted(_members(value).items()):
            lines.append(f"\n#### {name}.{method}{_signature(member)}\n\n{_text(inspect.getdoc(member))}")
        return "\n".join(lines)
    if callable(value):
        return f"\n### {name}{_signature(value)}\n\n{_text(inspect.getdoc(value))}"
    return f"\n### {name}\n"


def _members(kind: type) -> dict[str, object]:
    """Return the public methods and properties of a class of ours, inherited ones of ours included."""
    found: dict[str, object] = {}
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    for base in reversed(kind.__mro__):
        if not base.__module__.startswith("chronicle"):
            continue
        for name, member in vars(base).items():
            value = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if (
                name.startswith("_")
                or name in fields
                or not (inspect.isfunction(value) or isinstance(value, property))
            ):
                continue
            found[name] = value
    return found


def _signature(value: object) -> str:
    if isinstance(value, property):
        return ""
    try:
        text = str(inspect.signature(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "(...)"
    text = re.sub(r"\bself, |\bself\b|\bcls, |\bcls\b", "", text).replace("'", "")
    return re.sub(r"<.*? at 0x[0-9a-f]+>", "...", text)


def _text(doc: str | None) -> str:
    """Return a docstring as Markdown: numpydoc's sections as bold words, their entries as they are."""
    lines = inspect.cleandoc(doc or "").splitlines()
    out: list[str] = []
    inside = False
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if line and re.fullmatch(r"-{3,}", following):
            out += ["```", ""] if inside else []
            out += [f"**{line}**", "", "```text"]
            inside = True
        elif not re.fullmatch(r"-{3,}", line):
            out.append(line)
    while out and not out[-1]:
        out.pop()
    return "\n".join([*map(_inline, out), "```"] if inside else map(_inline, out))


def _inline(line: str) -> str:
    """Return a line with roles and literals as Markdown writes them."""
    if line.startswith("```"):
        return line
    return re.sub(r"``([^`]+)``", r"`\1`", re.sub(r":\w+:`~?\.?([\w.]+)`", r"`\1`", line))


def main() -> int:
    """Write the document."""
    text = reference()
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    target.write_text(text, encoding="utf-8")
    print(f"{len(text.splitlines())} lines to {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
