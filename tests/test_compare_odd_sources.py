"""compare reads a movie in the format that each encoder gets, and reports movies that it cannot encode."""

from pathlib import Path
from typing import Any

import pytest
from material import make, picture

from vidscale import api

pytestmark = pytest.mark.slow  # most cases encode and decode a file

H, W = 48, 96
QUICK: dict[str, Any] = {"pairs": "lanczos", "preset": "ultrafast", "rates": "20,30", "metrics": "psnr"}


@pytest.fixture
def deep(home: Path) -> Path:
    return make(home / "deep.mkv", *picture(f"{W}x{H}", duration=0.4), "-pix_fmt", "yuv420p16le", "-c:v", "ffv1")


def test_sixteen_bits_are_compared_at_the_depth_of_each_encoder(deep: Path, home: Path) -> None:
    shallow = make(home / "shallow.mkv", "-i", deep, "-pix_fmt", "yuv420p10le", "-sws_dither", "none", "-c:v", "ffv1")
    found = api.compare(deep, shallow, output=home / "out", codecs="x264,x265", **QUICK)
    assert not found.failures
    values = {
        movie: [point.metrics["psnr_y"] for curve in found.curves if curve.movie == movie for point in curve.points]
        for movie in ("deep.mkv", "shallow.mkv")
    }
    assert len(values["deep.mkv"]) == 8
    assert values["deep.mkv"] == pytest.approx(values["shallow.mkv"], abs=0.6)


def test_transparent_movies_fail_or_are_compared_without_alpha(home: Path) -> None:
    hole = "format=rgba,drawbox=w=iw/2:h=ih:color=black@0.5:t=fill:replace=1,format=yuva420p"
    movie = make(home / "hole.mkv", *picture(f"{W}x{H}", duration=0.4, then=hole), "-c:v", "ffv1")
    found = api.compare(movie, output=home / "refused", **QUICK)
    ((_, reason),) = found.failures
    assert "--alpha drop encodes the colours only" in reason
    found = api.compare(movie, output=home / "dropped", alpha="drop", **QUICK)
    assert not found.failures
    assert len(found.curves) == 2
