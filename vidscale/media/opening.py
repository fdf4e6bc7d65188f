"""Opening of media files, with one line for whatever cannot be opened."""

import re
from pathlib import Path
from typing import cast

import av
from av.container import Flags
from av.format import Flags as FormatFlags

from vidscale.errors import DecodeError, reason_of
from vidscale.media.mp4 import lacks_index
from vidscale.media.playlists import MASTER

_STANDARD_INPUT = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # a Path has one of the slashes
_NO_INDEX = "its index (moov) is missing; the file is cut off, or still being written"
_NO_TIMESTAMPS = cast("int", FormatFlags.no_timestamps.value)


def open_container(path: Path) -> av.container.InputContainer:
    """Opens a media file; DecodeError in one line when that fails."""
    try:
        if str(path) in _STANDARD_INPUT and (path.exists() or str(path) == "-"):
            raise DecodeError(
                f"{path}: a video is read more than once, so it cannot come from standard input; name a file, or use "
                "vidscale stage in a pipe"
            )
        if path.is_dir():
            raise DecodeError(f"{path} is a directory{f': name its {MASTER}' if (path / MASTER).exists() else ''}")
        if path.exists() and not path.is_file():
            raise DecodeError(f"{path} is not a regular file, but it must be read more than once")
        if path.exists() and path.stat().st_size == 0:
            raise DecodeError(f"{path} is empty")
        container = av.open(str(path.absolute()), metadata_errors="replace")  # "a:b.mp4" would be a protocol
    except FileNotFoundError:
        what = "is an address, not a file: download it first" if _ADDRESS.match(str(path)) else "does not exist"
        raise DecodeError(f"{path} {what}") from None
    except PermissionError:
        raise DecodeError(f"{path} cannot be read: permission denied") from None
    except av.error.EOFError:
        raise DecodeError(f"{path} ends within its header") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = _NO_INDEX if lacks_index(path) else reason_of(error)
        raise DecodeError(f"{path} cannot be opened as a video: {reason}") from error
    # Unlike ffmpeg, PyAV sets genpts, which makes up missing presentation times; for AVI they would be wrong.
    container.flags = container.flags & ~cast("int", Flags.gen_pts.value)
    return container


def is_raw(container: av.container.InputContainer) -> bool:
    """Whether the format has no timestamps."""
    return bool(container.format.flags & _NO_TIMESTAMPS)
