"""Conversion of YUV planes to RGB and back, against ffmpeg's zscale."""

import subprocess

import numpy as np
import pytest
import torch
from material import FFMPEG
from skimage import data

from vidscale.media.frames import Color, PixelFormat, YuvImage
from vidscale.models.rgb import rgb_to_yuv, yuv_to_rgb

H, W = 96, 128
ZSCALE_MATRIX = {"bt709": "709", "smpte170m": "170m", "bt2020nc": "2020_ncl"}


def photo_planes(pixel_format, color):
    """A photograph in YUV by zscale, so that codes lie in gamut."""
    picture = np.ascontiguousarray(data.astronaut()[:H, 100 : 100 + W][:, :, [1, 2, 0]].transpose(2, 0, 1))  # gbrp
    matrix, color_range = ZSCALE_MATRIX[color.matrix], "full" if color.color_range == "pc" else "limited"
    scale = (
        f"setparams=range=pc:colorspace=gbr,zscale=matrixin=gbr:matrix={matrix}:rangein=full:range={color_range}"
        f":chromal={color.siting}:filter=bicubic:dither=none"
    )
    return picture, split(run("gbrp", scale, pixel_format.name, picture), pixel_format)


def run(from_format, scale, to_format, codes):
    size = ["-s", f"{W}x{H}"]
    command = [FFMPEG, "-v", "error", "-f", "rawvideo", "-pix_fmt", from_format, *size, "-i", "-"]
    command += ["-vf", f"{scale},format={to_format}", "-f", "rawvideo", "-pix_fmt", to_format, "-"]
    return subprocess.run(command, input=codes.tobytes(), capture_output=True, check=True).stdout


def split(raw, pixel_format):
    codes = np.frombuffer(raw, pixel_format.dtype)
    planes, start = [], 0
    for shape in pixel_format.plane_shapes(H, W):
        planes.append(codes[start : start + shape[0] * shape[1]].reshape(shape))
        start += shape[0] * shape[1]
    return planes


CASES = [
    (PixelFormat("420", 8), Color("tv", "bt709", chroma_location="left")),
    (PixelFormat("420", 8), Color("pc", "smpte170m", chroma_location="center")),
    (PixelFormat("420", 10), Color("tv", "bt2020nc", chroma_location="topleft")),
    (PixelFormat("422", 8), Color("tv", "bt709", chroma_location="left")),
    (PixelFormat("444", 8), Color("tv", "smpte170m")),
]


@pytest.mark.parametrize(("pixel_format", "color"), CASES, ids=lambda case: getattr(case, "name", None))
def test_planes_to_rgb_equals_zscale(pixel_format, color):
    _, planes = photo_planes(pixel_format, color)
    color_range = "full" if color.color_range == "pc" else "limited"
    scale = (
        f"zscale=matrixin={ZSCALE_MATRIX[color.matrix]}:matrix=gbr:rangein={color_range}:range=full"
        f":chromalin={color.siting}:filter=bicubic:dither=none"
    )
    gbr = split(run(pixel_format.name, scale, "gbrp", np.concatenate([p.ravel() for p in planes])),
                PixelFormat("444", 8))  # fmt: skip
    ours = yuv_to_rgb(YuvImage(tuple(planes), pixel_format, color=color), matrix_height=H)
    assert ours.shape == (1, 3, H, W)
    codes = (ours[0].clamp(0, 1) * 255 + 0.5).floor().numpy()
    difference = np.abs(codes - np.stack([gbr[2], gbr[0], gbr[1]]))
    assert np.mean(difference > 1) <= 0.001
    assert abs(float((ours[0].numpy().clip(0, 1) * 255 - np.stack([gbr[2], gbr[0], gbr[1]])).mean())) < 0.05


@pytest.mark.parametrize(("pixel_format", "color"), CASES, ids=lambda case: getattr(case, "name", None))
def test_rgb_to_planes_equals_zscale(pixel_format, color):
    gbr, planes = photo_planes(pixel_format, color)
    rgb = torch.from_numpy(gbr[[2, 0, 1]]).float()[None] / 255
    for got, want in zip(rgb_to_yuv(rgb, pixel_format, color, matrix_height=H), planes, strict=True):
        assert got.dtype == want.dtype
        assert np.mean(np.abs(got.astype(int) - want) > 1) <= 0.001
        assert abs(np.mean(got.astype(float) - want)) < 0.05


@pytest.mark.parametrize("chroma", ["420", "422", "444", "gray"])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 24)])
def test_there_and_back_at_any_size(chroma, size):
    pixel_format, color = PixelFormat(chroma, 8), Color("tv", "bt709")
    rng = np.random.default_rng(0)
    planes = [rng.integers(40, 200, shape, dtype=np.uint8) for shape in pixel_format.plane_shapes(*size)]
    rgb = yuv_to_rgb(YuvImage(tuple(planes), pixel_format, color=color), matrix_height=5)
    back = rgb_to_yuv(rgb, pixel_format, color, matrix_height=5)
    assert [plane.shape for plane in back] == [plane.shape for plane in planes]
    assert np.abs(back[0].astype(int) - planes[0]).max() <= 1  # luma comes back whatever chroma's grid is
    if chroma in ("444", "gray"):
        assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(back, planes, strict=True))


def test_gray_has_equal_channels_and_full_range_is_kept():
    plane = np.arange(256, dtype=np.uint8).reshape(16, 16)
    rgb = yuv_to_rgb(YuvImage((plane,), PixelFormat("gray", 8), color=Color("pc")), matrix_height=16)
    assert torch.equal(rgb[0, 0], rgb[0, 2])
    assert rgb[0, 0].flatten().tolist() == pytest.approx((np.arange(256) / 255).tolist(), abs=1e-6)


def test_matrix_is_guessed_by_the_source_as_players_do():
    layout = PixelFormat("444", 8)
    red = [np.full((4, 4), code, np.uint8) for code in (81, 90, 240)]  # red in BT.601
    small = yuv_to_rgb(YuvImage(tuple(red), layout), matrix_height=480)
    assert small[0, :, 0, 0].tolist() == pytest.approx([1, 0, 0], abs=0.01)
    hd = yuv_to_rgb(YuvImage(tuple(red), layout), matrix_height=1080)
    assert abs(hd[0, 1, 0, 0]) > 0.05  # in BT.709 the same codes are another colour
    said = yuv_to_rgb(YuvImage(tuple(red), layout, color=Color(matrix="smpte170m")), matrix_height=1080)
    assert torch.equal(said, small)
