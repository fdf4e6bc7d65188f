"""Several renditions of one movie for HTTP Live Streaming: decoded once, encoded side by side, cut into segments."""

from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import chain, groupby
from pathlib import Path

from vidscale.config import TimeRange
from vidscale.jobs.adaptation import adaptation_note
from vidscale.jobs.estimates import expected_frames
from vidscale.jobs.pipeline import Outcome, encode_from
from vidscale.jobs.plans import EncodePlan
from vidscale.jobs.reading import source_frames
from vidscale.media.containers import OutputPlan
from vidscale.media.dash import MANIFEST, manifest_text
from vidscale.media.frames import Frame
from vidscale.media.playlists import MASTER, PART, Sound, Variant, joined_text, joined_variant, master_text
from vidscale.media.probe import Source
from vidscale.stages.joined import copy_joined
from vidscale.stages.package import package_audio, package_video
from vidscale.stages.read_log import ReadLog
from vidscale.system.folders import partial_folder
from vidscale.system.progress import Progress, counted
from vidscale.system.threads import Clock, Shared, queue_depth, worker_pool
from vidscale.text import plural

_EARLY_S = 0.0005  # timestamps may be rounded to ms


@dataclass(frozen=True, slots=True)
class Rendition:
    """One rendition: the movie encoded one way, or each of its parts in its own way.

    Attributes:
        plans: an encode for each part, of video alone.
        parts: of the movie, one for each encode; one that ends at None alone stands for all that is encoded.
    """

    plans: tuple[EncodePlan, ...]
    parts: tuple[TimeRange, ...]

    @property
    def starts(self) -> list[Fraction]:
        """When the parts begin in what `decode_frames` yields of the whole movie, which starts at 0 or later there."""
        origin = max(Fraction(0), self.plans[0].source.start_s)
        return [part.start + origin for part in self.parts]


@dataclass(frozen=True, slots=True)
class CodedPart:
    """A finished part of a rendition: its number, how it was encoded, its file, which starts at 0 if there are several,
    and its start in the movie, seconds."""

    index: int
    plan: EncodePlan
    outcome: Outcome
    start_s: Fraction


@dataclass(frozen=True, slots=True)
class LadderPlan:
    """Plan of a ladder.

    Attributes:
        folder: to write.
        segment_s: duration of a segment, seconds.
        renditions: best first.
        audio: the MP4 file of the audio streams.
    """

    folder: Path
    segment_s: Fraction
    renditions: tuple[Rendition, ...]
    audio: OutputPlan

    @property
    def first(self) -> EncodePlan:
        """The first encode, which reads the source as all others do."""
        return self.renditions[0].plans[0]

    @property
    def source(self) -> Source:
        """The movie."""
        return self.first.source


@dataclass(frozen=True, slots=True)
class Ladder:
    """A written ladder.

    Attributes:
        master: the master playlist.
        renditions: as they were encoded in the end.
        variants: one for each rendition, in order.
        sounds: the audio.
        frames: of each rendition.
        notes: messages for the user, one line each.
    """

    master: Path
    renditions: tuple[Rendition, ...]
    variants: tuple[Variant, ...]
    sounds: tuple[Sound, ...]
    frames: int
    notes: tuple[str, ...]


def keyframe_times(segment_s: Fraction) -> str:
    """ffmpeg's expression for keyframes at the first frame, and at the first one a segment's duration after each."""
    return f"expr:if(isnan(prev_forced_t),1,gte(t,prev_forced_t+{float(segment_s) - _EARLY_S:.6f}))"


Verifier = Callable[[int, Rendition, Sequence[CodedPart]], Rendition | None]
"""Looks at a finished rendition of that number, whose files still exist, and names one to take in its place, or None.
Parts whose plans were executed before, for this rendition or one that it replaced, are not encoded again."""


