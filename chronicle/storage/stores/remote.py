"""A store over single requests: asked again when it does not answer, written whole or in parts, read by ranges.

An upload appears when it is complete, so that an object is written under its final name and needs no rename; a
store in which half-written objects are seen (``staged``, as SFTP) gets temporary names and a move as folders do.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import xxhash

from chronicle.core.errors import ChronicleError, NotFoundError, StateError, TornSegmentError, UnavailableError
from chronicle.storage.stores.patience import Breaker, Patience
from chronicle.storage.stores.requests import (
    ConditionFailedError,
    ConditionRefusedError,
    NotedPart,
    NotedUpload,
    Part,
    Requests,
    Upload,
    UploadGoneError,
    UploadJournal,
    count_request,
)
from chronicle.storage.stores.stores import name_parts, temporary_object

__all__ = ["PART_BYTES", "RemoteReader", "RemoteStore"]

T = TypeVar("T")
PARTS_AT_ONCE: Final = 4
DELETES_AT_ONCE: Final = 8
PART_BYTES: Final = 8 * 1024 * 1024
"""Objects up to this size are one put, larger ones parts of it (S3 takes 10,000 parts of 5 MiB or more)."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """An object that is put in parts; `keep`: what an end in the middle leaves is gone on with."""

    name: str
    keep: bool
    pace: Callable[[int], None]
    journal: UploadJournal | None


class RemoteStore:
    """Implements :class:`chronicle.storage.stores.stores.Store`. Threads may share one.

    Parameters
    ----------
    requests : Requests
        Single requests below a root.
    patience : Patience, optional
        How often a request that was not answered is sent again.
    breaker : Breaker, optional
    part_bytes : int
        Size of the parts of a large upload.
    """

    def __init__(
        self,
        requests: Requests,
        *,
        patience: Patience | None = None,
        breaker: Breaker | None = None,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self.requests = requests
        self._patience = patience or Patience()
        self._breaker = breaker or Breaker(requests.location, self._patience.clock)
        self._part_bytes = part_bytes
        self._takes_conditions = True
        self._completes_conditions = True
        self.is_remote = True

    def __repr__(self) -> str:
        return f"RemoteStore({self.location!r})"

    @property
    def location(self) -> str:
        """The root's URL."""
        return self.requests.location

    def ask(self, request: Callable[[], T]) -> T:
        """Send one request, again where it is not answered."""

        def counted() -> T:
            count_request()
            return request()

        return self._patience.ask(counted, self._breaker)

    def staging(self, name: str) -> str:
        """Return `name`: an upload that is not complete is not seen."""
        return temporary_object(name) if self.requests.staged else name

    def reader(self, name: str, *, offset: int = 0, size: int | None = None) -> RemoteReader:
        """Open an object; with its size known nothing is asked before the first read."""
        name_parts(name, self.location)
        if size is None:
            found = self.size(name)
            if found is None:
                raise NotFoundError(
                    "the object is not there",
                    path=f"{self.location}/{name}",
                    hint="it may have moved to another tier",
                )
            size = found - offset
        return RemoteReader(self, name, offset, size)

    def fetch(self, name: str) -> tuple[bytes, str] | None:
        """Return a small object and the token of its version."""
        try:
            return self.ask(lambda: self.requests.get(name, None, None))
        except NotFoundError:
            return None

    def replace(self, name: str, data: bytes, token: str | None) -> str:
        """Replace a small object by a conditional put; where the store has none, by a put that is read back.

        Raises
        ------
        StateError
            When another version is there than `token` names.
        """
        if self.requests.staged:
            temporary = temporary_object(name)
            self.ask(lambda: self.requests.put(temporary, data))
            self.ask(lambda: self.requests.move(temporary, name))
            return ""
        if self._takes_conditions:
            try:
                return self.ask(lambda: self.requests.put(name, data, match=token, absent=token is None))
            except ConditionFailedError as error:
                return self._mine(name, data, error)  # an answer that was lost: the first attempt had been made
            except ConditionRefusedError:
                self._takes_conditions = False
        found = self.fetch(name)
        if (None if found is None else found[1]) == token:
            self.ask(lambda: self.requests.put(name, data))
        return self._mine(name, data, None)

    def _mine(self, name: str, data: bytes, cause: ChronicleError | None) -> str:
        found = self.fetch(name)
        if found is None or found[0] != data:
            raise StateError(
                "another agent replaced this object meanwhile",
                path=f"{self.location}/{name}",
                hint="give each home a root of its own; chronicle tier rebuild takes this one over",
            ) from cause
        return found[1]

    def put(
        self,
        name: str,
        parts: Iterable[bytes | memoryview],
        *,
        resume: bool = False,
        pace: Callable[[int], None] | None = None,
        journal: UploadJournal | None = None,
    ) -> int:
        """Write an object, in parts when it is large; on failure nothing is left behind that will not be used.

        Parts are sent while the next ones are made. With `resume` parts that the store holds are not sent again, and
        stay when it does not answer any more.

        Raises
        ------
        UploadGoneError
            When the upload is no longer known half-way; the same bytes put again make a new one.
        StateError
            With `resume`, when another object of this name is there.
        """
        name_parts(name, self.location)
        pieces = _pieces(parts, self._part_bytes)
        first = next(pieces, b"")
        second = next(pieces, None)
        if second is None:
            if pace is not None:
                pace(len(first))
            self.ask(lambda: self.requests.put(name, first))
            return len(first)
        keep = resume and not self.requests.staged
        try:
            sent = _Sent(name, keep, pace or (lambda _: None), journal if keep and self.requests.made_as else None)
            written = self._put_parts(sent, _chain(first, second, pieces))
        except BaseException as error:
            if not keep or (isinstance(error, Exception) and not isinstance(error, UnavailableError)):
                with contextlib.suppress(ChronicleError):
                    self.give_up(name)
            raise
        self.give_up(name)  # an upload whose beginning was not answered was begun a second time
        return written

    def _put_parts(self, sent: _Sent, pieces: Iterator[bytes]) -> int:
        """Write an object in parts, those excepted that an upload of an earlier attempt holds; return its bytes.

        So many parts as are sent at once are in memory, and the one that is being made.
        """
        upload, held = self._begun(sent.name, sent.journal) if sent.keep else ("", {})
        noted = sent.journal.known(sent.name) if sent.journal is not None and upload else None
        if not upload:
            upload = self.ask(lambda: self.requests.begin(sent.name))
            if sent.journal is not None:
                sent.journal.begun(sent.name, upload, self.requests.made_as)
        done: dict[int, Part] = {}
        written = 0
        at_once = 1 if self.requests.staged else PARTS_AT_ONCE
        with ThreadPoolExecutor(at_once, thread_name_prefix="part") as pool:
            flying: deque[Future[Part]] = deque()
            try:
                for number, piece in enumerate(pieces, 1):
                    written += len(piece)
                    part = held.get(number)
                    if part is not None and self._holds(part, piece, noted):
                        done[number] = part
                        continue
                    if len(flying) == at_once:
                        part = flying.popleft().result()
                        done[part.number] = part
                    sent.pace(len(piece))
                    flying.append(pool.submit(self._part, sent, upload, number, piece))
                while flying:
                    part = flying.popleft().result()
                    done[part.number] = part
            except BaseException:
                for future in flying:
                    future.cancel()
                raise
        self._complete(sent.name, upload, [done[number] for number in sorted(done)], written, absent=sent.keep)
        return written

    def _holds(self, part: Part, piece: bytes, noted: NotedUpload | None) -> bool:
        """Return whether a listed part is proven to be these bytes: by what was noted of it, or by its token."""
        if noted is None:
            return self.requests.holds(part, piece)
        mine = noted.parts.get(part.number)
        return mine is not None and mine == NotedPart(len(piece), part.token, xxhash.xxh3_128_digest(piece))

    def _begun(self, name: str, journal: UploadJournal | None) -> tuple[str, dict[int, Part]]:
        """Return the upload of an object to go on with, the one of most bytes, and its parts; "" for none."""
        best: tuple[str, dict[int, Part]] = ("", {})
        for upload in self._usable(name, journal):
            held: dict[int, Part] = {}
            after: int | None = 0
            try:
                while after is not None:
                    rows, after = self.ask(partial(self.requests.parts, name, upload.id, after))
                    held |= {part.number: part for part in rows}
            except NotFoundError:
                continue  # it expired, or was given up
            if not best[0] or sum(part.size for part in held.values()) > sum(part.size for part in best[1].values()):
                best = upload.id, held
        return best

    def _usable(self, name: str, journal: UploadJournal | None) -> Iterator[Upload]:
        """Yield the uploads of an object that were begun as one would be today: listed so, or noted so."""
        made_as = self.requests.made_as
        noted = journal.known(name) if journal is not None and made_as else None
        for upload in self.uploads(name):
            mine = noted is not None and (noted.id, noted.made_as) == (upload.id, made_as)
            if upload.name == name and (upload.alike or mine):
                yield upload

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Yield the uploads below `prefix` that were begun and not completed."""
        token: str | None = None
        while True:
            rows, token = self.ask(partial(self.requests.uploads, prefix, token))
            yield from rows
            if token is None:
                return

    def unfinished(self, name: str, journal: UploadJournal | None = None) -> bool:
        """Return whether an upload stands with which a put would go on."""
        return not self.requests.staged and any(True for _ in self._usable(name, journal))

    def give_up(self, name: str) -> None:
        """Give up all uploads of an object that are not complete."""
        for upload in list(self.uploads(name)):
            if upload.name == name:
                with contextlib.suppress(NotFoundError):
                    self.ask(partial(self.requests.abort, name, upload.id))

    def _part(self, sent: _Sent, upload: str, number: int, piece: bytes) -> Part:
        try:
            part = self.ask(lambda: self.requests.part(sent.name, upload, number, piece))
        except NotFoundError as error:
            raise self._gone(sent.name) from error
        if sent.journal is not None:
            digest = xxhash.xxh3_128_digest(piece)
            sent.journal.taken(sent.name, number, NotedPart(len(piece), part.token, digest))
        return part

    def _gone(self, name: str) -> UploadGoneError:
        return UploadGoneError(
            "an upload in parts is no longer known",
            path=f"{self.location}/{name}",
            hint="it expired by the bucket's rules, or another agent gave it up; the next run begins anew",
        )

    def _complete(self, name: str, upload: str, parts: list[Part], written: int, *, absent: bool) -> None:
        """Complete an upload, over no other object with `absent`; one whose answer was lost is complete already.

        A store without conditional completion (501) is looked at first. What is there in the end is read back by
        the move, whoever completed it.
        """
        try:
            if absent and self._completes_conditions:
                try:
                    self.ask(lambda: self.requests.complete(name, upload, parts, absent=True))
                    return
                except ConditionRefusedError:
                    self._completes_conditions = False
            if not absent or self.size(name) is None:
                self.ask(lambda: self.requests.complete(name, upload, parts))
                return
        except ConditionFailedError:
            pass
        except NotFoundError as error:
            if self.size(name) != written:
                raise self._gone(name) from error
            return
        found = self.size(name)
        if found != written:
            raise StateError(
                "another agent wrote this object meanwhile",
                path=f"{self.location}/{name}",
                expected=f"{written} bytes",
                found=found,
                hint="give each home a root of its own",
            )

    def rename(self, source: str, target: str) -> None:
        """Publish an object under its final name, where it was not written there."""
        if source == target:
            return
        try:
            self.ask(lambda: self.requests.move(source, target))
        except NotFoundError:
            if self.size(target) is None:  # else an answer was lost: the first attempt had moved it
                raise

    def delete(self, name: str) -> None:
        """Remove an object."""
        name_parts(name, self.location)
        self.ask(lambda: self.requests.delete(name))

    def delete_many(self, names: Sequence[str]) -> None:
        """Remove objects, some at once."""
        if len(names) < 2 or self.requests.staged:
            for name in names:
                self.delete(name)
            return
        with ThreadPoolExecutor(min(DELETES_AT_ONCE, len(names)), thread_name_prefix="delete") as pool:
            for _ in pool.map(self.delete, names):
                pass

    def size(self, name: str) -> int | None:
        """Return the bytes of an object, None when it is not there."""
        name_parts(name, self.location)
        return self.ask(lambda: self.requests.size(name))

    def free_bytes(self) -> int | None:
        """Return None: object stores do not say."""
        return None

    def discard(self, name: str) -> None:
        """Remove an object, and give up the uploads of it that a killed agent left unfinished."""
        self.give_up(name)
        self.delete(name)

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Yield the objects under `prefix`, page by page."""
        token: str | None = None
        while True:
            rows, token = self.ask(partial(self.requests.page, prefix, token))
            yield from rows
            if token is None:
                return


