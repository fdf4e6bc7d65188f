"""Synthesises shots from photographs: a camera pans, zooms and rolls by subpixel steps; objects pass in front."""

from collections.abc import Iterator

import numba
import numpy as np
import numpy.typing as npt

from vidscale.training.coded_crops import MotionLimits

Codes = npt.NDArray[np.uint8]
Image32 = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

_PHASE_BITS = 8  # 256 filter phases per pixel
_PHASES = 1 << _PHASE_BITS
_MARGIN = 4
_KR, _KB = 0.2126, 0.0722  # BT.709


def shot(
    photo: Codes, other: Codes, size: tuple[int, int], frames: int, rng: np.random.Generator, motion: MotionLimits
) -> Iterator[tuple[Codes, Codes, Codes]]:
    """Frames of one shot, yuv420p, BT.709, limited range, chroma sited left.

    Args:
        photo: [H, W, 3] uint8 RGB, the scene; upscaled if it is too small.
        other: a second photograph, a patch of which may pass in front.
        size: (height, width), even.
        frames: number of frames.
        rng: source of randomness.
        motion: limits of the motion.

    Yields:
        Y [h, w], U and V [h / 2, w / 2], uint8.
    """
    poses = _camera(size, frames, rng, motion)
    corners = poses[:, :, :2] @ _corners(size) + poses[:, :, 2:]
    poses[:, :, 2] -= corners.min(axis=(0, 2)) - _MARGIN
    needed = np.ceil(np.ptp(corners, axis=(0, 2))).astype(int)[::-1] + 2 * _MARGIN + 2
    scene = to_yuv(_reduced(photo, needed, rng, motion.reduction))
    front = (
        to_yuv(_reduced(other, np.array(size) + 2 * _MARGIN, rng, motion.reduction))
        if _happens(rng, motion.passing)
        else None
    )
    path = _passing_path(size, frames, rng)
    sigma = rng.uniform(0, motion.grain) if rng.random() < 0.5 else 0.0
    view = np.empty((3, *size), np.float32)
    for number, pose in enumerate(poses):
        for plane, out in zip(scene, view, strict=True):
            sample(plane, pose, out)
        if front is not None:
            _paste(view, front, path, number)
        luma = view[0] + rng.normal(0, sigma, size).astype(np.float32) if sigma else view[0]
        yield codes(luma), codes(_subsampled(view[1])), codes(_subsampled(view[2]))


def _happens(rng: np.random.Generator, share: float) -> bool:
    return bool(rng.random() < share)


def _camera(size: tuple[int, int], frames: int, rng: np.random.Generator, motion: MotionLimits) -> Matrix:
    """A matrix [2, 3] per frame that maps a pixel (x, y, 1) to scene coordinates."""
    still = rng.random() < 0.15  # a tripod
    speed = 0.0 if still else rng.uniform(0, motion.pan)
    heading = rng.uniform(0, 2 * np.pi)
    turn = 0.0 if still else rng.uniform(-1, 1) * motion.roll * (rng.random() < 0.5)
    zoom = 0.0 if still else rng.uniform(-1, 1) * motion.zoom * (rng.random() < 0.5)
    t = np.arange(frames) - frames / 2
    step, angle = np.exp(zoom * t), turn * t + rng.uniform(-0.05, 0.05)
    along, across = step * np.cos(angle), step * np.sin(angle)
    turned = np.stack([np.stack([along, -across], -1), np.stack([across, along], -1)], 1)
    swing = rng.uniform(0, 1.5, (2, 1)) * np.sin(0.3 * t + rng.uniform(0, 6, (2, 1)))  # handheld sway
    centre = np.stack([speed * np.cos(heading) * t, speed * np.sin(heading) * t], 0) + (0 if still else swing)
    middle = np.array([[(size[1] - 1) / 2], [(size[0] - 1) / 2]])
    shift = centre.T[:, :, None] - turned @ middle
    return np.concatenate([turned, shift], axis=2)


def _corners(size: tuple[int, int]) -> Matrix:
    height, width = size
    return np.array([[0, width, 0, width], [0, 0, height, height]], np.float64)


def _reduced(photo: Codes, needed: npt.NDArray[np.int64], rng: np.random.Generator, most: float) -> Image32:
    """A random crop [needed] of the photograph as RGB floats, randomly downscaled as far as its size allows."""
    from PIL import Image

    height, width = photo.shape[:2]
    room = min(height / needed[0], width / needed[1])
    factor = 1 / room if room < 1 else 1 / rng.uniform(1, min(room, most))
    size = max(needed[1], round(width * factor)), max(needed[0], round(height * factor))
    image = np.asarray(Image.fromarray(photo).resize((int(size[0]), int(size[1])), Image.Resampling.LANCZOS))
    top, left = (int(rng.integers(0, there - want + 1)) for there, want in zip(image.shape, needed, strict=False))
    return image[top : top + needed[0], left : left + needed[1]].astype(np.float32) / np.float32(255)


