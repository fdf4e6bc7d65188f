"""Finds the pictures of a job and names its output files."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidscale.errors import ConfigError, DecodeError
from vidscale.images.picture import READ, SUFFIXES, PictureFormat
from vidscale.system.progress import Progress

_MOST_NAMED = 5
# Pictures that the libvips of pyvips-binary does not read, or that hold several.
_NOT_READ = {
    *(".apng", ".avif", ".dds", ".exr", ".gif", ".hdr", ".heic", ".heif", ".ico", ".jp2", ".jxl"),
    *(".pam", ".pbm", ".pcx", ".pfm", ".pgm", ".pnm", ".ppm", ".psd", ".qoi", ".sgi", ".svg", ".tga", ".xbm"),
    *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),
}


@dataclass(frozen=True, slots=True)
class Item:
    """A picture of a job.

    Attributes:
        path: the file.
        name: path relative to the input folder, or the file name; outputs use the same path below the output folder.
    """

    path: Path
    name: Path

    def target(self, folder: Path, picture_format: PictureFormat) -> Path:
        """Path of its output below `folder`."""
        return folder / self.name.with_suffix(SUFFIXES[picture_format])


def find_pictures(
    paths: Sequence[Path], *, apart_from: Path | None = None, progress: Progress | None = None
) -> list[Item]:
    """Pictures in folders (recursively, by suffix, sorted by name), and single files; each once.

    Hidden files and folders are skipped.

    Args:
        paths: folders, and files with any suffix.
        apart_from: folder to skip: the output folder.
        progress: notes the pictures of other formats, which are skipped.

    Raises:
        DecodeError: a path does not exist.
        ConfigError: no picture found.
    """
    items: list[Item] = []
    others: list[Item] = []
    for path in paths:
        if path.is_dir():
            found = list(_in_folder(path, None if apart_from is None else apart_from.resolve()))
            items += [item for item in found if item.path.suffix.lower() in READ]
            others += [item for item in found if item.path.suffix.lower() in _NOT_READ]
        elif path.exists():
            items.append(Item(path, Path(path.name)))
        else:
            raise DecodeError(f"{path} does not exist")
    if not items:
        instead = f"; not read: {_listed(others)}" if others else ""
        raise ConfigError(
            f"no PNG, JPEG, WebP, TIFF or BMP files in {', '.join(map(str, paths)) or 'no folder'}{instead}"
        )
    items, others = list(dict.fromkeys(items)), list(dict.fromkeys(others))
    if others and progress is not None:
        progress.note(f"skipped, not PNG, JPEG, WebP, TIFF or BMP: {_listed(others)}")
    return items


def _listed(items: Sequence[Item]) -> str:
    more = f" and {len(items) - _MOST_NAMED} more" if len(items) > _MOST_NAMED else ""
    return ", ".join(str(item.name) for item in items[:_MOST_NAMED]) + more


def _in_folder(folder: Path, apart_from: Path | None) -> Iterator[Item]:
    """All files in a folder and the folders below it."""
    for root, folders, files in os.walk(folder):
        below = Path(root)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (below / name).resolve() != apart_from
        )
        for name in sorted(files):
            path = below / name
            if not name.startswith("."):
                yield Item(path, path.relative_to(folder))


def clashes(items: Sequence[Item]) -> dict[Item, str]:
    """Pictures whose outputs would overwrite each other, such as a.png and a.jpg, each with a one-line error.

    Names are compared without case, because some file systems ignore it.
    """
    keys = {item: str(item.name.with_suffix("")).casefold() for item in items}
    often = Counter(keys.values())
    found = {}
    for item, key in keys.items():
        if often[key] > 1:
            others = ", ".join(str(other.path) for other, theirs in keys.items() if theirs == key and other != item)
            found[item] = f"its output would have the same name as that of {others}: rename one"
    return found