class RemoteReader:
    """One object by ranges. What was read last is kept, so that a read within it sends no request.

    `ahead` bytes more than asked for are read with each range: a lookup often goes on in the next block.
    """

    def __init__(self, store: RemoteStore, name: str, start: int, size: int) -> None:
        self._store = store
        self._name = name
        self._start = start
        self._kept: tuple[int, bytes] = (0, b"")
        self.size = size
        self.ahead = 0

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes at `offset`."""
        kept_offset, kept = self._kept
        if offset >= kept_offset and offset + length <= kept_offset + len(kept):
            return kept[offset - kept_offset : offset - kept_offset + length]
        path = f"{self._store.location}/{self._name}"
        if offset < 0 or length < 0 or offset + length > self.size:
            raise TornSegmentError(
                "a read outside the object", path=path, offset=offset, expected=length, found=self.size - offset
            )
        if not length:
            return b""
        wanted = min(length + self.ahead, self.size - offset)
        data, _ = self._store.ask(lambda: self._store.requests.get(self._name, self._start + offset, wanted))
        if len(data) < length:
            raise TornSegmentError(
                "an object is shorter than published", path=path, offset=offset, expected=length, found=len(data)
            )
        self._kept = offset, data
        return data[:length]

    def close(self) -> None:
        """Forget what was read."""
        self._kept = (0, b"")


def _pieces(parts: Iterable[bytes | memoryview], size: int) -> Iterator[bytes]:
    """Yield the same bytes in pieces of `size`, the last one smaller."""
    waiting = bytearray()
    for part in parts:
        waiting += part
        while len(waiting) > size:
            yield bytes(waiting[:size])
            del waiting[:size]
    yield bytes(waiting)


def _chain(first: bytes, second: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield second
    yield from rest
