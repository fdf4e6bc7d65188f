"""BD-rate of sharpening or softening the small picture, through the real encoder.

    python benchmarks/sharpness.py --fit CLIPS --photos PHOTOS [--judge CLIPS] --down 0 0.2 -0.2

Pictures are downscaled by Lanczos and sharpened; the first sharpness is the anchor. The upscaler is fitted for each
sharpness and rate on parts of the ``--fit`` clips and on moving photographs (see `fitted_upscaler`), or it is bicubic
interpolation (``--up bicubic``), as in a player without vidscale. BD-rate is over all rates on the ``--judge`` clips,
by default the ``--fit`` clips. Luma only.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fitted_upscaler import Codes, fit, upscale

from vidscale.config import CodecSettings, MeasureSettings
from vidscale.media.encoders import CodecName
from vidscale.media.ffmpeg import Ffmpeg, find_ffmpeg
from vidscale.media.frames import Color, Frame, PixelFormat, VideoInfo
from vidscale.media.probe import probe
from vidscale.models.fixed_pair import FixedPair
from vidscale.stages.decode import decode_frames
from vidscale.stages.perceptual import PerceptualMeter
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock
from vidscale.training.coded_crops import MotionLimits
from vidscale.training.coded_maker import round_trip
from vidscale.training.crops import find_pictures, read_rgb
from vidscale.training.motion import shot
from vidscale.triton_kernels.metrics import psnr, squared_error, ssim_gaussian
from vidscale.triton_kernels.polyphase import polyphase_resample

Movies = dict[str, list[Frame]]
Scores = npt.NDArray[np.float64]  # bytes, then a number for each of _METRICS

_METRICS = ("PSNR-Y", "SSIM-Y", "VMAF", "VMAF NEG", "XPSNR-Y")
_TWO, _HALF = Fraction(2), Fraction(1, 2)
_RATE = Fraction(25)
_LAYOUT, _COLOR = PixelFormat("420", 8), Color("tv", "bt709", "bt709", "bt709", "left")
_FITTED_EVERY = 5  # frames


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fit", type=Path, nargs="+", default=[], help="clips that the upscaler is fitted to")
    parser.add_argument("--judge", type=Path, nargs="+", default=[], help="other clips, to judge")
    parser.add_argument("--photos", type=Path, help="folder of photographs to make shots of")
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--down", type=float, nargs="+", default=[0.0, 0.2, -0.2])
    parser.add_argument("--up", choices=["fitted", "bicubic"], default="fitted")
    parser.add_argument("--codec", choices=["x264", "x265"], default="x265")
    parser.add_argument("--rates", default="18,23,28,33")
    parser.add_argument("--frames", type=int, default=16)
    options = parser.parse_args()
    ffmpeg = find_ffmpeg(None, encoders=[f"lib{options.codec}"], filters=["libvmaf", "xpsnr"])
    fitted = dict(_clips(options.fit, options.frames)) | dict(_shots(options.photos, options.shots, options.frames))
    judged = dict(_clips(options.judge, options.frames)) or fitted
    if not judged or (options.up == "fitted" and not fitted):
        parser.error("no clips")
    rates = [float(rate) for rate in options.rates.split(",")]
    print("| sharpness | clip |" + " | ".join(_METRICS) + " |")
    print("| --- | --- |" + " ---: |" * len(_METRICS))
    anchor: dict[str, Scores] = {}
    for sharpness in options.down:
        down = FixedPair("lanczos", _TWO, sharpness=sharpness)
        curves = _curves(down, fitted, judged, options.up, options.codec, rates, ffmpeg)
        anchor = anchor or curves
        if curves is not anchor:
            _tell(f"{sharpness:g}", anchor, curves)


def _clips(paths: list[Path], count: int) -> Iterator[tuple[str, list[Frame]]]:
    """The middle of each clip, at most 640x352."""
    for path in paths:
        frames: list[Frame] = []
        for frame in islice(decode_frames(probe(path), log=ReadLog(), clock=Clock("decode")), count):
            height, width = min(352, frame.height // 16 * 16), min(640, frame.width // 16 * 16)
            top, left = (frame.height - height) // 4 * 2, (frame.width - width) // 4 * 2
            luma, *chroma = frame.planes
            half = slice(top // 2, (top + height) // 2), slice(left // 2, (left + width) // 2)
            planes = luma[top : top + height, left : left + width], *(plane[half] for plane in chroma)
            frames.append(Frame(tuple(map(np.ascontiguousarray, planes)), _LAYOUT, len(frames), 1 / _RATE))
        yield path.stem, frames


def _shots(folder: Path | None, number: int, count: int) -> Iterator[tuple[str, list[Frame]]]:
    photos = find_pictures(folder) if folder else []
    for index in range(number if photos else 0):
        rng = np.random.default_rng([77, index])
        photo, other = (read_rgb(photos[int(rng.integers(len(photos)))]) for _ in range(2))
        frames = shot(photo, other, (352, 640), count, rng, MotionLimits())
        yield f"shot {index}", [Frame(planes, _LAYOUT, pts, 1 / _RATE) for pts, planes in enumerate(frames)]


def _curves(
    down: FixedPair, fitted: Movies, judged: Movies, up: str, codec: CodecName, rates: list[float], ffmpeg: Ffmpeg
) -> dict[str, Scores]:
    """Scores [rates, 1 + metrics] of each judged clip."""
    rows: dict[str, list[list[float]]] = {name: [] for name in judged}
    for crf in rates:
        settings = CodecSettings(codec=codec, preset="medium", crf=crf)
        coded = {name: _coded(frames, down, settings, ffmpeg) for name, frames in (fitted | judged).items()}
        filters = None
        if up == "fitted":
            pairs = ((coded[name], frames) for name, frames in fitted.items())
            filters = fit(
                (small.planes[0], large.planes[0])
                for smalls, larges in pairs
                for small, large in list(zip(smalls, larges, strict=True))[1::_FITTED_EVERY]
            )
        for name, frames in judged.items():
            lumas = [
                _bicubic(small.planes[0]) if filters is None else upscale(small.planes[0], filters)
                for small in coded[name]
            ]
            size = float(sum(frame.coded_bytes or 0 for frame in coded[name]))
            rows[name].append([size, *_scores(frames, lumas, ffmpeg)])
    return {name: np.array(scores) for name, scores in rows.items()}


def _coded(frames: list[Frame], down: FixedPair, settings: CodecSettings, ffmpeg: Ffmpeg) -> list[Frame]:
    small = [replace(frame, planes=tuple(down.downscale(replace(frame, color=_COLOR)))) for frame in frames]
    info = VideoInfo(small[0].width, small[0].height, _LAYOUT, _COLOR, 1 / _RATE, _RATE)
    return round_trip(small, info, settings, ffmpeg)


def _bicubic(small: Codes) -> Codes:
    size = 2 * small.shape[0], 2 * small.shape[1]
    return polyphase_resample(small, step=_HALF, siting=(_HALF, _HALF), size=size, kind="bicubic", bit_depth=8)


def _scores(frames: list[Frame], lumas: list[Codes], ffmpeg: Ffmpeg) -> list[float]:
    refs = [frame.planes[0] for frame in frames]
    mse = np.mean([squared_error(ref, luma) / ref.size for ref, luma in zip(refs, lumas, strict=True)])
    ssim = np.mean([ssim_gaussian(ref, luma, bit_depth=8) for ref, luma in zip(refs, lumas, strict=True)])
    info = VideoInfo(refs[0].shape[1], refs[0].shape[0], _LAYOUT, _COLOR, 1 / _RATE, _RATE)
    with PerceptualMeter(ffmpeg, MeasureSettings(vmaf=True, xpsnr=True), info) as meter:
        for frame, luma in zip(frames, lumas, strict=True):
            meter.feed(frame, replace(frame, planes=(luma, *frame.planes[1:])))
        scores = meter.scores()
    perceptual = [[score.vmaf or 0, score.vmaf_neg or 0, score.xpsnr_y or 0] for score in scores]
    return [psnr(float(mse), 8), float(ssim), *np.mean(perceptual, 0)]


def _tell(text: str, anchor: dict[str, Scores], curves: dict[str, Scores]) -> None:
    import bjontegaard

    figures = []
    for name, test in curves.items():
        base = anchor[name]
        pairs = ((base[:, 0], base[:, m], test[:, 0], test[:, m]) for m in range(1, base.shape[1]))
        options = {"method": "pchip", "require_matching_points": False, "min_overlap": 0}
        figures.append([bjontegaard.bd_rate(*pair, **options) for pair in pairs])
        _row(text, name, figures[-1])
    _row(text, "mean", np.mean(figures, 0))
    _row(text, "worst", np.max(figures, 0))


def _row(text: str, name: str, figures: "list[float] | npt.NDArray[np.float64]") -> None:
    print(f"| {text} | {name} | " + " | ".join(f"{figure:+.1f} %" for figure in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
