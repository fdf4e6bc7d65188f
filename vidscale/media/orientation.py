"""How a display matrix turns a picture, in words, and which containers keep that."""

from math import atan2, degrees, hypot

_ONE = 1 << 16  # 16.16 fixed point
_EXACT = 1e-3


def lost_turn(matrix: tuple[int, ...] | None, muxer: str) -> str | None:
    """What a container does not hold of the way in which players turn the pictures, in words.

    A shift is left out: players that turn a picture put it where it belongs.

    Args:
        matrix: nine integers, see `vidscale.media.frames.VideoInfo`; None turns nothing.
        muxer: ffmpeg's name of the container's.

    Returns:
        None when nothing is lost.
    """
    if matrix is None or muxer in ("mp4", "mov"):
        return None
    a, b, c, d = (matrix[at] / _ONE for at in (0, 1, 3, 4))
    if max(abs(a - 1), abs(b), abs(c), abs(d - 1)) < _EXACT:
        return None
    if max(abs(hypot(a, b) - 1), abs(hypot(c, d) - 1), abs(a * c + b * d)) > _EXACT:
        return "display matrix"  # it scales or slants; Matroska knows angles alone
    return None if muxer in ("matroska", "webm") else _words(a, b, c, d)


def _words(a: float, b: float, c: float, d: float) -> str:
    """Angles as ffmpeg counts them (``-display_rotation``), against the clock."""
    if a * d - b * c > 0:
        return f"rotation by {_angle(a, b)}"
    if abs(b) < _EXACT:
        return "horizontal flip" if a < 0 else "vertical flip"
    return f"horizontal flip and rotation by {_angle(-a, b)}"


def _angle(a: float, b: float) -> str:
    angle = round(-degrees(atan2(b, a)), 2)
    return f"{180 if angle == -180 else angle:g} degrees"
