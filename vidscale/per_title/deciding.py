"""Decides how a movie is encoded: probes its parts until the way with the fewest bits is known."""

import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from vidscale.config import EncodeSettings
from vidscale.errors import ConfigError, UsageError
from vidscale.jobs.planning import plan_encode
from vidscale.jobs.plans import EncodePlan
from vidscale.media.encoders import ENCODERS
from vidscale.per_title.adapted import adapted_requests, unadapted_note
from vidscale.per_title.decision import Decision, WayEstimate, choose, estimate, refused_notes
from vidscale.per_title.evidence import Evidence, Goal, sampled_movie
from vidscale.per_title.meter import meter_for
from vidscale.per_title.parts import Sampling, sampling_of
from vidscale.per_title.probes import prober
from vidscale.per_title.search import Probing, Search, probing_by, run_search
from vidscale.per_title.sizes import video_budget
from vidscale.per_title.ways import settings_for, ways_of
from vidscale.quality import METRIC_TEXT, Metric, measuring
from vidscale.system.progress import Progress


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
    source = plan.source
    sampling = sampling_of(source, settings.range, quick=quick)
    meter = meter_for(source, settings)
    goal = _goal(plan, settings, meter.judge, sampling)
    ways = ways_of(settings, source.video, meter.judge)
    search = Search(ways, goal, judge=meter.judge, exhaustive=exhaustive, with_curves=with_curves)
    progress.start("choosing the scale" if settings.chooses_scale else "choosing the crf", None)
    with prober(source, settings, sampling, meter.metrics, meter.ffmpeg, progress) as runner:
        probe = probing_by(runner, ways[0], goal, sampled_movie(source, settings, sampling), meter.metrics)
        evidence, estimates, chosen = _searched(search, probe, meter.judge, settings, progress)
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
        frames=sampling.frames,
        duration_s=sampling.length_s,
        parts=tuple(part.segment for part in sampling.parts if part.segment and not sampling.is_whole),
        probes=sum(map(len, evidence.probes.values())),
        probed_frames=runner.frames,
        seconds=time.perf_counter() - started,
        notes=(
            *meter.notes,
            *runner.notes,
            *refused_notes(estimates, chosen, meter.judge),
            *unadapted_note(settings, estimates, chosen),
        ),
    )


def _searched(
    search: Search, probe: Probing, judge: Metric, settings: EncodeSettings, progress: Progress
) -> tuple[Evidence, list[WayEstimate], WayEstimate]:
    """Probes until the best way is known; returns the evidence, and the choice that follows from it."""
    evidence = run_search(search, probe)
    if adapted := adapted_requests(settings, evidence):
        progress.start("adapting the probes", None)
        evidence = run_search(search, probe, search.also(adapted))
    estimates, chosen = _choice(evidence, search, judge, settings)
    if last := search.polished(chosen.way, evidence):
        evidence = probe(last)
        estimates, chosen = _choice(evidence, search, judge, settings)
    return evidence, estimates, chosen


def chosen_settings(decision: Decision, one: WayEstimate | None = None) -> EncodeSettings:
    """The settings that encode a way of a decision; None is the chosen one."""
    one = one or decision.chosen
    settings = settings_for(one.way, decision.settings, one.crf)
    return settings.model_copy(update=measuring([decision.goal.metric]) if decision.is_verified else {})


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


def _goal(plan: EncodePlan, settings: EncodeSettings, judge: Metric, sampling: Sampling) -> Goal:
    if settings.target is not None:
        return Goal(settings.target.metric, settings.target_percentile, quality=settings.target.value)
    if settings.has_goal:
        budget = video_budget(plan, settings, sampling.frames, sampling.length_s)
        return Goal(judge, video_bytes=budget)
    return Goal(judge, crf=settings.crf)


def _choice(
    evidence: Evidence, search: Search, judge: Metric, settings: EncodeSettings
) -> tuple[list[WayEstimate], WayEstimate]:
    """Estimates of all ways that were probed, the anchor first, then by scale; and the one to take."""
    ways = sorted(evidence.probes, key=lambda way: (way != evidence.anchor, way.scale))
    estimates = [estimate(way, evidence, judge, is_known=search.is_known(way, evidence)) for way in ways]
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
