"""VMAF, VMAF NEG and XPSNR by ffmpeg's filters, from frames in a pipe."""

import contextlib
import json
import re
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import ffmpeg as ffmpeg_python
import numpy as np

from vidscale.config import MeasureSettings
from vidscale.errors import EncodeError, MeasureError
from vidscale.media.ffmpeg import Ffmpeg, command_line, file_word
from vidscale.media.ffmpeg_process import FfmpegProcess
from vidscale.media.frames import Frame, VideoInfo
from vidscale.media.nut import NutWriter
from vidscale.report.rows import FrameScore
from vidscale.system.folders import temporary_folder

LEAST_SIDE = 18  # libvmaf, as in ffmpeg 9.0, crashes with smaller pictures
_VMAF_MODELS = "version=vmaf_v0.6.1:name=vmaf|version=vmaf_v0.6.1neg:name=neg"


@dataclass(frozen=True, slots=True)
class PerceptualScore:
    """Scores of one frame.

    Attributes:
        vmaf, vmaf_neg: 0 to 100; None when not requested.
        xpsnr_y: dB, may be inf; None when not requested.
    """

    vmaf: float | None = None
    vmaf_neg: float | None = None
    xpsnr_y: float | None = None


def needed_filters(settings: MeasureSettings) -> list[str]:
    """Filters that an ffmpeg binary must have."""
    return [name for name, wanted in (("libvmaf", settings.vmaf), ("xpsnr", settings.xpsnr)) if wanted]


class PerceptualMeter:
    """Sends each pair of frames to ffmpeg as one picture, the reference above the other.

    Use as a context manager; feed every pair in order, then read the `scores`.

    Args:
        ffmpeg: a binary with the filters.
        settings: the metrics.
        info: the video.
        every: score every Nth pair; feed all pairs, since both metrics depend on neighbouring frames.
    """

    def __init__(self, ffmpeg: Ffmpeg, settings: MeasureSettings, info: VideoInfo, *, every: int = 1) -> None:
        if settings.vmaf and min(info.width, info.height) < LEAST_SIDE:
            raise MeasureError(
                f"VMAF needs pictures of {LEAST_SIDE}x{LEAST_SIDE} or more, these are {info.width}x{info.height}"
            )
        self._settings, self._every = settings, every
        half = info.height + info.height % 2  # rows of one picture, even for whole chroma rows
        self._stacked = replace(info, height=2 * half, sar=info.sar)
        self._frames = 0
        with ExitStack() as stack:
            self._folder = stack.enter_context(temporary_folder())
            command = _command(ffmpeg, settings, info, half, self._folder, every)
            self._process = stack.enter_context(FfmpegProcess(command, stdin=True))
            try:
                self._writer = NutWriter(self._process.stdin.fileno(), self._stacked)
            except BrokenPipeError:
                raise self._failure() from None
            self._stack = stack.pop_all()

    def feed(self, ref: Frame, dist: Frame) -> None:
        """Scores one more pair; MeasureError when ffmpeg has ended."""
        shapes = self._stacked.format.plane_shapes(self._stacked.height, self._stacked.width)
        planes = []
        for upper, lower, (height, _) in zip(ref.planes, dist.planes, shapes, strict=True):
            half = height // 2
            stacked = np.empty((height, upper.shape[1]), dtype=upper.dtype)
            for start, plane in ((0, upper), (half, lower)):
                stacked[start : start + plane.shape[0]] = plane
                stacked[start + plane.shape[0] : start + half] = plane[-1]
            planes.append(stacked)
        try:
            self._writer.write(replace(ref, planes=tuple(planes), pts=self._frames))
        except BrokenPipeError:
            raise self._failure() from None
        self._frames += 1

    def _failure(self) -> MeasureError:
        return MeasureError(str(self._process.failure("measuring stopped")))

    def scores(self) -> list[PerceptualScore]:
        """Scores of every Nth pair in order; ends the process. MeasureError when it failed."""
        with contextlib.suppress(BrokenPipeError):  # then the exit status says why
            self._writer.close()
        self._process.stdin.close()
        try:
            self._process.wait("measuring failed")
        except EncodeError as error:
            raise MeasureError(str(error)) from error
        try:
            return self._read_scores()
        except (OSError, ValueError, KeyError) as error:
            raise MeasureError("measuring failed: ffmpeg did not write a score for every frame") from error

    def _read_scores(self) -> list[PerceptualScore]:
        rows = [PerceptualScore()] * -(-self._frames // self._every)
        if self._settings.vmaf:
            frames = json.loads((self._folder / "vmaf.json").read_text())["frames"]
            rows = [
                replace(row, vmaf=float(frame["metrics"]["vmaf"]), vmaf_neg=float(frame["metrics"]["neg"]))
                for row, frame in zip(rows, frames, strict=True)
            ]
        if self._settings.xpsnr:
            values = re.findall(r"XPSNR y: *(\S+)", (self._folder / "xpsnr.log").read_text())
            wanted = values[: self._frames : self._every]
            rows = [replace(row, xpsnr_y=float(value)) for row, value in zip(rows, wanted, strict=True)]
        return rows

    def __enter__(self) -> "PerceptualMeter":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._writer.close()
        self._stack.close()


def with_scores(rows: list[FrameScore], scores: list[PerceptualScore]) -> list[FrameScore]:
    """The rows with perceptual scores added."""
    return [
        replace(row, vmaf=extra.vmaf, vmaf_neg=extra.vmaf_neg, xpsnr_y=extra.xpsnr_y)
        for row, extra in zip(rows, scores, strict=True)
    ]


def _command(
    ffmpeg: Ffmpeg, settings: MeasureSettings, info: VideoInfo, half: int, folder: Path, every: int
) -> list[str]:
    width, height = info.width, info.height
    source = ffmpeg_python.input("pipe:0", f="nut")
    halves = source.filter_multi_output("split", 4 if settings.vmaf and settings.xpsnr else 2)
    outputs = []
    port = iter(range(4))

    def cropped(y: int) -> object:
        return halves[next(port)].filter("crop", width, height, 0, y)

    if settings.vmaf:
        upper, lower = cropped(0), cropped(half)
        log = file_word((folder / "vmaf.json").as_posix())
        options = {"model": _VMAF_MODELS, "log_fmt": "json", "log_path": log, "n_threads": 2, "n_subsample": every}
        outputs.append(ffmpeg_python.filter([lower, upper], "libvmaf", **options))
    if settings.xpsnr:
        upper, lower = cropped(0), cropped(half)
        log = file_word((folder / "xpsnr.log").as_posix())
        # The original first, unlike libvmaf: xpsnr computes its weights from the main input.
        outputs.append(ffmpeg_python.filter([upper, lower], "xpsnr", stats_file=log))
    stream = ffmpeg_python.output(*outputs, "-", f="null").global_args("-hide_banner", "-v", "error", "-nostdin")
    return command_line(stream, ffmpeg.path)
