"""Evaluation of a restored or any other video against its source, frame by frame, as a report."""

import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidscale.config import DecodeSettings, FilesSettings, MeasureSettings
from vidscale.errors import MeasureError
from vidscale.jobs.estimates import expected_frames
from vidscale.jobs.measured_encode import PLAYERS_FILTER, measure_encode, open_encode, restored
from vidscale.jobs.measurement import Measurement
from vidscale.jobs.pipeline import Outcome
from vidscale.jobs.plans import EncodePlan, commands
from vidscale.jobs.restore import SmallFile, find_identity, open_small
from vidscale.jobs.sides import Side, at_one_depth, check_comparable, color_notes, cropped, scaled
from vidscale.media.ffmpeg import Ffmpeg, find_ffmpeg
from vidscale.media.probe import Source, probe
from vidscale.media.versions import versions
from vidscale.models.pair import Backend, Pair
from vidscale.report.rows import DistortedFacts, Pairing, Report, SourceFacts, StageTiming
from vidscale.report.totals import MANY_UNPAIRED
from vidscale.stages.align import Offset, find_offset
from vidscale.stages.decode import decode_frames
from vidscale.stages.perceptual import needed_filters
from vidscale.stages.read_log import ReadLog
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock
from vidscale.triton_kernels import metrics

Measure = Callable[[EncodePlan, SmallFile, Outcome, Progress], Measurement]
"""Measures the output of an encode, which is opened."""


def evaluate_encode(
    plan: EncodePlan,
    outcome: Outcome,
    progress: Progress | None = None,
    started: float = 0,
    *,
    measure: Measure | None = None,
) -> Report:
    """Restores the output of `encode` and measures it against the source, in one streaming pass.

    Args:
        plan, outcome: of the encode.
        progress: advances with every frame.
        started: `time.perf_counter` at the start of the encode.
        measure: what measures; None for this program, see `measure_encode`.
    """
    settings, progress = plan.settings, progress or Progress()
    ffmpeg, small = open_encode(plan, outcome.path)
    is_enlarged = settings.client == "any" and plan.pair.scale > 1
    player = (f"Enlarged by {PLAYERS_FILTER}, as by a player without vidscale (--client any).",) if is_enlarged else ()
    if measure is None:
        measured = measure_encode(plan, small, ffmpeg, progress, frames=outcome.frames)
    else:
        measured = measure(plan, small, outcome, progress)
    report = _report(measured, plan.source, small.source, settings, ffmpeg, pair=plan.pair)
    encoding = _timings(
        outcome.clocks, {"downscale": plan.pair.downscale_backend, "encode": Backend("cpu", _encoder_text(plan))}
    )
    return replace(
        report,
        source=replace(report.source, size_bytes=None) if settings.range else report.source,
        stages=(*encoding, *report.stages),
        commands=tuple(shlex.join(command) for command in commands(plan)),
        notes=(*plan.notes, *outcome.notes, *player),
        wall_s=time.perf_counter() - started if started else None,
    )


