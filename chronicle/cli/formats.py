"""Formats of files with rows, and their endings."""

from __future__ import annotations

from pathlib import Path

from chronicle.core.errors import ConfigError

__all__ = ["FORMATS", "TEXT_FORMATS", "format_of"]

TEXT_FORMATS = ("csv", "jsonl")
FORMATS = (*TEXT_FORMATS, "parquet", "arrow")
_ENDINGS = {
    "csv": "csv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "parquet": "parquet",
    "arrow": "arrow",
    "feather": "arrow",
}


def format_of(output: Path | None) -> str:
    """Return the format that the ending of `output` names; csv for stdout.

    Raises
    ------
    ConfigError
        When it names none.
    """
    if output is None:
        return "csv"
    ending = output.suffix.lower().removeprefix(".")
    if ending not in _ENDINGS:
        raise ConfigError(
            f"the ending of {output.name!r} names no format", expected=", ".join(FORMATS), hint="give --format"
        )
    return _ENDINGS[ending]
