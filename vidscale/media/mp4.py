"""Boxes of MP4 files, and tags that ffmpeg's MP4 and QuickTime muxers have no atom for, written besides the usual ones.

ffmpeg writes either the atoms that players read (``©nam``, ``©ART``, …) or, with ``-movflags use_metadata_tags``, any
tag under a key that few players read, and no cover art. Here keys (``mdta``, QuickTime File Format, "Metadata") are
added to ``moov`` afterwards, where phones write theirs. ``moov`` grows, so the same pass moves it in front of the
media, as ``-movflags faststart`` does.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from vidscale.errors import EncodeError
from vidscale.media.headers import HEADER_BYTES, box_header

_TABLES = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}  # boxes that contain the tables of chunk offsets
_UTF8 = 1  # type of a value
_MOST_OFFSET = 2**32 - 1  # of a table of 32-bit offsets
_BLOCK = 1 << 23  # bytes moved at a time


class _Box(NamedTuple):
    """A box: its type, and the offsets of its header, its content and its end."""

    kind: bytes
    start: int
    body: int
    end: int


def write_keys(path: Path, keys: Mapping[str, str]) -> None:
    """Writes tags under keys into a finished file, in place, and moves ``moov`` in front of the media.

    Args:
        path: MP4 or QuickTime file as written by ffmpeg's muxer, not fragmented, without such keys.
        keys: tags by name; when empty, ``moov`` is only moved.

    Raises:
        EncodeError: not such a file.
        OSError: the file cannot be written.
    """
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        boxes = list(_boxes_of(file, size))
        place = next((box.end for box in boxes if box.kind == b"ftyp"), None)
        moov = next((box for box in boxes if box.kind == b"moov"), None)
        if place is None or moov is None or moov.start < place:
            raise EncodeError(f"ffmpeg wrote no ftyp and moov into {path.name}")
        old = _read(file, moov.start, moov.end)
        meta = _meta(keys, is_quicktime=_read(file, 8, 12) == b"qt  ") if keys else b""
        wide = size + 2 * len(old) + len(meta) > _MOST_OFFSET
        grown = len(_moved(old, 0, 0, 0, wide)) + len(meta)
        # Data before the old moov moves by the size of the new one, data after it by the growth.
        tables = _moved(old, moov.start, grown, grown - len(old), wide)
        new = grown.to_bytes(4, "big") + tables[4:] + meta
        _shift(file, moov.end, size, grown - len(old))
        _shift(file, place, moov.start, grown)
        file.seek(place)
        file.write(new)


def lacks_index(path: Path) -> bool:
    """Whether an MP4 or QuickTime file has no complete ``moov``, which many programs write last."""
    kinds: list[bytes] = []
    with contextlib.suppress(OSError, EncodeError), path.open("rb") as file:
        kinds.extend(box.kind for box in _boxes_of(file, file.seek(0, os.SEEK_END)))
    return b"ftyp" in kinds and b"moov" not in kinds


def _boxes_of(file: IO[bytes], size: int) -> Iterator[_Box]:
    """The boxes of a file."""
    start = 0
    while start + 8 <= size:
        box = _box(_read(file, start, start + HEADER_BYTES), start, size)
        yield box
        start = box.end


def _boxes(data: bytes, start: int) -> Iterator[_Box]:
    """The boxes in the rest of a box."""
    while start + 8 <= len(data):
        box = _box(data[start : start + HEADER_BYTES], start, len(data))
        yield box
        start = box.end


def _box(data: bytes, start: int, limit: int) -> _Box:
    header = box_header(data)
    if header is None:
        raise EncodeError(f"ffmpeg wrote a broken box {data[4:8]!r}")
    end = limit if header.length is None else start + header.length
    if end > limit:
        raise EncodeError(f"ffmpeg wrote a box {header.name!r} of {header.length} bytes, beyond the end of the file")
    return _Box(header.name, start, start + header.size, end)


def _moved(box: bytes, border: int, before: int, after: int, wide: bool) -> bytes:
    """A box with every chunk offset below ``border`` raised by ``before``, all others by ``after``.

    Args:
        box: a box with tables of chunk offsets; any other is returned unchanged.
        border, before, after: bytes of the file.
        wide: convert the tables to 64-bit offsets.
    """
    kind, body = box[4:8], _box(box[:HEADER_BYTES], 0, len(box)).body
    if kind in _TABLES:
        inner = [_moved(box[child.start : child.end], border, before, after, wide) for child in _boxes(box, body)]
        content = b"".join(inner)
    elif kind in (b"stco", b"co64"):
        offsets = np.frombuffer(box[body + 8 :], ">u4" if kind == b"stco" else ">u8").astype(np.int64)
        offsets += np.where(offsets < border, before, after)
        kind = b"co64" if wide else kind
        content = box[body : body + 8] + offsets.astype(">u4" if kind == b"stco" else ">u8").tobytes()
    else:
        return box
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def _meta(keys: Mapping[str, str], *, is_quicktime: bool) -> bytes:
    """A metadata box of keys and values; QuickTime's has no version."""
    names = [_boxed(b"mdta", name.encode()) for name in keys]
    values = [
        _boxed(number.to_bytes(4, "big"), _boxed(b"data", _UTF8.to_bytes(4, "big") + bytes(4) + value.encode()))
        for number, value in enumerate(keys.values(), start=1)
    ]
    handler = _boxed(b"hdlr", bytes(8) + b"mdta" + bytes(13))
    listed = _boxed(b"keys", bytes(4) + len(names).to_bytes(4, "big") + b"".join(names))
    version = b"" if is_quicktime else bytes(4)
    return _boxed(b"meta", version + handler + listed + _boxed(b"ilst", b"".join(values)))


def _boxed(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def _read(file: IO[bytes], start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _shift(file: IO[bytes], start: int, end: int, by: int) -> None:
    """Moves a part of a file towards its end, the last bytes first."""
    while end > start and by:
        begin = max(start, end - _BLOCK)
        data = _read(file, begin, end)
        file.seek(begin + by)
        file.write(data)
        end = begin
