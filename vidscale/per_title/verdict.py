"""What the full size would have needed at equal quality: by a decision, or by probes of a finished encode."""

import time
from collections.abc import Mapping
from dataclasses import replace

from vidscale.errors import VidscaleError
from vidscale.jobs.plans import EncodePlan
from vidscale.media.encoders import ENCODERS
from vidscale.per_title.decision import Decision, WayEstimate
from vidscale.per_title.evidence import Difference, Goal, sampled_movie
from vidscale.per_title.meter import meter_for
from vidscale.per_title.parts import sampling_of
from vidscale.per_title.probes import prober
from vidscale.per_title.search import Search, probing_by, run_search
from vidscale.per_title.ways import full_size, named_way
from vidscale.quality import METRIC_TEXT, Metric
from vidscale.report.verdict import Verdict
from vidscale.system.progress import Progress

_SLOW_S = 2.0  # per restored frame


def verdict_of_decision(decision: Decision) -> Verdict | None:
    """The verdict on the chosen way; None if the full size was not considered."""
    chosen = decision.chosen
    if decision.full is None:
        return None
    others = {} if chosen.way.is_full else _others(decision, chosen, decision.full)
    found = _verdict(chosen.bits, decision.goal, others, parts=len(decision.parts), seconds=decision.seconds)
    return replace(found, is_full=chosen.way.is_full)


def verdict_of_encode(plan: EncodePlan, progress: Progress | None = None) -> Verdict | str:
    """Probes the encode and the full size on the same parts; a line that says why not, if that is not possible.

    Args:
        plan: of the finished encode.
        progress: advances with every encoded and measured frame.
    """
    started = time.perf_counter()
    settings, source = plan.settings, plan.source
    way, full = named_way(settings), full_size(settings)
    if way.is_full:
        return ""
    if ENCODERS[settings.codec].rate_params(settings.encoder_params):
        return "no verdict against the full size: --encoder-params replaces crf"
    if (plan.pair.upscale_seconds(plan.geometry.height, plan.geometry.width) or 0) > _SLOW_S:
        return f"no verdict against the full size: {plan.pair.name} is too slow to probe"
    progress = progress or Progress()
    progress.start("probing the full size", None)
    try:
        meter = meter_for(source, settings)
        sampling = sampling_of(source, settings.range, quick=True)
        movie = sampled_movie(source, settings, sampling)
        goal = Goal(meter.judge, crf=settings.crf)
        with prober(source, settings, sampling, meter.metrics, meter.ffmpeg, progress) as runner:
            search = Search([way, full], goal, exhaustive=True)
            evidence = run_search(search, probing_by(runner, way, goal, movie, meter.metrics))
        if full not in evidence.probes:
            return "no verdict against the full size: it cannot be encoded"
        bits = _inverse(evidence.difference(full))
    except (VidscaleError, OSError) as error:
        return f"no verdict against the full size: {error}"
    parts, seconds = 0 if sampling.is_whole else evidence.parts, time.perf_counter() - started
    found = _verdict(bits, goal, evidence.lost(full), parts=parts, seconds=seconds)
    return replace(found, is_rough=not search.is_known(full, evidence))


def _inverse(bits: Difference) -> Difference:
    """The full size against a way, as the way against the full size."""
    best, low, high = (1 / (1 + value) - 1 for value in (bits.bits, bits.high, bits.low))
    return Difference(best, low, high)


def _others(decision: Decision, chosen: WayEstimate, full: WayEstimate) -> dict[Metric, float]:
    """Quality of the chosen way less that of the full size, where both meet the goal; for a size at equal quality."""
    if decision.goal.video_bytes is not None:
        return {metric: -lost for metric, lost in chosen.lost.items()}
    return {metric: chosen.quality[metric] - full.quality[metric] for metric in chosen.lost}


def _verdict(bits: Difference, goal: Goal, others: Mapping[Metric, float], *, parts: int, seconds: float) -> Verdict:
    shown = {metric: value for metric, value in others.items() if metric != goal.metric}
    return Verdict(
        metric=METRIC_TEXT[goal.metric].label,
        bits=bits.bits,
        low=bits.low,
        high=bits.high,
        parts=parts,
        seconds=seconds,
        psnr_y=shown.get("psnr_y"),
        ssim_y=shown.get("ssim_y"),
    )
