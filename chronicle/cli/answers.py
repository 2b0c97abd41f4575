"""Answers of SQL as text or a file, row by row: none is held whole."""

from __future__ import annotations

import csv
import os
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from chronicle.cli.rows import arrow_sink
from chronicle.cli.show import json_line
from chronicle.core.durable import written_aside

if TYPE_CHECKING:
    from chronicle.access.sql.sql import Answer

__all__ = ["plain", "print_csv", "print_json", "write_answer"]


def plain(value: Any) -> Any:
    """Return a value of an answer as JSON takes it: times as ISO 8601, decimals as exact text, NaN as null."""
    if isinstance(value, datetime):
        text = value.isoformat(sep="T")
        return f"{text.removesuffix('+00:00')}Z" if text.endswith("+00:00") else text
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, date | time | timedelta):
        return str(value)
    if isinstance(value, float):
        return value if value - value == 0 else None if value != value else str(value)
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def print_json(answer: Answer) -> None:
    """Print the rows as one JSON array, a row a line."""
    begun = False
    for row in answer:
        click.echo(f"{',' if begun else '['}\n{json_line(plain(row))}", nl=False)
        begun = True
    click.echo("\n]" if begun else "[]")


def print_csv(answer: Answer) -> None:
    """Print the rows as CSV."""
    _csv(sys.stdout, answer)


def write_answer(answer: Answer, form: str, output: Path) -> int:
    """Write the rows to `output`, which appears when it is complete; return how many there were."""
    with written_aside(output, "write the rows") as path:
        if form in ("csv", "jsonl"):
            with open(path, "w", encoding="utf-8", newline="") as file:
                count = _csv(file, answer) if form == "csv" else _jsonl(file, answer)
        else:
            count = 0
            with arrow_sink(form, path, answer.schema()) as sink:
                for batch in answer.batches():
                    sink.write_batch(batch)
                    count += batch.num_rows
        with open(path, "rb") as written:
            os.fsync(written.fileno())
    return count


def _csv(file: IO[str], answer: Answer) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(answer.columns)
    count = 0
    for row in answer:
        values = [plain(row[name]) for name in answer.columns]
        writer.writerow([json_line(value) if isinstance(value, list | dict) else value for value in values])
        count += 1
    return count


def _jsonl(file: IO[str], answer: Answer) -> int:
    count = 0
    for row in answer:
        file.write(json_line(plain(row)) + "\n")
        count += 1
    return count
