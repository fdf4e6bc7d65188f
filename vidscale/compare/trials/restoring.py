"""A coded part brought back to the source's size: by the pair that its way names, or by ffmpeg's scale filter."""

import io
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import ffmpeg as ffmpeg_python

from vidscale.compare.points import Way
from vidscale.compare.trials.coding import geometry_of
from vidscale.compare.trials.ways import FFMPEG_FLAGS, is_folder, pair_of
from vidscale.config import DecodeSettings
from vidscale.jobs.restore import SmallFile, open_small, restored_frames
from vidscale.media.ffmpeg import Ffmpeg, FfmpegProcess, run_ffmpeg
from vidscale.media.frames import Frame
from vidscale.media.nut import read_nut
from vidscale.media.probe import Source, probe
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.stages.upscale import upscale
from vidscale.system.devices import Device
from vidscale.system.threads import Clock


@dataclass(frozen=True, slots=True)
class CodedPart:
    """A coded part and how it is brought back.

    Attributes:
        path: the coded file.
        original: the movie that it was made from.
        way, crf: how it was coded.
        ffmpeg: the binary that scales and measures.
        device: where pairs run.
    """

    path: Path
    original: Source
    way: Way
    crf: float
    ffmpeg: Ffmpeg
    device: Device

    @property
    def by_ffmpeg(self) -> bool:
        """Whether ffmpeg enlarges it."""
        return self.way.up in FFMPEG_FLAGS

    def small(self) -> SmallFile:
        """The file with the pair that restores it: the one that it names itself, where the way has no other."""
        pair = pair_of(self.way.up, self.way.scale, self.device)
        if self.way.down == self.way.up and not is_folder(self.way.up):
            settings = DecodeSettings(device=self.device)
            return open_small(self.path, ffmpeg=self.ffmpeg.path, settings=settings, pair=pair)
        if pair is None:
            raise ValueError(f"ffmpeg restores {self.way}")
        source = probe(self.path, ffmpeg=self.ffmpeg.path)
        color = replace(source.video.color, chroma_location=self.original.video.color.chroma_location)
        source = replace(source, video=replace(source.video, color=color))
        return SmallFile(source, None, pair, geometry_of(self.original, self.way), self.crf)

    def command(self) -> str:
        """What restores it, as one would type it."""
        if self.by_ffmpeg:
            return shlex.join(["ffmpeg", "-i", self.path.name, "-vf", self._scaling(), "-c:v", "ffv1", "restored.mkv"])
        if self.way.down == self.way.up and not is_folder(self.way.up):
            return shlex.join(["vidscale", "decode", self.path.name, "--lossless"])
        video = self.original.video
        up = ["vidscale", "stage", "up", "--pair", self.way.up, "--scale", str(self.way.scale)]
        up += ["--size", f"{video.width}x{video.height}", "--strength", f"{self.crf:g}"]
        raw = ["ffmpeg", "-i", self.path.name, "-f", "nut", "-c:v", "rawvideo", "-"]
        return " | ".join(map(shlex.join, [raw, up, ["ffmpeg", "-i", "-", "-c:v", "ffv1", "restored.mkv"]]))

    def _scaling(self) -> str:
        video = self.original.video
        return f"scale=w={video.width}:h={video.height}:flags={FFMPEG_FLAGS[self.way.up]}"

    def ffmpeg_output(self, pix_fmt: str | None) -> list[str]:
        """The command line that restores it by ffmpeg: raw NUT to stdout, or without a pixel format to nowhere."""
        options = {"map": "0:v:0", "vf": self._scaling(), "fps_mode:v:0": "passthrough", "enc_time_base:v:0": "demux"}
        options |= {"f": "null"} if pix_fmt is None else {"f": "nut", "c:v": "rawvideo", "pix_fmt": pix_fmt}
        stream = ffmpeg_python.input(str(self.path.absolute())).output("-" if pix_fmt is None else "pipe:1", **options)
        stream = stream.global_args("-hide_banner", "-v", "error", "-nostdin", "-copyts")
        command: list[str] = stream.compile(cmd=self.ffmpeg.path)
        return command


@contextmanager
def restored(part: CodedPart, decoding: Clock, upscaling: Clock) -> Iterator[Iterator[Frame]]:
    """Frames of the source's size, timestamps from 0.

    Args:
        part: what is restored.
        decoding, upscaling: count pictures and time where vidscale restores; ffmpeg tells neither.
    """
    if not part.by_ffmpeg:
        yield restored_frames(part.small(), log=ReadLog(), decoding=decoding, upscaling=upscaling)
        return
    pixel_format = probe(part.path, ffmpeg=part.ffmpeg.path).video.format
    with FfmpegProcess(part.ffmpeg_output(pixel_format.name), stdout=True) as process:
        _, frames = read_nut(io.BufferedReader(process.stdout))  # type: ignore[type-var]
        yield frames


def ffmpeg_seconds(part: CodedPart) -> float:
    """Wall time in which ffmpeg alone decodes and enlarges a part, throwing the pictures away."""
    started = time.perf_counter()
    run_ffmpeg(part.ffmpeg_output(None), "restoring failed")
    return time.perf_counter() - started


def restored_frame(part: CodedPart, index: int) -> Frame:
    """One restored picture; the others are decoded where they must be, not enlarged.

    Args:
        part: what is restored.
        index: number of the picture in the part, from 0.
    """
    if part.by_ffmpeg:
        with restored(part, Clock("decode"), Clock("upscale")) as frames:
            return next(islice(frames, index, None))
    small = part.small()
    decoded = decode_frames(small.source, log=ReadLog(), clock=Clock("decode"))
    chosen = islice(decoded, index, index + 1)
    return next(
        upscale(
            chosen,
            pair=small.pair,
            geometry=small.geometry,
            color=small.source.video.color,
            strength=small.strength,
            clock=Clock("upscale"),
        )
    )
