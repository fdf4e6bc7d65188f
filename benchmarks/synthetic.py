"""Makes a reproducible clip with motion from one photograph.

A camera pans, zooms and rolls slowly over the photograph by subpixel steps, and adds a little grain:

    python benchmarks/synthetic.py clip.mp4 --size 1920x1080 --frames 1500 --fps 30

The photograph (scikit-image's ``coffee``, CC0, or `--photo`) is upscaled to the size of the scene. The missing octaves
are filled with noise as strong as the local finest texture, so that the pictures have detail down to the pixel, like a
camera's.
"""

import argparse
import subprocess
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage import data, filters

from vidscale.training.motion import codes, sample, to_yuv

Image32 = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
Plane = npt.NDArray[np.uint8]

MARGIN = 4  # canvas pixels around what the camera sees: the support of the filter, and room for its chroma grid
GRAIN_SHIFTS = 64


def frames(
    width: int, height: int, count: int, fps: Fraction, *, photo: Path | None = None, noise: float = 1.0, seed: int = 0
) -> Iterator[tuple[Plane, ...]]:
    """Pictures of the clip, yuv420p, BT.709, limited range, chroma sited left.

    Args:
        width, height: size in luma samples.
        count: number of pictures.
        fps: pictures per second; the motion is the same in seconds at every rate.
        photo: picture file; None for scikit-image's ``coffee``.
        noise: standard deviation of the grain in codes.
        seed: chooses the camera's path, the texture and the grain.

    Yields:
        Y [H, W], U and V [ceil(H/2), ceil(W/2)], uint8.
    """
    rng = np.random.default_rng(seed)
    path = camera_path(width, height, count, fps, rng)
    corners = path[:, :, :2] @ np.array([[0, width, 0, width], [0, 0, height, height]]) + path[:, :, 2:]
    path[:, :, 2] -= corners.min(axis=(0, 2)) - MARGIN
    scene_width, scene_height = np.ceil(np.ptp(corners, axis=(0, 2))).astype(int) + 2 * MARGIN
    luma, *chroma = scene(_read(photo), int(scene_width), int(scene_height), rng)
    grain = rng.normal(0, noise, (height + GRAIN_SHIFTS, width + GRAIN_SHIFTS)).astype(np.float32)
    view, half = (np.empty(size, np.float32) for size in ((height, width), ((height + 1) // 2, (width + 1) // 2)))
    for pose in path:
        y, x = rng.integers(0, GRAIN_SHIFTS, 2)
        sample(luma, pose, view)
        view += grain[y : y + height, x : x + width]
        planes = [codes(view)]
        for source in chroma:
            sample(source, _chroma_pose(pose), half)
            planes.append(codes(half))
        yield tuple(planes)


def camera_path(width: int, height: int, count: int, fps: Fraction, rng: np.random.Generator) -> Matrix:
    """Camera poses: per picture a matrix [2, 3] that maps a pixel (x, y, 1) to scene coordinates.

    Each of pan, zoom and roll is a sum of two slow sine waves. A pixel covers 0.8 to 1 pixels of the scene.
    """
    t = np.arange(count) / float(fps)

    def wander(period_s: float) -> Matrix:
        phases = rng.uniform(0, 2 * np.pi, 2)
        waves = np.sin(2 * np.pi * np.outer([1, 1.7], t) / period_s + phases[:, None])
        path: Matrix = 0.7 * waves[0] + 0.3 * waves[1]
        return path

    step = 0.9 + 0.1 * wander(11)
    angle = np.radians(2.5) * wander(9)
    along, across = step * np.cos(angle), step * np.sin(angle)
    turn = np.stack([np.stack([along, -across], -1), np.stack([across, along], -1)], 1)
    centre = np.stack([0.12 * width * wander(8), 0.10 * height * wander(7)], -1)
    shift = centre[:, :, None] - turn @ np.array([[(width - 1) / 2], [(height - 1) / 2]])
    return np.concatenate([turn, shift], axis=2)


def scene(photo: Image.Image, width: int, height: int, rng: np.random.Generator) -> tuple[Image32, Image32, Image32]:
    """The photograph upscaled to the scene, with texture, as Y and half-size U and V in codes, not rounded."""
    width, height = width + width % 2, height + height % 2
    enlarge = max(width / photo.width, height / photo.height)
    # Rounding must not take the box beyond the photograph.
    left, top = max(0.0, (photo.width - width / enlarge) / 2), max(0.0, (photo.height - height / enlarge) / 2)
    box = (left, top, photo.width - left, photo.height - top)
    enlarged = photo.resize((width, height), Image.Resampling.LANCZOS, box=box)
    luma, *chroma = to_yuv(np.asarray(enlarged, np.float32) / np.float32(255))
    u, v = (plane.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3)) for plane in chroma)
    return luma + _texture(luma, enlarge, rng), u, v


def _blur(picture: Image32, sigma: float) -> Image32:
    blurred: Image32 = filters.gaussian(picture, sigma)  # type: ignore[no-untyped-call]
    return blurred


def _texture(luma: Image32, enlarge: float, rng: np.random.Generator) -> Image32:
    """Detail missing from an upscaled picture: a band of noise per missing octave."""
    finest = luma - _blur(luma, enlarge)
    strength = np.sqrt(_blur(finest**2, 3 * enlarge))
    strength = np.minimum(strength, 2 * np.median(strength) + 0.219)
    total = np.zeros_like(luma)
    sigma = enlarge / 4
    while sigma > 0.25:
        white = rng.standard_normal(luma.shape, np.float32)
        band = _blur(white, sigma) - _blur(white, 2 * sigma)
        total += 0.9 * strength * band / band.std()
        sigma /= 2
    return total


def _chroma_pose(pose: Matrix) -> Matrix:
    """The same view in the grids of chroma: samples sited left in the picture, centred in the scene."""
    place = pose[:, :2] @ np.array([0, 0.5]) + pose[:, 2]
    return np.column_stack([pose[:, :2], (place - 0.5) / 2])


def _read(photo: Path | None) -> Image.Image:
    if photo is None:
        return Image.fromarray(data.coffee())  # type: ignore[no-untyped-call]
    with Image.open(photo) as picture:
        return picture.convert("RGB")


def write_clip(
    path: Path,
    width: int,
    height: int,
    count: int,
    fps: Fraction,
    *,
    photo: Path | None = None,
    noise: float = 1.0,
    seed: int = 0,
) -> None:
    """Writes `frames` with a sine tone as sound: x264 crf 16 and AAC, in the container that the name asks for."""
    seconds = float(count / fps)
    colors = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-v", "error", "-y"]
    command += ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", str(fps), "-i", "pipe:0"]
    command += ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds:.6f}"]
    command += ["-vf", colors, "-c:v", "libx264", "-preset", "veryfast", "-crf", "16", "-c:a", "aac", "-b:a", "96k"]
    command += ["-map_metadata", "-1", "-fflags", "+bitexact", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        if process.stdin is None:
            raise RuntimeError("ffmpeg was started without a pipe")
        for planes in frames(width, height, count, fps, photo=photo, noise=noise, seed=seed):
            for plane in planes:
                process.stdin.write(plane.data)
        process.stdin.close()
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make a clip with motion from a photograph.")
    parser.add_argument("out", type=Path, help="the file to write, such as clip.mp4")
    parser.add_argument("--size", default="1920x1080", help="WIDTHxHEIGHT, both even (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=300, help="number of pictures (default: %(default)s)")
    parser.add_argument("--fps", type=Fraction, default=Fraction(30), help="pictures per second (default: %(default)s)")
    parser.add_argument("--photo", type=Path, help="picture to use (default: scikit-image's coffee)")
    parser.add_argument("--noise", type=float, default=1.0, help="grain, sigma in codes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another path and other grain (default: %(default)s)")
    args = parser.parse_args(arguments)
    width, height = (int(side) for side in args.size.split("x"))
    write_clip(args.out, width, height, args.frames, args.fps, photo=args.photo, noise=args.noise, seed=args.seed)


if __name__ == "__main__":
    main()
