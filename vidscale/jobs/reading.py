"""Reading the source of an encode."""

from collections.abc import Iterator

from vidscale.jobs.plans import EncodePlan
from vidscale.media.frames import Frame
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
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