def write_ladder(plan: LadderPlan, progress: Progress | None = None, verify: Verifier | None = None) -> Ladder:
    """Executes a plan.

    Args:
        plan: the ladder.
        progress: receives the progress, in frames of the source.
        verify: called for each rendition, and again for those that it replaces.

    Raises:
        VidscaleError: it failed; the folder is as before.
    """
    progress = progress or Progress()
    with partial_folder(plan.folder) as work:
        renditions, coded, log = _encode_verified(plan, verify, work, progress)
        progress.start("writing the segments", None)
        sounds = _package_sounds(plan, log, work)
        variants, parts = [], []
        for number, rendition in renditions.items():
            folder = work / "new" / f"v{number + 1}"
            parts.append(_package(rendition, coded[number], folder))
            variants.append(_joined(parts[-1], folder))
            own = folder.with_suffix(".m3u8")  # one rendition with its audio, as `decode` and `play` read it
            own.write_text(master_text(variants[-1:], sounds), encoding="utf-8", newline="\n")
        text = master_text(variants, sounds)
        (work / "new" / MASTER).write_text(text, encoding="utf-8", newline="\n")
        manifest = manifest_text(list(zip(*parts, strict=True)), sounds)
        (work / "new" / MANIFEST).write_text(manifest, encoding="utf-8", newline="\n")
    frames = sum(part.outcome.frames for part in coded[0])
    return Ladder(plan.folder / MASTER, tuple(renditions.values()), tuple(variants), sounds, frames, _notes(coded))


def _encode_verified(
    plan: LadderPlan, verify: Verifier | None, work: Path, progress: Progress
) -> tuple[dict[int, Rendition], dict[int, list[CodedPart]], ReadLog]:
    """Encodes the renditions, and what takes their place; returns them with their parts, and the log of the source."""
    renditions = dict(enumerate(plan.renditions))
    made: dict[int, list[CodedPart]] = {number: [] for number in renditions}
    coded: dict[int, list[CodedPart]] = {}
    wanted, log = renditions, ReadLog()
    while wanted:
        earlier = {n: kept for n, one in wanted.items() if (kept := _earlier(one, coded.get(n, []), made[n]))}
        if new := {number: one for number, one in wanted.items() if number not in earlier}:
            log = ReadLog()
            coded |= _encode(plan, new, made, work, log, progress)
        coded |= earlier
        wanted = _replaced(wanted, coded, verify) if verify else {}
        renditions |= wanted
    return renditions, coded, log


def _notes(coded: Mapping[int, Sequence[CodedPart]]) -> tuple[str, ...]:
    """Notes on reading the source, which all renditions share, then those of single renditions, on adaptation."""
    notes = {number: _own_notes(parts) for number, parts in coded.items()}
    shared = [note for note in notes[0] if all(note in others for others in notes.values())]
    own = [f"v{number + 1}: {note}" for number, some in notes.items() for note in some if note not in shared]
    return (*shared, *own)


def _own_notes(parts: Sequence[CodedPart]) -> list[str]:
    """The notes of a rendition, with one note on the adaptation of all its parts."""
    last = parts[-1].outcome
    notes = [note for note in last.notes if note != adaptation_note(last.adapted, "segment")]
    adapted = [segment for part in parts for segment in part.outcome.adapted]
    return [*notes, adaptation_note(adapted, "segment")] if adapted else notes


def _replaced(
    renditions: dict[int, Rendition], coded: dict[int, list[CodedPart]], verify: Verifier
) -> dict[int, Rendition]:
    """What to encode in place of the renditions, by number."""
    found = {number: verify(number, rendition, coded[number]) for number, rendition in renditions.items()}
    return {number: better for number, better in found.items() if better is not None}


def _earlier(rendition: Rendition, coded: Sequence[CodedPart], made: Sequence[CodedPart]) -> list[CodedPart] | None:
    """The parts of a rendition that replaces ``coded``, if all of them were made before."""
    found = [_known(rendition, part.index, made) for part in coded]
    return [part for part in found if part is not None] if found and None not in found else None


def _known(rendition: Rendition, index: int, made: Sequence[CodedPart]) -> CodedPart | None:
    """A part of a rendition, if it was made before."""
    return next((part for part in made if part.index == index and part.plan is rendition.plans[index]), None)


