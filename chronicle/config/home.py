"""A home on disk: its folders, its settings file, and the memory folder behind ``raw/``.

``raw/`` is a link to ``/dev/shm/chronicle-ID/raw``. Beside it lies ``home.json``, which names the home, so that
:mod:`chronicle.config.leftovers` can tell whose memory a folder is. /dev/shm survives a killed process and not a
reboot; :func:`prepare_home` puts the folder back and says so.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from chronicle.config.load import CONFIG_NAME, load_settings
from chronicle.config.settings import Settings
from chronicle.config.template import render_template
from chronicle.config.units import format_bytes
from chronicle.core.durable import file_error, publish_bytes
from chronicle.core.errors import CapacityError, StateError

__all__ = [
    "SHARED_MEMORY",
    "HomeState",
    "free_bytes",
    "memory_folder",
    "prepare_home",
    "raw_place",
    "refuse_lost_memory",
]

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a tmpfs by this fixed name is the point
FOLDER_PREFIX = "chronicle-"
MARKER_NAME = "home.json"
FOLDERS = ("wire", "clean", "etl", "manifest", "archive", "control")
SEGMENTS_AUTO = 16
"""`memory = "auto"` uses shared memory when this many segments fit."""
SEGMENTS_MIN = 4
"""`memory = "shm"` is refused when not even these fit."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class HomeState:
    """What :func:`prepare_home` found or made."""

    home: Path
    id: str
    raw: Path
    in_memory: bool
    created: bool
    restored: bool


def prepare_home(
    home: Path, environ: Mapping[str, str], say: Say, *, shared: Path = SHARED_MEMORY, memory: str | None = None
) -> HomeState:
    """Create what is missing of a home and return its state; what is there stays as it is.

    Parameters
    ----------
    home : Path
        The folder; created with its parents when missing.
    environ : mapping
        The environment, for overrides of settings.
    say : callable
        Told, in a sentence, whatever a person should hear (memory lost, no room in shared memory).
    shared : Path
        The tmpfs for the raw queue's memory.
    memory : str, optional
        Overrides ``[raw] memory`` when the place of ``raw/`` is still to be chosen.

    Raises
    ------
    StateError
        When `home` is a file, or its raw memory is gone (see :func:`refuse_lost_memory`).
    CapacityError
        When shared memory is asked for and too small, or the disk is full.
    """
    if home.exists() and not home.is_dir():
        raise StateError("cannot make a home: a file is in the way", path=home)
    settings = load_settings(home, environ)
    created = not (home / CONFIG_NAME).exists()
    home_id = settings.home.id or secrets.token_hex(6)
    try:
        home.mkdir(parents=True, exist_ok=True)
        for folder in FOLDERS:
            (home / folder).mkdir(exist_ok=True)
    except OSError as error:
        raise file_error(error, "create the home's folders", Path(error.filename or home)) from error
    restored = _place_raw(home, home_id, settings, say, shared, memory or settings.raw.memory)
    if created:
        publish_bytes(home / CONFIG_NAME, render_template(home_id).encode())
    elif not settings.home.id and raw_place(home) is not None:
        say(f"chronicle.toml has no [home] id; add this line under [home]: id = {home_id!r}")
    raw = home / "raw"
    return HomeState(home, home_id, raw.resolve(), raw.is_symlink(), created, restored)


def memory_folder(home_id: str, shared: Path = SHARED_MEMORY) -> Path:
    """Return the memory folder of the home with `home_id`."""
    return shared / f"{FOLDER_PREFIX}{home_id}"


def raw_place(home: Path) -> Path | None:
    """Return the folder that ``raw/`` links to, or None when it lies in the home (or is not there)."""
    try:
        return Path(os.readlink(home / "raw"))
    except OSError:  # no link, or a home that is being removed
        return None


def free_bytes(folder: Path) -> int:
    """Return the bytes that may still be written on the file system of `folder`; 0 when it is not there."""
    try:
        stat = os.statvfs(folder)
    except OSError:
        return 0
    return stat.f_bavail * stat.f_frsize


def _place_raw(home: Path, home_id: str, settings: Settings, say: Say, shared: Path, memory: str) -> bool:
    """Make sure that ``raw/`` leads to a folder; return whether its memory was gone (a reboot)."""
    raw = home / "raw"
    target = raw_place(home)
    if target is not None:
        return _restore(home, home_id, target, say)
    if raw.is_dir():
        return False
    segment_bytes = settings.raw.segment_bytes
    free = free_bytes(shared)
    if memory == "shm" and free < SEGMENTS_MIN * segment_bytes:
        raise CapacityError(
            "shared memory has no room for the raw queue",
            path=shared,
            expected=f"{format_bytes(SEGMENTS_MIN * segment_bytes)} ({SEGMENTS_MIN} segments)",
            found=format_bytes(free),
            hint='enlarge it, lower [raw] segment_bytes, or set [raw] memory = "home"',
        )
    if memory == "auto" and free < SEGMENTS_AUTO * segment_bytes:
        say(
            f"{shared} has {format_bytes(free)} free and {SEGMENTS_AUTO} segments need "
            f"{format_bytes(SEGMENTS_AUTO * segment_bytes)}: the raw queue stays on the home's disk ({raw})"
        )
        memory = "home"
    try:
        if memory == "home":
            raw.mkdir(exist_ok=True)
            return False
        folder = memory_folder(home_id, shared)
        # The link first: `chronicle clean` takes memory that its home does not link to for left over.
        raw.symlink_to(folder / "raw", target_is_directory=True)
        try:
            _make_memory(home, home_id, folder)
        except OSError:
            raw.unlink()
            raise
    except OSError as error:
        raise file_error(error, "place the raw queue", raw) from error
    return False


def refuse_lost_memory(home: Path) -> None:
    """Refuse to write raw records again into a home whose raw memory is gone after the ETL used it.

    A raw queue that is made anew numbers its records from 0, and the shards know how far they came by that number:
    they would skip the new records in silence.

    Raises
    ------
    StateError
        When ``raw/`` links to a folder that is gone and clean queues are there.
    """
    target = raw_place(home)
    if target is None or target.is_dir() or next((home / "clean").glob("*/*/*.q"), None) is None:
        return
    raise StateError(
        "the raw queue's memory is gone (a reboot empties /dev/shm) and clean queues were made from it",
        path=target,
        hint=(
            "keep this home for reading, capture into a new one (chronicle init --home NEW), and read both as one: "
            "chronicle.open([OLD, NEW]); docs/operations.md, 'After a reboot'"
        ),
    )


def _restore(home: Path, home_id: str, target: Path, say: Say) -> bool:
    if target.is_dir():
        if target.parent.name == f"{FOLDER_PREFIX}{home_id}":
            _make_memory(home, home_id, target.parent)  # the home may have moved: the marker follows it
        return False
    refuse_lost_memory(home)
    say(f"{target} is gone (a reboot empties shared memory): raw records that no tier had are lost; it is made anew")
    try:
        _make_memory(home, home_id, target.parent)
    except OSError as error:
        raise file_error(error, "make the raw queue's memory anew", target) from error
    return True


def _make_memory(home: Path, home_id: str, folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "raw").mkdir(exist_ok=True)
    publish_bytes(folder / MARKER_NAME, json.dumps({"home": str(home.resolve()), "id": home_id}).encode())
