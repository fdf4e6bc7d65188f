"""Playlists and lists of files: the total size of the media files that they name."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

# ffmpeg's formats of such files; only HLS and concat are summed up below, the size of the others is unknown.
_NAMING = {"hls", "concat", "image2", "dash", "webm_dash_manifest", "imf", "sdp", "rtsp"}
_ATTRIBUTE = r'(?:^|[:,]){name}=(?:"([^"]*)"|([^,]*))'


def media_bytes(path: Path, container: str) -> int | None:
    """Bytes of a file; for a playlist or list, the total of the files that it names.

    Args:
        path: the file.
        container: ffmpeg's name of its format.

    Returns:
        None when unknown: remote parts, a playlist with alternative variants, a file name pattern.
    """
    if container not in _NAMING or (container == "image2" and path.is_file()):
        return path.stat().st_size
    try:
        if container == "hls":
            return sum(_playlist(path))
        return sum(_list(path)) if container == "concat" else None
    except (OSError, ValueError):
        return None


def _playlist(path: Path, *, nested: bool = False) -> Iterator[int]:
    """Bytes of each part of an HLS playlist (RFC 8216), and of the playlists that it names, one level deep.

    Raises:
        OSError, ValueError: the size of some part is unknown.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not any(line.startswith("#EXT-X-STREAM-INF:") for line in lines):
        yield from _segments(path, lines)
        return
    renditions = {_attribute(line, "URI") for line in lines if line.startswith("#EXT-X-MEDIA:")} - {""}
    variants = {line.strip() for line in lines if line.strip() and not line.startswith("#")} - renditions
    if nested or len(variants) != 1:
        raise ValueError("variants of one video")
    for uri in variants | renditions:
        yield from _playlist(_local(path, uri), nested=True)


def _segments(path: Path, lines: list[str]) -> Iterator[int]:
    length: str | None = None
    beginnings = set()
    for line in lines:
        if line.startswith("#EXT-X-BYTERANGE:"):
            length = line.partition(":")[2].partition("@")[0]
        elif line.startswith("#EXT-X-MAP:"):
            beginnings.add((_attribute(line, "URI"), _attribute(line, "BYTERANGE")))
        elif line.strip() and not line.startswith("#"):
            yield int(length) if length else _local(path, line.strip()).stat().st_size
            length = None
    for uri, span in beginnings:
        yield int(span.partition("@")[0]) if span else _local(path, uri).stat().st_size


def _attribute(line: str, name: str) -> str:
    match = re.search(_ATTRIBUTE.format(name=name), line)
    return (match[1] or match[2] or "") if match else ""


def _list(path: Path) -> Iterator[int]:
    """Bytes of each part of a list for ffmpeg's concat demuxer."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["file"]:
            yield _local(path, words[1] if len(words) == 2 else "").stat().st_size
        elif words[:1] in (["inpoint"], ["outpoint"]):
            raise ValueError("a file is used in part")


def _local(path: Path, uri: str) -> Path:
    """The path of a file that is named in another."""
    name = uri.removeprefix("file:")
    if not name or re.match(r"[a-z][a-z0-9+.-]+:", name):
        raise ValueError(f"{uri} is not a local file")
    return path.parent / name
