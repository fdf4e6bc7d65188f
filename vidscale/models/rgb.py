"""Converts YUV planes to RGB and back for RGB networks, with explicit matrix, range and siting."""

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from vidscale.media.frames import Color, PixelFormat, Plane, YuvImage
from vidscale.triton_kernels.polyphase_filters import filter_bank
from vidscale.triton_kernels.polyphase_ref import filter_axis

# (Kr, Kb) of ITU-T H.273, by ffmpeg's names.
_WEIGHTS = {
    "bt709": (0.2126, 0.0722),
    "fcc": (0.30, 0.11),
    "bt470bg": (0.299, 0.114),
    "smpte170m": (0.299, 0.114),
    "smpte240m": (0.212, 0.087),
    "bt2020nc": (0.2627, 0.0593),
}
_HD_HEIGHT = 720


def yuv_to_rgb(image: YuvImage, *, matrix_height: int, device: str = "cpu") -> Tensor:
    """Converts a picture to RGB; chroma is upsampled to the luma grid (bicubic), respecting siting.

    Args:
        image: Y, or Y, U, V. Unspecified colour properties are guessed as players do: BT.709 from 720 rows, BT.2020
            for its primaries, BT.601 otherwise; limited range.
        matrix_height: height for guessing the matrix: always the source's, even if `image` is the small picture.
        device: device of the result.

    Returns:
        [1, 3, H, W] float32, gamma-encoded RGB, [0, 1] for codes in the nominal range; not clamped. Gray has three
        equal channels.
    """
    pixel_format, color, height, width = image.format, image.color, image.height, image.width
    offset, luma_span, chroma_span = _spans(pixel_format, color)
    values = [torch.from_numpy(plane.astype(np.float32)).to(device) for plane in image.planes]
    luma = (values[0] - offset) / luma_span
    if pixel_format.chroma == "gray":
        return luma.expand(1, 3, height, width).contiguous()
    neutral = 1 << (pixel_format.bit_depth - 1)
    cb, cr = (_to_luma_grid((plane - neutral) / chroma_span, (height, width), pixel_format, color)
              for plane in values[1:])  # fmt: skip
    kr, kb = _weights(color, matrix_height)
    red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return torch.stack([red, green, blue])[None]


def rgb_to_yuv(rgb: Tensor, pixel_format: PixelFormat, color: Color, *, matrix_height: int) -> list[Plane]:
    """Inverse of `yuv_to_rgb`: codes, rounded half up and clamped; chroma filtered to its own grid.

    Args:
        rgb: [1, 3, H, W] float on any device.
        pixel_format, color: format of the planes.
        matrix_height: see `yuv_to_rgb`.

    Returns:
        Y, or Y, U, V, as numpy arrays.
    """
    offset, luma_span, chroma_span = _spans(pixel_format, color)
    red, green, blue = rgb[0].float()
    kr, kb = _weights(color, matrix_height)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    values = [luma * luma_span + offset]
    if pixel_format.chroma != "gray":
        neutral = 1 << (pixel_format.bit_depth - 1)
        differences = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
        values += [_to_chroma_grid(plane, pixel_format, color) * chroma_span + neutral for plane in differences]
    return [_codes(plane, pixel_format) for plane in values]


def _codes(plane: Tensor, pixel_format: PixelFormat) -> Plane:
    codes: Plane = (plane + 0.5).floor().clamp(0, pixel_format.peak).cpu().numpy().astype(pixel_format.dtype)
    return codes


def _spans(pixel_format: PixelFormat, color: Color) -> tuple[float, float, float]:
    """Code of black, code span of luma, code span of chroma."""
    if color.color_range == "pc":
        return 0, pixel_format.peak, pixel_format.peak
    unit = 1 << (pixel_format.bit_depth - 8)
    return 16 * unit, 219 * unit, 224 * unit


def _weights(color: Color, height: int) -> tuple[float, float]:
    guess = "bt709" if height >= _HD_HEIGHT else "smpte170m"
    if color.primaries == "bt2020":
        guess = "bt2020nc"
    return _WEIGHTS[color.matrix if color.matrix in _WEIGHTS else guess]


def _to_luma_grid(plane: Tensor, size: tuple[int, int], pixel_format: PixelFormat, color: Color) -> Tensor:
    for axis, (sub, siting) in enumerate(_chroma_axes(pixel_format, color)):
        if sub > 1:  # output i is at (i + 1/2) / sub - siting; the bank's is at step * (i + s) - s
            step = Fraction(1, sub)
            shift = (siting - step / 2) / (1 - step)
            plane = filter_axis(plane, filter_bank("bicubic", step, shift, size[axis]), axis, size[axis])
    return plane


def _to_chroma_grid(plane: Tensor, pixel_format: PixelFormat, color: Color) -> Tensor:
    for axis, (sub, siting) in enumerate(_chroma_axes(pixel_format, color)):
        if sub > 1:  # output i is at (i + siting) * sub - 1/2
            shift = (sub * siting - Fraction(1, 2)) / (sub - 1)
            length = -(-plane.shape[axis] // sub)
            plane = filter_axis(plane, filter_bank("bicubic", Fraction(sub), shift, length), axis, length)
    return plane


def _chroma_axes(pixel_format: PixelFormat, color: Color) -> list[tuple[int, Fraction]]:
    """Per axis (y, x): luma samples per chroma sample, and the siting of the first one in chroma samples."""
    return list(zip(pixel_format.subsampling, pixel_format.siting(color.siting)[1], strict=True))