def _encode(
    plan: LadderPlan,
    renditions: dict[int, Rendition],
    made: dict[int, list[CodedPart]],
    work: Path,
    log: ReadLog,
    progress: Progress,
) -> dict[int, list[CodedPart]]:
    """Encodes renditions from one reading of the source; adds their new parts to those that were made before."""
    first, clock, count = plan.first, Clock("decode"), len(renditions)
    again = " again" if any(made.values()) else ""
    progress.start(f"encoding {plural(count, 'rendition')}{again}", expected_frames(plan.source, first.settings.range))
    frames = counted(source_frames(first, log, clock), progress)
    with worker_pool(count) as pool, Shared(frames, count, queue_depth(plan.source.video.frame_bytes)) as shared:
        jobs = {
            number: pool.submit(
                _encode_parts,
                rendition,
                shared.read(reader),
                work / f"v{number + 1}",
                made[number],
                log,
                clock,
            )
            for reader, (number, rendition) in enumerate(renditions.items())
        }
        for job in as_completed(jobs.values()):
            job.result()  # the first to fail makes the others stop
        return {number: job.result() for number, job in jobs.items()}


def _encode_parts(
    rendition: Rendition,
    frames: Iterator[Frame],
    stem: Path,
    made: list[CodedPart],
    log: ReadLog,
    clock: Clock,
) -> list[CodedPart]:
    """Encodes the parts of a rendition one after another, but for those made before; those without a frame are left
    out."""
    coded, starts = [], rendition.starts[1:]
    for index, part in groupby(frames, lambda frame: bisect(starts, frame.time)):
        plan = rendition.plans[index]
        if known := _known(rendition, index, made):
            coded.append(known)
            continue
        output = replace(plan.output, path=stem.with_name(f"{stem.name}-{len(made) + 1}.mp4"))
        first = next(part)
        origin = first.pts if starts else 0
        shifted = (replace(frame, pts=frame.pts - origin) for frame in chain([first], part))
        read = partial(source_frames, _of_part(plan, rendition, index))
        outcome = encode_from(shifted, replace(plan, output=output), log, clock, read=read)
        made.append(CodedPart(index, plan, outcome, origin * first.time_base))
        coded.append(made[-1])
    return coded


def _of_part(plan: EncodePlan, rendition: Rendition, index: int) -> EncodePlan:
    """The plan with the range of a part, to read its frames alone."""
    if len(rendition.plans) == 1:
        return plan
    return replace(plan, settings=plan.settings.model_copy(update={"range": rendition.parts[index]}))


def _package(rendition: Rendition, coded: list[CodedPart], folder: Path) -> list[Variant]:
    """Cuts the parts of a rendition into segments, and removes their files."""
    folder.mkdir()
    parts = []
    for part in coded:
        plan, file = rendition.plans[part.index], part.outcome.path
        place = folder if len(rendition.plans) == 1 else folder / f"p{part.index + 1}"
        place.mkdir(exist_ok=True)
        frames = part.outcome.frames
        packaged = package_video(plan.ffmpeg, file, plan.small, place, frames=frames, start_s=part.start_s)
        parts.append(replace(packaged, uri=(place / PART).relative_to(folder.parent).as_posix()))
        file.unlink()
    return parts


def _joined(parts: Sequence[Variant], folder: Path) -> Variant:
    """The rendition of some parts; writes its playlist if they have playlists of their own."""
    uri = f"{folder.name}/{PART}"
    if parts[0].uri == uri:
        return parts[0]
    texts = [(folder.parent / part.uri).read_text(encoding="utf-8") for part in parts]
    names = [part.uri.removeprefix(f"{folder.name}/") for part in parts]
    text = joined_text(list(zip(names, texts, strict=True)))
    (folder / PART).write_text(text, encoding="utf-8", newline="\n")
    return joined_variant(uri, parts)


def _package_sounds(plan: LadderPlan, log: ReadLog, work: Path) -> tuple[Sound, ...]:
    file = work / "audio.mp4"
    audio = [stream for stream in plan.audio.kept if stream.kind == "audio"]
    copy_joined(plan.source, plan.audio, file, origin_s=log.origin_s, time_range=plan.first.time_range)
    return tuple(
        package_audio(
            plan.first.ffmpeg,
            file,
            stream,
            work / "new" / f"audio{index + 1}",
            index=index,
            seconds=plan.segment_s,
        )
        for index, stream in enumerate(audio)
    )
