"""`--effort`: a downscaler's filter alone, or with its network."""

from fractions import Fraction

import numpy as np
import pytest
from skimage import data

from vidscale.config import EncodeSettings
from vidscale.errors import UsageError
from vidscale.jobs.planning import plan_encode
from vidscale.media.frames import PixelFormat, YuvImage
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.pairs import find_pair, with_effort


def test_fast_is_the_filter_alone():
    image = YuvImage((np.ascontiguousarray(data.camera()[:120, :200]),), PixelFormat("gray", 8))
    pair = find_pair("adaptive-x2", None, "cpu")
    plain = FixedPair("lanczos", Fraction(2)).downscale(image)[0]
    fast, normal = (with_effort(pair, effort) for effort in ("fast", "normal"))
    np.testing.assert_array_equal(fast.downscale(image, 28.0)[0], plain)
    changed = np.abs(normal.downscale(image, 28.0)[0].astype(int) - plain)
    assert 0.3 < changed.mean() < 8
    assert fast.downscale_backend != normal.downscale_backend
    assert with_effort(find_pair("lanczos-x2", None), "normal").name == "lanczos-x2"


def test_filter_alone_has_the_sharpness_of_its_pair():
    """Without a strength, as for pictures, there is no correction either."""
    image = YuvImage((np.ascontiguousarray(data.camera()[:120, :200]),), PixelFormat("gray", 8))
    pair = find_pair("adaptive-vmaf-x2", None, "cpu")
    soft = FixedPair("lanczos", Fraction(2), sharpness=-0.2).downscale(image)[0]
    np.testing.assert_array_equal(with_effort(pair, "fast").downscale(image, 28.0)[0], soft)
    np.testing.assert_array_equal(pair.downscale(image)[0], soft)
    assert np.abs(pair.downscale(image, 28.0)[0].astype(int) - soft).mean() > 1


@pytest.mark.parametrize(
    ("codec", "preset", "effort"),
    [("x264", None, "fast"), ("x264", "veryslow", "normal"), ("x265", None, "normal"), ("x265", "ultrafast", "fast")],
)
def test_default_depends_on_the_encoder(codec, preset, effort, make_clip):
    movie = make_clip("film.mp4", size="128x96", frames=2)
    settings = EncodeSettings.resolve({"codec": codec, "preset": preset, "scale": "2", "report": False})
    backend = plan_encode(movie, None, settings).pair.downscale_backend
    assert backend == with_effort(find_pair("adaptive-x2", None), effort).downscale_backend
    told = settings.model_copy(update={"effort": "fast"})
    assert plan_encode(movie, None, told).pair.downscale_backend.implementation == "numba"


def test_effort_errors():
    with pytest.raises(UsageError, match=r"effort.*'fast' or 'normal'"):
        EncodeSettings.resolve({"effort": "patient"})
