"""The proof: a restored or any other video against its source, frame by frame, as a report."""

import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidscale.config import DecodeSettings, FilesSettings, MeasureSettings
from vidscale.jobs.pipeline import Outcome
from vidscale.jobs.planning import EncodePlan, expected_frames
from vidscale.jobs.restore import SmallFile, find_identity, open_small, restored_frames
from vidscale.jobs.sides import Side, at_one_depth, check_comparable, color_notes, cropped, scaled
from vidscale.jobs.tally import Tally, take
from vidscale.media.ffmpeg import Ffmpeg, find_ffmpeg
from vidscale.media.frames import Frame
from vidscale.media.probe import Source, probe
from vidscale.media.versions import versions
from vidscale.models.pairs import Place
from vidscale.report.rows import DistortedFacts, Pairing, Report, SourceFacts, StageTiming, Unpaired
from vidscale.stages.align import Offset, find_offset
from vidscale.stages.decode import ReadLog, decode_frames
from vidscale.stages.perceptual import needed_filters
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock
from vidscale.triton_kernels import metrics


def evaluate_encode(plan: EncodePlan, outcome: Outcome, progress: Progress | None = None, started: float = 0) -> Report:
    """Restores what `encode` wrote and measures it against the source, in a stream.

    Args:
        plan, outcome: of the encode.
        progress: told about every frame.
        started: `time.perf_counter` at the start of the encode.
    """
    settings = plan.settings
    ffmpeg = find_ffmpeg(settings.ffmpeg, filters=needed_filters(settings))
    restoring = DecodeSettings(device=settings.device)
    small = open_small(outcome.path, ffmpeg=ffmpeg.path, settings=restoring, pair=plan.pair)
    tally = Tally()
    ref = decode_frames(
        plan.source,
        log=tally.ref_log,
        clock=tally.clock("decode source"),
        time_range=settings.range,
        interlaced=settings.interlaced,
        alpha="drop",  # refused before, where it was to be
    )
    dist = _restored(small, tally)
    total = outcome.frames or expected_frames(plan.source, settings.range)
    take(tally, ref, dist, plan.source.video, settings, ffmpeg, progress or Progress(), total)
    stages = (
        *_timings(outcome.clocks, {"downscale": plan.pair.shrinks_on, "encode": Place("cpu", _coder(plan))}),
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
    ref: Path, dist: Path, settings: FilesSettings, *, ffmpeg: Path | None = None, progress: Progress | None = None
) -> Report:
    """Measures any video against its source; a small file of vidscale is restored first.

    Raises:
        MeasureError: the videos differ in size or pixel format, no frame has a partner, or no offset in time fits.
        DecodeError: one cannot be read.
    """
    started = time.perf_counter()
    progress = progress or Progress()
    binary = find_ffmpeg(ffmpeg, filters=needed_filters(settings))
    ours = cropped(probe(ref, ffmpeg=binary.path), settings.crop)
    identity, stream = find_identity(dist)
    small: SmallFile | None = None
    if identity is not None:
        small = open_small(dist, ffmpeg=binary.path, settings=DecodeSettings())
        theirs = Side(small.source, small.restored)
    else:
        theirs = scaled(probe(dist, stream=stream, ffmpeg=binary.path), ours.shown, settings.scale_dist)
    ours, theirs = at_one_depth(ours, theirs)
    check_comparable(ours, theirs)
    tally = Tally(every=settings.every)
    notes = [*ours.notes, *ours.conversions, *theirs.notes, *theirs.conversions, *color_notes(ours, theirs)]
    if settings.align:
        progress.start("aligning", None)
        tally.offset = _offset(ours, theirs, small, settings)
        if tally.offset.doubt_s:
            notes.append(
                f"offsets up to {tally.offset.doubt_s:.3f} s fit as well as none: times were taken as they are"
            )
    frames = _restored(small, tally) if small else theirs.frames(tally.dist_log, tally.clock("decode distorted"))
    reading = ours.frames(tally.ref_log, tally.clock("decode source"))
    total = expected_frames(ours.source, None)
    take(tally, reading, frames, ours.shown, settings, binary, progress, total)
    return _report(
        replace(ours.source, video=ours.shown),
        theirs.source,
        tally,
        settings=settings,
        ffmpeg=binary,
        stages=_measuring_timings(tally, small),
        commands=(),
        notes=(*notes, *tally.ref_log.notes(ref), *tally.dist_log.notes(dist)),
        wall_s=time.perf_counter() - started,
        pair=small.pair.name if small else None,
        is_part=False,
        offset_s=tally.offset.seconds if settings.align else None,
    )


def _offset(ours: Side, theirs: Side, small: SmallFile | None, settings: FilesSettings) -> Offset:
    """How the two files lie in time; a small file is not restored for that."""
    clock = Clock("align")
    size = Fraction(theirs.shown.height), Fraction(theirs.shown.width)
    if small is not None:  # without what it is padded by
        size = size[0] / small.geometry.scale, size[1] / small.geometry.scale
        frames = decode_frames(small.source, log=ReadLog(), clock=clock)
    else:
        frames = theirs.frames(ReadLog(), clock)
    return find_offset(
        ours.frames(ReadLog(), clock),
        frames,
        window_s=settings.align_window,
        ref_size=(Fraction(ours.shown.height), Fraction(ours.shown.width)),
        dist_size=size,
    )


def _restored(small: SmallFile, tally: Tally) -> Iterator[Frame]:
    return restored_frames(
        small, log=tally.dist_log, decoding=tally.clock("decode small"), upscaling=tally.clock("upscale")
    )


def _coder(plan: EncodePlan) -> str:
    return f"{plan.settings.codec} {plan.settings.resolved_preset}, with waiting for it"


def _timings(clocks: Sequence[Clock], places: dict[str, Place]) -> list[StageTiming]:
    timings = []
    for clock in clocks:
        device, implementation = places.get(clock.stage, Place("cpu", "PyAV"))
        timings.append(StageTiming(clock.stage, clock.busy_s, clock.frames, device, implementation))
    return timings


def _measuring_timings(tally: Tally, small: SmallFile | None) -> tuple[StageTiming, ...]:
    places = {"measure": Place("cpu", metrics.implementation("cpu"))}
    if small is not None:
        places["upscale"] = small.pair.enlarges_on
    return tuple(_timings(list(tally.clocks.values()), places))


def _report(
    ref: Source,
    dist: Source,
    tally: Tally,
    *,
    settings: MeasureSettings,
    ffmpeg: Ffmpeg,
    stages: tuple[StageTiming, ...],
    commands: tuple[str, ...],
    notes: tuple[str, ...],
    wall_s: float | None,
    pair: str | None,
    is_part: bool,
    offset_s: Fraction | None = None,
) -> Report:
    duration = tally.duration_s(ref.video)
    known = [span for span in tally.span_bytes if span is not None]
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
        pairing=Pairing(tally.pairs if tally.every > 1 else None, tally.every, offset_s),
        shots=tally.shots.shots(),
        worst=tally.worst.frames(),
    )
