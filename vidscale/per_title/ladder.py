"""Chooses the renditions of a ladder: each with the scale, pair and crf that reach its target with the fewest bits."""

from dataclasses import dataclass, replace
from pathlib import Path

from vidscale.config import EncodeSettings, LadderSettings
from vidscale.errors import ConfigError
from vidscale.jobs.evaluation import evaluate_encode
from vidscale.jobs.ladder import Ladder, LadderPlan, keyframe_times, write_ladder
from vidscale.jobs.pipeline import Outcome
from vidscale.jobs.planning import plan_encode
from vidscale.jobs.plans import EncodePlan
from vidscale.media.containers import OutputPlan, plan_streaming
from vidscale.media.encoders import ENCODERS
from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.media.playlists import MASTER
from vidscale.media.probe import Source, probe
from vidscale.per_title.checking import measured_quality
from vidscale.per_title.deciding import chosen_settings, decide
from vidscale.per_title.decision import Decision
from vidscale.quality import Target
from vidscale.system.folders import check_new_folder
from vidscale.system.progress import Progress

_UNKNOWN_RATE = 25


@dataclass(frozen=True, slots=True)
class PlannedLadder:
    """A planned ladder, the decision behind each of its renditions, and messages for the user."""

    plan: LadderPlan
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FinishedLadder:
    """A written ladder, and the quality of each rendition by the metric of its target; empty unless measured."""

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
    folder = folder or path.with_name(f"{path.stem}.hls")
    binary = find_ffmpeg(settings.ffmpeg, encoders=[ENCODERS[settings.codec].ffmpeg_name])
    source = probe(path, stream=settings.stream, ffmpeg=binary.path)
    check_new_folder(folder, record=MASTER, source=path, overwrite=settings.overwrite)
    target = plan_streaming(source, folder.with_name(f"{folder.name}.mp4"), ffmpeg=binary.path)
    plans: list[EncodePlan] = []
    decisions: list[Decision] = []
    notes: list[str] = []
    for wanted in sorted(settings.targets, key=lambda each: -each.value):
        decision = _decision(path, settings, wanted, source, target.path, progress)
        planned = _planned(path, settings, decision, target)
        same = [other for other, plan in zip(decisions, plans, strict=True) if _way(plan) == _way(planned)]
        if same:
            notes.append(f"{wanted} would be the same rendition as {same[0].settings.target}: it is left out")
            continue
        notes += [f"{wanted}: {note}" for note in decision.notes]
        plans.append(planned)
        decisions.append(decision)
    recoded = [str(stream) for stream in target.kept if stream.kind == "audio" and stream.codec != "aac"]
    if recoded:
        notes.append(f"encoded as AAC, which every player has: {', '.join(recoded)}")
    plan = LadderPlan(folder, settings.segment_duration, tuple(plans), target)
    return PlannedLadder(plan, tuple(decisions), tuple(dict.fromkeys([*plans[0].notes, *notes])))


def run_ladder(planned: PlannedLadder, progress: Progress | None = None, *, verify: bool = False) -> FinishedLadder:
    """Executes a planned ladder.

    Args:
        planned: the plan.
        progress: receives the progress, in frames.
        verify: also restore and measure every rendition.

    Raises:
        VidscaleError: it failed; the folder is as before.
    """
    measured: list[float] = []
    goals = iter([decision.goal for decision in planned.decisions])

    def measure(plan: EncodePlan, outcome: Outcome) -> None:
        goal = next(goals)
        report = evaluate_encode(plan, outcome, progress)
        measured.append(measured_quality(report, goal.metric, goal.percentile))

    ladder = write_ladder(planned.plan, progress, measure if verify else lambda plan, outcome: None)
    return FinishedLadder(ladder, tuple(measured))


def _decision(
    path: Path, settings: LadderSettings, target: Target, source: Source, output: Path, progress: Progress | None
) -> Decision:
    """The decision for one target, from probes with as many keyframes as the rendition has."""
    interval = max(1, round(settings.segment_duration * (source.video.frame_rate or _UNKNOWN_RATE)))
    params = [settings.encoder_params, f"keyint={interval}", "open-gop=0" if settings.codec == "x265" else ""]
    probed = settings.of_rendition(target).model_copy(
        update={"encoder_params": ":".join(filter(None, params)), "overwrite": True}
    )
    return decide(path, probed, output=output, progress=progress)


def _planned(path: Path, settings: LadderSettings, decision: Decision, target: OutputPlan) -> EncodePlan:
    chosen: EncodeSettings = chosen_settings(decision).model_copy(update={"encoder_params": settings.encoder_params})
    target = replace(target, kept=tuple(stream for stream in target.kept if stream.kind == "video"))
    plan = replace(plan_encode(path, None, chosen, target=target), keyframes=keyframe_times(settings.segment_duration))
    video, encoder = plan.source.video, ENCODERS[settings.codec]
    if encoder.min_width > video.width or encoder.min_height > video.height:
        least = f"{encoder.min_width}x{encoder.min_height}"
        raise ConfigError(
            f"{video.width}x{video.height} is smaller than {encoder.name} encodes, {least}: a rendition would be "
            "larger than the source; --codec x264 encodes it"
        )
    return plan


def _way(plan: EncodePlan) -> tuple[object, ...]:
    return plan.pair.name, plan.geometry, plan.settings.crf
