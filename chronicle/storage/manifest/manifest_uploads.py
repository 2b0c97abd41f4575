"""What the manifest knows of an upload in parts that its store does not tell: how it was begun, what its parts are.

A store lists neither the encryption of an upload nor, where a key service encrypts, what the bytes of a part were. So
each part that was taken is noted with the token that the store gave it and a hash of its bytes; a listed part with
that token is that part. ``docs/format/manifest.md`` (meta) has the rows.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from chronicle.storage.manifest.manifest_meta import Meta, notes_of
from chronicle.storage.stores.requests import NotedPart, NotedUpload

__all__ = ["UploadNotes"]

_NUMBER: Final = struct.Struct(">I")


class UploadNotes:
    """Implements :class:`chronicle.storage.stores.requests.UploadJournal` for a tier. Threads may share one."""

    def __init__(self, manifest: Meta, tier: str) -> None:
        self._manifest, self._tier = manifest, tier

    def known(self, name: str) -> NotedUpload | None:
        """Return what was noted of an object's upload."""
        prefix = notes_of(self._tier, name)
        rows = self._manifest.notes(prefix)
        head = rows.pop(prefix, None)
        if head is None:
            return None
        parts = {
            int(_NUMBER.unpack(key[len(prefix) :])[0]): NotedPart(int(row[0]), str(row[1]), bytes(row[2]))
            for key, row in rows.items()
        }
        return NotedUpload(str(head[0]), str(head[1]), parts)

    def begun(self, name: str, upload: str, made_as: str) -> None:
        """Note an upload in the place of a former one."""
        prefix = notes_of(self._tier, name)
        self._manifest.set_notes(prefix, {prefix: [upload, made_as]})

    def taken(self, name: str, number: int, part: NotedPart) -> None:
        """Note a part that the store took."""
        row: list[Any] = [part.size, part.token, part.digest]
        self._manifest.set_notes(None, {notes_of(self._tier, name) + _NUMBER.pack(number): row})
