"""The movies of a batch: from folders, patterns, lists and queues; and where their outputs go."""

import glob
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidscale.errors import ConfigError, reason_of
from vidscale.media.containers import CONTAINERS, holds_video, muxer_of
from vidscale.media.encoders import ENCODERS, CodecName
from vidscale.system.names import name_from_text

_IN_FOLDERS = CONTAINERS | {
    *(".avi", ".wmv", ".flv", ".mpg", ".mpeg", ".vob", ".mts", ".mxf", ".3gp", ".ogv"),
    *(".y4m", ".nut", ".ivf", ".asf", ".divx", ".mkv3d"),
}
_LISTS = (".txt", ".list")
_QUEUE = ".jsonl"
_SHOWN = 5  # names in a message


@dataclass(frozen=True, slots=True)
class Entry:
    """A movie to encode.

    Attributes:
        source: the movie.
        name: path below the output folder, without extension.
        settings: of a queue's line, over those of the command line.
    """

    source: Path
    name: Path
    settings: dict[str, Any] = field(default_factory=dict)


def movies_of(inputs: Sequence[str], output: Path) -> list[Entry]:
    """All movies that the inputs name, in their order, each once.

    Args:
        inputs: movies, folders (with their subfolders), patterns (``"*.mkv"``), lists (``.txt``, one path a line) and
            queues (``.jsonl``: objects with "input", and optionally "output", a path below the output folder without
            extension, and "settings", as a recipe has them).
        output: the output folder.

    Raises:
        ConfigError: an input is missing, empty, or holds the output folder.
    """
    found = list[Entry]()
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            entries = files_of(path, output)
            if not entries:
                raise ConfigError(f"no movies in the folder {path}")
            found += entries
        elif path.suffix.lower() == _QUEUE and path.is_file():
            found += _of_queue(path)
        elif path.suffix.lower() in _LISTS and path.is_file():
            found += _of_list(path)
        elif not path.exists() and glob.has_magic(text):
            found += _of_pattern(text, output)
        elif not path.exists() and "%" not in path.name:
            raise ConfigError(f"{path} does not exist")
        else:
            found.append(_movie(path))
    unique = list({(entry.source.absolute(), entry.name): entry for entry in found}.values())
    if not unique:
        raise ConfigError(f"no movies in {', '.join(inputs)}")
    return unique


def _movie(path: Path) -> Entry:
    return Entry(path, Path(path.stem))


def files_of(folder: Path, output: Path) -> list[Entry]:
    """The movies in a folder and its subfolders, by their extensions.

    Raises:
        ConfigError: it holds the output folder.
    """
    if output.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"the output folder {output} is inside the input folder {folder}: its files would be inputs")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _IN_FOLDERS and path.is_file())
    movies = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return [Entry(path, path.relative_to(folder).with_suffix("")) for path in movies]


def _of_pattern(pattern: str, output: Path) -> Iterator[Entry]:
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 that of Path takes no absolute patterns
    paths = sorted(path for text in found if (path := Path(text)).is_file())
    if not paths:
        raise ConfigError(f"no file matches {pattern}")
    return (_movie(path) for path in paths if path.parent.resolve() != output.resolve())


def _of_list(path: Path) -> list[Entry]:
    """Movies of a list; relative paths are relative to its folder."""
    lines = [line.strip() for line in _text(path).splitlines()]
    paths = [path.parent / line for line in lines if line and not line.startswith("#")]
    _check_present(path, paths)
    return [_movie(each) for each in paths]


def _of_queue(path: Path) -> list[Entry]:
    entries = [
        _queued(path, number, line) for number, line in enumerate(_text(path).splitlines(), start=1) if line.strip()
    ]
    _check_present(path, [entry.source for entry in entries])
    return entries


def _queued(path: Path, number: int, line: str) -> Entry:
    where = f"{path}, line {number}"
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where}: not JSON ({error.msg})") from error
    known = {"input": str, "output": str, "settings": dict}
    if not isinstance(record, dict) or "input" not in record:
        raise ConfigError(f'{where}: not an object with "input"')
    for name, value in record.items():
        if name not in known:
            raise ConfigError(f"{where}: {name} is unknown; there are {', '.join(known)}")
        if not isinstance(value, known[name]):
            raise ConfigError(f"{where}: {name} = {value!r} is not {'a table' if name == 'settings' else 'text'}")
    source = path.parent / record["input"]
    name = Path(record.get("output", source.stem))
    if name.is_absolute() or ".." in name.parts:
        raise ConfigError(f"{where}: output = {str(name)!r} is not below the output folder")
    return Entry(source, name, record.get("settings", {}))


def _text(path: Path) -> str:
    try:
        return name_from_text(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {reason_of(error)}") from error


def _check_present(path: Path, sources: Sequence[Path]) -> None:
    missing = [str(source) for source in sources if not source.exists() and "%" not in source.name]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise ConfigError(f"{path} names files that do not exist: {', '.join(missing[:_SHOWN])}{more}")


def target_of(entry: Entry, output: Path, codec: CodecName, container: str | None) -> Path:
    """The output of a movie.

    Args:
        entry: the movie.
        output: the output folder.
        codec: the encoder.
        container: extension without dot; None is the source's, Matroska where that cannot be written.
    """
    suffix = f".{container}" if container else entry.source.suffix.lower()
    is_usable = suffix in CONTAINERS and holds_video(muxer_of(Path(f"x{suffix}")), ENCODERS[codec].codec)
    suffix = suffix if is_usable or container else ".mkv"
    return output / entry.name.with_name(f"{entry.name.name}{suffix}")


def check_targets(targets: Sequence[tuple[Entry, Path]]) -> None:
    """Raises ConfigError when two movies have the same output, or an output is an input."""
    taken: dict[Path, Path] = {}
    sources = {entry.source.resolve() for entry, _ in targets}
    for entry, target in targets:
        if (other := taken.setdefault(target, entry.source)) != entry.source:
            raise ConfigError(f"{other} and {entry.source} would both be written to {target}: rename one of them")
        if target.resolve() in sources:
            raise ConfigError(f"{target} is an input; choose another output folder")
