"""Segments of a source that are decoded once for many trials, as far as they fit in memory."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from vidscale.config import Interlaced, TimeRange
from vidscale.jobs.estimates import expected_frames
from vidscale.media.alpha import Alpha
from vidscale.media.frames import Frame
from vidscale.media.probe import Source
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock


@dataclass(frozen=True, slots=True)
class DecodedSegment:
    """All frames of a segment; what reading them has found, and how long it took."""

    frames: Sequence[Frame]
    log: ReadLog
    clock: Clock


@dataclass(slots=True)
class DecodedSegments:
    """Keeps the frames of segments until their bytes reach a limit; further segments are not kept.

    Attributes:
        left_bytes: what may still be kept.
        interlaced, alpha: how the source is read.
    """

    left_bytes: float
    interlaced: Interlaced
    alpha: Alpha
    _kept: dict[TimeRange | None, DecodedSegment] = field(default_factory=dict)
    _locks: dict[TimeRange | None, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))

    def of(self, source: Source, segment: TimeRange | None) -> DecodedSegment | None:
        """The frames of a segment; None if they do not fit. If another thread is decoding them, waits.

        Args:
            source: always the same, as it is read for the encoder.
            segment: time range of it; None for all.

        Raises:
            DecodeError: it cannot be read.
        """
        with self._locks[segment]:
            if segment not in self._kept:
                video, count = source.video, expected_frames(source, segment)
                size = (count or 0) * video.frame_bytes
                if not 0 < size <= self.left_bytes:
                    return None
                log, clock = ReadLog(), Clock("decode")
                frames = decode_frames(
                    source, log=log, clock=clock, time_range=segment, interlaced=self.interlaced, alpha=self.alpha
                )
                self._kept[segment] = DecodedSegment(list(frames), log, clock)
                self.left_bytes -= size
            return self._kept[segment]
