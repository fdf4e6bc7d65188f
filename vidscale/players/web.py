"""A web page that plays a small file, or a playlist of them, restored: plain modules, the movie, its networks."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote, unquote

from vidscale.config import DecodeSettings
from vidscale.errors import ConfigError, reason_of
from vidscale.jobs.restore import SmallFile, open_small
from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.media.playlists import MASTER
from vidscale.players.page_data import page_data
from vidscale.players.playlists import files_of, rendition_uris
from vidscale.system.folders import created_folder
from vidscale.system.workspace import Workspace, check_folder, check_target, disposable, remove_abandoned

ELEMENT = "vidscale-video.js"
MODULES = (ELEMENT, "markup.js", "networks.js", "restorer.js", "shaders.js", "stream.js")

_INDEX = "index.html"


@dataclass(frozen=True)
class Site:
    """A written page.

    Attributes:
        index: its address on this machine.
        bytes: of the page and the networks, without the movie.
        pairs: names of the pairs that it restores with.
        notes: what a browser cannot play or does not restore, one line each.
    """

    index: Path
    bytes: int
    pairs: tuple[str, ...]
    notes: tuple[str, ...]


def write_site(movie: Path, folder: Path, settings: DecodeSettings) -> Site:
    """Writes the page into a folder, which is created if it is missing.

    Args:
        movie: the small file, or a master playlist; it is copied with all that it names.
        folder: the folder.
        settings: how it is restored if it has no identity; whether to replace the files of an earlier page.

    Raises:
        IdentityError: no usable identity.
        ModelError: no pair of it has a network that can be exported.
        ConfigError: rotated pictures, or the folder cannot be written.
    """
    is_playlist = movie.suffix.lower() == ".m3u8" and movie.is_file()
    named = {uri: movie.parent / unquote(uri) for uri in rendition_uris(movie)} if is_playlist else {"": movie}
    ffmpeg = find_ffmpeg(settings.ffmpeg).path
    opened = {uri: open_small(path, ffmpeg=ffmpeg, settings=settings) for uri, path in named.items()}
    parts = {uri: small.parts or (small,) for uri, small in opened.items()}
    first = _checked(movie, parts.values())
    data = page_data(parts, movie.stem)
    title = movie.absolute().parent.stem if movie.name == MASTER else movie.stem
    contents = {
        _INDEX: _page(first, movie, title),
        **{name: files("vidscale.players").joinpath("page", name).read_bytes() for name in MODULES},
        **data.files,
    }
    _write(folder, contents, movie, files_of(movie) if is_playlist else (movie.name,), overwrite=settings.overwrite)
    return Site(folder / _INDEX, sum(map(len, contents.values())), data.pairs, (*data.notes, *_notes(first)))


def _write(folder: Path, contents: dict[str, bytes], movie: Path, copied: Sequence[str], *, overwrite: bool) -> None:
    """Writes all files under temporary names and renames them when they are complete, the page last."""
    check_folder(folder, record=ELEMENT)
    try:
        with created_folder(folder):
            for name in (*contents, *copied):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                source = movie.parent / name if name in copied else movie
                check_target(folder / name, source=source, overwrite=overwrite or name in (_INDEX, *MODULES))
            remove_abandoned(folder / _INDEX)
            with disposable(lambda: Workspace(folder / _INDEX)) as workspace:
                parts = {name: workspace.file(f"{number}.part") for number, name in enumerate((*contents, *copied))}
                for name, part in parts.items():
                    if name in contents:
                        part.write_bytes(contents[name])
                    else:
                        shutil.copyfile(movie.parent / name, part)
                for name in (*copied, *reversed(contents)):
                    parts[name].replace(folder / name)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {reason_of(error)}") from error


def _checked(movie: Path, renditions: Iterable[Sequence[SmallFile]]) -> SmallFile:
    """The first of all parts, if a page can show them."""
    first, *others = (small for parts in renditions for small in parts)
    size = first.geometry.width, first.geometry.height
    for small in (first, *others):
        if small.source.video.display_matrix is not None:
            raise ConfigError(f"{movie}: rotated pictures cannot be restored in a browser; vidscale decode can")
        if (own := (small.geometry.width, small.geometry.height)) != size:
            raise ConfigError(f"{small.source.path} is restored to {own[0]}x{own[1]}, others to {size[0]}x{size[1]}")
    return first


def _page(small: SmallFile, movie: Path, title: str) -> bytes:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vidscale.players", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    geometry, sar = small.geometry, small.source.video.sar or 1
    text = environment.get_template(f"{_INDEX}.j2").render(
        title=title,
        width=geometry.width,
        aspect=round(float(geometry.width * sar / geometry.height), 6),
        movie=quote(movie.name),
        restore=quote(f"{movie.stem}.json"),
    )
    return text.encode()


def _notes(small: SmallFile) -> tuple[str, ...]:
    notes = []
    if small.source.codec == "hevc":
        notes.append("HEVC plays only in browsers that have a decoder for it; H.264 plays in all")
    is_known = "mp4" in small.source.container or small.source.container == "hls"
    if not is_known and small.source.path.suffix.lower() != ".webm":
        notes.append(f"few browsers play {small.source.path.suffix}: encode to .mp4")
    if small.source.video.format.bit_depth > 8:
        notes.append("browsers give a page 8 bits per channel; the file has more")
    return tuple(notes)
