"""Block matching on pictures whose true motion is known."""

import numpy as np
import pytest
from scipy import ndimage

from vidscale.training.motion_search import EDGE, FRACTIONS, TAPS, search


@pytest.mark.parametrize("moved", [(0.0, 0.0), (3.0, -5.0), (1.25, 0.5), (-2.75, 7.25)])
def test_finds_the_true_motion(moved):
    """A picture shifted by scipy's spline interpolation: nearly every block finds the shift, in quarter samples."""
    noise = np.random.default_rng(0).normal(0, 1, (512, 512))
    texture = (128 + 200 * ndimage.gaussian_filter(noise, 1.5)).astype(np.float32)  # the same in all directions
    reference = np.ascontiguousarray(texture[100:236, 180:316])
    current = ndimage.shift(texture, [-n for n in moved], order=5)[100:236, 180:316].astype(np.float32)
    vectors = search(current, reference)
    assert vectors.shape == (12, 12, 2)
    off = abs(vectors - np.array(moved) * FRACTIONS).max(axis=-1)
    assert (off <= 1).mean() > 0.95


def test_taps_are_those_of_the_standard():
    """Unit gain, mirrored, and nearly right for a slow sine (ITU-T H.265, table 8-11)."""
    np.testing.assert_allclose(TAPS.sum(1), 1)
    np.testing.assert_array_equal(TAPS[1, :7], TAPS[3, :0:-1])
    places = np.arange(-3, 5)
    for fraction, line in enumerate(TAPS):
        assert line @ np.sin(0.4 * places) == pytest.approx(np.sin(0.4 * fraction / FRACTIONS), abs=0.01)


def test_vectors_stay_within_reach():
    rng = np.random.default_rng(0)
    current, reference = (rng.uniform(0, 255, (136, 136)).astype(np.float32) for _ in range(2))
    assert abs(search(current, reference)).max() <= 15 * FRACTIONS < EDGE * FRACTIONS
