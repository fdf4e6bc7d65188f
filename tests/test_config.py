"""`vidscale.config`: which settings are valid, and which layer takes precedence."""

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from vidscale.config import (
    DecodeSettings,
    EncodeSettings,
    FilesSettings,
    SourceSettings,
    StageSettings,
    TimeRange,
)
from vidscale.errors import UsageError
from vidscale.media.encoders import ENCODERS
from vidscale.media.geometry import parse_scale


def refused(settings: Any, **values: Any) -> str:
    """The one-line error for invalid settings."""
    with pytest.raises(UsageError) as error:
        settings.resolve(values)
    assert "\n" not in str(error.value)
    return str(error.value)


# Scales.


@pytest.mark.parametrize(
    ("text", "scale"),
    [
        ("2", Fraction(2)),
        (" 2 ", Fraction(2)),
        ("1", Fraction(1)),
        ("8", Fraction(8)),
        ("1.5", Fraction(3, 2)),
        ("3/2", Fraction(3, 2)),
        ("6/4", Fraction(3, 2)),
        ("1.0", Fraction(1)),
        ("1.3333", Fraction(13333, 10000)),
        ("4/3", Fraction(4, 3)),
        (2, Fraction(2)),
        (1.5, Fraction(3, 2)),
        (Fraction(5, 3), Fraction(5, 3)),
    ],
)
def test_parse_scale(text: object, scale: Fraction) -> None:
    assert parse_scale(text) == scale


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a number"),
        ("two", "is not a number"),
        ("2x", "is not a number"),
        ("3/0", "is not a number"),
        ("1/2/3", "is not a number"),
        ("nan", "is not a number"),
        ("inf", "is not a number"),
        ("1e0", "is not a number"),
        ("1e999999999", "is not a number"),
        ("1_5", "is not a number"),
        ("-2", "is not a number"),
        (math.nan, "is not a number"),
        (None, "is not a number"),
        ("0", "outside 1 to 8"),
        ("0.999", "outside 1 to 8"),
        ("8.001", "outside 1 to 8"),
        ("999999999", "outside 1 to 8"),
        ("1.00001", "is above 10000"),
        ("9999/9998.5", "is not a number"),
        ("20001/10001", "is above 10000"),
        (1.1234567890123, "is above 10000"),
    ],
)
def test_parse_scale_errors(text: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_scale(text)


def test_scale_is_written_as_a_rational() -> None:
    assert EncodeSettings(scale=Fraction(3, 2)).model_dump(mode="json")["scale"] == "3/2"
    assert EncodeSettings.resolve({"scale": "3/2"}) == EncodeSettings.resolve({"scale": "1.5"})


# Ranges.


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("10:20", 10, 20),
        ("0:20", 0, 20),
        (":20", 0, 20),
        ("10:", 10, None),
        ("1.5:2.25", Fraction(3, 2), Fraction(9, 4)),
        ("00:01:00:00:02:00", 60, 120),
        ("01:00:00:01:00:01", 3600, 3601),
        ("0:30:1:00", 30, 60),
        ("01:00:00:", 3600, None),
        (":1:30", 0, 90),
        (" 1:2 ", 1, 2),
    ],
)
def test_time_range(text: str, start: object, end: object) -> None:
    assert TimeRange.parse(text) == TimeRange(start=start, end=end)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not START:END"),
        ("10", "is not START:END"),
        ("a:b", "is not START:END in seconds"),
        ("1:2:3", "both in seconds or both in hh:mm:ss"),  # nobody can tell where the start ends
        ("-1:2", "is not START:END in seconds"),
        ("1:-2", "is not START:END in seconds"),
        ("1/0:2", "is not START:END in seconds"),
        ("nan:2", "is not START:END in seconds"),
        ("1e999999999:", "is not START:END in seconds"),
        ("::", "is not START:END in seconds"),
        ("20:10", "ends before it starts"),
        ("10:10", "ends before it starts"),
        (":0", "ends before it starts"),
    ],
)
def test_time_range_errors(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TimeRange.parse(text)
    assert words in refused(SourceSettings, range=text)


def test_time_range_of_a_recipe_is_checked_too() -> None:
    assert SourceSettings.resolve({"range": {"start": 1, "end": "2.5"}}).range == TimeRange.parse("1:2.5")
    assert "range.start" in refused(SourceSettings, range={"start": -1})
    assert "ends before it starts" in refused(SourceSettings, range={"start": 2, "end": 1})
    assert "range.stop" in refused(SourceSettings, range={"stop": 1})


# Encoders' limits.


@pytest.mark.parametrize("codec", ENCODERS)
@pytest.mark.parametrize("settings", [EncodeSettings, DecodeSettings])
def test_crf_range_is_the_codecs(codec: str, settings: Any) -> None:
    highest = {"x264": 51, "x265": 51, "svtav1": 63}[codec]
    for crf in (0, 0.5, highest):
        assert settings.resolve({"codec": codec, "crf": crf}).crf == crf
    for crf in (-0.001, highest + 0.001, math.inf, -math.inf, math.nan, -1e300):
        said = refused(settings, codec=codec, crf=crf)
        assert said == f"crf {crf:g} is outside 0 to {highest} of {codec}"


@pytest.mark.parametrize("codec", ENCODERS)
def test_default_preset_is_one_of_the_codec(codec: Any) -> None:
    settings = EncodeSettings(codec=codec)
    assert settings.resolved_preset == ENCODERS[codec].default_preset
    assert EncodeSettings(codec=codec, preset=settings.resolved_preset) != settings
    for other in set(ENCODERS) - {codec}:
        for preset in set(ENCODERS[other].presets) - set(ENCODERS[codec].presets):
            assert "is not one of" in refused(EncodeSettings, codec=codec, preset=preset)


@pytest.mark.parametrize("strength", [-1, 64, math.inf, math.nan])
@pytest.mark.parametrize("settings", [DecodeSettings, StageSettings])
def test_strength_errors(settings: Any, strength: float) -> None:
    assert "strength" in refused(settings, strength=strength)


@pytest.mark.parametrize(
    ("settings", "values", "words"),
    [
        (EncodeSettings, {"codec": "vp9"}, "codec = 'vp9'"),
        (EncodeSettings, {"device": "tpu"}, "device = 'tpu'"),
        (EncodeSettings, {"ssim": "fast"}, "ssim = 'fast'"),
        (EncodeSettings, {"interlaced": "yes"}, "interlaced = 'yes'"),
        (EncodeSettings, {"stream": -1}, "stream = -1"),
        (EncodeSettings, {"stream": "x"}, "stream = 'x'"),
        (EncodeSettings, {"crf": "low"}, "crf = 'low'"),
        (EncodeSettings, {"encoder_params": "a=1:=2"}, "encoder parameter '=2' is not key=value"),
        (EncodeSettings, {"colour": "red"}, "colour"),
        (DecodeSettings, {"report": True}, "report"),
        (DecodeSettings, {"scale": "9"}, "scale 9 is outside 1 to 8"),
        (FilesSettings, {"vmaf": "perhaps"}, "vmaf = 'perhaps'"),
        (StageSettings, {"size": "100"}, "size '100' is not WIDTHxHEIGHT"),
        (StageSettings, {"size": "0x100"}, "is not WIDTHxHEIGHT"),
        (StageSettings, {"size": "10x-1"}, "is not WIDTHxHEIGHT"),
        (StageSettings, {"format": "avi"}, "format = 'avi'"),
        (StageSettings, {"color_range": "mpeg"}, "color_range = 'mpeg'"),
        (StageSettings, {"chroma_location": "right"}, "chroma_location = 'right'"),
    ],
)
def test_settings_errors(settings: Any, values: dict[str, Any], words: str) -> None:
    assert words in refused(settings, **values)


def test_size_is_height_and_width() -> None:
    assert StageSettings.resolve({"size": "1920x1080"}).size == (1080, 1920)
    assert StageSettings.resolve({"size": "7X5"}).size == (5, 7)


# Precedence.


def test_later_layer_wins() -> None:
    recipe = {"crf": 30, "preset": "slow", "scale": "3"}
    line = {"crf": 20, "preset": None, "vmaf": None}
    settings = EncodeSettings.resolve(recipe, line)
    assert (settings.crf, settings.preset, settings.scale, settings.codec) == (20, "slow", 3, "x264")


def test_none_is_not_said() -> None:
    assert EncodeSettings.resolve({"crf": None, "report": None, "ffmpeg": None}) == EncodeSettings()


def test_false_is_said() -> None:
    assert EncodeSettings.resolve({"report": True}, {"report": False}).report is False


def test_layers_are_checked_together() -> None:
    assert "crf 60 is outside 0 to 51 of x264" in refused(EncodeSettings, crf=60)
    assert EncodeSettings.resolve({"crf": 60}, {"codec": "svtav1"}).crf == 60


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        EncodeSettings().crf = 3  # type: ignore[misc]


def test_defaults_are_those_of_the_command_line() -> None:
    encode, decode = EncodeSettings(), DecodeSettings()
    assert (encode.crf, encode.scale, encode.pair, encode.codec, encode.report) == (28, None, "auto", "x264", True)
    assert (decode.crf, decode.strength, decode.pair, decode.scale) == (16, 28, None, None)


def test_every_setting_is_described() -> None:
    for settings in (EncodeSettings, DecodeSettings, FilesSettings, StageSettings, TimeRange):
        for name, field in settings.model_fields.items():
            assert field.description, f"{settings.__name__}.{name}"


def test_settings_survive_json() -> None:
    settings = EncodeSettings.resolve({"scale": "4/3", "range": "1.5:3", "report_dir": Path("r"), "crf": 21.5})
    assert EncodeSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("given", "codec"),
    [
        *((name, "x264") for name in ("x264", "libx264", "h264", "H.264", "avc")),
        *((name, "x265") for name in ("x265", "libx265", "hevc", "HEVC", "h265")),
        *((name, "svtav1") for name in ("svtav1", "libsvtav1", "av1", "SVT-AV1")),
    ],
)
def test_encoders_go_by_their_other_names(given: str, codec: str) -> None:
    assert EncodeSettings.resolve({"codec": given}).codec == codec


def test_unknown_encoder_is_refused() -> None:
    with pytest.raises(UsageError, match="codec = 'vp9'"):
        EncodeSettings.resolve({"codec": "vp9"})
