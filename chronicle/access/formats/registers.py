"""Registers: exported Parquet files as a Delta or an Iceberg table, in place, so that other engines read them.

The register only points at the files. Delta's log lies beside them (``CHANNEL/_delta_log``). Iceberg's metadata lies
in ``iceberg/``, found through an SQLite catalog there; its paths are absolute: a moved set is registered again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from chronicle.access.formats.export_rows import KEYS
from chronicle.access.libraries import library
from chronicle.core.errors import StoreError

__all__ = ["CATALOG", "NAMESPACE", "iceberg_catalog", "register"]

NAMESPACE = "chronicle"
CATALOG = "iceberg"


def register(kind: str, folder: Path, channel: str, schema: Any) -> None:
    """Register all files of `channel` under `folder` as a table, anew.

    Raises
    ------
    ConfigError
        When deltalake or pyiceberg is not installed.
    StoreError
        When it refuses.
    """
    files = sorted(path for path in (folder / channel).rglob("*.parquet") if path.name[0] != ".")
    if not files:
        return
    try:
        if kind == "delta":
            _delta(folder / channel, schema, files)
        else:
            _iceberg(folder, channel, schema, [str(path.resolve()) for path in files])
    except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
        raise StoreError(
            f"the {kind} table could not be made: {str(error).splitlines()[0][:300]}", path=folder / channel
        ) from error


def _delta(folder: Path, schema: Any, files: list[Path]) -> None:
    """Write a log whose one commit adds every file, with its rows and its times."""
    deltalake = library("deltalake", "lake")
    transaction = library("deltalake.transaction", "lake")
    shutil.rmtree(folder / "_delta_log", ignore_errors=True)
    actions = [
        transaction.AddAction(
            path=path.relative_to(folder).as_posix(),
            size=path.stat().st_size,
            partition_values={
                key: unquote(value) for key, _, value in (part.partition("=") for part in path.parts[-4:-1])
            },
            modification_time=path.stat().st_mtime_ns // 10**6,
            data_change=True,
            stats=_stats(path),
        )
        for path in files
    ]
    whole = deltalake.Schema.from_arrow(pa.schema([*schema, *KEYS]))
    transaction.create_table_with_add_actions(
        str(folder.resolve()),
        whole,
        actions,
        mode="overwrite",
        partition_by=[field.name for field in KEYS],
        name=folder.name,
    )


def _stats(path: Path) -> str:
    """Return Delta's statistics of a file: its rows, and the range of its exact times."""
    with pq.ParquetFile(path) as file:
        place = file.schema_arrow.get_field_index("ts_recv_ns")
        groups = [file.metadata.row_group(number).column(place).statistics for number in range(file.num_row_groups)]
        rows = file.metadata.num_rows
    low, high = min(one.min for one in groups), max(one.max for one in groups)
    return json.dumps(
        {
            "numRecords": rows,
            "minValues": {"ts_recv_ns": low},
            "maxValues": {"ts_recv_ns": high},
            "nullCount": {"ts_recv_ns": 0},
        }
    )


def iceberg_catalog(folder: Path) -> Any:
    """Return the pyiceberg catalog of an exported set.

    Raises
    ------
    ConfigError
        When pyiceberg is not installed.
    """
    sql = library("pyiceberg.catalog.sql", "lake")
    place = (folder / CATALOG).resolve()
    place.mkdir(parents=True, exist_ok=True)
    return sql.SqlCatalog(NAMESPACE, uri=f"sqlite:///{place}/catalog.db", warehouse=place.as_uri())


def _iceberg(folder: Path, channel: str, schema: Any, files: list[str]) -> None:
    catalog = iceberg_catalog(folder)
    name = f"{NAMESPACE}.{channel}"
    catalog.create_namespace_if_not_exists(NAMESPACE)
    if catalog.table_exists(name):
        catalog.drop_table(name)
    table = catalog.create_table(name, schema=schema.remove_metadata())
    table.add_files(files)
