"""A part of a movie coded in one way: through vidscale's own pipeline, or with ffmpeg's scale filter in its place."""

import shlex
import time
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import ffmpeg as ffmpeg_python

from vidscale.compare.points import Way
from vidscale.compare.settings import CompareSettings
from vidscale.compare.trials.ways import FFMPEG_FLAGS, pair_of
from vidscale.config import EncodeSettings, TimeRange
from vidscale.jobs.pipeline import counted, encode
from vidscale.jobs.planning import plan_encode
from vidscale.media.encoders import ENCODERS
from vidscale.media.ffmpeg import Ffmpeg
from vidscale.media.geometry import Geometry, scale_text
from vidscale.media.probe import Source
from vidscale.stages.decode import ReadLog, decode_frames
from vidscale.stages.encode import encode_command, encode_frames
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock, Prefetch, queue_depth
from vidscale.system.workspace import partial_files


@dataclass(frozen=True, slots=True)
class Coded:
    """A part that was coded.

    Attributes:
        seconds: wall time of coding, with decoding the source and downscaling.
        command: what makes it again, as one would type it.
    """

    seconds: float
    command: str


def code_part(
    source: Source,
    part: TimeRange | None,
    way: Way,
    crf: float,
    target: Path,
    *,
    settings: CompareSettings,
    ffmpeg: Ffmpeg,
    progress: Progress,
) -> Coded:
    """Writes ``target``, an MP4 of the coded video alone, by the pipeline that `encode` has.

    Raises:
        VidscaleError: it cannot be coded; ``target`` is not there then.
    """
    wanted = _encode_settings(part, way, crf, settings)
    if way.down in FFMPEG_FLAGS:
        geometry = geometry_of(source, way)
        started = time.perf_counter()
        _code_by_ffmpeg(source, geometry, FFMPEG_FLAGS[way.down], target, wanted, ffmpeg, progress)
        seconds = time.perf_counter() - started
        command = _ffmpeg_text(source, geometry, FFMPEG_FLAGS[way.down], target, wanted, ffmpeg)
    else:
        plan = plan_encode(source.path, target, wanted, pair=pair_of(way.down, way.scale, settings.device))
        alone = replace(plan.output, kept=(plan.source.stream,), lost=())  # sound would only take time and space
        started = time.perf_counter()
        encode(replace(plan, output=alone), progress)
        seconds = time.perf_counter() - started
        command = _vidscale_text(source, target, wanted)
    return Coded(seconds, command)


def geometry_of(source: Source, way: Way) -> Geometry:
    """The sizes that a way codes a movie at."""
    video = source.video
    return Geometry.for_encoder(video.height, video.width, way.scale, ENCODERS[way.codec], video.format)


def _encode_settings(part: TimeRange | None, way: Way, crf: float, settings: CompareSettings) -> EncodeSettings:
    return EncodeSettings.resolve(
        {
            "scale": way.scale,
            "crf": crf,
            "codec": way.codec,
            "preset": way.preset,
            "pair": "lanczos" if way.is_full or way.down in FFMPEG_FLAGS else way.down,
            "device": settings.device,
            "range": part,
            "stream": settings.stream,
            "interlaced": settings.interlaced,
            "alpha": settings.alpha,
            "report": False,
            "overwrite": True,
            "ffmpeg": settings.ffmpeg,
        }
    )


def _code_by_ffmpeg(
    source: Source,
    geometry: Geometry,
    flags: str,
    target: Path,
    settings: EncodeSettings,
    ffmpeg: Ffmpeg,
    progress: Progress,
) -> None:
    """The same pictures and the same encoder; ffmpeg's scale filter makes them small.

    The pictures come through our own decoder, so that a range has the same first and last frame in every way.
    """
    video = source.video
    ENCODERS[settings.codec].check(video.format, geometry.coded_height, geometry.coded_width)
    frames = decode_frames(
        source,
        log=ReadLog(),
        clock=Clock("decode"),
        time_range=settings.range,
        interlaced=settings.interlaced,
        alpha=settings.alpha,
    )
    with (
        partial_files(target, source=source.path, overwrite=True) as workspace,
        Prefetch(frames, queue_depth(video.format.frame_bytes(video.height, video.width))) as decoded,
    ):
        command = encode_command(ffmpeg, settings, video, workspace.result, filters=_scaling(geometry, flags))
        encode_frames(counted(decoded, progress), video, command=command, path=workspace.result, clock=Clock("encode"))


def _scaling(geometry: Geometry, flags: str) -> str:
    return f"scale=w={geometry.coded_width}:h={geometry.coded_height}:flags={flags}"


def _ffmpeg_text(
    source: Source, geometry: Geometry, flags: str, target: Path, settings: EncodeSettings, ffmpeg: Ffmpeg
) -> str:
    before = {}
    if settings.range is not None:
        before["ss"] = _seconds_text(source.start_s + settings.range.start)
        if settings.range.end is not None:
            before["t"] = _seconds_text(settings.range.end - settings.range.start)
    stream = ffmpeg_python.input(str(source.path), **before)
    options = {"vf": _scaling(geometry, flags), "c:v": ENCODERS[settings.codec].ffmpeg_name, "crf": f"{settings.crf:g}"}
    return shlex.join(stream.output(target.name, preset=settings.resolved_preset, **options).compile(cmd="ffmpeg"))


def _vidscale_text(source: Source, target: Path, settings: EncodeSettings) -> str:
    words = ["vidscale", "encode", str(source.path), "-o", target.name, "--pair", settings.pair]
    words += ["--scale", scale_text(settings.scale) if settings.scale.denominator < 10 else str(settings.scale)]
    words += ["--codec", settings.codec, "--preset", settings.resolved_preset, "--crf", f"{settings.crf:g}"]
    if settings.range is not None:
        end = "" if settings.range.end is None else str(settings.range.end)
        words += ["--range", f"{settings.range.start}:{end}"]
    return shlex.join([*words, "--no-report"])


def _seconds_text(seconds: Fraction) -> str:
    return f"{float(seconds):.6f}".rstrip("0").rstrip(".")
