"""Adapts the upscaler to a movie that was just encoded: shots become segments, and some of them get an update."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from vidscale.config import EncodeSettings
from vidscale.errors import EncodeError
from vidscale.jobs.plans import EncodePlan
from vidscale.jobs.reading import Read, source_frames
from vidscale.media.encoders import ENCODERS
from vidscale.media.frames import Frame
from vidscale.media.probe import probe
from vidscale.models.pair import Pair
from vidscale.models.pairs import follows_updates, is_adaptable
from vidscale.report.rows import Shot
from vidscale.stages.decode import decode_frames
from vidscale.stages.encode import Encoded
from vidscale.stages.read_log import ReadLog
from vidscale.stages.shots import ShotFinder
from vidscale.stages.updates import TimedUpdates
from vidscale.system.devices import resolve
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock
from vidscale.text import plural

if TYPE_CHECKING:
    from vidscale.adapt.adapting import Adapted, Adapter

_WORTHS = (0.5, 1.0)  # relative to `distortion_per_bit`: what a bit is worth differs that much from movie to movie


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """The result of adaptation for one segment.

    Attributes:
        start_s: time of its first frame, seconds.
        frames: number of frames.
        kind: of its update: "none", "light" or "full".
        gain_db: in luma PSNR, of the mean squared error.
        bytes: of all copies of its update in the stream, without their framing.
        seconds: of training.
    """

    start_s: float
    frames: int
    kind: str
    gain_db: float
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Adaptation:
    """The updates of a movie.

    Attributes:
        updates: of its segments, in the source's time base; empty if none has one.
        segments: their results.
        notes: messages for the user, one line each.
    """

    updates: TimedUpdates = ()
    segments: tuple[SegmentFacts, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Without the notes."""
        updates = [(begin, update.hex()) for begin, update in self.updates]
        return {"updates": updates, "segments": [asdict(segment) for segment in self.segments]}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Adaptation":
        """Parses the output of `to_json`."""
        updates = tuple((begin, bytes.fromhex(update)) for begin, update in record["updates"])
        return cls(updates, tuple(SegmentFacts(**segment) for segment in record["segments"]))

    def signed(self, plan: EncodePlan) -> EncodePlan:
        """The plan with the identity of a file that has these updates."""
        if not self.updates:
            return plan
        return replace(plan, identity=plan.identity.model_copy(update={"vidscale": 2}))


NOTHING = Adaptation()


def joined(parts: Sequence[tuple[Adaptation, int, int]], time_base: Fraction) -> Adaptation:
    """The adaptation of a movie that was encoded in parts.

    Args:
        parts: in order: the adaptation of each, the timestamp of its zero, and that of its first picture from there.
        time_base: of the timestamps.
    """
    segments = tuple(
        replace(segment, start_s=segment.start_s + float(zero * time_base))
        for part, zero, _ in parts
        for segment in part.segments
    )
    if not segments:
        return NOTHING
    updates = tuple(
        (begin + zero, update) for part, zero, first in parts for begin, update in part.updates or ((first, b""),)
    )
    return Adaptation(updates if any(update for _, update in updates) else (), segments, (adaptation_note(segments),))


def adapts(plan: EncodePlan) -> bool:
    """Whether the settings ask for adaptation, and the pair has a network for it."""
    return plan.settings.adapt != "off" and not why_not_adapted(plan.settings, plan.pair)


def why_not_adapted(settings: EncodeSettings, pair: Pair) -> str:
    """Why `--adapt` has no effect on a pair; "" if it has one."""
    if settings.client != "vidscale":
        return "--adapt has no effect: other players than vidscale enlarge the picture themselves (--client any)"
    if not is_adaptable(pair):
        return f"--adapt has no effect on {pair.name}: it is for luma networks that are not tuned for VMAF"
    return ""


def why_not_encoded_again(settings: EncodeSettings, pair: Pair) -> str:
    """Why `--adapt best` does no more than `full` for a pair; "" if it does."""
    if settings.adapt != "best" or follows_updates(pair):
        return ""
    return f"--adapt best is as full with {pair.name}: its downscaler does not depend on its upscaler"


def shots_to_adapt(read: Read, progress: Progress) -> list[Shot]:
    """The shots that a segment may begin with; reads the whole source."""
    from vidscale.adapt.segments import long_shots

    finder = ShotFinder()
    progress.start("finding shots", None)
    for frame in read(ReadLog(), Clock("find shots")):
        finder.offer(frame, None)
        progress.advance()
    return long_shots(finder.shots())


