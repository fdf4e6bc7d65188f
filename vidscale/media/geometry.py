"""Picture sizes: source, small picture, coded size."""

import re
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from vidscale.media.encoders import Encoder
from vidscale.media.frames import PixelFormat

_PLAIN_NUMBER = re.compile(r"[0-9./]{1,24}")
_FINEST_SCALE = 10_000  # enough for ratios of real picture sizes; every phase needs its own filter


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sampling grids of source and small picture: the top left corners coincide, the spacing is exactly ``scale``.

    Attributes:
        width, height: source, luma samples.
        scale: source sample spacing per small sample, 1 to 8.
        coded_width, coded_height: coded size of the small picture; at least the true small size.
    """

    width: int
    height: int
    scale: Fraction
    coded_width: int
    coded_height: int

    @property
    def small_width(self) -> int:
        """True width of the small picture, ceil(width / scale); the rest of the coded width is padding."""
        return ceil(self.width / self.scale)

    @property
    def small_height(self) -> int:
        """True height of the small picture, ceil(height / scale)."""
        return ceil(self.height / self.scale)

    @classmethod
    def for_encoder(
        cls, height: int, width: int, scale: Fraction, encoder: Encoder, pixel_format: PixelFormat
    ) -> "Geometry":
        """Geometry of a source encoded at ``1/scale`` of its size."""
        coded_height, coded_width = encoder.coded_size(ceil(height / scale), ceil(width / scale), pixel_format)
        return cls(width=width, height=height, scale=scale, coded_width=coded_width, coded_height=coded_height)


def plain_fraction(text: str) -> Fraction:
    """A number such as 2, 1.5 or 3/2.

    Raises:
        ValueError, ZeroDivisionError: not a number, or with an exponent: parsing 1e999999999 would never end.
    """
    return Fraction(text if _PLAIN_NUMBER.fullmatch(text) else "")


def parse_scale(value: object) -> Fraction:
    """A scale factor such as ``2``, ``1.5`` or ``3/2`` as a fraction; ValueError outside 1 to 8 or when too fine."""
    text = str(value).strip()
    try:
        scale = plain_fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"scale {value!r} is not a number such as 2, 1.5 or 3/2") from None
    if not 1 <= scale <= 8:
        raise ValueError(f"scale {value} is outside 1 to 8")
    if scale.denominator > _FINEST_SCALE:
        raise ValueError(f"the denominator of scale {scale} is above {_FINEST_SCALE}")
    return scale


def scale_text(scale: Fraction) -> str:
    """A scale as written in names of pairs and files: ``2``, ``1.5``, or ``4-3`` for a repeating decimal."""
    decimal = f"{float(scale):g}"
    return decimal if Fraction(decimal) == scale else f"{scale.numerator}-{scale.denominator}"
