"""The frames of a segment that are measured."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """Which frames of an encoded segment are measured; the default is all of them.

    The frames around a window are encoded, so that the encoder's state and its lookahead are those of a longer video.

    Attributes:
        skip: frames of the segment before the first measured one.
        frames: length of the window, None for the rest of the segment.
        every: every Nth frame of the window is measured.
    """

    skip: int = 0
    frames: int | None = None
    every: int = 1

    @property
    def part(self) -> slice:
        """The indices of the window's frames in the segment."""
        return slice(self.skip, None if self.frames is None else self.skip + self.frames)


WHOLE = Window()
