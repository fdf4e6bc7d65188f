"""Presentation times of pictures: their own timestamps where possible, and always increasing."""

from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from typing import Literal, Protocol

import av

from vidscale.errors import DecodeError
from vidscale.media.opening import is_raw
from vidscale.media.packets import VideoPackets
from vidscale.media.pictures import Picture
from vidscale.media.probe import Source

_MOST_WAITING = 8  # pictures whose timestamp depends on the next one
_LEAST_STEP_S = Fraction(1, 1000)  # Matroska's tick

Origin = Literal["pts", "dts", "made"]


class BestEffort:
    """Times of decoded pictures as ffmpeg assigns them (``best_effort_timestamp``, and ffmpeg's guess without one):
    presentation times; decoding times when the former went backwards more often; else the previous time plus the
    duration of the previous picture.

    AVI has decoding times only: a picture gets the time of the packet after which the decoder outputs it.

    Args:
        source: result of `probe`.
        packets: the packets of the pictures.

    Attributes:
        length: estimated duration of the last picture, in units of the stream's time base.
    """

    def __init__(self, source: Source, packets: VideoPackets) -> None:
        rate = source.video.frame_rate
        self._usual = max(1, round(1 / (rate * packets.time_base))) if rate else None
        self._is_raw = is_raw(packets.container)
        self.length: int | None = None
        self._last: int | None = None
        self._pts = self._dts = -(1 << 63)
        self._faulty_pts = self._faulty_dts = 0

    def time(self, frame: av.VideoFrame) -> tuple[int | None, Origin]:
        """Time of the next picture in presentation order, in units of the stream's time base; None when even the frame
        rate is unknown."""
        ticks, origin = self._stored(frame.pts, frame.dts)
        if ticks is None and self._last is not None:
            length = self.length or self._usual
            if length is None:
                return None, origin
            ticks = self._last + length
        ticks = ticks or 0
        self.length = self._estimated_length(frame.duration or 0, 0 if self._last is None else ticks - self._last)
        self._last = ticks
        return ticks, origin

    def _stored(self, pts: int | None, dts: int | None) -> tuple[int | None, Origin]:
        if dts is not None:
            self._faulty_dts += dts <= self._dts
        if pts is not None:
            self._faulty_pts += pts <= self._pts
        if (decoding := pts if dts is None else dts) is not None:
            self._dts = decoding
        if (presentation := dts if pts is None else pts) is not None:
            self._pts = presentation
        if pts is not None and (dts is None or self._faulty_pts <= self._faulty_dts):
            return pts, "pts"
        return dts, "made" if dts is None else "dts"

    def _estimated_length(self, stated: int, step: int) -> int | None:
        """Duration of the picture by ffmpeg's rules; containers store 1 for an unknown duration."""
        moved = max(step, 0)
        if self._is_raw and self._usual:
            return self._usual
        if stated and not (stated == 1 and moved > 2):
            return stated
        return moved or stated or self._usual


class _Log(Protocol):
    """The part of `ReadLog` that a `Timeline` uses."""

    unreadable: int
    timestamps_made: int
    timestamps_corrected: int

    @property
    def damaged(self) -> bool: ...


class Timeline:
    """Assigns strictly increasing timestamps to pictures.

    A picture with a duplicate or out-of-order time is placed between its neighbours, at most one usual frame interval
    after the previous one.

    Args:
        source: result of `probe`.
        packets: the packets of the pictures.
        log: counts corrections.

    Attributes:
        last: timestamp of the last picture, in units of the source's time base.
        origin: timestamp that becomes the output's zero, None for the source's own zero.
    """

    def __init__(self, source: Source, packets: VideoPackets, log: _Log) -> None:
        unit = source.video.time_base
        rate = max(source.video.frame_rate or 0, packets.stream.guessed_rate or 0)
        self._source = source
        self._log = log
        self._best_effort = BestEffort(source, packets)
        self._ticks = int(packets.time_base / unit)
        self._usual = 1 / (rate * unit) if rate else None
        self._is_timed = False
        self._least = max(1, ceil(min(_LEAST_STEP_S / unit, (self._usual or 0) / 4)))
        self.last: int | None = None
        self.origin: int | None = None

    def placed(self, pictures: Iterator[Picture]) -> Iterator[tuple[Picture, int]]:
        """The pictures, each with its timestamp; without those that are out of order because of damage."""
        waiting: list[Picture] = []
        for picture in pictures:
            pts = self._own(picture.frame)
            if self.last is None or pts > self.last:
                yield from self._spread(waiting, pts)
                yield picture, self._at(pts, apart=self._least if waiting else 1)
                waiting = []
            elif self._log.damaged:
                self._log.unreadable += 1
            else:
                waiting.append(picture)
                if len(waiting) == _MOST_WAITING:
                    yield from self._spread(waiting, None)
                    waiting = []
        yield from self._spread(waiting, None)

    def _own(self, frame: av.VideoFrame) -> int:
        ticks, origin = self._best_effort.time(frame)
        if ticks is None:
            raise DecodeError(f"{self._source.path} has pictures without timestamps and no frame rate")
        self._is_timed |= origin != "made"
        self._log.timestamps_made += not self._is_timed  # not for AVI's last pictures, which have none
        self._log.timestamps_corrected += origin == "dts" and frame.pts not in (None, ticks)
        return ticks * self._ticks

    def _spread(self, waiting: list[Picture], until: int | None) -> Iterator[tuple[Picture, int]]:
        """Spaces pictures evenly between the last one and ``until``, as far as there is room."""
        if not waiting or self.last is None:
            return
        step = self._step()
        if until is not None:
            step = min(step, Fraction(until - self.last, len(waiting) + 1))
        start = self.last
        self._log.timestamps_corrected += len(waiting)
        for number, picture in enumerate(waiting, start=1):
            yield picture, self._at(round(start + number * step), apart=self._least)

    def _step(self) -> Fraction:
        """Usual frame interval: by the frame rate, or less by the duration of the last picture."""
        stated = (self._best_effort.length or 0) * self._ticks
        known = [Fraction(step) for step in (self._usual, stated) if step and step > 1]
        return min(known, default=Fraction(self._least))

    def _at(self, pts: int, *, apart: int) -> int:
        self.last = pts if self.last is None else max(pts, self.last + apart)
        return self.last
