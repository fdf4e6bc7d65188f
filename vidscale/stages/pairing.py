"""Pairs of frames that show the same: by time, however a muxer rounded it, and never a frame with its neighbour."""

from collections.abc import Iterable, Iterator
from fractions import Fraction

from vidscale.media.frames import Frame
from vidscale.report.rows import Unpaired


def paired(
    ref: Iterable[Frame],
    dist: Iterable[Frame],
    unpaired: Unpaired,
    *,
    offset_s: Fraction = Fraction(0),
    slack_s: Fraction = Fraction(0),
) -> Iterator[tuple[Frame, Frame]]:
    """Pairs of frames with the same time, one to one.

    Muxers round times to their ticks, or cut off what is below one, and may start a fraction of a tick late. So
    partners may lie up to two ticks of the coarser time base and half one of the other apart, but never more than a
    quarter of the distance to the next frame on either side. Where ticks are nearly as long as frames, see `_Rounding`.

    Both streams must be in rising order. A frame without a partner is added to ``unpaired``, never paired with a
    neighbour.

    Args:
        ref, dist: the frames.
        unpaired: filled in on the way, in the times of ``ref``.
        offset_s: how much later the times of ``dist`` are.
        slack_s: by how much partners may lie apart beyond that, in seconds.
    """
    ours, theirs = _Reader(ref, Fraction(0)), _Reader(dist, offset_s)
    rounding = _Rounding(slack_s)
    while ours.frame is not None and theirs.frame is not None:
        # With ticks finer than the distance of two frames a later frame may fit better; then this one has no partner.
        chosen = rounding.choose(ours, theirs)
        if chosen is None:
            if ours.time < theirs.time:
                unpaired.ref_only.append(ours.advance())
            else:
                unpaired.dist_only.append(theirs.advance())
            continue
        skip_ours, skip_theirs = chosen
        if skip_ours:
            unpaired.ref_only.append(ours.advance())
        if skip_theirs:
            unpaired.dist_only.append(theirs.advance())
        yield ours.frame, theirs.frame
        ours.advance()
        theirs.advance()
    while ours.frame is not None:
        unpaired.ref_only.append(ours.advance())
    while theirs.frame is not None:
        unpaired.dist_only.append(theirs.advance())


class _Reader:
    """Frames of one stream with a view of the next one.

    Attributes:
        frame: the one that waits for its partner, None at the end.
    """

    def __init__(self, frames: Iterable[Frame], offset_s: Fraction) -> None:
        self._frames, self._offset = iter(frames), offset_s
        self._before: Fraction | None = None
        self.frame, self._next = next(self._frames, None), next(self._frames, None)

    @property
    def time(self) -> Fraction:
        """Of the waiting frame, seconds."""
        return self._time(self.frame)

    @property
    def next_time(self) -> Fraction | None:
        """Of the frame after it."""
        return None if self._next is None else self._time(self._next)

    @property
    def gap(self) -> Fraction | None:
        """Distance to the nearer neighbour, None where there is none."""
        others = [time for time in (self._before, self.next_time) if time is not None]
        return min((abs(self.time - other) for other in others), default=None)

    def advance(self) -> Fraction:
        """Goes on to the next frame; returns the time of the one that was left."""
        self._before = self.time
        self.frame, self._next = self._next, next(self._frames, None)
        return self._before

    def _time(self, frame: Frame | None) -> Fraction:
        if frame is None:
            raise ValueError("after the end")
        return frame.time - self._offset


class _Rounding:
    """Which frames may belong together, by how times seem to be rounded.

    Where a tick is not much shorter than a frame, a distance of half a tick and more may mean a frame's own time, cut
    off, or its neighbour's. Then the three ways to round (nearest, down, up) are told apart by the pairs so far: each
    keeps all distances within its own window, one tick wide.
    """

    def __init__(self, slack_s: Fraction) -> None:
        self._slack = slack_s
        half, tick, zero = Fraction(1, 2), Fraction(1), Fraction(0)
        self._ways = [(-tick, zero), (-half, half), (zero, tick)]  # windows, in ticks

    def choose(self, ours: "_Reader", theirs: "_Reader") -> tuple[bool, bool] | None:
        """Whether the waiting frame of each side is passed over for the next one; None if nothing fits."""
        distances = [((False, False), theirs.time - ours.time)]
        if theirs.next_time is not None:
            distances.append(((False, True), theirs.next_time - ours.time))
        if ours.next_time is not None:
            distances.append(((True, False), theirs.time - ours.next_time))
        ticks = sorted(frame.time_base for frame in (ours.frame, theirs.frame) if frame is not None)
        gaps = [gap for gap in (ours.gap, theirs.gap) if gap is not None]
        return self._best(distances, ticks[0], ticks[-1], min(gaps, default=None))

    def _best(
        self,
        distances: list[tuple[tuple[bool, bool], Fraction]],
        fine: Fraction,
        coarse: Fraction,
        gap: Fraction | None,
    ) -> tuple[bool, bool] | None:
        if gap is not None and coarse <= gap < 4 * coarse + 2 * fine:
            return self._most_likely(distances, fine, coarse)
        if gap is None or gap >= coarse:
            tolerance = 2 * coarse + fine / 2
            tolerance = tolerance if gap is None else min(tolerance, gap / 4)
        else:
            tolerance = coarse / 2  # several frames in a tick: the nearest is as good as any
        which, distance = min(distances, key=lambda item: abs(item[1]))
        return which if abs(distance) <= tolerance + self._slack else None

    def _most_likely(
        self, distances: list[tuple[tuple[bool, bool], Fraction]], fine: Fraction, coarse: Fraction
    ) -> tuple[bool, bool] | None:
        """What most of the ways to round that are left allow; to pass over a frame it must be clearly more."""
        margin = fine / 2 + self._slack

        def allowing(distance: Fraction) -> list[tuple[Fraction, Fraction]]:
            if abs(distance) >= coarse:
                return []
            return [
                (low, high) for low, high in self._ways if low * coarse - margin <= distance <= high * coarse + margin
            ]

        which, ways = distances[0][0], allowing(distances[0][1])
        for other, distance in distances[1:]:
            if len(allowing(distance)) > len(ways) + bool(ways):
                which, ways = other, allowing(distance)
        if not ways:
            return None
        self._ways = ways
        return which
