"""Which update a segment gets: none, light or full, by what its frames gain and its bits cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

_MOST_LOST = 10**0.01  # of a frame's squared error: 0.1 dB
_UNSEEN = 0.05  # mean squared error, squared 8-bit codes: below it a frame may lose more
_AT_CRF_12 = 7.5 * 0.85  # squared 8-bit codes that a bit is worth at crf 12
_FRAMING = 48  # bytes around an update in a keyframe


@dataclass(frozen=True, slots=True)
class Score:
    """Squared errors of a segment's luma restored with one network, in codes, by frame."""

    errors: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.errors)


def distortion_per_bit(strength: float, scale: Fraction, bit_depth: int) -> float:
    """The encoder's lambda: the squared error, in codes, that another bit saves.

    In x264 and x265 it grows as 2^(QP / 3). Between two crfs, a bit saves 6 to 9 times 0.85 * 2^((crf - 12) / 3) in
    each of the scale^2 samples that it restores (x265 medium, two clips, crf 22 to 36, `adaptive-x2`): the mean QP is
    4 to 5 above crf, and most frames are B-frames, for which bits weigh more.

    Args:
        strength: crf on the scale of x264 and x265.
        scale: of the pair.
        bit_depth: of the codes.
    """
    return _AT_CRF_12 * 2 ** ((strength - 12) / 3) * float(scale**2) * 4.0 ** (bit_depth - 8)


def carried_bytes(size: int) -> int:
    """Bytes that an update of ``size`` bytes adds to a keyframe; 0 for none."""
    return size + _FRAMING if size else 0


def is_cheap(own: Score, other: Score, size: int, keyframes: int, per_bit: float) -> bool:
    """Whether an update's bits cost less than half of what it gains.

    A light update is then no better: on most shots it gains a third as much.

    Args:
        own: of the pair's own network.
        other: with the update.
        size: of the update in bytes.
        keyframes, per_bit: as for `chosen`.
    """
    return per_bit * 8 * keyframes * carried_bytes(size) < (own.total - other.total) / 2


def chosen(
    scores: Sequence[Score], sizes: Sequence[int], keyframes: int, per_bit: float, samples: int, bit_depth: int
) -> int:
    """Index of the network to restore a segment with.

    Args:
        scores: of the networks; the first is the pair's own, which costs nothing.
        sizes: of their updates in bytes.
        keyframes: of the segment: each has the update.
        per_bit: see `distortion_per_bit`.
        samples: in a frame.
        bit_depth: of the codes.
    """
    unseen = _UNSEEN * 4.0 ** (bit_depth - 8) * samples
    costs = [
        score.total + per_bit * 8 * keyframes * carried_bytes(size) for score, size in zip(scores, sizes, strict=True)
    ]
    own = scores[0].errors
    allowed = [
        n
        for n, score in enumerate(scores)
        if all(error <= max(before * _MOST_LOST, unseen) for before, error in zip(own, score.errors, strict=True))
    ]
    return min([0, *allowed], key=lambda n: costs[n])
