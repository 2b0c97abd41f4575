"""Archive objects: lossless, read in parts, checked before anything is returned."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronicle.core.errors import (
    CapacityError,
    ConfigError,
    CorruptionError,
    ForeignFileError,
    NotFoundError,
    TornSegmentError,
    VersionError,
)
from chronicle.core.layout import Kind
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.codec.archive_layout import BLOCK, FOOTER, HEADER, TRAILER, ArchiveFooter, pack_trailer
from chronicle.storage.codec.encode import EncodeOptions, encode_segment
from chronicle.storage.codec.whole import read_whole
from chronicle.storage.stores.stores import LocalStore
from tests.support.tiers import BOOK, book_events, book_home, fill, first_sealed

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "format" / "archive.md"


@pytest.fixture
def sealed(tmp_path: Path):
    book_home(tmp_path, 1, per_segment=400)
    with first_sealed(tmp_path) as segment:
        yield segment


def archived(tmp_path: Path, segment, **options: object) -> tuple[LocalStore, str]:
    store = LocalStore(tmp_path / "archive")
    store.put("x/0000000000.czst", encode_segment(segment, EncodeOptions(**options)))  # type: ignore[arg-type]
    return store, "x/0000000000.czst"


@pytest.mark.parametrize("options", [{}, {"block_bytes": 16384}, {"columns": False}, {"level": 9, "block_bytes": 1}])
def test_decoded_object_is_the_sealed_file(tmp_path: Path, sealed, options: dict[str, int]) -> None:
    store, name = archived(tmp_path, sealed, **options)
    with ArchivedSegment(store, name) as segment:
        assert bytes(segment.view(0, sealed.header.file_bytes)) == bytes(sealed.mapping.memory)
        assert segment.prologue() == sealed.prologue() == {"schema": 1, "queue": BOOK}
        assert segment.seek_points() == sealed.seek_points()
        assert (segment.data_offset, segment.data_end(), segment.extent()) == (
            sealed.data_offset,
            sealed.data_end(),
            sealed.extent(),
        )
    read_whole(store, name)


def test_a_view_decodes_only_its_blocks(tmp_path: Path, sealed) -> None:
    store, name = archived(tmp_path, sealed, block_bytes=16384)
    with ArchivedSegment(store, name) as segment:
        point = segment.seek_points()[-1]
        before = segment.blocks_decoded
        view = segment.view(point.offset, point.offset + 48)
        assert segment.blocks_decoded == before + 1
        again = segment.view(point.offset, point.offset + 48)
        assert segment.blocks_decoded == before + 1
    assert bytes(view) == bytes(again) == bytes(sealed.view(point.offset, point.offset + 48))


def test_info_of_the_archive_is_that_of_the_sealed_file(tmp_path: Path, sealed) -> None:
    store, name = archived(tmp_path, sealed)
    with ArchivedSegment(store, name) as segment:
        found, expected = segment.info, sealed.info
    for field in ("queue", "number", "generation", "base_index", "record_count", "ts_first", "ts_last", "data_bytes"):
        assert getattr(found, field) == getattr(expected, field)


def test_an_open_object_stays_readable_after_removal(tmp_path: Path, sealed) -> None:
    store, name = archived(tmp_path, sealed, block_bytes=16384)
    with ArchivedSegment(store, name) as segment:
        store.delete(name)
        assert bytes(segment.view(0, sealed.header.file_bytes)) == bytes(sealed.mapping.memory)
    with pytest.raises(NotFoundError):
        ArchivedSegment(store, name)


def test_foreign_cut_empty_and_newer_objects_are_told_apart(tmp_path: Path, sealed) -> None:
    store, name = archived(tmp_path, sealed)
    path = store.path(name)
    data = path.read_bytes()
    cases: list[tuple[bytes, type[Exception]]] = [
        (b"", TornSegmentError),
        (b"\0" * 5000, ForeignFileError),
        (b"hello world " * 100, ForeignFileError),
        (data[: len(data) // 2], ForeignFileError),
        (data + b"\0" * 64, ForeignFileError),
        (data[:100] + data[-300:], TornSegmentError),
        (data[:-56] + b"\x09" + data[-55:], VersionError),
    ]
    for content, error in cases:
        path.write_bytes(content)
        with pytest.raises(error) as raised:
            ArchivedSegment(store, name)
        assert str(path) in str(raised.value)


def test_absurd_footers_are_refused_before_allocation(tmp_path: Path, sealed) -> None:
    store, name = archived(tmp_path, sealed)
    path = store.path(name)
    data = path.read_bytes()
    _, _, _, offset, length, _, _, _ = TRAILER.unpack(data[-64:])
    footer = bytearray(data[offset : offset + length])
    for position, value in ((FOOTER.size + 8, 2**62), (FOOTER.size + 8, -5), (FOOTER.size + 24, 2**61), (4, 2**31)):
        bad = bytearray(footer)
        bad[position : position + 8] = value.to_bytes(8, "little", signed=True)
        path.write_bytes(data[:offset] + bad + pack_trailer(bytes(bad), offset))
        with pytest.raises(CorruptionError):
            ArchivedSegment(store, name)


def test_a_zstd_bomb_is_refused(tmp_path: Path, sealed) -> None:
    import xxhash
    import zstandard

    from chronicle.storage.codec.archive_layout import Block, Method
    from chronicle.storage.codec.decode import decode_stored

    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    for raw_bytes in (1000, 2**40):
        block = Block(0, raw_bytes, 64, len(bomb), xxhash.xxh3_64_intdigest(bomb), 0, Method.ZSTD)
        with pytest.raises(CorruptionError):
            decode_stored(bomb, block, "bomb")


def test_damage_does_not_travel_into_the_archive(tmp_path: Path) -> None:
    book_home(tmp_path, 1, per_segment=400)
    path = next((tmp_path / BOOK).glob("*.seg"))
    data = bytearray(path.read_bytes())
    data[9000] ^= 4
    path.write_bytes(data)
    with first_sealed(tmp_path) as segment, pytest.raises(CorruptionError):
        list(encode_segment(segment))


def test_an_open_segment_is_not_archived(tmp_path: Path) -> None:
    queue = fill(tmp_path, BOOK, book_events(50), seal=False)
    with queue.open_segment(0) as segment, pytest.raises(CorruptionError, match="sealed"):
        list(encode_segment(segment))


def test_object_names_stay_inside_their_root(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for name in ("../x", "/etc/passwd", "a/../../x", ""):
        with pytest.raises(ConfigError):
            store.path(name)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    (tmp_path / "object").symlink_to(full)
    with pytest.raises(CapacityError):
        LocalStore(tmp_path).put("object", [b"x" * 10])
    assert not (tmp_path / "object").exists()


def test_document_and_layout_agree() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert f"Header ({HEADER.size} bytes)" in text
    assert f"Footer, fixed part ({FOOTER.size} bytes)" in text
    assert f"Block table entry ({BLOCK.size} bytes)" in text
    assert f"Trailer ({TRAILER.size} bytes)" in text
    for magic in ("CHRZARC1", "CHRZEND1"):
        assert magic in text


def test_footer_packs_and_unpacks(tmp_path: Path, sealed) -> None:
    store, name = archived(tmp_path, sealed, block_bytes=16384)
    with ArchivedSegment(store, name) as segment:
        footer = segment.footer
    end = max(block.object_offset + block.object_bytes for block in footer.blocks)
    assert ArchiveFooter.unpack(footer.pack(), object_end=end, path="") == footer


def without_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chronicle.storage.codec.event_encode.encode_events", lambda *_, **__: None)


@pytest.mark.parametrize("events", [True, False])
def test_a_block_tells_its_kinds_without_being_decoded(
    tmp_path: Path, sealed, events: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not events:
        without_events(monkeypatch)
    store, name = archived(tmp_path, sealed, block_bytes=16384)
    with ArchivedSegment(store, name) as segment:
        offsets = [point.offset for point in segment.seek_points()]
        before = segment.blocks_decoded
        held = {kind for kind in range(256) if any(segment.may_hold(kind, offset) for offset in offsets)}
        assert segment.blocks_decoded == before
        records = bytes(segment.view(segment.data_offset, segment.data_end()))
    kinds, position = set(), 0
    while position < len(records):
        kinds.add(int.from_bytes(records[position + 4 : position + 6], "little"))
        position += int.from_bytes(records[position : position + 4], "little")
    assert held >= kinds
    assert (Kind.INSTRUMENT in held) == (Kind.INSTRUMENT in kinds)


def test_a_block_of_another_method_may_hold_anything(tmp_path: Path, sealed) -> None:
    store, name = archived(tmp_path, sealed, columns=False)
    with ArchivedSegment(store, name) as segment:
        assert segment.may_hold(18, segment.data_offset)


def test_kinds_of_a_damaged_block_are_an_error(tmp_path: Path) -> None:
    data = bytearray((Path(__file__).parents[2] / "golden" / "archive-v1.czst").read_bytes())
    for name, flip in (("whole.czst", 0), ("damaged.czst", 1)):
        data[100] ^= flip
        (tmp_path / name).write_bytes(data)
    with ArchivedSegment(LocalStore(tmp_path), "whole.czst") as segment:
        assert not segment.may_hold(Kind.CANDLE, segment.data_offset)
        assert segment.may_hold(Kind.INSTRUMENT, segment.data_offset)
    with ArchivedSegment(LocalStore(tmp_path), "damaged.czst") as segment:
        segment._tail_offset = len(data)  # as for an object longer than what is read of its end
        with pytest.raises(CorruptionError):
            segment.may_hold(Kind.CANDLE, segment.data_offset)


def test_stretches_go_on_as_records_where_the_view_was_closed(tmp_path: Path) -> None:
    from chronicle.access.opened.segments import Shelf
    from chronicle.storage.stores.source import TieredSource
    from tests.support.tiers import apply_all

    book_home(tmp_path, 1, per_segment=400)
    apply_all(tmp_path)
    shelf = Shelf(TieredSource(tmp_path))
    segment = shelf.open(shelf.segments(BOOK)[0])
    whole = segment.data_end()
    stretches = segment.stretches(None, None, ("price",), {32}, (1, 2))
    assert stretches is not None
    segment.close()
    found = list(stretches)
    assert found[0].offset == segment.data_offset
    assert found[-1].end == whole
    shelf.close()
