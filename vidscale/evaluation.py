"""The proof: a restored or any other video against its source, frame by frame, as a report."""

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidscale.config import DecodeSettings, MeasureSettings
from vidscale.decode import ReadLog, decode_frames
from vidscale.errors import MeasureError
from vidscale.ffmpeg import Ffmpeg, find_ffmpeg
from vidscale.frames import Frame, PixelFormat, VideoInfo
from vidscale.measure import Lonely, paired, score
from vidscale.perceptual import PerceptualMeter, needed_filters, with_scores
from vidscale.pipeline import Outcome
from vidscale.planning import EncodePlan, expected_frames
from vidscale.probe import Source, probe
from vidscale.progress import Progress
from vidscale.report import DistortedFacts, FrameScore, Report, SourceFacts, StageTiming, Unpaired
from vidscale.report_pictures import WorstFrames
from vidscale.restore import SmallFile, find_identity, open_small, restored_frames
from vidscale.threads import Clock, Prefetch, queue_depth
from vidscale.triton_kernels import metrics
from vidscale.versions import versions


@dataclass(slots=True)
class _Tally:
    """What one pass over both videos brings."""

    rows: list[FrameScore] = field(default_factory=list)
    lonely: Lonely = field(default_factory=Lonely)
    worst: WorstFrames = field(default_factory=WorstFrames)
    ref_log: ReadLog = field(default_factory=ReadLog)
    dist_log: ReadLog = field(default_factory=ReadLog)
    clocks: dict[str, Clock] = field(default_factory=dict)
    ref_bytes: int = 0

    def clock(self, stage: str) -> Clock:
        return self.clocks.setdefault(stage, Clock(stage))


def evaluate_encode(plan: EncodePlan, outcome: Outcome, progress: Progress | None = None, started: float = 0) -> Report:
    """Restores what `encode` wrote and measures it against the source, in a stream.

    Args:
        plan, outcome: of the encode.
        progress: told about every frame.
        started: `time.perf_counter` at the start of the encode.
    """
    settings = plan.settings
    ffmpeg = find_ffmpeg(settings.ffmpeg, filters=needed_filters(settings))
    small = open_small(outcome.path, ffmpeg=ffmpeg.path, settings=DecodeSettings(device=settings.device))
    tally = _Tally()
    ref = decode_frames(
        plan.source,
        log=tally.ref_log,
        clock=tally.clock("decode source"),
        time_range=settings.range,
        interlaced=settings.interlaced,
    )
    dist = _restored(small, tally)
    total = outcome.frames or expected_frames(plan.source, settings.range)
    _run(ref, dist, plan.source.video, settings, ffmpeg, tally, progress or Progress(), total)
    stages = (
        *_timings(outcome.clocks, plan.pair.device, {"downscale": plan.pair.implementation, "encode": _coder(plan)}),
        *_measuring_timings(tally, small),
    )
    return _report(
        plan.source,
        small.source,
        tally,
        settings=settings,
        ffmpeg=ffmpeg,
        stages=stages,
        commands=tuple(shlex.join(command) for command in plan.commands()),
        notes=(*plan.notes, *outcome.notes),
        wall_s=time.perf_counter() - started if started else None,
        pair=plan.pair.name,
        is_part=settings.range is not None,
    )


def evaluate_files(
    ref: Path, dist: Path, settings: MeasureSettings, *, ffmpeg: Path | None = None, progress: Progress | None = None
) -> Report:
    """Measures any video against its source; a small file of vidscale is restored first.

    Raises:
        MeasureError: the videos differ in size or pixel format, or no frame has a partner.
        DecodeError: one cannot be read.
    """
    started = time.perf_counter()
    binary = find_ffmpeg(ffmpeg, filters=needed_filters(settings))
    ref_source = probe(ref, ffmpeg=binary.path)
    tally = _Tally()
    identity, stream = find_identity(dist)
    small: SmallFile | None = None
    if identity is not None:
        small = open_small(dist, ffmpeg=binary.path, settings=DecodeSettings())
        dist_source, info = small.source, small.restored
        frames = _restored(small, tally)
    else:
        dist_source = probe(dist, stream=stream, ffmpeg=binary.path)
        info = dist_source.video
        frames = decode_frames(dist_source, log=tally.dist_log, clock=tally.clock("decode distorted"))
    _check_comparable(ref_source, info, dist)
    reading = decode_frames(ref_source, log=tally.ref_log, clock=tally.clock("decode source"))
    total = expected_frames(ref_source, None)
    _run(reading, frames, ref_source.video, settings, binary, tally, progress or Progress(), total)
    return _report(
        ref_source,
        dist_source,
        tally,
        settings=settings,
        ffmpeg=binary,
        stages=_measuring_timings(tally, small),
        commands=(),
        notes=(*tally.ref_log.notes(ref), *tally.dist_log.notes(dist)),
        wall_s=time.perf_counter() - started,
        pair=small.pair.name if small else None,
        is_part=False,
    )


def _restored(small: SmallFile, tally: _Tally) -> Iterator[Frame]:
    return restored_frames(
        small, log=tally.dist_log, decoding=tally.clock("decode small"), upscaling=tally.clock("upscale")
    )


