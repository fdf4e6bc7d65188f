"""Encodes a segment as one candidate: by the pipeline of `encode`, or with ffmpeg's scale filter as the downscaler."""

import shlex
import time
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import ffmpeg as ffmpeg_python

from vidscale.compare.points import Candidate
from vidscale.compare.settings import CompareSettings
from vidscale.compare.trials.candidates import FFMPEG_FLAGS, pair_of
from vidscale.compare.trials.decoded import DecodedSegments
from vidscale.config import EncodeSettings, TimeRange
from vidscale.jobs.command_line import other_options, scale_word
from vidscale.jobs.pipeline import encode, encode_from
from vidscale.jobs.planning import plan_encode
from vidscale.media.encoders import ENCODERS
from vidscale.media.ffmpeg import Ffmpeg, command_line, file_word
from vidscale.media.geometry import Geometry
from vidscale.media.probe import Source
from vidscale.stages.decode import decode_frames
from vidscale.stages.encode import encode_command, encode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.names import readable
from vidscale.system.progress import Progress, counted
from vidscale.system.threads import Clock, Prefetch, queue_depth
from vidscale.system.workspace import partial_files


@dataclass(frozen=True, slots=True)
class EncodeRecord:
    """How an encode went.

    Attributes:
        seconds: wall time, including decoding the source and downscaling.
        command: shell command that reproduces it.
    """

    seconds: float
    command: str


def encode_segment(
    source: Source,
    segment: TimeRange | None,
    candidate: Candidate,
    crf: float,
    target: Path,
    *,
    settings: CompareSettings,
    ffmpeg: Ffmpeg,
    progress: Progress,
    decoded: DecodedSegments | None = None,
) -> EncodeRecord:
    """Writes ``target``, an MP4 file with the encoded video alone.

    Args:
        source, segment: the movie, and the time range of it to encode; None for all of it.
        candidate, crf: how to encode it.
        target: file to write.
        settings: of the comparison.
        ffmpeg: the binary that encodes.
        progress: receives every frame.
        decoded: frames that other trials share; None decodes the segment.

    Raises:
        VidscaleError: it cannot be encoded; ``target`` is not left behind.
    """
    encode_settings = _encode_settings(segment, candidate, crf, settings)
    if candidate.down in FFMPEG_FLAGS:
        geometry = geometry_of(source, candidate)
        started = time.perf_counter()
        scaling = f"scale=w={geometry.coded_width}:h={geometry.coded_height}:flags={FFMPEG_FLAGS[candidate.down]}"
        _encode_by_ffmpeg(source, geometry, scaling, target, encode_settings, ffmpeg, progress)
        seconds = time.perf_counter() - started
        command = _ffmpeg_command(source, scaling, target, encode_settings)
    else:
        pair = pair_of(candidate.down, candidate.scale, settings.device)
        plan = plan_encode(source.path, target, encode_settings, pair=pair)
        video_only = replace(plan.output, kept=(plan.source.stream,), lost=())
        plan = replace(plan, output=video_only)
        kept = None if decoded is None or candidate.is_adapted else decoded.of(plan.source, segment)
        started = time.perf_counter()
        if kept is None:
            encode(plan, progress)
        else:
            encode_from(iter(kept.frames), plan, kept.log, kept.clock, progress)
        seconds = time.perf_counter() - started + (kept.clock.busy_s if kept else 0.0)
        command = _vidscale_command(source, target, encode_settings, candidate.scale)
    return EncodeRecord(seconds, command)


def geometry_of(source: Source, candidate: Candidate) -> Geometry:
    """The size at which a candidate encodes a movie."""
    video = source.video
    return Geometry.for_encoder(video.height, video.width, candidate.scale, ENCODERS[candidate.codec], video.format)


def _encode_settings(
    segment: TimeRange | None, candidate: Candidate, crf: float, settings: CompareSettings
) -> EncodeSettings:
    return EncodeSettings.resolve(
        {
            "scale": candidate.scale,
            "crf": crf,
            "codec": candidate.codec,
            "preset": candidate.preset,
            "encoder_params": settings.encoder_params,
            "pair": "lanczos" if candidate.is_full or candidate.down in FFMPEG_FLAGS else candidate.pair,
            "adapt": candidate.adapt,
            "effort": settings.effort,
            "device": settings.device,
            "range": segment,
            "stream": settings.stream,
            "interlaced": settings.interlaced,
            "alpha": settings.alpha,
            "report": False,
            "overwrite": True,
            "ffmpeg": settings.ffmpeg,
        }
    )


def _encode_by_ffmpeg(
    source: Source,
    geometry: Geometry,
    scaling: str,
    target: Path,
    settings: EncodeSettings,
    ffmpeg: Ffmpeg,
    progress: Progress,
) -> None:
    """Our decoder and the same encoder, with ffmpeg's scale filter between them.

    With our decoder a segment has the same first and last frame for every candidate.
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
        command = encode_command(ffmpeg, settings, video, workspace.result, filters=scaling)
        encode_frames(counted(decoded, progress), video, command=command, path=workspace.result, clock=Clock("encode"))


def _ffmpeg_command(source: Source, scaling: str, target: Path, settings: EncodeSettings) -> str:
    seek = {}
    if settings.range is not None:
        seek["ss"] = _seconds_text(source.start_s + settings.range.start)
        if settings.range.end is not None:
            seek["t"] = _seconds_text(settings.range.end - settings.range.start)
    stream = ffmpeg_python.input(file_word(source.path), **seek)
    encoder = ENCODERS[settings.codec]
    options = {"vf": scaling, "c:v": encoder.ffmpeg_name, "crf": f"{settings.crf:g}"}
    if settings.encoder_params:
        options[encoder.params_option] = settings.encoder_params
    output = stream.output(file_word(target.name), preset=settings.resolved_preset, **options)
    return readable(shlex.join(command_line(output, "ffmpeg")))


def _vidscale_command(source: Source, target: Path, settings: EncodeSettings, scale: Fraction) -> str:
    words = ["vidscale", "encode", str(source.path), "-o", target.name, "--pair", settings.pair]
    words += ["--scale", scale_word(scale), "--codec", settings.codec, "--preset", settings.resolved_preset]
    words += ["--crf", f"{settings.crf:g}", *other_options(settings), "--no-report"]
    return readable(shlex.join(words))


def _seconds_text(seconds: Fraction) -> str:
    return f"{float(seconds):.6f}".rstrip("0").rstrip(".")
