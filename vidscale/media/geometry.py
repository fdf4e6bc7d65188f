"""Sizes: of the source, of the small picture, of what the encoder takes."""

import re
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from vidscale.media.encoders import Encoder
from vidscale.media.frames import PixelFormat

_PLAIN_NUMBER = re.compile(r"[0-9./]{1,24}")
_FINEST_SCALE = 10_000  # ratios of real picture sizes need no more, and each step has a filter of its own


@dataclass(frozen=True, slots=True)
class Geometry:
    """How source and small picture lie upon each other: sample (0, 0)'s corner shared, spacing exactly ``scale``.

    Attributes:
        width, height: source, luma samples.
        scale: source sample spacing per small sample, 1 to 8.
        coded_width, coded_height: the small picture as coded; at least the true small size.
    """

    width: int
    height: int
    scale: Fraction
    coded_width: int
    coded_height: int

    @property
    def small_width(self) -> int:
        """True width of the small picture, ceil(width / scale); what is coded beyond it is padding."""
        return ceil(self.width / self.scale)

    @property
    def small_height(self) -> int:
        """True height of the small picture, ceil(height / scale)."""
        return ceil(self.height / self.scale)

    @classmethod
    def for_encoder(
        cls, height: int, width: int, scale: Fraction, encoder: Encoder, pixel_format: PixelFormat
    ) -> "Geometry":
        """Geometry of a source coded at ``1/scale`` of its size by an encoder."""
        coded_height, coded_width = encoder.coded_size(ceil(height / scale), ceil(width / scale), pixel_format)
        return cls(width=width, height=height, scale=scale, coded_width=coded_width, coded_height=coded_height)


def plain_fraction(text: str) -> Fraction:
    """A number such as 2, 1.5 or 3/2.

    Raises:
        ValueError, ZeroDivisionError: it is none, or has an exponent: 1e999999999 would never be done.
    """
    return Fraction(text if _PLAIN_NUMBER.fullmatch(text) else "")


def parse_scale(value: object) -> Fraction:
    """A scale factor such as ``2``, ``1.5`` or ``3/2`` as a fraction; ValueError outside 1 to 8, or when too fine."""
    text = str(value).strip()
    try:
        scale = plain_fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"scale {value!r} is not a number such as 2, 1.5 or 3/2") from None
    if not 1 <= scale <= 8:
        raise ValueError(f"scale {value} is outside 1 to 8")
    if scale.denominator > _FINEST_SCALE:
        raise ValueError(f"scale {value} is {scale}: a denominator may be {_FINEST_SCALE} at most")
    return scale


def scale_text(scale: Fraction) -> str:
    """A scale in names of pairs and files: ``2``, ``1.5``, or ``4-3`` where decimals do not end."""
    decimal = f"{float(scale):g}"
    return decimal if Fraction(decimal) == scale else f"{scale.numerator}-{scale.denominator}"
