"""When the pictures of a video are shown."""

from array import array
from bisect import bisect
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Timing:
    """Presentation times of pictures.

    Attributes:
        pts: timestamps in presentation order, in units of ``time_base``.
        until: end time of the last one, in the same unit; None when unknown.
        time_base: seconds.
    """

    pts: "array[int]"
    until: int | None
    time_base: Fraction

    def duration_s(self, time_s: Fraction) -> Fraction | None:
        """Duration of the picture with the timestamp nearest to ``time_s``, seconds; None when unknown."""
        time = time_s / self.time_base
        at = min(bisect(self.pts, time), len(self.pts) - 1)
        if at and time - self.pts[at - 1] < self.pts[at] - time:
            at -= 1
        until = self.pts[at + 1] if at + 1 < len(self.pts) else self.until
        return None if until is None else (until - self.pts[at]) * self.time_base
