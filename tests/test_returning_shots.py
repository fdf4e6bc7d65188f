"""`benchmarks/returning_shots.py`: the shots of the movie, and their order."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
from material import make

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "returning_shots.py"


def test_every_shot_stands_twice_as_it_was(tmp_path):
    clips = []
    for n, smpte in enumerate(("bt709", "smpte170m", "unknown")):  # no conversion between them
        noise = f"nullsrc=s=64x48:r=30:d=1,format=yuv420p,geq=random({n})*200:128:128,setparams=colorspace={smpte}"
        clips.append(make(tmp_path / f"{n}.mkv", "-f", "lavfi", "-i", noise, "-c:v", "ffv1"))
    movie = tmp_path / "movie.mkv"
    subprocess.run([sys.executable, SCRIPT, movie, *clips, "--frames", "5"], check=True, timeout=60)
    shots = [pictures(clip)[:5] for clip in clips]
    wanted = np.concatenate([shots[n] for n in (0, 1, 2, 1, 0, 2)])
    np.testing.assert_array_equal(pictures(movie), wanted)


def pictures(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray() for frame in container.decode(video=0)])
