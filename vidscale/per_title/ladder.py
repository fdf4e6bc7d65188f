"""Chooses the renditions of a ladder: each with the scale, pair and crf that reach its target with the fewest bits, for
the whole movie or for each of its parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidscale.config import EncodeSettings, LadderSettings, TimeRange
from vidscale.errors import ConfigError, UsageError
from vidscale.jobs.evaluation import evaluate_encode
from vidscale.jobs.ladder import CodedPart, Ladder, LadderPlan, Rendition, keyframe_times, write_ladder
from vidscale.jobs.planning import plan_encode
from vidscale.jobs.plans import EncodePlan
from vidscale.media.containers import OutputPlan, plan_streaming
from vidscale.media.encoders import ENCODERS, Encoder
from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.media.frames import ASSUMED_FRAME_RATE
from vidscale.media.playlists import MASTER
from vidscale.media.probe import Source, probe
from vidscale.per_title.checking import Check, better_crf, check, closest, measured_quality
from vidscale.per_title.deciding import chosen_settings, decide
from vidscale.per_title.decision import Decision
from vidscale.per_title.segments import decide_parts, segments_of
from vidscale.quality import measuring
from vidscale.report.rows import Report
from vidscale.system.folders import check_new_folder
from vidscale.system.progress import Progress


@dataclass(frozen=True, slots=True)
class Rung:
    """The settings of a rendition before anything is decided, and the decisions, one for each part."""

    settings: EncodeSettings
    decisions: tuple[Decision, ...]

    @property
    def goal(self) -> str:
        """In words: "vmaf=93", "crf 28"."""
        target = self.settings.target
        return f"crf {self.settings.crf:g}" if target is None else str(target)


@dataclass(frozen=True, slots=True)
class PlannedLadder:
    """A planned ladder, the rung of each rendition, and messages for the user."""

    plan: LadderPlan
    rungs: tuple[Rung, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FinishedLadder:
    """A written ladder, and the quality of each rendition by the metric of its goal; empty unless measured."""

    ladder: Ladder
    measured: tuple[float, ...]


def plan_ladder(
    path: Path, folder: Path | None, settings: LadderSettings, progress: Progress | None = None
) -> PlannedLadder:
    """Decides how each rendition is encoded, and plans it.

    Args:
        path: the movie.
        folder: to write; None for ``NAME.hls`` in the movie's folder.
        settings: resolved settings.
        progress: of the decisions.

    Raises:
        VidscaleError: the job is not possible; the message says why.
    """
    targets = sorted(settings.targets, key=lambda each: -each.value)
    wanted = [settings.of_rendition(target) for target in targets]
    return plan_renditions(path, folder, wanted, settings.segment_duration, progress)


def plan_renditions(
    path: Path,
    folder: Path | None,
    wanted: Sequence[EncodeSettings],
    segment_s: Fraction,
    progress: Progress | None = None,
) -> PlannedLadder:
    """Plans renditions of which each has settings of its own, best first; arguments otherwise as in `plan_ladder`."""
    shared = wanted[0]
    if not (shared.chooses_scale or shared.has_goal):
        raise UsageError(
            "there is nothing to decide for each segment: leave out --scale and --pair, or give a --target"
        )
    folder = folder or path.with_name(f"{path.stem}.hls")
    binary = find_ffmpeg(shared.ffmpeg, encoders=[ENCODERS[shared.codec].ffmpeg_name])
    source = probe(path, stream=shared.stream, ffmpeg=binary.path)
    check_new_folder(folder, record=MASTER, source=path, overwrite=shared.overwrite)
    _check_size(source, ENCODERS[shared.codec])
    target = plan_streaming(source, folder.with_name(f"{folder.name}.mp4"), ffmpeg=binary.path)
    parts = segments_of(source, shared, progress) if shared.segments else (TimeRange(),)
    renditions: list[Rendition] = []
    rungs: list[Rung] = []
    notes: list[str] = []
    for settings in wanted:
        decisions = _decisions(path, settings, source, parts, segment_s, progress, output=target.path)
        rung = Rung(settings, decisions)
        plans = tuple(_planned(path, settings, decision, target, segment_s) for decision in decisions)
        same = [other for other, made in zip(rungs, renditions, strict=True) if _ways(made.plans) == _ways(plans)]
        if same:
            notes.append(f"{rung.goal} would be the same rendition as {same[0].goal}: it is left out")
            continue
        notes += [f"{rung.goal}: {note}" for decision in decisions for note in decision.notes]
        renditions.append(Rendition(plans, parts))
        rungs.append(rung)
    if recoded := [str(stream) for stream in target.kept if stream.kind == "audio" and stream.codec != "aac"]:
        notes.append(f"encoded as AAC, which every player has: {', '.join(recoded)}")
    plan = LadderPlan(folder, segment_s, tuple(renditions), target)
    return PlannedLadder(plan, tuple(rungs), tuple(dict.fromkeys([*plan.first.notes, *notes])))


def run_ladder(planned: PlannedLadder, progress: Progress | None = None, *, verify: bool = False) -> FinishedLadder:
    """Executes a planned ladder.

    Args:
        planned: the plan.
        progress: receives the progress, in frames.
        verify: also restore and measure every rendition, and encode those again that miss their targets.

    Raises:
        VidscaleError: it failed; the folder is as before.
    """
    verification = _Verification(planned, progress)
    ladder = write_ladder(planned.plan, progress, verification.check if verify else None)
    return FinishedLadder(ladder, tuple(quality for _, quality in sorted(verification.measured.items())))


@dataclass(frozen=True, slots=True)
class _Try:
    """An encode of a part: how it was made, what was measured, and that against a target; None without one."""

    plan: EncodePlan
    report: Report
    check: Check | None


@dataclass
class _Verification:
    """Measures finished renditions, and corrects the crf of parts that miss their targets.

    Attributes:
        measured: quality of each rendition, by number.
        tries: encodes of each part, by the number of its rendition and its own.
    """

    planned: PlannedLadder
    progress: Progress | None
    measured: dict[int, float] = field(default_factory=dict)
    tries: dict[tuple[int, int], list[_Try]] = field(default_factory=dict)

    def check(self, number: int, rendition: Rendition, parts: Sequence[CodedPart]) -> Rendition | None:
        """Measures a rendition; returns one to encode in its place, None if it is near enough to its target."""
        rung = self.planned.rungs[number]
        plans = list(rendition.plans)
        reports = []
        for part in parts:
            tries = self.tries.setdefault((number, part.index), [])
            known = [one.report for one in tries if one.plan is part.plan]
            if not known:
                decision = rung.decisions[part.index]
                tries.append(self._measured(rendition, part, decision))
                plans[part.index] = self._better(rung, decision, tries)
            reports += known or [tries[-1].report]
        whole = replace(reports[0], rows=[row for report in reports for row in report.rows])
        goal = rung.decisions[0].goal
        self.measured[number] = measured_quality(whole, goal.metric, goal.percentile)
        return None if plans == list(rendition.plans) else replace(rendition, plans=tuple(plans))

    def _better(self, rung: Rung, decision: Decision, tries: Sequence[_Try]) -> EncodePlan:
        """The plan to encode next, or that of the try to keep."""
        checks = [one.check for one in tries if one.check]
        if not checks:
            return tries[-1].plan
        if (crf := better_crf(decision, checks)) is None:
            return tries[closest(decision, checks)].plan
        ladder = self.planned.plan
        return _planned(ladder.source.path, rung.settings, decision, ladder.audio, ladder.segment_s, crf)

    def _measured(self, rendition: Rendition, part: CodedPart, decision: Decision) -> _Try:
        update: dict[str, Any] = {**measuring([decision.goal.metric])}
        if len(rendition.plans) > 1:
            update["range"] = rendition.parts[part.index]
        plan = replace(part.plan, settings=part.plan.settings.model_copy(update=update))
        report = evaluate_encode(plan, part.outcome, self.progress)
        has_target = decision.goal.quality is not None
        checked = check(decision, part.plan.settings.crf, report, part.outcome.path) if has_target else None
        return _Try(part.plan, report, checked)


def _decisions(
    path: Path,
    settings: EncodeSettings,
    source: Source,
    parts: Sequence[TimeRange],
    segment_s: Fraction,
    progress: Progress | None,
    *,
    output: Path,
) -> tuple[Decision, ...]:
    """A decision for each part, from probes with as many keyframes as the rendition has."""
    interval = max(1, round(segment_s * (source.video.frame_rate or ASSUMED_FRAME_RATE)))
    params = [settings.encoder_params, f"keyint={interval}", "open-gop=0" if settings.codec == "x265" else ""]
    update = {"encoder_params": ":".join(filter(None, params)), "overwrite": True, "report": False}
    probed = settings.model_copy(update=update)
    return tuple(decide_parts(probed, parts, lambda own: decide(path, own, output=output, progress=progress)))


def _planned(
    path: Path,
    settings: EncodeSettings,
    decision: Decision,
    target: OutputPlan,
    segment_s: Fraction,
    crf: float | None = None,
) -> EncodePlan:
    """The plan of one part of a rendition, as an encode of the whole movie; at the crf of the decision, or another."""
    of_movie: dict[str, Any] = {"encoder_params": settings.encoder_params, "range": settings.range}
    if crf is not None:
        of_movie["crf"] = crf
    chosen = chosen_settings(decision).model_copy(update=of_movie)
    target = replace(target, kept=tuple(stream for stream in target.kept if stream.kind == "video"))
    return replace(plan_encode(path, None, chosen, target=target), keyframes=keyframe_times(segment_s))


def _check_size(source: Source, encoder: Encoder) -> None:
    video = source.video
    if encoder.min_width > video.width or encoder.min_height > video.height:
        least = f"{encoder.min_width}x{encoder.min_height}"
        raise ConfigError(
            f"{video.width}x{video.height} is smaller than {encoder.name} encodes, {least}: a rendition would be "
            "larger than the source; --codec x264 encodes it"
        )


def _ways(plans: Sequence[EncodePlan]) -> list[tuple[object, ...]]:
    return [(plan.pair.name, plan.geometry, plan.settings.crf) for plan in plans]
