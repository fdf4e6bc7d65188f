"""Colours that an encoder cannot signal are reported, and rejected by --strict; others are kept."""

from pathlib import Path
from typing import Any

import av
import pytest
from material import FASTEST, coded, make, picture, plan, restored

from vidscale.errors import ConfigError
from vidscale.media.encoders import ENCODERS
from vidscale.media.frames import Color

pytestmark = pytest.mark.slow  # most cases encode and decode a file

H, W = 48, 64
CODES = {"primaries": {"ebu3213": 22}, "matrix": {"ipt-c2": 15, "ycgco-re": 16, "ycgco-ro": 17}}
OPTIONS = {"primaries": "color_primaries", "transfer": "color_trc", "matrix": "colorspace"}
WORDS = [(what, word) for what, words in CODES.items() for word in words]
# What each encoder inside ffmpeg does not write.
LOST = {
    "x264": {"ebu3213", "ipt-c2", "ycgco-re", "ycgco-ro"},
    "x265": {"ebu3213", "ycgco-re", "ycgco-ro"},
    "svtav1": set[str](),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def tagged(folder: Path, what: str, word: object) -> Path:
    """A source whose container has these colour tags, and otherwise BT.709."""
    said = dict.fromkeys(OPTIONS.values(), "bt709") | {OPTIONS[what]: word}
    tags = "setparams=range=tv:" + ":".join(f"{option}={value}" for option, value in said.items())
    path = folder / f"{what}-{word}.mkv"
    moving = picture(f"{W}x{H}", duration=0.2, then=f"format=yuv420p,{tags}")
    return path if path.exists() else make(path, *moving, "-c:v", "ffv1")


def colours(path: Path) -> dict[str, Any]:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    return {"primaries": int(frame.color_primaries), "matrix": int(frame.colorspace), "transfer": int(frame.color_trc)}


@pytest.mark.parametrize(("what", "word"), WORDS)
@pytest.mark.parametrize("codec", ["x264", "x265", "svtav1"])
def test_what_the_encoder_does_not_write_is_named(
    what: str, word: str, codec: str, folder: Path, tmp_path: Path
) -> None:
    source = tagged(folder, what, word)
    truth = {"primaries": 1, "matrix": 1, "transfer": 1}
    assert colours(source) == truth | {what: CODES[what][word]}  # the source is what the test is about
    small = coded(source, tmp_path / "small.mkv", codec=codec)
    notes = [note for note in plan(source, codec=codec).notes if "colour" in note]
    if word in LOST[codec]:
        assert notes == [f"the output does not hold: the colour {what} {word}"]
        assert colours(small) == truth | {what: 2}
        with pytest.raises(ConfigError, match=f"--strict refuses to lose: the colour {what} {word}"):
            plan(source, codec=codec, strict=True)
    else:
        assert not notes
        assert colours(small) == colours(source)
        plan(source, codec=codec, strict=True)


@pytest.mark.parametrize(("codec", "lossless"), [("x264", False), ("x265", False), ("x264", True)])
def test_it_is_named_when_restored_too(codec: str, lossless: bool, folder: Path, tmp_path: Path) -> None:
    small = coded(tagged(folder, "primaries", "ebu3213"), tmp_path / "small.mkv", codec="svtav1")
    how: dict[str, Any] = {"lossless": True} if lossless else {"codec": codec}
    with pytest.raises(ConfigError, match="--strict refuses to lose: the colour primaries ebu3213"):
        restored(small, tmp_path / "large.mp4", strict=True, **how)
    assert colours(restored(small, tmp_path / "large.mp4", **how))["primaries"] == 2
    assert colours(restored(small, tmp_path / "large.mkv", lossless=True, strict=True))["primaries"] == 22


@pytest.mark.parametrize(
    ("what", "name", "code"),
    [
        ("primaries", "color_primaries", 99),
        ("transfer", "transfer_characteristics", 30),
        ("matrix", "matrix_coefficients", 18),
    ],
)
@pytest.mark.parametrize("codec", ["x264", "x265", "svtav1"])
def test_unknown_codes_are_named(what: str, name: str, code: int, codec: str, folder: Path, tmp_path: Path) -> None:
    words = ["-c:v", "libsvtav1", "-preset", "10", "-bsf:v", f"av1_metadata={name}={code}"]
    source = make(folder / f"{what}-{code}.mp4", *picture(f"{W}x{H}", duration=0.2, then="format=yuv420p"), *words)
    assert colours(source)[what] == code
    assert f"the output does not hold: the colour {what} {code}" in plan(source, codec=codec).notes
    assert colours(coded(source, tmp_path / "small.mkv", codec=codec))[what] == 2
    with pytest.raises(ConfigError, match=f"the colour {what} {code}"):
        plan(source, codec=codec, strict=True)


@pytest.mark.parametrize("codec", list(FASTEST))
def test_ffmpeg_s_own_words_are_written_by_none(codec: Any) -> None:
    encoder = ENCODERS[codec]
    color = Color("tv", "bt709", "vgamut", "vlog", "left")
    assert encoder.lost_colors(color) == ("the colour primaries vgamut", "the colour transfer vlog")
    assert encoder.written_color(color) == Color("tv", "bt709", None, None, "left")
    assert encoder.written_color(Color("pc", "bt2020nc")) == Color("pc", "bt2020nc")
