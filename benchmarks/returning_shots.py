"""Makes a movie whose sets return: every shot stands in it twice, in two orders.

    python benchmarks/returning_shots.py movie.mkv CLIP... [--photo PHOTO...] [--frames 48]

Shots are the first frames of clips of one size, and synthetic shots of photographs (`synthetic.py`). The movie has 24
pictures/s, is lossless and tagged as BT.709: the samples of the clips are taken as they are.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
from synthetic import write_clip

_FPS = 24
_COLORS = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"


def write_movie(path: Path, clips: Sequence[Path], photos: Sequence[Path], frames: int) -> None:
    """Writes the movie: all shots, then those at odd places and those at even places once more.

    Args:
        path: Matroska file to write.
        clips: of one size, each with `frames` frames or more.
        photos: of synthetic shots, 640x360.
        frames: of each shot.
    """
    with tempfile.TemporaryDirectory(prefix="vidscale-bench-") as folder:
        shots = list(clips)
        for n, photo in enumerate(photos):
            shots.append(Path(folder) / f"{n}.mkv")
            write_clip(shots[-1], 640, 360, frames, Fraction(_FPS), photo=photo, seed=n)
        parts = "".join(
            f"[{n}:v]trim=end_frame={frames},setpts=N/{_FPS}/TB,settb=1/{_FPS},format=yuv420p,{_COLORS},setsar=1,"
            f"split[a{n}][b{n}];"
            for n in range(len(shots))
        )
        order = [f"[a{n}]" for n in range(len(shots))]
        order += [f"[b{n}]" for n in (*range(1, len(shots), 2), *range(0, len(shots), 2))]
        graph = f"{parts}{''.join(order)}concat=n={len(order)}[movie]"
        inputs = [word for shot in shots for word in ("-i", str(shot))]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-v", "error", "-y", *inputs]
        command += ["-filter_complex", graph, "-map", "[movie]", "-c:v", "ffv1", "-r", str(_FPS), str(path)]
        subprocess.run(command, check=True)


def main() -> None:
    """Writes the movie that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--photo", nargs="*", type=Path, default=[])
    parser.add_argument("--frames", type=int, default=48)
    options = parser.parse_args()
    write_movie(options.out, options.clips, options.photo, options.frames)


if __name__ == "__main__":
    main()
