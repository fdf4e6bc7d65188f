"""What a page needs of a master playlist: its renditions, and the files to serve."""

import re
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from vidscale.errors import ConfigError

_URI = re.compile(r'[:,]URI="([^"]*)"')


def rendition_uris(master: Path) -> tuple[str, ...]:
    """The URIs of a master playlist's video renditions, as written there.

    Raises:
        ConfigError: there are none.
    """
    lines, found = _lines(master), []
    for before, line in pairwise(lines):
        if before.startswith("#EXT-X-STREAM-INF:"):
            found.append(line)
    if not found:
        raise ConfigError(f"{master} names no renditions: choose a master playlist, such as v1.m3u8")
    return tuple(dict.fromkeys(found))


def files_of(playlist: Path) -> tuple[str, ...]:
    """The paths of all files that a playlist and those in it name, relative to its folder, and its own name.

    Raises:
        ConfigError: one of them is missing, or lies outside the folder.
    """
    folder, found, open_ = playlist.parent, dict[str, None](), [playlist]
    while open_:
        path = open_.pop()
        found[_inside(path, folder, playlist)] = None
        if path.suffix.lower() != ".m3u8":
            continue
        for line in _lines(path):
            for uri in _URI.findall(line) if line.startswith("#") else [line]:
                named = path.parent / unquote(uri)
                if _inside(named, folder, playlist) not in found:
                    open_.append(named)
    return tuple(found)


def _inside(path: Path, folder: Path, playlist: Path) -> str:
    inner = path.resolve()
    if not inner.is_relative_to(folder.resolve()) or not inner.is_file():
        raise ConfigError(f"{playlist} names {path}, which is no file in its folder")
    return inner.relative_to(folder.resolve()).as_posix()


def _lines(playlist: Path) -> list[str]:
    return [line for line in playlist.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
