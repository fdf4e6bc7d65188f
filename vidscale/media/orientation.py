"""Rotation by a display matrix, in words, and which containers store it."""

from math import atan2, degrees, hypot

_ONE = 1 << 16  # 16.16 fixed point
_EXACT = 1e-3


def lost_turn(matrix: tuple[int, ...] | None, muxer: str) -> str | None:
    """The rotation that a container cannot store, in words.

    The translation is ignored: players position a rotated picture themselves.

    Args:
        matrix: nine integers, see `vidscale.media.frames.VideoInfo`; None for no rotation.
        muxer: ffmpeg's name of the container's muxer.

    Returns:
        None when nothing is lost.
    """
    if matrix is None or muxer in ("mp4", "mov"):
        return None
    a, b, c, d = (matrix[at] / _ONE for at in (0, 1, 3, 4))
    if max(abs(a - 1), abs(b), abs(c), abs(d - 1)) < _EXACT:
        return None
    if max(abs(hypot(a, b) - 1), abs(hypot(c, d) - 1), abs(a * c + b * d)) > _EXACT:
        return "display matrix"  # scaling or shear; Matroska stores only angles
    return None if muxer in ("matroska", "webm") else _words(a, b, c, d)


def _words(a: float, b: float, c: float, d: float) -> str:
    """Angles as in ffmpeg's ``-display_rotation``, counterclockwise."""
    if a * d - b * c > 0:
        return f"rotation by {_angle(a, b)}"
    if abs(b) < _EXACT:
        return "horizontal flip" if a < 0 else "vertical flip"
    return f"horizontal flip and rotation by {_angle(-a, b)}"


def _angle(a: float, b: float) -> str:
    angle = round(-degrees(atan2(b, a)), 2)
    return f"{180 if angle == -180 else angle:g} degrees"
