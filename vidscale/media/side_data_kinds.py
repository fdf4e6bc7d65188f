"""The kinds of side data that pictures carry, those that PyAV has no name for among them."""

from enum import Enum

from av.sidedata.sidedata import Type as SideData

__all__ = ["SideData"]


def _unnamed(kinds: type[Enum], number: int) -> Enum:
    """A kind that ffmpeg has and PyAV has no name for."""
    kind = object.__new__(kinds)
    kind._name_, kind._value_ = f"UNNAMED_{number}", number
    return kind


# PyAV names the kind of every entry when a frame's side data is first touched. One kind that ffmpeg added since (EXIF,
# views of MV-HEVC) is a ValueError then, and nothing of that frame can be read, its display matrix included.
SideData._missing_ = classmethod(_unnamed)  # type: ignore[assignment]
