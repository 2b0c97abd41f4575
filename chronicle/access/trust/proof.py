"""Proof that clean records are what the raw ones imply: made again, and compared record by record."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronicle.core.compare import compare_queue
from chronicle.core.durable import file_error, file_errors
from chronicle.core.errors import ChronicleError, NotFoundError
from chronicle.core.local import LocalSource
from chronicle.core.source import SegmentSource

if TYPE_CHECKING:
    from chronicle.etl.config import EtlConfig

__all__ = ["RecordProof", "prove_records"]

FOLDER = "rebuilt"


@dataclass(frozen=True, slots=True)
class RecordProof:
    """Queues that were compared, what differs, and what could not be compared with the reason."""

    compared: tuple[str, ...]
    differences: tuple[str, ...]
    passed_over: tuple[str, ...]


def prove_records(home: Path, source: SegmentSource, shards: Mapping[str, EtlConfig]) -> RecordProof:
    """Make the clean queues of a home again from its raw ones and compare every record.

    What was made goes into a folder below the home (of a read-only one: into the system's folder of temporary files)
    and is removed afterwards. A clean queue that is behind its raw
    one is compared as far as it goes.

    Parameters
    ----------
    home : Path
    source : SegmentSource
        The home in all of its tiers.
    shards : mapping
        The configuration of each shard.

    Returns
    -------
    RecordProof
        Queues are passed over whose raw records are gone, or which were made with another configuration.
    """
    raws = source.queues("raw/")
    if not raws:
        return RecordProof((), (), ("no raw records are kept",))
    for raw in raws:
        begin = min((info.base_index for info in source.segments(raw)), default=0)
        if begin:
            return RecordProof((), (), (f"{raw} begins at record {begin}: those before it cannot be refined again",))
    from chronicle.etl.rebuilding import rebuild

    into = _folder(home)
    try:
        for shard, config in shards.items():
            rebuild(home, into, source=source, shard=shard, config=config)
        return _compared(source, LocalSource(into))
    finally:
        shutil.rmtree(into, ignore_errors=True)


def _folder(home: Path) -> Path:
    """Make the folder that the rebuild goes into."""
    try:
        (home / FOLDER).mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="verify-", dir=home / FOLDER))
    except OSError as error:
        if error.errno not in {errno.EROFS, errno.EACCES}:
            raise file_error(error, "make a folder for the rebuild", home / FOLDER) from error
    with file_errors("make a folder for the rebuild", Path(tempfile.gettempdir())):
        return Path(tempfile.mkdtemp(prefix="chronicle-verify-"))


def _compared(source: SegmentSource, rebuilt: LocalSource) -> RecordProof:
    compared, differences, passed_over = [], [], []
    made = set(rebuilt.queues("clean/"))
    for queue in source.queues("clean/"):
        if queue not in made:
            differences.append(f"{queue} is only in the home")
            continue
        reason = _incomparable(source, rebuilt, queue)
        if reason:
            passed_over.append(f"{queue}: {reason}")
            continue
        compared.append(queue)
        try:
            found = compare_queue(source, rebuilt, queue)
        except ChronicleError as error:
            differences.append(f"{queue}: {error}")
            continue
        if found is not None and found.a is not None:  # where the home ends first its shard is behind
            differences.append(str(found))
    return RecordProof(tuple(compared), tuple(differences), tuple(passed_over))


def _incomparable(source: SegmentSource, rebuilt: LocalSource, queue: str) -> str:
    """Return why a queue cannot be compared, empty where it can."""
    infos = source.segments(queue)
    if infos and infos[0].base_index:
        return f"it begins at record {infos[0].base_index}"
    mine = {str(_etl(source, queue, info.number)) for info in infos}
    its = {str(_etl(rebuilt, queue, info.number)) for info in rebuilt.segments(queue)}
    return "" if mine <= its or not its else "it was made with another version or configuration"


def _etl(source: SegmentSource, queue: str, number: int) -> Any:
    try:
        view = source.open(queue, number)
    except NotFoundError:
        return None
    try:
        return view.prologue().get("etl")
    finally:
        view.close()
