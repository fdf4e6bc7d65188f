"""Really coded training material: small pictures as x264 and x265 give them back, beside the originals.

A set is a folder of chunks; each is one file that is mapped, not read, and made from some shots, so that making a set
can stop and go on at any chunk. What a chunk holds depends on the settings and its number alone.
"""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vidscale.config import CodecSettings
from vidscale.decode import ReadLog, decode_frames
from vidscale.encode import encode_command, encode_frames
from vidscale.encoders import ENCODERS, CodecName
from vidscale.errors import TrainingError
from vidscale.ffmpeg import Ffmpeg, find_ffmpeg
from vidscale.frames import Color, Frame, PixelFormat, VideoInfo
from vidscale.geometry import Geometry
from vidscale.models.pairs import FixedPair
from vidscale.probe import probe
from vidscale.progress import Progress
from vidscale.threads import Clock
from vidscale.training.crops import find_pictures, read_rgb
from vidscale.training.motion import Motion, shot
from vidscale.training.recipes import STRICT, keep_recipe

_FORMAT = PixelFormat("420", 8)
_COLOR = Color("tv", "bt709", "bt709", "bt709", "left")
_RATE = Fraction(25)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """One way to code, and how often it is taken.

    Attributes:
        codec, preset: of the encoder.
        crf: lowest and highest; drawn uniformly.
        share: of the shots, relative to the others.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    codec: CodecName
    preset: str
    crf: tuple[float, float]
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedSettings:
    """What a set is made of.

    Attributes:
        family: of fixed filters, what makes pictures small.
        sharpness: of the small luma.
        scale: source over small.
        height, width: of the shots, even.
        frames: of a shot.
        taken: frames of a shot that pieces are cut from, the first among them now and then.
        pieces: cut from each taken frame.
        side: of a piece of the small luma, samples; even, so that chroma is whole.
        chunks, shots: number of chunks, and of shots in each.
        codings: ways to code.
        motion: of the camera.
        clips: share of shots that are parts of real clips, where some are given.
        seed: of everything.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    family: str = "lanczos"
    sharpness: float = 0.0
    scale: str = "2"
    height: int = 384
    width: int = 512
    frames: int = 20
    taken: int = 5
    pieces: int = 4
    side: int = 48
    chunks: int = 32
    shots: int = 32
    codings: tuple[Coding, ...] = (
        Coding(codec="x264", preset="medium", crf=(18, 40), share=3),
        Coding(codec="x265", preset="medium", crf=(18, 40), share=4),
        Coding(codec="x264", preset="veryfast", crf=(18, 40)),
        Coding(codec="x265", preset="fast", crf=(18, 40)),
    )
    motion: Motion = field(default_factory=Motion)
    seed: int = 0


