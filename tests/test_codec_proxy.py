"""The codec proxy against x264 and x265, scipy's DCT, and finite differences."""

from fractions import Fraction
from functools import partial
from itertools import product
from typing import NamedTuple

import av
import numpy as np
import pytest
import torch
from scipy import fft, ndimage, stats
from skimage import data

from vidscale.config import CodecSettings
from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.media.frames import Color, Frame, PixelFormat, VideoInfo, YuvImage
from vidscale.models.fixed_pair import FixedPair
from vidscale.stages.encode import encode_command, encode_frames
from vidscale.system.threads import Clock
from vidscale.training import codec_proxy
from vidscale.training.codec_proxy import MotionPositions, coefficient_bits, encode, motion_positions, quantised
from vidscale.training.coded_crops import MotionLimits
from vidscale.training.motion import shot
from vidscale.training.motion_search import EDGE, search

SIDE = 136
RATE = Fraction(25)
FRAMES = 21
PHOTOGRAPHS = (data.astronaut, data.coffee, data.chelsea)
CROPS = ((0, 0), (56, 120))
TIMES = ((0, 2, 4), (5, 6, 8), (9, 11, 13), (12, 13, 15), (16, 18, 20))  # of I, B and P; odd steps too


def rounded(picture):
    return np.clip(np.floor(picture + 0.5), 0, 255).astype(np.uint8)


def filtered(family="lanczos", sharpness=0.0):
    pair = FixedPair(family, Fraction(2), sharpness=sharpness)
    return lambda luma: pair.downscale(YuvImage((luma,), PixelFormat("gray", 8)))[0]


LANCZOS = filtered()


def each(downscale):
    return lambda lumas: [downscale(luma) for luma in lumas]


def coring(threshold):
    """Details smaller than a threshold are removed."""

    def downscale(luma):
        small = LANCZOS(luma).astype(np.float32)
        detail = small - ndimage.gaussian_filter(small, 0.8)
        return rounded(small - detail + np.sign(detail) * np.maximum(abs(detail) - threshold, 0))

    return each(downscale)


def alternating(sharpness):
    """Every second frame is sharper."""
    return lambda lumas: [filtered(sharpness=sharpness if n % 2 else 0.0)(luma) for n, luma in enumerate(lumas)]


def recursive(share):
    """Every frame is blended with the last result where they are similar, without motion compensation."""

    def downscale(lumas):
        results = [LANCZOS(lumas[0]).astype(np.float32)]
        for luma in lumas[1:]:
            small = LANCZOS(luma).astype(np.float32)
            change = results[-1] - small
            results.append(small + share * np.exp(-((change / 8) ** 2)) * change)
        return [rounded(result) for result in results]

    return downscale


DOWNSCALERS = {
    "bicubic": each(filtered("bicubic")),
    "area": each(filtered("area")),
    "gaussian": each(filtered("gaussian")),
    "sharper": each(filtered(sharpness=0.2)),
    "a little sharper": each(filtered(sharpness=0.1)),
    "softer": each(filtered(sharpness=-0.2)),
    "coring 1": coring(1.0),
    "coring 2": coring(2.0),
    "alternately sharper": alternating(0.1),
    "alternately softer": alternating(-0.2),
    "recursive": recursive(0.5),
}


class Shot(NamedTuple):
    """A shot downscaled by Lanczos and by each of the downscalers, and the motion in its triples."""

    lanczos: list
    variants: dict
    motion: MotionPositions


def triples(small):
    """[N, 3, SIDE, SIDE] crops of the small pictures of a shot."""
    stacked = np.stack(small)
    crops = [stacked[list(times), y : y + SIDE, x : x + SIDE] for times, (y, x) in product(TIMES, CROPS)]
    return torch.from_numpy(np.stack(crops)).float()


def motion_in(parts):
    pairs = ((2, 0), (1, 0), (1, 2))
    frames = parts.numpy()
    vectors = [np.stack([search(part[to], part[start]) for part in frames]) for to, start in pairs]
    return MotionPositions(*(motion_positions(torch.from_numpy(v), SIDE) for v in vectors))


@pytest.fixture(scope="module")
def shots():
    made = []
    for number, photograph in enumerate(PHOTOGRAPHS):
        rng = np.random.default_rng(number)
        lumas = [
            planes[0] for planes in shot(photograph(), data.rocket(), (384, 512), FRAMES, rng, MotionLimits(pan=3.0))
        ]
        lanczos = [LANCZOS(luma) for luma in lumas]
        variants = {name: downscale(lumas) for name, downscale in DOWNSCALERS.items()}
        made.append(Shot(lanczos, variants, motion_in(triples(lanczos))))
    return made