def _check_comparable(ref: Source, dist: VideoInfo, path: Path) -> None:
    video = ref.video
    compared = video.format if _is_luma_of(video.format, dist.format) else dist.format
    if (video.width, video.height, video.format) != (dist.width, dist.height, compared):
        raise MeasureError(
            f"{path} is {dist.width}x{dist.height} {dist.format.name}, {ref.path} is {video.width}x{video.height} "
            f"{video.format.name}: only videos of one size and pixel format can be compared"
        )


def _is_luma_of(ref: PixelFormat, dist: PixelFormat) -> bool:
    """Whether a video is compared by its luma alone: with a gray source, since gray H.264 is decoded as 4:2:0."""
    return ref.chroma == "gray" and ref.bit_depth == dist.bit_depth


def _as_compared(frames: Iterator[Frame], ref: PixelFormat) -> Iterator[Frame]:
    for frame in frames:
        yield replace(frame, planes=frame.planes[:1], format=ref) if _is_luma_of(ref, frame.format) else frame


def _run(
    ref: Iterator[Frame],
    dist: Iterator[Frame],
    info: VideoInfo,
    settings: MeasureSettings,
    ffmpeg: Ffmpeg,
    tally: _Tally,
    progress: Progress,
    total: int | None,
) -> None:
    """One pass over both videos: pairs, scores, worst frames."""
    progress.start("measuring", total)
    depth = queue_depth(info.format.frame_bytes(info.height, info.width))
    clock = tally.clock("measure")
    with ExitStack() as stack:
        refs = stack.enter_context(Prefetch(ref, depth))
        dists = stack.enter_context(Prefetch(_as_compared(dist, info.format), depth))
        meter = None
        if settings.vmaf or settings.xpsnr:
            meter = stack.enter_context(PerceptualMeter(ffmpeg, settings, info))
        for ours, theirs in paired(refs, dists, tally.lonely):
            row = score(len(tally.rows), ours, theirs, settings.ssim, clock)
            tally.rows.append(row)
            tally.ref_bytes += ours.coded_bytes or 0
            tally.worst.offer(row, ours, theirs)
            if meter is not None:
                meter.feed(ours, theirs)
            progress.advance()
        if not tally.rows:
            raise MeasureError("no frame of one video has a partner in the other: their timestamps never meet")
        if meter is not None:
            tally.rows = with_scores(tally.rows, meter.scores())


def _coder(plan: EncodePlan) -> str:
    return f"{plan.settings.codec} {plan.settings.resolved_preset}, with waiting for it"


def _timings(clocks: Sequence[Clock], device: str, implementations: dict[str, str]) -> list[StageTiming]:
    return [
        StageTiming(
            name=clock.stage,
            seconds=clock.busy_s,
            frames=clock.frames,
            device=device if clock.stage in ("downscale", "upscale") else "cpu",
            implementation=implementations.get(clock.stage, "PyAV"),
        )
        for clock in clocks
    ]


def _measuring_timings(tally: _Tally, small: SmallFile | None) -> tuple[StageTiming, ...]:
    implementations: dict[str, str] = {"measure": metrics.implementation("cpu")}
    if small is not None:
        implementations["upscale"] = small.pair.implementation
    device = small.pair.device if small is not None else "cpu"
    return tuple(_timings(list(tally.clocks.values()), device, implementations))


def _report(
    ref: Source,
    dist: Source,
    tally: _Tally,
    *,
    settings: MeasureSettings,
    ffmpeg: Ffmpeg,
    stages: tuple[StageTiming, ...],
    commands: tuple[str, ...],
    notes: tuple[str, ...],
    wall_s: float | None,
    pair: str | None,
    is_part: bool,
) -> Report:
    duration = _duration(tally.rows, ref.video)
    known = [row.bytes for row in tally.rows if row.bytes is not None]
    resolved: dict[str, Any] = settings.model_dump(mode="json")
    if pair is not None:
        resolved["pair"] = pair
    return Report(
        source=SourceFacts(
            name=ref.path.name,
            width=ref.video.width,
            height=ref.video.height,
            format=ref.video.format,
            color=ref.video.color,
            duration_s=duration,
            size_bytes=None if is_part else ref.size_bytes,
            video_bytes=tally.ref_bytes or None,
        ),
        distorted=DistortedFacts(
            name=dist.path.name,
            coded_width=dist.video.width,
            coded_height=dist.video.height,
            codec=dist.codec,
            duration_s=duration,
            size_bytes=dist.size_bytes,
            video_bytes=sum(known) if known else None,
        ),
        rows=tally.rows,
        ssim_window="gaussian11" if settings.ssim == "gaussian" else "ffmpeg8x8",
        unpaired=Unpaired(ref_only=tuple(tally.lonely.ref), dist_only=tuple(tally.lonely.dist)),
        stages=stages,
        wall_s=wall_s,
        settings=resolved,
        commands=commands,
        versions=versions(ffmpeg),
        notes=notes,
        worst=tally.worst.frames(),
    )


def _duration(rows: Sequence[FrameScore], info: VideoInfo) -> Fraction | None:
    """Length of the measured part: from the first frame to the end of the last, which lasts as long as the mean one."""
    if len(rows) > 1:
        return (rows[-1].pts_s - rows[0].pts_s) * len(rows) / (len(rows) - 1)
    return 1 / info.frame_rate if info.frame_rate else None
