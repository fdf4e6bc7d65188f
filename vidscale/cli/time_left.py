"""How long a job will still take, once that can be estimated."""

import time

from vidscale.system.progress import can_estimate, left_text


class TimeLeft:
    """Estimates the rest of a job from what it has done since its first unit was finished.

    The time before that is not counted: programs start and filters are compiled in it, once.
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
        """The text for ``left`` more units, see `left_text`; "" when it cannot be estimated yet."""
        counted = self._done - 1
        passed = time.monotonic() - self._first
        if left < 0 or counted < 1 or not can_estimate(passed, self._done, self._done + left):
            return ""
        return left_text(passed / counted * left)
