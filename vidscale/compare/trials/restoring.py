"""Restores the encoded file of a trial to the source's size: by the candidate's pair, or by ffmpeg's scale filter."""

import io
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import ffmpeg as ffmpeg_python

from vidscale.compare.points import Candidate
from vidscale.compare.trials.candidates import FFMPEG_FLAGS, is_folder, pair_of
from vidscale.compare.trials.encoding import geometry_of
from vidscale.compare.trials.window import WHOLE, Window
from vidscale.config import DecodeSettings
from vidscale.jobs.restore import SmallFile, open_small, part_of, restored_frames
from vidscale.media.ffmpeg import Ffmpeg, command_line, file_word
from vidscale.media.ffmpeg_process import FfmpegProcess, run_ffmpeg
from vidscale.media.frames import Frame
from vidscale.media.nut import read_nut
from vidscale.media.probe import Source, probe
from vidscale.stages.read_log import ReadLog
from vidscale.system.devices import Device
from vidscale.system.threads import Clock


@dataclass(frozen=True, slots=True)
class CodedTrial:
    """The encoded file of a trial, and how to restore it.

    Attributes:
        path: the encoded file.
        source: the movie that it was encoded from.
        candidate, crf: how it was encoded.
        ffmpeg: the binary that scales and measures.
        device: where pairs run.
    """

    path: Path
    source: Source
    candidate: Candidate
    crf: float
    ffmpeg: Ffmpeg
    device: Device

    @property
    def upscaled_by_ffmpeg(self) -> bool:
        """Whether ffmpeg's scale filter is the upscaler."""
        return self.candidate.up in FFMPEG_FLAGS

    def small(self) -> SmallFile:
        """The file with the pair that restores it; where the upscaler belongs to the downscaler, by its identity."""
        pair = pair_of(self.candidate.up, self.candidate.scale, self.device)
        if self.candidate.down == self.candidate.up and not is_folder(self.candidate.up):
            settings = DecodeSettings(device=self.device)
            return open_small(self.path, ffmpeg=self.ffmpeg.path, settings=settings, pair=pair)
        if pair is None:
            raise ValueError(f"ffmpeg restores {self.candidate}")
        coded = probe(self.path, ffmpeg=self.ffmpeg.path)
        color = replace(coded.video.color, chroma_location=self.source.video.color.chroma_location)
        coded = replace(coded, video=replace(coded.video, color=color))
        return SmallFile(coded, None, pair, geometry_of(self.source, self.candidate), self.crf)

    def command(self) -> str:
        """Shell command that restores it."""
        if self.upscaled_by_ffmpeg:
            return shlex.join(["ffmpeg", "-i", self.path.name, "-vf", self._scaling(), "-c:v", "ffv1", "restored.mkv"])
        if self.candidate.down == self.candidate.up and not is_folder(self.candidate.up):
            return shlex.join(["vidscale", "decode", self.path.name, "--lossless"])
        video = self.source.video
        up = ["vidscale", "stage", "up", "--pair", self.candidate.up, "--scale", str(self.candidate.scale)]
        up += ["--size", f"{video.width}x{video.height}", "--strength", f"{self.crf:g}"]
        raw = ["ffmpeg", "-i", self.path.name, "-f", "nut", "-c:v", "rawvideo", "-"]
        return " | ".join(map(shlex.join, [raw, up, ["ffmpeg", "-i", "-", "-c:v", "ffv1", "restored.mkv"]]))

    def _scaling(self) -> str:
        video = self.source.video
        return f"scale=w={video.width}:h={video.height}:flags={FFMPEG_FLAGS[self.candidate.up]}"

    def ffmpeg_output(self, pix_fmt: str | None) -> list[str]:
        """Command line that restores it by ffmpeg: raw NUT to stdout; without a pixel format, frames are discarded."""
        options = {"map": "0:v:0", "vf": self._scaling(), "fps_mode:v:0": "passthrough", "enc_time_base:v:0": "demux"}
        options |= {"f": "null"} if pix_fmt is None else {"f": "nut", "c:v": "rawvideo", "pix_fmt": pix_fmt}
        stream = ffmpeg_python.input(file_word(self.path.absolute())).output(
            "-" if pix_fmt is None else "pipe:1", **options
        )
        stream = stream.global_args("-hide_banner", "-v", "error", "-nostdin", "-copyts")
        return command_line(stream, self.ffmpeg.path)


@contextmanager
def restored(trial: CodedTrial, decoding: Clock, upscaling: Clock, window: Window = WHOLE) -> Iterator[Iterator[Frame]]:
    """Restored frames at the source's size, timestamps from 0.

    Args:
        trial: the encoded file.
        decoding, upscaling: count frames and time; not used if ffmpeg restores.
        window: the frames of the file to restore; those before it are decoded only.
    """
    if not trial.upscaled_by_ffmpeg:
        yield restored_frames(trial.small(), log=ReadLog(), decoding=decoding, upscaling=upscaling, part=window.part)
        return
    pixel_format = probe(trial.path, ffmpeg=trial.ffmpeg.path).video.format
    with (
        FfmpegProcess(trial.ffmpeg_output(pixel_format.name), stdout=True) as process,
        io.BufferedReader(process.stdout) as pipe,  # type: ignore[type-var]
    ):
        _, frames = read_nut(pipe)
        yield part_of(frames, window.part)


def ffmpeg_seconds(trial: CodedTrial) -> float:
    """Wall time that ffmpeg takes to decode and upscale a file, without writing the frames."""
    started = time.perf_counter()
    run_ffmpeg(trial.ffmpeg_output(None), "restoring failed")
    return time.perf_counter() - started


def restored_frame(trial: CodedTrial, index: int) -> Frame:
    """One restored frame; frames before it are decoded, but not upscaled.

    Args:
        trial: the encoded file.
        index: of the frame in the file, from 0.
    """
    if trial.upscaled_by_ffmpeg:
        with restored(trial, Clock("decode"), Clock("upscale")) as frames:
            return next(islice(frames, index, None))
    frames = restored_frames(
        trial.small(),
        log=ReadLog(),
        decoding=Clock("decode"),
        upscaling=Clock("upscale"),
        part=slice(index, index + 1),
    )
    return next(frames)
