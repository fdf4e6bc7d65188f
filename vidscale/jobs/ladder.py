"""Several renditions of one movie for HTTP Live Streaming: decoded once, encoded side by side, cut into segments."""

from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from vidscale.jobs.estimates import expected_frames
from vidscale.jobs.pipeline import Outcome, counted, encode_from, frames_depth, source_frames
from vidscale.jobs.plans import EncodePlan
from vidscale.media.containers import OutputPlan
from vidscale.media.playlists import MASTER, Sound, Variant, master_text
from vidscale.media.probe import Source
from vidscale.stages.joined import copy_joined
from vidscale.stages.package import package_audio, package_video
from vidscale.stages.read_log import ReadLog
from vidscale.system.folders import partial_folder
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock, Shared, worker_pool

_EARLY_S = 0.0005  # timestamps may be rounded to ms


@dataclass(frozen=True, slots=True)
class LadderPlan:
    """Plan of a ladder.

    Attributes:
        folder: to write.
        segment_s: duration of a segment, seconds.
        renditions: the encodes, best first, of video alone.
        audio: the MP4 file of the audio streams.
    """

    folder: Path
    segment_s: Fraction
    renditions: tuple[EncodePlan, ...]
    audio: OutputPlan

    @property
    def source(self) -> Source:
        """The movie."""
        return self.renditions[0].source


@dataclass(frozen=True, slots=True)
class Ladder:
    """A written ladder.

    Attributes:
        master: the master playlist.
        variants: one for each rendition, in order.
        sounds: the audio.
        outcomes: of the encodes; their files are gone.
        notes: messages for the user, one line each.
    """

    master: Path
    variants: tuple[Variant, ...]
    sounds: tuple[Sound, ...]
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]


def keyframe_times(segment_s: Fraction) -> str:
    """ffmpeg's expression for keyframes at the first frame, and at the first one a segment's duration after each."""
    return f"expr:if(isnan(prev_forced_t),1,gte(t,prev_forced_t+{float(segment_s) - _EARLY_S:.6f}))"


def write_ladder(
    plan: LadderPlan,
    progress: Progress | None = None,
    encoded: Callable[[EncodePlan, Outcome], None] = lambda plan, outcome: None,
) -> Ladder:
    """Executes a plan.

    Args:
        plan: the ladder.
        progress: receives the progress, in frames of the source.
        encoded: called for each rendition, whose file still exists.

    Raises:
        VidscaleError: it failed; the folder is as before.
    """
    progress = progress or Progress()
    with partial_folder(plan.folder) as work:
        plans = [
            replace(each, output=replace(each.output, path=work / f"v{number}.mp4"))
            for number, each in enumerate(plan.renditions, start=1)
        ]
        log = ReadLog()
        outcomes = _encode(plans, log, progress)
        for each, outcome in zip(plans, outcomes, strict=True):
            encoded(each, outcome)
        progress.start("writing the segments", None)
        variants, sounds = [], _package_sounds(plan, log, work)
        for each, outcome in zip(plans, outcomes, strict=True):
            folder = work / "new" / outcome.path.stem
            variant = package_video(each.ffmpeg, outcome.path, each.small, folder, frames=outcome.frames)
            variants.append(variant)
            outcome.path.unlink()
            own = folder.with_suffix(".m3u8")  # one rendition with its audio, as `decode` and `play` read it
            own.write_text(master_text([variant], sounds), encoding="utf-8", newline="\n")
        text = master_text(variants, sounds)
        (work / "new" / MASTER).write_text(text, encoding="utf-8", newline="\n")
    notes = dict.fromkeys(note for outcome in outcomes for note in outcome.notes)
    return Ladder(plan.folder / MASTER, tuple(variants), sounds, tuple(outcomes), tuple(notes))


def _encode(plans: list[EncodePlan], log: ReadLog, progress: Progress) -> list[Outcome]:
    """Encodes all renditions from one reading of the source."""
    first, clock = plans[0], Clock("decode")
    total = expected_frames(first.source, first.settings.range)
    progress.start(f"encoding {len(plans)} rendition{'s' * (len(plans) > 1)}", total)
    frames = counted(source_frames(first, log, clock), progress)
    with (
        worker_pool(len(plans)) as pool,
        Shared(frames, len(plans), frames_depth(first.source.video)) as shared,
    ):
        jobs = [pool.submit(encode_from, shared.read(number), each, log, clock) for number, each in enumerate(plans)]
        for job in as_completed(jobs):
            job.result()  # the first to fail makes the others stop
        return [job.result() for job in jobs]


def _package_sounds(plan: LadderPlan, log: ReadLog, work: Path) -> tuple[Sound, ...]:
    first, file = plan.renditions[0], work / "audio.mp4"
    audio = [stream for stream in plan.audio.kept if stream.kind == "audio"]
    copy_joined(plan.source, plan.audio, file, origin_s=log.origin_s, time_range=first.time_range)
    return tuple(
        package_audio(
            first.ffmpeg,
            file,
            stream,
            work / "new" / f"audio{index + 1}",
            index=index,
            seconds=plan.segment_s,
        )
        for index, stream in enumerate(audio)
    )