def evaluate_files(
    ref: Path, dist: Path, settings: FilesSettings, *, ffmpeg: Path | None = None, progress: Progress | None = None
) -> Report:
    """Measures any video against its source; a small file of vidscale is restored first.

    Raises:
        MeasureError: the videos differ in size or pixel format, no frame has a partner, or no time offset fits.
        DecodeError: one of them cannot be read.
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
    measured = Measurement(every=settings.every)
    notes = [*ours.notes, *ours.conversions, *theirs.notes, *theirs.conversions, *color_notes(ours, theirs)]
    if settings.align:
        progress.start("aligning", None)
        measured.offset = _offset(ours, theirs, small, settings)
        if doubt_s := measured.offset.doubt_s:
            notes.append(f"offsets up to {doubt_s:.3f} s fit as well as zero: no offset was applied")
    reading = ours.frames(measured.ref_log, measured.clock("decode source"))
    clock = measured.clock("decode small" if small else "decode distorted")
    frames = restored(small, measured) if small else theirs.frames(measured.dist_log, clock)
    measured.run(reading, frames, ours.shown, settings, binary, progress, expected_frames(ours.source, None))
    if not settings.align:
        notes += _start_notes(measured, ref, dist)
    source = replace(ours.source, video=ours.shown)
    report = _report(measured, source, theirs.source, settings, binary, pair=small.pair if small else None)
    return replace(
        report,
        notes=(*notes, *measured.ref_log.notes(ours.source), *measured.dist_log.notes(theirs.source)),
        pairing=replace(report.pairing, offset_s=measured.offset.seconds if settings.align else None),
        wall_s=time.perf_counter() - started,
    )


def _start_notes(measured: Measurement, ref: Path, dist: Path) -> list[str]:
    """Notes when one file starts later, as AVI with reordered pictures does compared with its source."""
    unpaired, notes = measured.unpaired, []
    for times, earlier, later in ((unpaired.ref_only, ref, dist), (unpaired.dist_only, dist, ref)):
        if times and times[0] < measured.first_s:
            gap = float(measured.first_s - times[0])
            notes.append(
                f"{later.name} starts {gap:.3f} s after {earlier.name}; if the content is the same, use --align"
            )
    return notes


def check_unpaired(report: Report, percent: float | None) -> None:
    """Refuses a measurement that leaves too many frames without a partner.

    Args:
        report: of two files.
        percent: of the frames of either video that may have none. None allows any number in one of them, since the
            other may be an excerpt or have half the frame rate, and 10 % where both have such frames.

    Raises:
        MeasureError: there are more.
    """
    shares = report.unpaired_shares
    share, allowed = (min(shares), MANY_UNPAIRED) if percent is None else (max(shares), percent / 100)
    if share > allowed:
        found = f"{100 * share:.1f} % or more of the frames of both videos"
        if percent is not None:
            found = (
                f"{100 * share:.1f} % of the frames of {(report.source, report.distorted)[shares.index(share)].name}"
            )
        raise MeasureError(f"{found} have no partner, over the limit of {100 * allowed:g} % (--max-unpaired)")


def _offset(ours: Side, theirs: Side, small: SmallFile | None, settings: FilesSettings) -> Offset:
    """The time offset between the two files; a small file is not restored for this."""
    clock = Clock("align")
    size = Fraction(theirs.shown.height), Fraction(theirs.shown.width)
    if small is not None:  # without the padding
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


def _encoder_text(plan: EncodePlan) -> str:
    return f"{plan.settings.codec} {plan.settings.resolved_preset}, including waiting for it"


def _timings(clocks: Iterable[Clock], backends: Mapping[str, Backend]) -> list[StageTiming]:
    timings = []
    for clock in (each for each in clocks if each.frames):  # with --adapt, the frames encoded were decoded before
        device, implementation = backends.get(clock.stage, Backend("cpu", "PyAV"))
        timings.append(StageTiming(clock.stage, clock.busy_s, clock.frames, device, implementation))
    return timings


def _report(
    measured: Measurement, ref: Source, dist: Source, settings: MeasureSettings, ffmpeg: Ffmpeg, *, pair: Pair | None
) -> Report:
    """The report of a measurement; the caller adds notes, commands and the times of earlier stages."""
    duration = measured.duration_s(ref.video)
    known = [span for span in measured.span_bytes if span is not None]
    resolved: dict[str, Any] = settings.model_dump(mode="json")
    backends = {"measure": Backend("cpu", metrics.implementation("cpu"))}
    if pair is not None:
        resolved["pair"] = pair.name
        backends["upscale"] = pair.upscale_backend
    return Report(
        source=SourceFacts(
            name=ref.path.name,
            width=ref.video.width,
            height=ref.video.height,
            format=ref.video.format,
            color=ref.video.color,
            duration_s=duration,
            size_bytes=ref.size_bytes,
            video_bytes=measured.ref_bytes or None,
            codec=ref.codec,
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
        rows=measured.rows,
        ssim_window="gaussian11" if settings.ssim == "gaussian" else "ffmpeg8x8",
        unpaired=measured.unpaired,
        stages=tuple(_timings(measured.clocks.values(), backends)),
        settings=resolved,
        versions=versions(ffmpeg),
        pairing=Pairing(measured.pairs if measured.every > 1 else None, measured.every),
        shots=measured.shots.shots(),
        worst=measured.worst.frames(),
    )
