"""`--effort`: a downscaler's filter alone, or with its network."""

from fractions import Fraction

import numpy as np
import pytest
from skimage import data

from vidscale.compare.points import Candidate
from vidscale.config import EncodeSettings
from vidscale.errors import UsageError
from vidscale.jobs.planning import plan_encode
from vidscale.media.encoders import ENCODERS
from vidscale.media.frames import PixelFormat, YuvImage
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.pairs import default_effort, find_pair, with_effort
from vidscale.per_title.ways import settings_for
from vidscale.system import devices


def test_fast_is_the_filter_alone():
    image = YuvImage((np.ascontiguousarray(data.camera()[:120, :200]),), PixelFormat("gray", 8))
    pair = find_pair("adaptive-x2", None, "cpu")
    plain = FixedPair("lanczos", Fraction(2)).downscale(image)[0]
    fast, normal, patient = (with_effort(pair, effort) for effort in ("fast", "normal", "patient"))
    np.testing.assert_array_equal(fast.downscale(image, 28.0)[0], plain)
    little, much = (np.abs(one.downscale(image, 28.0)[0].astype(int) - plain).mean() for one in (normal, patient))
    assert 0 < little < much < 8
    assert much > 0.3
    assert fast.downscale_backend != normal.downscale_backend
    assert with_effort(find_pair("lanczos-x2", None), "normal").name == "lanczos-x2"


def test_filter_alone_has_the_sharpness_of_its_pair():
    """Without a strength, as for pictures, there is no correction either."""
    image = YuvImage((np.ascontiguousarray(data.camera()[:120, :200]),), PixelFormat("gray", 8))
    pair = find_pair("adaptive-vmaf-x2", None, "cpu")
    soft = FixedPair("lanczos", Fraction(2), sharpness=-0.2).downscale(image)[0]
    np.testing.assert_array_equal(with_effort(pair, "fast").downscale(image, 28.0)[0], soft)
    np.testing.assert_array_equal(pair.downscale(image)[0], soft)
    assert np.abs(pair.downscale(image, 28.0)[0].astype(int) - soft).mean() > 0.5


@pytest.mark.parametrize(
    ("codec", "preset", "scale", "effort"),
    [
        ("x264", None, "2", "normal"),
        ("x264", None, "1.5", "fast"),
        ("x264", "slower", "1.5", "normal"),
        ("x264", "slower", "2", "patient"),
        ("x264", "fast", "2", "fast"),
        ("x265", None, "1.5", "normal"),
        ("x265", None, "2", "normal"),
        ("x265", "slow", "2", "patient"),
        ("x265", "ultrafast", "2", "fast"),
    ],
)
def test_default_depends_on_encoder_and_scale(codec, preset, scale, effort, make_clip):
    movie = make_clip("film.mp4", size="128x96", frames=2)
    settings = EncodeSettings.resolve({"codec": codec, "preset": preset, "scale": scale, "report": False})
    assert plan_encode(movie, None, settings).pair == with_effort(find_pair(f"adaptive-x{scale}", None), effort)
    told = settings.model_copy(update={"effort": "fast"})
    assert plan_encode(movie, None, told).pair.downscale_backend.implementation == "numba"


def test_chosen_scale_uses_the_network_at_every_scale():
    """Its aim is the fewest bits: x264 medium by 1.5 too. The command that encodes the way says so."""
    settings = EncodeSettings.resolve({"codec": "x264", "scale": "auto"})
    assert settings.shared_effort == "normal"
    by = {scale: Candidate("adaptive", "adaptive", Fraction(scale), "x264", "medium") for scale in ("1.5", "2")}
    small, half = (settings_for(by[scale], settings, 24.0) for scale in ("1.5", "2"))
    assert (small.effort, half.effort) == ("normal", None)
    quick = EncodeSettings.resolve({"codec": "x264", "preset": "veryfast", "scale": "auto"})
    assert quick.shared_effort == "fast"


@pytest.mark.parametrize(("device", "effort"), [("cuda", "patient"), ("cpu", "fast")])
def test_network_is_always_used_on_a_gpu(device, effort, monkeypatch):
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    pair = find_pair("adaptive-x2", None, device)
    assert default_effort(pair, ENCODERS["x264"], "ultrafast") == effort


def test_chosen_way_is_encoded_as_it_was_probed_on_a_gpu(monkeypatch):
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    settings = EncodeSettings.resolve({"codec": "x264", "scale": "auto", "device": "cuda"})
    way = Candidate("adaptive", "adaptive", Fraction(2), "x264", "medium")
    assert settings_for(way, settings, 24.0).effort == settings.shared_effort == "normal"


def test_encoding_again_for_updates_needs_the_large_network():
    for scale in ("2", "auto"):
        assert EncodeSettings.resolve({"scale": scale, "adapt": "best"}).shared_effort == "patient"
    assert EncodeSettings.resolve({"adapt": "best", "effort": "fast"}).shared_effort == "fast"


def test_effort_errors():
    with pytest.raises(UsageError, match=r"effort.*'fast', 'normal' or 'patient'"):
        EncodeSettings.resolve({"effort": "hard"})
