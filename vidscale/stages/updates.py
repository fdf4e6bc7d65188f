"""Which update of the upscaler holds for a picture."""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Protocol

TimedUpdates = Sequence[tuple[int, bytes]]
"""Updates, each with the timestamp that it holds from, in order; b"" is none."""


def update_at(updates: TimedUpdates, pts: int) -> bytes:
    """The update that holds at a timestamp in their unit."""
    number = bisect_right(updates, pts, key=lambda update: update[0])
    return updates[number - 1][1] if number else b""


class _Shown(Protocol):
    """A decoded picture, or what is known of one."""

    @property
    def pts(self) -> int | None: ...
    @property
    def key_frame(self) -> bool: ...


class KeyframeUpdates:
    """Updates by picture, as keyframes bring them.

    An update holds from its keyframe on, in presentation order: pictures that are decoded after a keyframe but shown
    before it belong to the keyframe before.
    """

    def __init__(self) -> None:
        self._coming: deque[tuple[int | None, bytes]] = deque()
        self._current = b""

    def open(self, pts: int | None, update: bytes) -> None:
        """Takes the next keyframe: its timestamp and its update."""
        self._coming.append((pts, update))

    def at(self, picture: _Shown) -> bytes:
        """The update for the next picture in presentation order.

        If a keyframe does not decode, its update holds from the first picture after it. Without timestamps, keyframes
        are counted.
        """
        while self._coming:
            pts = self._coming[0][0]
            if pts is None or picture.pts is None:
                if picture.key_frame:
                    self._current = self._coming.popleft()[1]
                break
            if pts > picture.pts:
                break
            self._current = self._coming.popleft()[1]
        return self._current
