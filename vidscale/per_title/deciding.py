"""Decides how a movie is encoded: probes its parts until the way with the fewest bits is known."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vidscale.compare.points import Candidate
from vidscale.compare.trials.programs import FILTERS, trial_ffmpeg
from vidscale.config import EncodeSettings
from vidscale.errors import ConfigError, UsageError
from vidscale.jobs.planning import plan_encode
from vidscale.jobs.plans import EncodePlan
from vidscale.media.encoders import ENCODERS
from vidscale.media.ffmpeg import Ffmpeg
from vidscale.media.probe import Source
from vidscale.per_title.adapted import adapted_requests, unadapted_note
from vidscale.per_title.decision import Decision, WayEstimate, choose, estimate, refused_notes
from vidscale.per_title.evidence import Evidence, Goal, SampledMovie
from vidscale.per_title.parts import Sampling, sampling_of
from vidscale.per_title.probes import Prober, Request, prober
from vidscale.per_title.search import Search
from vidscale.per_title.sizes import expected_keyframes, video_budget
from vidscale.per_title.ways import settings_for, ways_of
from vidscale.quality import METRIC_TEXT, VMAF_METRICS, Metric, measuring
from vidscale.stages.perceptual import LEAST_SIDE
from vidscale.system.progress import Progress

_DEFAULT_JUDGE: Metric = "vmaf_neg"
_WITHOUT_VMAF: Metric = "ssim_y"


@dataclass(frozen=True, slots=True)
class Meter:
    """What is measured, and by which ffmpeg.

    Attributes:
        judge: the metric by which ways are equal.
        metrics: all that are measured.
        ffmpeg: with the encoder and the filters.
        notes: one line if the judge is not the usual one.
    """

    judge: Metric
    metrics: tuple[Metric, ...]
    ffmpeg: Ffmpeg
    notes: tuple[str, ...] = ()


def decide(
    path: Path,
    settings: EncodeSettings,
    *,
    output: Path | None = None,
    progress: Progress | None = None,
    quick: bool = False,
    exhaustive: bool = False,
    with_curves: bool = False,
) -> Decision:
    """Finds the way with the fewest bits.

    Args:
        path: the movie.
        settings: of the encode; the scale "auto", a goal, or both.
        output: of the encode, checked before any probe; None if it has the default name.
        progress: advances with every encoded and measured frame.
        quick: probe fewer frames.
        exhaustive: probe every way, instead of only those that may be best.
        with_curves: probe more crfs around the goal, to draw curves.

    Raises:
        VidscaleError: the movie cannot be encoded, or the goal cannot be met; the message says why.
    """
    started = time.perf_counter()
    progress = progress or Progress()
    plan = _full_size_plan(path, output, settings)
    source, frames_of = plan.source, sampling_of(plan.source, settings.range, quick=quick)
    frames, seconds = frames_of.frames, frames_of.length_s
    meter = meter_for(source, settings)
    goal = _goal(plan, settings, meter.judge, frames, seconds)
    movie = sampled_movie(source, settings, frames_of)
    ways = ways_of(settings, source.video, meter.judge)
    progress.start("choosing the scale" if settings.chooses_scale else "choosing the crf", None)
    with prober(source, settings, frames_of, meter.metrics, meter.ffmpeg, progress) as probing:
        search = Search(ways, goal, judge=meter.judge, exhaustive=exhaustive, with_curves=with_curves)
        probe = probing_by(probing, ways[0], goal, movie, meter.metrics)
        evidence = run_search(search, probe)
        if adapted := adapted_requests(settings, evidence):
            progress.start("adapting the probes", None)
            ways = sorted([*ways, *(way for way, _ in adapted)], key=lambda way: (not way.is_full, way.scale))
            evidence = run_search(search, probe, search.also(adapted))
        estimates, chosen = _choice(ways, evidence, search, meter.judge, settings)
        if last := search.polished(chosen.way, evidence):
            evidence = probe(last)
            estimates, chosen = _choice(ways, evidence, search, meter.judge, settings)
    return Decision(
        name=path.name,
        width=source.video.width,
        height=source.video.height,
        settings=settings,
        goal=goal,
        judge=meter.judge,
        metrics=meter.metrics,
        ways=tuple(estimates),
        chosen=chosen,
        frames=frames,
        duration_s=seconds,
        parts=tuple(part.segment for part in frames_of.parts if part.segment and not frames_of.is_whole),
        probes=sum(map(len, evidence.probes.values())),
        probed_frames=probing.frames,
        seconds=time.perf_counter() - started,
        notes=(
            *meter.notes,
            *probing.notes,
            *refused_notes(estimates, chosen, meter.judge),
            *unadapted_note(settings, estimates, chosen),
        ),
    )


def chosen_settings(decision: Decision, one: WayEstimate | None = None) -> EncodeSettings:
    """The settings that encode a way of a decision; None is the chosen one."""
    one = one or decision.chosen
    settings = settings_for(one.way, decision.settings, one.crf)
    needed = measuring([decision.goal.metric]) if decision.is_verified else {}
    return settings.model_copy(update={name: True for name, is_needed in needed.items() if is_needed})


def sampled_movie(source: Source, settings: EncodeSettings, sampling: Sampling) -> SampledMovie:
    """What is known of a movie from its container, for evidence from its parts."""
    return SampledMovie(
        sampling.frames,
        expected_keyframes(source, settings, sampling.frames),
        is_whole=sampling.is_whole,
        bit_depth=source.video.format.bit_depth,
    )


Probing = Callable[[Sequence[Request]], Evidence]
"""Runs probes; returns what all probes so far have found."""


def probing_by(
    runner: Prober, anchor: Candidate, goal: Goal, movie: SampledMovie, metrics: Sequence[Metric]
) -> Probing:
    """The probes of a movie as evidence; arguments as of `Evidence`."""

    def run(requests: Sequence[Request]) -> Evidence:
        runner.run(requests)
        return Evidence(anchor, goal, movie, metrics, runner.probes())

    return run


def run_search(search: Search, probe: Probing, requests: Sequence[Request] = ()) -> Evidence:
    """Probes until the search has ended, from these requests on or from the first; returns what was found."""
    requests = requests or search.first()
    while True:
        evidence = probe(requests)
        requests = search.next(evidence)
        if not requests:
            return evidence


def meter_for(source: Source, settings: EncodeSettings) -> Meter:
    """Chooses the judge: the requested metric, else VMAF NEG where an ffmpeg has it and the pictures are large enough.

    Raises:
        ConfigError: no ffmpeg has what a requested metric needs.
    """
    video, wanted = source.video, [metric for metric in (_target_metric(settings), settings.judge) if metric]
    small = min(video.width, video.height) < LEAST_SIDE
    if small and any(metric in VMAF_METRICS for metric in wanted):
        size = f"{video.width}x{video.height}"
        raise ConfigError(f"VMAF needs pictures of {LEAST_SIDE}x{LEAST_SIDE} or more, these are {size}; use ssim")
    common: list[Metric] = ["psnr_y", "ssim_y"]
    notes: tuple[str, ...] = ()
    with_vmaf: list[Metric] = [*wanted, "vmaf_neg", "vmaf", *common]
    if not small:
        try:
            metrics = tuple(dict.fromkeys(with_vmaf))
            return Meter(
                settings.judge or _DEFAULT_JUDGE, metrics, trial_ffmpeg(settings.ffmpeg, [settings.codec], metrics)
            )
        except ConfigError:
            if any(metric in FILTERS for metric in wanted):
                raise
            notes = ("no ffmpeg here has libvmaf, so ways are compared by SSIM-Y instead of VMAF NEG",)
    metrics = tuple(dict.fromkeys([*wanted, _WITHOUT_VMAF, *common]))
    return Meter(
        settings.judge or _WITHOUT_VMAF, metrics, trial_ffmpeg(settings.ffmpeg, [settings.codec], metrics), notes
    )


def _target_metric(settings: EncodeSettings) -> Metric | None:
    return settings.target.metric if settings.target else None


def _full_size_plan(path: Path, output: Path | None, settings: EncodeSettings) -> EncodePlan:
    """The plan of an encode at full size, for its checks: they must fail now, not after minutes of probing."""
    if rate := ENCODERS[settings.codec].rate_params(settings.encoder_params):
        conflict = f"--encoder-params {settings.encoder_params} sets {next(iter(rate))}"
        raise UsageError(f"{conflict}, but the scale is chosen by varying crf: name a --scale")
    named = output is not None
    checked = {
        "scale": Fraction(1),
        "pair": "lanczos",
        "tune": None,
        "overwrite": settings.overwrite or not named,
        "report": settings.report and (named or settings.report_dir is not None),
    }
    return plan_encode(path, output, settings.model_copy(update=checked))


def _goal(plan: EncodePlan, settings: EncodeSettings, judge: Metric, frames: int, seconds: Fraction) -> Goal:
    if settings.target is not None:
        return Goal(settings.target.metric, settings.target_percentile, quality=settings.target.value)
    if settings.has_goal:
        budget = video_budget(plan, settings, frames, seconds)
        return Goal(judge, video_bytes=budget)
    return Goal(judge, crf=settings.crf)


def _choice(
    ways: Sequence[Candidate], evidence: Evidence, search: Search, judge: Metric, settings: EncodeSettings
) -> tuple[list[WayEstimate], WayEstimate]:
    """Estimates of all ways that were probed, and the one to take."""
    estimates = [
        estimate(way, evidence, judge, is_known=search.is_known(way, evidence))
        for way in ways
        if way in evidence.probes
    ]
    return estimates, choose(estimates, evidence) or _best_effort(estimates, evidence, settings)


def _best_effort(ways: Sequence[WayEstimate], evidence: Evidence, settings: EncodeSettings) -> WayEstimate:
    """The way that comes closest to a goal that none meets.

    Raises:
        ConfigError: not wanted.
    """
    goal = evidence.goal
    if goal.video_bytes is not None:
        least = min(ways, key=lambda one: one.video_bytes)
        limit = "--max-size" if settings.max_size is not None else "--max-bitrate"
        raise ConfigError(
            f"{limit}: the video does not fit into {goal.video_bytes:,.0f} bytes; the smallest is "
            f"{least.video_bytes:,.0f}, by {least.way.scaling} at crf {least.crf:g}"
        )
    best = max(ways, key=lambda one: one.quality[goal.metric])
    text = METRIC_TEXT[goal.metric]
    reached = f"{best.quality[goal.metric]:.{text.digits}f}, by {best.way.scaling} at crf {best.crf:g}"
    if settings.best_effort:
        return best
    raise ConfigError(f"--target {settings.target} cannot be reached: the best is {reached}; --best-effort takes it")
