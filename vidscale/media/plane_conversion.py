"""Conversion of planes from formats that no encoder supports to a supported one."""

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.media.frames import Color, PixelFormat, Plane, Siting
from vidscale.triton_kernels.polyphase_filters import filter_bank

# Kr and Kb, by matrix.
_LUMA_WEIGHTS: dict[str | None, tuple[float, float]] = {"bt709": (0.2126, 0.0722), "bt2020nc": (0.2627, 0.0593)}


def yuv_of_gbr(
    planes: tuple[Plane, ...], bit_depth: int, pixel_format: PixelFormat, matrix: str | None
) -> tuple[Plane, ...]:
    """Limited-range Y, U, V from full-range G, B, R (ITU-R BT.709, BT.2020: quantization), rounded half up.

    swscale is not used: it treats 10 and 12 bit as zero-padded 8 bit, and white is 3 and 11 codes too bright.

    Args:
        planes: G, B, R, each [H, W], uint8 or uint16.
        bit_depth: of their codes.
        pixel_format: of the result, 4:4:4.
        matrix: "bt709" or "bt2020nc".
    """
    kr, kb = _LUMA_WEIGHTS[matrix]
    luma = np.array([1 - kr - kb, kb, kr])
    blue, red = np.eye(3)[1:]
    weights = np.stack([219 * luma, 112 * (blue - luma) / (1 - kb), 112 * (red - luma) / (1 - kr)])
    unit = 1 << (pixel_format.bit_depth - 8)
    weights *= unit / ((1 << bit_depth) - 1)
    offset = np.array([[16], [128], [128]]) * unit + 0.5
    gbr = np.stack([plane.ravel() for plane in planes]).astype(np.float32)
    codes = weights.astype(np.float32) @ gbr + offset.astype(np.float32)
    return tuple(codes.astype(pixel_format.dtype).reshape(3, *planes[0].shape))


def requantized(
    planes: tuple[Plane, ...], bit_depth: int, pixel_format: PixelFormat, color: Color
) -> tuple[Plane, ...]:
    """YUV or gray planes at another bit depth, rounded half up; unchanged when it is their own.

    Full-range codes are scaled by the ratio of the peaks, chroma about its centre; limited-range codes by a power of
    two (ITU-T H.273, 8.3).

    Args:
        planes: Y, or Y, U, V; each [H, W], uint8 or uint16.
        bit_depth: of their codes.
        pixel_format: of the result.
        color: for the range.
    """
    if bit_depth == pixel_format.bit_depth:
        return planes
    is_full = color.color_range == "pc"
    tables = [_codes(bit_depth, pixel_format.bit_depth, is_full, is_chroma) for is_chroma in (False, True, True)]
    # Codes above the peak, which occur in damaged streams, are clipped.
    return tuple(table.take(plane, mode="clip") for table, plane in zip(tables, planes, strict=False))


@lru_cache
def _codes(had: int, gets: int, is_full: bool, is_chroma: bool) -> npt.NDArray[Any]:
    """The code of the new depth for every code of the old one."""
    codes = np.arange(1 << had, dtype=np.float64)
    peaks = (1 << had) - 1, (1 << gets) - 1
    if not is_full:
        scaled = codes * 2.0 ** (gets - had)
    elif is_chroma:
        scaled = (codes - (1 << (had - 1))) * peaks[1] / peaks[0] + (1 << (gets - 1))
    else:
        scaled = codes * peaks[1] / peaks[0]
    return np.clip(np.floor(scaled + 0.5), 0, peaks[1]).astype(PixelFormat("gray", gets).dtype)


def interpolated(plane: Plane, axes: tuple[int, ...], shape: tuple[int, int], siting: Siting, bit_depth: int) -> Plane:
    """A chroma plane with twice the samples along some axes, keeping its siting (Catmull-Rom, edges mirrored).

    Args:
        plane: [H, W], uint8 or uint16.
        axes: 0 for more rows, 1 for more columns.
        shape: (height, width) of the result; odd sizes had been rounded up.
        siting: of the chroma, before and after.
        bit_depth: of its codes.
    """
    values: npt.NDArray[Any] = plane
    for axis in axes:
        bank = filter_bank("bicubic", Fraction(1, 2), _first_sample(siting, axis), shape[axis])
        lines, last = np.moveaxis(values, axis, 0), values.shape[axis] - 1
        result = np.zeros((shape[axis], lines.shape[1]), np.float32)
        for phase in range(bank.phases):
            places = bank.start[phase] + np.arange(len(result[phase::2]))
            for tap, weight in enumerate(bank.taps[phase].astype(np.float32)):
                at = places + tap
                mirrored = np.minimum(np.maximum(at, -1 - at), 2 * last + 1 - at).clip(0, last)
                result[phase::2] += weight * lines[mirrored]
        values = np.moveaxis(result, 0, axis)
    codes = np.clip(values + np.float32(0.5), 0, (1 << bit_depth) - 1)
    return np.ascontiguousarray(codes.astype(plane.dtype))


def _first_sample(siting: Siting, axis: int) -> Fraction:
    """Position of a chroma sample among the luma samples that it covers: 0 the first of them, 1 the last."""
    if axis == 1:
        return Fraction(0) if siting in ("left", "topleft", "bottomleft") else Fraction(1, 2)
    return {"top": Fraction(0), "bottom": Fraction(1)}.get(siting.removesuffix("left"), Fraction(1, 2))
