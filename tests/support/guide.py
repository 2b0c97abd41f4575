"""Run the examples of a guide: ``>>>`` lines in its python blocks, with the answers that stand below them."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def examples(path: Path) -> doctest.DocTest:
    """Return the examples of all python blocks of a document, as one session."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return doctest.DocTestParser().get_doctest("\n".join(blocks), {}, path.name, str(path), 0)


def failures(path: Path) -> str:
    """Run the examples of a document and return what went wrong, empty when nothing did."""
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    runner.run(examples(path), out=said.append)
    return "".join(said)
