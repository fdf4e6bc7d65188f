"""Reading the source of a job, and what the user is told about it."""

from collections.abc import Iterator
from pathlib import Path

from vidscale.jobs.losses import late_loss_notes
from vidscale.jobs.plans import DecodePlan, EncodePlan
from vidscale.media.frames import Frame
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock


def source_frames(plan: EncodePlan, log: ReadLog, clock: Clock) -> Iterator[Frame]:
    """The frames of the source that a plan encodes; see `decode_frames`."""
    settings = plan.settings
    return decode_frames(
        plan.source,
        log=log,
        clock=clock,
        time_range=settings.range,
        interlaced=settings.interlaced,
        alpha=settings.alpha,
    )


def counted(frames: Iterator[Frame], progress: Progress) -> Iterator[Frame]:
    """The frames; ``progress`` advances as each is consumed."""
    for frame in frames:
        yield frame
        progress.advance()


def read_notes(log: ReadLog, path: Path, *, strict: bool) -> tuple[str, ...]:
    """Messages for the user about the reading of a source.

    Raises:
        DecodeError: it is damaged, and ``strict`` is set.
    """
    if strict:
        log.check_strict(path)
    return log.notes(path)


def found_notes(plan: EncodePlan | DecodePlan, log: ReadLog) -> tuple[str, ...]:
    """Messages for the user about what reading the source has found; errors with ``--strict``."""
    strict = plan.settings.strict
    return read_notes(log, plan.source.path, strict=strict) + late_loss_notes(plan.source, plan.codec, log, strict)
