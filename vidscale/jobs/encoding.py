"""Encodes the frames of a plan into a file with one video stream, and once more for an adapted upscaler."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from vidscale.jobs.adaptation import NOTHING, Adaptation, adapt_upscaler, adapts
from vidscale.jobs.estimates import expected_frames
from vidscale.jobs.plans import DecodePlan, EncodePlan
from vidscale.jobs.reading import Read, source_frames
from vidscale.media.encoders import ENCODERS
from vidscale.media.frames import Frame
from vidscale.report.rows import Shot
from vidscale.stages.downscale import downscale
from vidscale.stages.encode import Encoded, encode_frames, logging_quantisers
from vidscale.stages.read_log import ReadLog
from vidscale.stages.updates import TimedUpdates, update_at
from vidscale.system.progress import Progress, counted
from vidscale.system.threads import Clock, Prefetch, queue_depth


def downscaled(frames: Iterable[Frame], plan: EncodePlan, clock: Clock) -> Iterator[Frame]:
    """The small frames of source frames."""
    settings = plan.settings
    crf = settings.crf if settings.coded_crf is None else settings.coded_crf
    strength = ENCODERS[settings.codec].strength(crf)
    return downscale(frames, pair=plan.pair, geometry=plan.geometry, strength=strength, clock=clock)


@contextmanager
def small_frames(
    plan: EncodePlan, log: ReadLog, clocks: Sequence[Clock], updates: TimedUpdates = (), read: Read | None = None
) -> Iterator[Iterator[Frame]]:
    """The small frames of a plan's range, from stages that run in threads of their own.

    Args:
        plan: its settings say what is read.
        log: filled in while decoding.
        clocks: of decoding and downscaling.
        updates: of the upscaler that will restore them.
        read: reads the source, by default from its file.
    """
    read = read or partial(source_frames, plan)
    with Prefetch(read(log, clocks[0]), queue_depth(plan.source.video.frame_bytes)) as frames:
        yield downscaled(_with_updates(frames, updates) if updates else frames, plan, clocks[1])


def _with_updates(frames: Iterable[Frame], updates: TimedUpdates) -> Iterator[Frame]:
    return (replace(frame, update=update_at(updates, frame.pts)) for frame in frames)


def encode_video(
    plan: EncodePlan | DecodePlan,
    frames: Iterator[Frame],
    file: Path,
    clock: Clock,
    *,
    quantisers: Path | None = None,
    shots: Sequence[Shot] = (),
) -> Encoded:
    """Encodes frames into a file with one video stream.

    Args:
        plan: says how.
        frames: of the size and format of ``plan.written``.
        file: to write, with the suffix ``plan.coded_suffix``.
        clock: of the encoder.
        quantisers: a log to write for `mean_quantiser`, if the plan measures the coding strength.
        shots: each begins with a keyframe, besides the encoder's own.
    """
    if isinstance(plan, DecodePlan):
        command = plan.encode_command(file)
    else:
        command = plan.encode_command(file, [shot.start_s for shot in shots[1:]])
        if quantisers and plan.measures_strength:
            command = logging_quantisers(command, quantisers)
    return encode_frames(frames, plan.written, command=command, path=file, clock=clock)


def adapt_encoded(
    plan: EncodePlan,
    encoded: Encoded,
    shots: Sequence[Shot],
    progress: Progress,
    again: Path,
    read: Read | None = None,
) -> tuple[Encoded, Adaptation]:
    """Adapts the upscaler to an encoded movie, as far as the plan asks for it.

    Args:
        plan: of the encode; its identity has the strength.
        encoded: the encoder's file, before it is signed.
        shots: from `shots_to_adapt`, as the movie was encoded.
        progress: receives the progress, in frames.
        again: the file for a second encode, downscaled for the adapted upscaler.
        read: reads the source, by default from its file.

    Returns:
        The movie to keep, and its adaptation.

    Raises:
        EncodeError: the encoded movie cannot be read again, or encoding again failed.
    """
    if not shots and not (plan.keyframes and adapts(plan)):
        return encoded, NOTHING

    def encode_again(updates: TimedUpdates) -> Encoded:
        progress.start("encoding again", expected_frames(plan.source, plan.settings.range))
        clocks = (Clock("decode"), Clock("downscale"), Clock("encode"))
        with (
            small_frames(plan, ReadLog(), clocks, updates, read) as small,
            Prefetch(small, queue_depth(plan.written.frame_bytes)) as frames,
        ):
            return encode_video(plan, counted(frames, progress), again, clocks[-1], shots=shots)

    return adapt_upscaler(plan, encoded, shots, progress, encode_again, read)


def strength_note(crf: float | None) -> str:
    """The note for encodes whose strength is set by ``--encoder-params``."""
    if crf is None:
        return "--encoder-params replaces --crf: the coding strength is not known, and the file does not store it"
    return f"--encoder-params replaces --crf: coded about as strongly as with crf {crf:g}, which the file stores"