def real_bytes(small, codec, crf, folder):
    """Bytes of the P and B frames, and the I frame's share in a sequence of sixteen times as many P frames."""
    height, width = small[0].shape
    layout, color = PixelFormat("420", 8), Color("tv", "bt709", "bt709", "bt709", "left")
    gray = np.full((height // 2, width // 2), 128, np.uint8)
    frames = [Frame((luma, gray, gray), layout, n, 1 / RATE, color=color) for n, luma in enumerate(small)]
    info = VideoInfo(width, height, layout, color, 1 / RATE, RATE)
    path = folder / "small.mp4"
    ffmpeg = find_ffmpeg(None, encoders=[f"lib{codec}"], filters=["setparams", "setsar"])
    settings = CodecSettings(codec=codec, preset="medium", crf=crf)
    encode_frames(frames, info, command=encode_command(ffmpeg, settings, info, path), path=path, clock=Clock("encode"))
    with av.open(str(path)) as container:
        packets = [(packet.size, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    return sum(size / 3 if is_keyframe else size for size, is_keyframe in packets)


@torch.no_grad()
def proxy_bits(small, motion, crf):
    parts = triples(small)
    return float(encode(parts, motion, torch.full((len(parts),), crf)).bits.mean())


def changes(amount, shots):
    """[shots, downscalers] logarithms of `amount(small pictures, motion)` relative to that of Lanczos."""
    return np.log([
        [amount(small, motion) / usual for small in variants.values()]
        for lanczos, variants, motion in shots
        for usual in [amount(lanczos, motion)]
    ])  # fmt: skip


@pytest.fixture(scope="module")
def proxy_changes(shots):
    """The proxy's `changes` at each crf, for both encoders."""
    return {crf: changes(partial(proxy_bits, crf=crf), shots) for crf in (22.0, 27.0, 32.0)}


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "least_slope"), [("x265", 0.9), ("x264", 0.7)])
def test_bits_follow_the_encoder(codec, least_slope, shots, proxy_changes, tmp_path):
    """Over downscalers, some of which change pictures in time: same order, similar changes."""
    slopes = []
    for crf, x in proxy_changes.items():
        y = changes(lambda small, _, crf=crf: real_bytes(small, codec, crf, tmp_path), shots)
        assert stats.spearmanr(x.mean(0), y.mean(0))[0] >= 0.93, (crf, x.mean(0), y.mean(0))
        slopes.append((x * y).sum() / (x * x).sum())
    assert least_slope <= np.mean(slopes) <= 1.15, slopes


@pytest.mark.slow
@pytest.mark.parametrize("crf", [22.0, 32.0])
def test_gradient_agrees_with_finite_differences(crf, shots):
    """The quantiser is a staircase: its gradient is that of the average over many blocks and grids."""
    small, softer, motion = shots[0].lanczos, shots[0].variants["softer"], shots[0].motion
    parts = triples(small)
    direction = parts - triples(softer)  # towards a sharper picture
    strength = torch.full((len(parts),), crf)
    inner = slice(EDGE, SIDE - EDGE)

    def measured(pictures, grid):
        coded = encode(pictures, motion, strength, grid)
        p, b = parts[:, 2:3, inner, inner], parts[:, 1:2, inner, inner]
        return torch.stack([coded.bits.mean(), (coded.p - p).square().mean() + (coded.b - b).square().mean()])

    step, grids = 0.5, [(0, 0), (3, 5), (6, 2)]
    with torch.no_grad():
        changes = [measured(parts + step * direction, g) - measured(parts - step * direction, g) for g in grids]
    expected = torch.stack(changes).mean(0) / (2 * step)
    slopes = []
    for grid in grids:
        pictures = parts.clone().requires_grad_()
        bits, error = measured(pictures, grid)
        gradients = [torch.autograd.grad(value, pictures, retain_graph=True)[0] for value in (bits, error)]
        slopes.append(torch.stack([(gradient * direction).sum() for gradient in gradients]))
    bits, error = (torch.stack(slopes).mean(0) / expected).tolist()
    assert 0.8 < bits < 1.25
    assert 0.7 < error < 1.4


def test_blocks_are_coded_as_by_a_real_dct():
    """An I frame without loss is the picture; the transform is orthonormal, as scipy's."""
    rng = np.random.default_rng(0)
    block = rng.normal(size=(8, 8)).astype(np.float32)
    ours = codec_proxy._transformed(torch.from_numpy(block).reshape(1, 1, 64))
    expected = fft.dctn(block, norm="ortho")
    np.testing.assert_allclose(ours.reshape(8, 8), expected, atol=1e-5)


@pytest.mark.slow
def test_finer_quantiser_keeps_the_picture(shots):
    parts = triples(shots[1].lanczos)[:4]
    motion = MotionPositions(*(positions[:4] for positions in shots[1].motion))
    coded = encode(parts, motion, torch.full((4,), -20.0))
    inner = slice(EDGE, SIDE - EDGE)
    assert float((coded.p - parts[:, 2:3, inner, inner]).abs().max()) < 1
    assert float((coded.b - parts[:, 1:2, inner, inner]).abs().max()) < 1


@pytest.mark.slow
def test_still_shots_cost_next_to_nothing(shots):
    """P and B frames that equal the I frame have only what the quantiser of the I frame lost to code."""
    parts = triples(shots[0].lanczos)
    still = parts[:, :1].expand(-1, 3, -1, -1)
    none = MotionPositions(*[motion_positions(torch.zeros(len(parts), 12, 12, 2, dtype=torch.int16), SIDE)] * 3)
    crf = torch.full((len(parts),), 27.0)
    with torch.no_grad():
        moving, unmoved = encode(parts, shots[0].motion, crf), encode(still, none, crf)
    assert float(unmoved.bits.mean()) < 0.6 * float(moving.bits.mean())


def test_dead_zone_is_nearly_free():
    """Coefficients that the encoder drops cost a small part of those that it keeps; far above, a bit per octave."""
    quarter, one, two, large, twice = coefficient_bits(torch.tensor([0.25, 1.0, 2.0, 100.0, 200.0])).tolist()
    assert 0 <= quarter < 0.1 * one < one < two
    assert twice - large == pytest.approx(1, abs=0.01)


def test_quantiser_has_a_dead_zone():
    levels = torch.tensor([-1.9, -0.79, -0.2, 0.79, 0.81, 1.9, 2.81])
    assert quantised(levels, 0.2).tolist() == [-2, 0, 0, 0, 1, 2, 3]
