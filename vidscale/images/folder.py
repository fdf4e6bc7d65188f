"""Which pictures a job is about, and what the files are called that it makes of them."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidscale.errors import ConfigError, DecodeError
from vidscale.images.picture import FORMATS, SUFFIXES, PictureFormat
from vidscale.system.progress import Progress

_MOST_NAMED = 5
# Pictures that the libvips of pyvips-binary does not read, or that hold several.
_NOT_READ = {
    *(".apng", ".avif", ".bmp", ".dds", ".dib", ".exr", ".gif", ".hdr", ".heic", ".heif", ".ico", ".jp2", ".jxl"),
    *(".pam", ".pbm", ".pcx", ".pfm", ".pgm", ".pnm", ".ppm", ".psd", ".qoi", ".sgi", ".svg", ".tga", ".xbm"),
    *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),
}


@dataclass(frozen=True, slots=True)
class Item:
    """A picture of a job.

    Attributes:
        path: the file.
        name: its path below the folder that was named, or its file name; its results lie at the same place below OUT.
    """

    path: Path
    name: Path

    def target(self, folder: Path, picture_format: PictureFormat) -> Path:
        """The file to make of it below a folder."""
        return folder / self.name.with_suffix(SUFFIXES[picture_format])


def find_pictures(
    paths: Sequence[Path], *, apart_from: Path | None = None, progress: Progress | None = None
) -> list[Item]:
    """The pictures in folders and the folders below them, by their suffix and in the order of their names; and files.

    Hidden files and folders are left out.

    Args:
        paths: folders, and files of any name.
        apart_from: a folder in which nothing is looked for: the output's.
        progress: told which pictures of other formats are passed over.

    Raises:
        DecodeError: a path that is not there.
        ConfigError: no picture.
    """
    items: list[Item] = []
    others: list[Item] = []
    for path in paths:
        if path.is_dir():
            found = list(_in_folder(path, None if apart_from is None else apart_from.resolve()))
            items += [item for item in found if item.path.suffix.lower() in FORMATS]
            others += [item for item in found if item.path.suffix.lower() in _NOT_READ]
        elif path.exists():
            items.append(Item(path, Path(path.name)))
        else:
            raise DecodeError(f"{path} does not exist")
    if not items:
        instead = f"; not read: {_listed(others)}" if others else ""
        raise ConfigError(f"no PNG, JPEG, WebP or TIFF in {', '.join(map(str, paths)) or 'no folder'}{instead}")
    if others and progress is not None:
        progress.note(f"passed over, not being PNG, JPEG, WebP or TIFF: {_listed(others)}")
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
    """Pictures whose results would have one name, such as a.png and a.jpg, and in one line why not.

    Upper and lower case count as the same: some file systems hold only one of the two.
    """
    keys = {item: str(item.name.with_suffix("")).casefold() for item in items}
    often = Counter(keys.values())
    found = {}
    for item, key in keys.items():
        if often[key] > 1:
            others = ", ".join(str(other.path) for other, theirs in keys.items() if theirs == key and other != item)
            found[item] = f"its result would have the same name as that of {others}: rename one"
    return found