def piece_type(side: int, scale: Fraction) -> np.dtype[Any]:
    """One piece: decoded small planes, original planes, and how it was coded."""
    large = int(side * scale)
    halves = (side // 2, side // 2), (large // 2, large // 2)
    return np.dtype(
        [
            ("lr", np.uint8, (side, side)),
            ("hr", np.uint8, (large, large)),
            ("lr_uv", np.uint8, (2, *halves[0])),
            ("hr_uv", np.uint8, (2, *halves[1])),
            ("crf", np.float32),
            ("codec", "S8"),
            ("pict_type", "S1"),
        ]
    )


class Maker:
    """Makes chunks.

    Args:
        settings: of the set.
        photos: folder of photographs.
        folder: of the set.
    """

    def __init__(self, settings: CodedSettings, photos: Path, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self._photos = find_pictures(photos)
        self._scale = Fraction(settings.scale)
        self._pair = FixedPair(settings.family, self._scale, sharpness=settings.sharpness)
        names = sorted({ENCODERS[coding.codec].ffmpeg_name for coding in settings.codings})
        self._ffmpeg: Ffmpeg = find_ffmpeg(None, encoders=names, filters=["setparams", "setsar"])

    def make(self, progress: Progress, *, jobs: int) -> None:
        """Makes the chunks that are missing, `jobs` shots at a time.

        Raises:
            VidscaleError: a photograph cannot be read, ffmpeg fails, the folder cannot be written.
        """
        keep_recipe(self.settings, self.folder)
        missing = [n for n in range(self.settings.chunks) if not self._path(n).exists()]
        progress.start("coding", len(missing) * self.settings.shots, "shots")
        with ThreadPoolExecutor(jobs) as pool:
            for chunk in missing:
                parts = []
                for part in pool.map(self._shot, [chunk * self.settings.shots + i for i in range(self.settings.shots)]):
                    parts.append(part)
                    progress.advance()
                _write(self._path(chunk), np.concatenate(parts))

    def _path(self, chunk: int) -> Path:
        return self.folder / f"chunk-{chunk:04}.npy"

    def _shot(self, number: int) -> npt.NDArray[Any]:
        """The pieces of one shot."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, number])
        coding = _drawn(settings.codings, rng)
        crf = round(float(rng.uniform(*coding.crf)), 1)
        photo, other = (read_rgb(self._photos[int(rng.integers(len(self._photos)))]) for _ in range(2))
        size = settings.height, settings.width
        originals = [
            Frame(planes, _FORMAT, pts, 1 / _RATE)
            for pts, planes in enumerate(shot(photo, other, size, settings.frames, rng, settings.motion))
        ]
        decoded = self._coded(originals, coding, crf)
        taken = rng.choice(settings.frames, size=settings.taken, replace=False)
        pieces = [piece for n in sorted(taken) for piece in self._pieces(originals[n], decoded[n], rng)]
        result = np.empty(len(pieces), piece_type(settings.side, self._scale))
        for record, (lr, hr, pict_type) in zip(result, pieces, strict=True):
            record["lr"], record["lr_uv"] = lr[0], lr[1:]
            record["hr"], record["hr_uv"] = hr[0], hr[1:]
            record["crf"], record["codec"], record["pict_type"] = crf, coding.codec, pict_type
        return result

    def _coded(self, originals: Sequence[Frame], coding: Coding, crf: float) -> list[Frame]:
        """The small pictures as a decoder gives them back."""
        height, width = originals[0].height, originals[0].width
        geometry = Geometry.for_encoder(height, width, self._scale, ENCODERS[coding.codec], _FORMAT)
        if (geometry.coded_height, geometry.coded_width) != (geometry.small_height, geometry.small_width):
            raise TrainingError(f"shots of {width}x{height} at scale {self._scale} would be padded for {coding.codec}")
        info = VideoInfo(geometry.coded_width, geometry.coded_height, _FORMAT, _COLOR, 1 / _RATE, _RATE)
        settings = CodecSettings(codec=coding.codec, preset=coding.preset, crf=crf)
        with tempfile.TemporaryDirectory(prefix="vidscale-") as name:
            path = Path(name) / "small.mp4"
            command = encode_command(self._ffmpeg, settings, info, path)
            encode_frames(self._small(originals), info, command=command, path=path, clock=Clock("encode"))
            decoded = list(decode_frames(probe(path), log=ReadLog(), clock=Clock("decode")))
        if len(decoded) != len(originals):
            raise TrainingError(f"{coding.codec} gave {len(decoded)} of {len(originals)} frames back")
        return decoded

    def _small(self, originals: Sequence[Frame]) -> Iterator[Frame]:
        for frame in originals:
            planes = tuple(self._pair.shrink(frame.planes, frame.format, _COLOR))
            yield Frame(planes, frame.format, frame.pts, frame.time_base)

    def _pieces(
        self, original: Frame, decoded: Frame, rng: np.random.Generator
    ) -> Iterator[tuple[list[Any], list[Any], str]]:
        """Pieces at random places whose corners fall together in both sizes, chroma included."""
        grid = 2 * self._scale.denominator
        side, large = self.settings.side, int(self.settings.side * self._scale)
        for _ in range(self.settings.pieces):
            top, left = (int(rng.integers(0, (n - side) // grid + 1)) * grid for n in (decoded.height, decoded.width))
            high_top, high_left = int(top * self._scale), int(left * self._scale)
            yield (
                _cut(decoded, top, left, side),
                _cut(original, high_top, high_left, large),
                decoded.pict_type,
            )


def _cut(frame: Frame, top: int, left: int, side: int) -> list[npt.NDArray[Any]]:
    luma, *chroma = frame.planes
    half = slice(top // 2, (top + side) // 2), slice(left // 2, (left + side) // 2)
    return [luma[top : top + side, left : left + side], *(plane[half] for plane in chroma)]


def _drawn(codings: Sequence[Coding], rng: np.random.Generator) -> Coding:
    shares = np.array([coding.share for coding in codings])
    return codings[int(rng.choice(len(codings), p=shares / shares.sum()))]


def _write(path: Path, pieces: npt.NDArray[Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            np.save(file, pieces)
        partial.replace(path)
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
