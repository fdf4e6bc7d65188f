"""Makes sets of coded crops: shots are downscaled, encoded by ffmpeg, decoded and cropped.

A chunk depends only on the settings and its number, so making a set can stop and resume at any chunk.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.config import CodecSettings
from vidscale.errors import TrainingError
from vidscale.media.encoders import ENCODERS
from vidscale.media.ffmpeg import Ffmpeg, find_ffmpeg
from vidscale.media.frames import Color, Frame, VideoInfo
from vidscale.media.probe import probe
from vidscale.models.fixed_pair import FixedPair, families
from vidscale.models.pair import Pair
from vidscale.models.pairs import find_pair
from vidscale.stages.decode import decode_frames
from vidscale.stages.encode import encode_command, encode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.folders import temporary_folder
from vidscale.system.progress import Progress, counted
from vidscale.system.threads import Clock, in_order
from vidscale.training.clips import CODED_FORMAT, Clips
from vidscale.training.coded_crops import CodedSettings, Coding, crop_type
from vidscale.training.crops import find_pictures, read_rgb
from vidscale.training.material import make_chunks
from vidscale.training.motion import shot

_COLOR = Color("tv", "bt709", "bt709", "bt709", "left")
_RATE = Fraction(25)


class Maker:
    """Makes the chunks of a set.

    Args:
        settings: settings of the set.
        photos: folder of photographs.
        folder: output folder.
        clips: folder of 8-bit 4:2:0 videos; None for photographs only.
    """

    def __init__(self, settings: CodedSettings, photos: Path, folder: Path, clips: Path | None = None) -> None:
        self.settings, self.folder = settings, folder
        self._photos = find_pictures(photos)
        self._clips = Clips(clips, settings.grid, settings.least) if clips else None
        names = [settings.family, *([settings.also] if settings.also else [])]
        self._pairs = [_downscaler(family, settings) for family in names]
        encoders = sorted({ENCODERS[coding.codec].ffmpeg_name for coding in settings.codings})
        self._ffmpeg: Ffmpeg = find_ffmpeg(None, encoders=encoders, filters=["setparams", "setsar"])

    def make(self, progress: Progress, *, jobs: int) -> None:
        """Makes the missing chunks, `jobs` shots at a time.

        Raises:
            VidscaleError: a photograph cannot be read, ffmpeg fails, or the folder cannot be written.
        """

        def records(numbers: range) -> npt.NDArray[Any]:
            return np.concatenate(list(counted(in_order(self._shot, numbers, jobs), progress)))

        make_chunks(self.settings, self.folder, "coding", records, progress)

    def _shot(self, number: int) -> npt.NDArray[Any]:
        """The crops of one shot."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, number])
        coding = _drawn(settings.codings, rng)
        crf = round(float(rng.uniform(*coding.crf)), 1)
        originals = self._originals(rng)
        decoded = self._coded(originals, self._pairs[number % len(self._pairs)], coding, crf)
        taken = rng.choice(len(originals), size=min(settings.taken, len(originals)), replace=False)
        crops = [crop for n in sorted(taken) for crop in self._crops(originals[n], decoded[n], rng)]
        result = np.empty(len(crops), crop_type(settings.side, settings.ratio))
        for record, (lr, hr, pict_type) in zip(result, crops, strict=True):
            record["lr"], record["hr"] = lr, hr
            record["strength"] = ENCODERS[coding.codec].strength(crf)
            record["codec"], record["pict_type"] = coding.codec, pict_type
        return result

    def _originals(self, rng: np.random.Generator) -> list[Frame]:
        """The frames of a shot, from a clip or from photographs."""
        settings = self.settings
        size = settings.height, settings.width
        if self._clips and rng.random() < settings.clip_share:
            return self._clips.part(rng, settings.frames, size)
        photo, other = (read_rgb(self._photos[int(rng.integers(len(self._photos)))]) for _ in range(2))
        return [
            Frame(planes, CODED_FORMAT, pts, 1 / _RATE, color=_COLOR)
            for pts, planes in enumerate(shot(photo, other, size, settings.frames, rng, settings.motion))
        ]

    def _coded(self, originals: Sequence[Frame], pair: Pair, coding: Coding, crf: float) -> list[Frame]:
        """The frames downscaled, encoded and decoded."""
        height, width = (int(n / self.settings.ratio) for n in (originals[0].height, originals[0].width))
        info = VideoInfo(width, height, CODED_FORMAT, _COLOR, 1 / _RATE, _RATE)
        settings = CodecSettings(codec=coding.codec, preset=coding.preset, crf=crf)
        small = list(_small(originals, pair, ENCODERS[coding.codec].strength(crf)))
        return round_trip(small, info, settings, self._ffmpeg)

    def _crops(
        self, original: Frame, decoded: Frame, rng: np.random.Generator
    ) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any], str]]:
        """Random luma crops whose corners coincide in both sizes."""
        grid = self.settings.ratio.denominator
        side, large = self.settings.side, self.settings.large_side
        for _ in range(self.settings.pieces):
            top, left = (int(rng.integers(0, (n - side) // grid + 1)) * grid for n in (decoded.height, decoded.width))
            high_top, high_left = int(top * self.settings.ratio), int(left * self.settings.ratio)
            lr = decoded.planes[0][top : top + side, left : left + side]
            hr = original.planes[0][high_top : high_top + large, high_left : high_left + large]
            yield lr, hr, decoded.pict_type


def _downscaler(family: str, settings: CodedSettings) -> Pair:
    """Raises: ModelError: unknown pair, or sharpness out of range."""
    if family in families():
        return FixedPair(family, settings.ratio, sharpness=settings.sharpness)
    return find_pair(family, settings.ratio, "cpu")


def _small(originals: Sequence[Frame], pair: Pair, strength: float) -> Iterator[Frame]:
    for frame in originals:
        like_all = replace(frame, color=_COLOR)
        yield replace(like_all, planes=tuple(pair.downscale(like_all, strength)), coded_bytes=None)


def round_trip(frames: Sequence[Frame], info: VideoInfo, settings: CodecSettings, ffmpeg: Ffmpeg) -> list[Frame]:
    """Encodes and decodes frames.

    Args:
        frames: frames of the size and format in `info`.
        info: the stream.
        settings: encoder settings.
        ffmpeg: a binary with that encoder.

    Raises:
        VidscaleError: ffmpeg fails, or the decoder returns fewer frames.
    """
    with temporary_folder() as folder:
        path = folder / "small.mp4"
        command = encode_command(ffmpeg, settings, info, path)
        encode_frames(frames, info, command=command, path=path, clock=Clock("encode"))
        decoded = list(decode_frames(probe(path), log=ReadLog(), clock=Clock("decode")))
    if len(decoded) != len(frames):
        raise TrainingError(f"{settings.codec} returned {len(decoded)} of {len(frames)} frames")
    return decoded


def _drawn(codings: Sequence[Coding], rng: np.random.Generator) -> Coding:
    shares = np.array([coding.share for coding in codings])
    return codings[int(rng.choice(len(codings), p=shares / shares.sum()))]
