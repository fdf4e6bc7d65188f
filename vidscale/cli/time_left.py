"""How long a job will still take, once that can be estimated."""

import time

_SOON_S = 3.0
_LATE_S = 30.0
_SHARE = 0.05


class TimeLeft:
    """Estimates the rest of a job from what it has done since its first unit was finished.

    The time before that is not counted: programs start and filters are compiled in it, once. There is no estimate
    before 3 s have passed since, nor, in the first 30 s, before a twentieth of the job is done.
    """

    def __init__(self) -> None:
        self._done = 0
        self._first = 0.0

    def advance(self) -> None:
        """One more unit (frame, trial) is done."""
        if self._done == 0:
            self._first = time.monotonic()
        self._done += 1

    def text(self, left: int) -> str:
        """Such as ``40 s left`` or ``12 min left``, for ``left`` more units; "" when it cannot be estimated yet."""
        counted = self._done - 1
        passed = time.monotonic() - self._first
        if left < 0 or counted < 1 or passed < _SOON_S:
            return ""
        if passed < _LATE_S and self._done < _SHARE * (self._done + left):
            return ""
        seconds = passed / counted * left
        return f"{seconds:.0f} s left" if seconds < 100 else f"{seconds / 60:.0f} min left"
