"""The coding strength stored in a small file when the encoder's rate was not set by crf."""

from pathlib import Path

import pytest
from material import FFMPEG, coded, make, picture

from vidscale.config import DecodeSettings, EncodeSettings
from vidscale.jobs.restore import open_small
from vidscale.media.file_identity import probe_identity

pytestmark = pytest.mark.slow  # most cases encode and decode a file


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    moving = picture("320x176", duration=2, then="noise=alls=6:allf=t,gblur=0.7,format=yuv420p")
    return make(tmp_path_factory.mktemp("strength") / "source.mkv", *moving, "-c:v", "ffv1")


def told(small: Path) -> float:
    identity = probe_identity(small)
    assert identity is not None
    assert identity.crf is not None
    return float(identity.crf)


def kbps(path: Path) -> float:
    return path.stat().st_size * 8 / 1000 / 2


@pytest.mark.parametrize(
    ("codec", "params"),
    [
        ("x264", "bitrate={kbps}"),
        ("x264", "bitrate={kbps}:vbv-maxrate={kbps}:vbv-bufsize={kbps}"),
        ("x265", "bitrate={kbps}"),
        ("svtav1", "rc=1:tbr={kbps}"),
    ],
)
@pytest.mark.parametrize("crf", [24, 36])
def test_bitrate_is_stored_as_the_crf_that_gives_it(
    source: Path, tmp_path: Path, codec: str, params: str, crf: int
) -> None:
    settings = {"codec": codec, "preset": "6" if codec == "svtav1" else "medium"}
    plain = coded(source, tmp_path / "plain.mp4", crf=crf, **settings)
    assert told(plain) == crf
    rate = max(1, round(kbps(plain)))
    small = coded(source, tmp_path / "small.mp4", crf=10, encoder_params=params.format(kbps=rate), **settings)
    off = 8 if codec == "svtav1" else 5  # of 63 and 51; a rate control needs more than two seconds to settle
    assert told(small) == pytest.approx(crf, abs=off)


@pytest.mark.parametrize("preset", ["ultrafast", "medium"])
@pytest.mark.parametrize("codec", ["x264", "x265"])
def test_constant_quantiser(source: Path, tmp_path: Path, codec: str, preset: str) -> None:
    """Strengths rise with the quantiser and stay close to it: crf is a few below, since B-frames get a higher
    quantiser."""
    found = [
        told(coded(source, tmp_path / f"{qp}.mp4", codec=codec, preset=preset, encoder_params=f"qp={qp}"))
        for qp in (20, 32, 44)
    ]
    assert found == sorted(found)
    for qp, crf in zip((20, 32, 44), found, strict=True):
        assert qp - 6 <= crf <= qp + 2


def test_two_passes(source: Path, tmp_path: Path) -> None:
    stats = f"stats={tmp_path / 'two'}"
    plain = coded(source, tmp_path / "plain.mp4", crf=32, preset="medium")
    rate = round(kbps(plain))
    for number in (1, 2):
        params = f"pass={number}:bitrate={rate}:{stats}"
        small = coded(source, tmp_path / "small.mp4", crf=10, preset="medium", encoder_params=params)
    assert told(small) == pytest.approx(32, abs=4)


@pytest.mark.parametrize("codec", ["x264", "x265"])
def test_lossless_is_no_strength_at_all(source: Path, tmp_path: Path, codec: str) -> None:
    params = {"x264": "qp=0", "x265": "lossless=1"}[codec]
    assert told(coded(source, tmp_path / "small.mp4", codec=codec, encoder_params=params)) == 0


def test_ten_bits_are_on_the_same_scale(source: Path, tmp_path: Path) -> None:
    deep = make(tmp_path / "deep.mkv", "-i", source, "-pix_fmt", "yuv420p10le", "-c:v", "ffv1")
    for codec, more in (("x264", 12), ("x265", 0)):  # x264's quantiser of as coarse a step is 6 higher for each bit
        one, other = (
            told(coded(path, tmp_path / "small.mp4", codec=codec, encoder_params=f"qp={qp}", preset="medium"))
            for path, qp in ((source, 30), (deep, 30 + more))
        )
        assert one == pytest.approx(other, abs=1.5)


@pytest.mark.parametrize(
    ("codec", "params", "crf"),
    [
        ("x264", "", 28.0),
        ("x264", "keyint=12:no-scenecut=1", 28.0),
        ("x264", "crf=35.5", 35.5),
        ("x265", "lossless=0:keyint=20", 28.0),
        ("x265", "crf=40", 40.0),
        ("svtav1", "film-grain=4", 28.0),
        ("svtav1", "crf=50", 50.0),
    ],
)
def test_plain_crf_is_stored_as_it_is(source: Path, tmp_path: Path, codec: str, params: str, crf: float) -> None:
    small = coded(source, tmp_path / "small.mp4", codec=codec, encoder_params=params)
    assert told(small) == crf
    strength = open_small(small, ffmpeg=FFMPEG, settings=DecodeSettings()).strength
    assert strength == pytest.approx(crf * 51 / 63 if codec == "svtav1" else crf)


@pytest.mark.parametrize(
    ("params", "crf"),
    [
        ("", 28.0), ("crf=31", 31.0), ("crf=many", None), ("crf=31:qp=4", None), ("bitrate=300", None),
        ("VBV_maxrate=300", None), ("lossless=0", 28.0), ("lossless", None), ("aq-mode=0", 28.0),
    ],
)  # fmt: skip
def test_which_settings_decide_the_rate(params: str, crf: float | None) -> None:
    assert EncodeSettings(encoder_params=params).coded_crf == crf