def to_yuv(rgb: Image32) -> Image32:
    """RGB [H, W, 3] in [0, 1] to BT.709 limited-range codes [3, H, W], not rounded."""
    luma = rgb @ np.array([_KR, 1 - _KR - _KB, _KB], np.float32)
    blue, red = (rgb[..., 2] - luma) / (2 - 2 * _KB), (rgb[..., 0] - luma) / (2 - 2 * _KR)
    return np.stack([16 + 219 * luma, 128 + 224 * blue, 128 + 224 * red]).astype(np.float32)


def _passing_path(size: tuple[int, int], frames: int, rng: np.random.Generator) -> Matrix:
    """Per frame the centre (y, x) of the passing object, then its constant semi-axes (y, x)."""
    height, width = size
    axes = rng.uniform(0.1, 0.35, 2) * (height, width)
    start, speed = rng.uniform(0, 1, 2) * (height, width), rng.uniform(-8, 8, 2)
    places = start + np.arange(frames)[:, None] * speed
    return np.column_stack([places, np.broadcast_to(axes, (frames, 2))])


def _paste(view: Image32, front: Image32, path: Matrix, number: int) -> None:
    """Pastes an elliptic patch of another scene over the view; its texture moves with it in whole pixels."""
    y, x, half_height, half_width = path[number]
    moved_y, moved_x = (round(a) for a in path[number, :2] - path[0, :2])
    rows, columns = np.arange(view.shape[1]), np.arange(view.shape[2])
    inside = (((rows - y) / half_height) ** 2)[:, None] + ((columns - x) / half_width) ** 2
    alpha = np.clip((1 - inside) * min(half_height, half_width) / 2, 0, 1).astype(np.float32)
    source = front[:, (rows - moved_y) % front.shape[1]][:, :, (columns - moved_x) % front.shape[2]]
    view += alpha * (source - view)


def _subsampled(plane: Image32) -> Image32:
    """Halves both sides, sited left: taps 1 2 1 along rows, 1 1 along columns."""
    padded = np.pad(plane, ((0, 0), (1, 1)), mode="edge")
    rows = (padded[:, :-2:2] + 2 * padded[:, 1:-1:2] + padded[:, 2::2]) / np.float32(4)
    return np.asarray((rows[::2] + rows[1::2]) / np.float32(2), np.float32)


def codes(plane: Image32) -> Codes:
    """Rounded to 1..254, uint8."""
    rounded: Codes = np.clip(plane + np.float32(0.5), 1, 254).astype(np.uint8)
    return rounded


def _catmull_rom() -> Image32:
    """Weights [_PHASES, 4] of the four samples around a position 0 to 1 after the second."""
    u = np.arange(_PHASES) / _PHASES
    columns = [2 * u**2 - u - u**3, 2 - 5 * u**2 + 3 * u**3, u + 4 * u**2 - 3 * u**3, u**3 - u**2]
    return np.stack(columns, axis=1).astype(np.float32) * np.float32(0.5)


_WEIGHTS = _catmull_rom()


@numba.njit(nogil=True, fastmath=True, cache=True)
def sample(source: Image32, pose: Matrix, out: Image32) -> None:
    """Samples a plane at ``pose @ (x, y, 1)`` for every pixel of `out`, to 1/256 pixel, by Catmull-Rom splines.

    Args:
        source: [H, W]; extends two samples beyond the sampled area.
        pose: [2, 3], from coordinates of `out` to those of `source`.
        out: [h, w].
    """
    height, width = out.shape
    for y in range(height):
        start_x, start_y = pose[0, 1] * y + pose[0, 2], pose[1, 1] * y + pose[1, 2]
        for x in range(width):
            place_x, place_y = int((pose[0, 0] * x + start_x) * _PHASES), int((pose[1, 0] * x + start_y) * _PHASES)
            left, top = (place_x >> _PHASE_BITS) - 1, (place_y >> _PHASE_BITS) - 1
            a, b, c, d = _WEIGHTS[place_x & (_PHASES - 1)]
            down = _WEIGHTS[place_y & (_PHASES - 1)]
            total = np.float32(0)
            for i in range(4):
                line = source[top + i]
                total += down[i] * (a * line[left] + b * line[left + 1] + c * line[left + 2] + d * line[left + 3])
            out[y, x] = total
