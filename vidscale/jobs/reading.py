"""Reading the source of an encode."""

from collections.abc import Callable, Iterator
from dataclasses import fields

from vidscale.jobs.plans import EncodePlan
from vidscale.media.frames import Frame
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock, core_count

Read = Callable[[ReadLog, Clock], Iterator[Frame]]
"""Begins to read the frames of a source; see `source_frames`."""

_KEPT_PER_CORE = 256 << 20  # bytes of frames: 80 of 1080p


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


class ReadOnce:
    """The source of a plan for several readers, one after another: decoded once if it fits into memory.

    Args:
        plan: the plan.
    """

    def __init__(self, plan: EncodePlan) -> None:
        self._plan = plan
        self._kept: list[Frame] = []
        self._log: ReadLog | None = None

    def __call__(self, log: ReadLog, clock: Clock) -> Iterator[Frame]:
        """The frames; see `source_frames`."""
        if self._log is None:
            yield from self._read(log, clock)
            return
        yield from self._kept
        for one in fields(log):
            setattr(log, one.name, getattr(self._log, one.name))

    def _read(self, log: ReadLog, clock: Clock) -> Iterator[Frame]:
        left = core_count() * _KEPT_PER_CORE
        self._kept = []
        for frame in source_frames(self._plan, log, clock):
            left -= sum(plane.nbytes for plane in frame.planes)
            if left >= 0:
                self._kept.append(frame)
            else:
                self._kept.clear()
            yield frame
        if left >= 0:
            self._log = log
