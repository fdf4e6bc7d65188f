"""comparison.json: what is read back, files of version 1, and files that are not a comparison."""

import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
from modelled import FULL, LANCZOS, modelled_comparison, modelled_curve, modelled_point

from vidscale.compare.output.files import SCHEMA_VERSION, read_comparison, write_json
from vidscale.compare.points import Candidate, Comparison, Curve, MovieFacts, Point, Still
from vidscale.errors import ConfigError

# As version 1 was written: the candidate of a curve and of a still is its "way".
VERSION_1 = """{
 "schema_version": 1,
 "comparison": {
  "movies": [
   {"name": "film", "width": 640, "height": 360, "frame_rate": "30000/1001", "samples": [["0", "5/2"]], "note": ""}
  ],
  "curves": [
   {
    "movie": "film",
    "way": {"down": "lanczos", "up": "area", "scale": "3/2", "codec": "x265", "preset": "medium"},
    "points": [
     {
      "crf": 20.0,
      "video_bytes": 12965,
      "duration_s": "5907/2950",
      "frames": 60,
      "metrics": {"psnr_y": "Infinity", "vmaf": 6.576910833333333},
      "encode_s": 1.5,
      "decode_s": 0.25,
      "commands": ["vidscale encode film.mp4"]
     }
    ]
   }
  ],
  "metrics": ["psnr_y", "vmaf"],
  "within": ["vmaf", 60.0, 88.0],
  "failures": [["other", "it cannot be read"]],
  "stills": [
   {"movie": "film", "pts_s": "4/5", "way": null, "point": null, "path": "stills/film.x265.0.png"},
   {
    "movie": "film",
    "pts_s": "4/5",
    "way": {"down": "", "up": "", "scale": "1", "codec": "x265", "preset": "medium"},
    "point": null,
    "path": "stills/film.x265.1.png"
   }
  ],
  "versions": {"ffmpeg": "7.1"}
 }
}
"""


def test_version_1_is_read(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text(VERSION_1)
    metrics = {"psnr_y": math.inf, "vmaf": 6.576910833333333}
    command = "vidscale encode film.mp4"
    point = Point(20.0, 12965, Fraction(5907, 2950), 60, metrics, 1.5, 0.25, (command,))
    assert read_comparison(tmp_path) == Comparison(
        movies=(MovieFacts("film", 640, 360, Fraction(30000, 1001), ((Fraction(0), Fraction(5, 2)),)),),
        curves=(Curve("film", Candidate("lanczos", "area", Fraction(3, 2), "x265", "medium"), (point,)),),
        metrics=("psnr_y", "vmaf"),
        within=("vmaf", 60.0, 88.0),
        failures=(("other", "it cannot be read"),),
        stills=(
            Still("film", Fraction(4, 5), None, None, tmp_path / "stills" / "film.x265.0.png"),
            Still("film", Fraction(4, 5), FULL, None, tmp_path / "stills" / "film.x265.1.png"),
        ),
        versions={"ffmpeg": "7.1"},
    )


def test_version_1_becomes_version_2_when_written(tmp_path: Path) -> None:
    (old := tmp_path / "comparison.json").write_text(VERSION_1)
    write_json(read_comparison(old), new := tmp_path / "new.json")
    expected = json.loads(VERSION_1)
    expected["schema_version"] = 2
    for entry in [*expected["comparison"]["curves"], *expected["comparison"]["stills"]]:
        entry["candidate"] = entry.pop("way")
    assert json.loads(new.read_text()) == expected
    assert read_comparison(new) == read_comparison(old)


def test_written_comparison_is_read_back(tmp_path: Path) -> None:
    perfect = Curve("film.mp4", LANCZOS, (modelled_point(9000, {"psnr_y": math.inf, "vmaf": 99.0}),))
    still = Still("film.mp4", Fraction(1, 3), LANCZOS, perfect.points[0], tmp_path / "stills" / "a.png")
    within = ("vmaf", 60.0, 88.0)
    comparison = modelled_comparison(modelled_curve(FULL), perfect, stills=(still,), within=within)
    write_json(comparison, tmp_path / "comparison.json")
    found = read_comparison(tmp_path)
    assert [(curve.candidate, tuple(curve.points)) for curve in found.curves] == [
        (curve.candidate, tuple(curve.points)) for curve in comparison.curves
    ]
    assert (found.stills, found.within) == ((still,), within)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a comparison"),
        ("{", "is not a comparison"),
        ("[]", "is not a comparison"),
        ("{}", "is not a comparison"),
        ('{"schema_version": 1}', "is not a comparison"),
        ('{"schema_version": 1, "comparison": {"curves": [1], "stills": []}}', "is not a comparison"),
        ('{"schema_version": 2, "comparison": {"movies": []}}', "is not a comparison: comparison.curves is missing"),
        (VERSION_1.replace('"codec": "x265"', '"codec": "vp9"'), "is not a"),
        (VERSION_1.replace('"schema_version": 1', '"schema_version": 2'), "is not a comparison"),
        (f'{{"schema_version": {SCHEMA_VERSION + 1}, "news": 1}}', "has version 3; this vidscale reads 1 to 2"),
    ],
)
def test_read_comparison_errors(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "comparison.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        read_comparison(tmp_path)
    assert str(tmp_path / "comparison.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_read_comparison_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"comparison.json cannot be read"):
        read_comparison(tmp_path / "comparison.json")