def adapt_upscaler(
    plan: EncodePlan,
    encoded: Encoded,
    shots: Sequence[Shot],
    progress: Progress,
    encode_again: Callable[[TimedUpdates], Encoded],
    read: Read | None = None,
) -> tuple[Encoded, Adaptation]:
    """Trains updates for the segments of an encoded movie, and keeps those that pay.

    With ``adapt = "best"`` the movie is encoded a second time, downscaled for the adapted upscaler, which is trained
    further. The second file is kept if it costs less, even if a bit is worth half as much.

    Args:
        plan: of the encode; its identity has the strength.
        encoded: the encoder's file, before it is signed.
        shots: that segments may begin with; where the plan says where keyframes are, each begins a segment.
        progress: advances twice for every frame.
        encode_again: encodes the movie into another file, downscaled for an upscaler with these updates.
        read: reads the source, by default from its file.

    Returns:
        The movie to keep, and its adaptation.

    Raises:
        EncodeError: the encoded movie cannot be read again.
    """
    if plan.identity.crf is None:
        return encoded, Adaptation(notes=("not adapted: the coding strength is not known",))
    adapter = _adapter(plan, float(plan.identity.crf))
    read = read or partial(source_frames, plan)
    found = _adapted(adapter, plan, encoded, shots, progress, read)
    if plan.settings.adapt == "best" and follows_updates(plan.pair) and any(one.update for one in found):
        again = encode_again(_updates(encoded, found))
        better = _adapted(adapter, plan, again, shots, progress, read, known=found)
        sizes, depth = [one.path.stat().st_size for one in (encoded, again)], plan.small.format.bit_depth
        if all(
            adapter.cost(better, sizes[1], depth, worth) < adapter.cost(found, sizes[0], depth, worth)
            for worth in _WORTHS
        ):
            encoded, found = again, better
    return encoded, _adaptation(plan, encoded, found)


def _adapter(plan: EncodePlan, crf: float) -> "Adapter":
    from vidscale.adapt.adapting import Adapter
    from vidscale.adapt.training import STEPS
    from vidscale.models.plane_pair import PlanePair

    strength = ENCODERS[plan.settings.codec].strength(crf)
    assert isinstance(plan.pair, PlanePair)  # see `adapts`
    device = resolve(plan.settings.device, auto="cuda")
    return Adapter(plan.pair, plan.geometry, strength, STEPS[plan.settings.adapt], device)


def _adapted(
    adapter: "Adapter",
    plan: EncodePlan,
    encoded: Encoded,
    shots: Sequence[Shot],
    progress: Progress,
    read: Read,
    known: Sequence["Adapted"] = (),
) -> list["Adapted"]:
    from vidscale.adapt.segments import segments_of

    keyframes = _keyframes(encoded.path)
    starts = sorted(keyframes) if plan.keyframes else [shot.start_index for shot in shots]
    segments = segments_of(starts, keyframes, len(encoded.pts))
    progress.start("adapting", 2 * len(encoded.pts))
    return adapter.adapt(segments, lambda: _pairs(plan, encoded, read), progress.advance, known)


def _updates(encoded: Encoded, found: Sequence["Adapted"]) -> TimedUpdates:
    return tuple((encoded.pts[one.segment.start], one.update) for one in found)


def _adaptation(plan: EncodePlan, encoded: Encoded, found: Sequence["Adapted"]) -> Adaptation:
    updates = _updates(encoded, found)
    facts = tuple(
        SegmentFacts(
            float(begin * plan.written.time_base),
            one.segment.end - one.segment.start,
            one.kind or "none",
            one.gain_db,
            len(one.update) * one.segment.keyframes,
            one.seconds,
        )
        for (begin, _), one in zip(updates, found, strict=True)
    )
    summary = adaptation_note(facts, "segment" if plan.keyframes else "shot")
    return Adaptation(updates if any(update for _, update in updates) else (), facts, (summary,))


def _pairs(plan: EncodePlan, encoded: Encoded, read: Read) -> Iterator[tuple[Frame, Frame]]:
    """Each decoded small frame with its source frame."""
    small = probe(encoded.path, ffmpeg=plan.ffmpeg.path)
    decoded = decode_frames(small, log=ReadLog(), clock=Clock("decode small"), alpha="drop")
    try:
        yield from zip(decoded, read(ReadLog(), Clock("decode source")), strict=True)
    except ValueError as error:
        raise EncodeError(f"the encoded movie does not have the {len(encoded.pts)} frames of its source") from error


def _keyframes(path: Path) -> frozenset[int]:
    """Indices of an encoded movie's keyframes, in presentation order."""
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.video[0])
        shown = sorted((packet.pts or 0, packet.is_keyframe) for packet in packets if packet.size)
    return frozenset(n for n, (_, is_key) in enumerate(shown) if is_key)


def adaptation_note(segments: Sequence[SegmentFacts], name: str = "shot") -> str:
    """What adaptation did for a movie, in one line.

    Args:
        segments: its segments.
        name: what a segment is called.
    """
    adapted = [one for one in segments if one.kind != "none"]
    shots = f"{len(adapted)} of {plural(len(segments), name)}"
    seconds = f"{sum(one.seconds for one in segments):.0f} s of training"
    if not adapted:
        return f"upscaler adapted to {shots}: it would not have paid ({seconds})"
    frames = sum(one.frames for one in adapted)
    gain = sum(one.gain_db * one.frames for one in adapted) / frames
    return f"upscaler adapted to {shots}: {gain:+.2f} dB there, {sum(one.bytes for one in adapted):,} bytes, {seconds}"
