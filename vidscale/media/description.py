"""What ffmpeg prints about a file, for the details that PyAV does not expose."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import av

from vidscale.media.frames import Siting
from vidscale.system.processes import captured

_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Description:
    """ffmpeg's description of a file; empty without an ffmpeg, and where it cannot describe the file.

    Attributes:
        text: as ffmpeg prints it.
    """

    text: str = ""

    @classmethod
    def of(cls, path: Path, ffmpeg: str) -> "Description":
        """Describes a file.

        Args:
            path: the file.
            ffmpeg: path of the binary.
        """
        command = [ffmpeg, "-hide_banner", "-nostdin", "-v", "verbose", "-i", str(path.absolute())]
        try:
            return cls(captured(command, timeout_s=_TIMEOUT_S).stderr.decode(errors="replace"))
        except (OSError, subprocess.TimeoutExpired):
            return cls()

    def chroma_location(self, index: int) -> Siting | None:
        """Chroma location of a video stream, by the stream's index; None when not specified."""
        pattern = rf"Stream #0:{index}\b[^\n]*?Video: [^\n]*?\w+\((?P<words>[^()]*)\), \d+x\d+"
        match = re.search(pattern, self.text)
        if match is None:
            return None
        words = {word.strip() for word in match["words"].split(",")}
        return next((location for location in get_args(Siting) if location in words), None)

    def is_turned(self, index: int) -> bool:
        """Whether the container has a display matrix for a stream."""
        match = re.search(rf"Stream #0:{index}\b.*?(?=Stream #0:|\Z)", self.text, re.DOTALL)
        return match is not None and re.search(r"(?im)^\s+display ?matrix: ", match[0]) is not None

    def data_tag(self, index: int) -> str:
        """Four-character code of a data stream, such as ``tmcd``; "none" when it has none."""
        match = re.search(rf"Stream #0:{index}\b[^\n]*?Data: \w+ \((\w+) /", self.text)
        return match.group(1) if match else "none"

    def alternatives(self, container: av.container.InputContainer, index: int) -> tuple[int, ...]:
        """Streams that an HLS master playlist offers in place of a stream.

        ffmpeg describes variants as programs; it does not read an audio-only one whose audio it has already, and PyAV
        does.
        """
        if container.format.name != "hls":
            return ()
        parts = re.split(r"\n  (?=Program|No Program)", self.text)[1:]
        listed = [(part, {int(number) for number in re.findall(r"Stream #0:(\d+)", part)}) for part in parts]
        own = {number for part, numbers in listed if index in numbers or part.startswith("No") for number in numbers}
        return tuple(stream.index for stream in container.streams if stream.index not in own) if index in own else ()
