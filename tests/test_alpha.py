"""Opaque alpha is dropped with a note; transparency is rejected at its first pixel, or dropped on request."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from material import coded, make, picture, pixels, plan, restored
from robustness import FAST, message, nothing_left, refused, run_here

from vidscale.config import EncodeSettings, FilesSettings
from vidscale.errors import ConfigError, DecodeError, UsageError
from vidscale.jobs.evaluation import evaluate_encode, evaluate_files
from vidscale.jobs.pipeline import encode

pytestmark = pytest.mark.slow  # most cases encode and decode a file

H, W = 48, 64
LOSSLESS: dict[str, Any] = {"codec": "x265", "encoder_params": "lossless=1"}
VPX = ["-auto-alt-ref", "0", "-crf", "20", "-b:v", "1M"]
PALETTE = "split[a][b];[a]palettegen=reserve_transparent=1[p];[b][p]paletteuse"

# Container, format in which the pictures are made, how they are coded, pixel format as PyAV decodes them.
KINDS = {
    "gif": ("gif", "rgb8", ["-c:v", "gif"], "bgra"),
    "ffv1": ("mkv", "yuva420p", ["-c:v", "ffv1"], "yuva420p"),
    "deep": ("mkv", "yuva444p16le", ["-c:v", "ffv1"], "yuva444p16le"),
    "gbrap": ("mkv", "gbrap12le", ["-c:v", "ffv1"], "gbrap12le"),
    "png": ("mov", "rgba", ["-c:v", "png"], "rgba"),
    "png64": ("mov", "rgba64be", ["-c:v", "png"], "rgba64be"),
    "gray": ("mov", "ya8", ["-c:v", "png"], "ya8"),
    "gray16": ("mov", "ya16be", ["-c:v", "png"], "ya16be"),
    "qtrle": ("mov", "argb", ["-c:v", "qtrle"], "argb"),
    "prores": ("mov", "yuva444p10le", ["-c:v", "prores_ks", "-profile:v", "4444"], "yuva444p12le"),
    "vp8": ("webm", "yuva420p", ["-c:v", "libvpx", *VPX], "yuv420p"),
    "vp9": ("webm", "yuva420p", ["-c:v", "libvpx-vp9", *VPX], "yuv420p"),
}
FADING = [kind for kind in KINDS if kind != "gif"]  # where a picture lies upon the one before it


def clip(path: Path, kind: str, *, opaque_s: float = 99.0, duration: float = 1.0) -> Path:
    """A clip with alpha; from a given time on, half of each picture is 75 % opaque."""
    _, pix_fmt, words, _ = KINDS[kind]
    hole = f"drawbox=w=iw/2:h=ih:color=black@0.75:t=fill:replace=1:enable='gte(t,{opaque_s})'"
    if kind == "gif":  # has pixels that are seen or not
        hole = hole.replace("0.75", "0.0") + "," + PALETTE
        return make(path, *picture(f"{W}x{H}", 10, duration, then=f"format=rgba,{hole}"), *words)
    return make(path, *picture(f"{W}x{H}", 10, duration, then=f"format=rgba,{hole},format={pix_fmt}"), *words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def source(folder: Path, kind: str, **how: Any) -> Path:
    name = "-".join([kind, *map(str, how.values())])
    path = folder / f"{name}.{KINDS[kind][0]}"
    return path if path.exists() else clip(path, kind, **how)


@pytest.mark.parametrize("kind", KINDS)
def test_opaque_alpha_is_left_out_with_one_note(kind: str, folder: Path, tmp_path: Path) -> None:
    opaque = source(folder, kind)
    decided = plan(opaque, tmp_path / "small.mkv", **LOSSLESS)
    where = "alpha_mode 1" if kind.startswith("vp") else KINDS[kind][3]
    assert decided.source.pix_fmt == KINDS[kind][3]
    notes = [note for note in decided.notes if "alpha" in note]
    assert notes == [f"the alpha channel ({where}) is dropped, provided that every pixel is opaque"]
    report = evaluate_encode(decided, encode(decided))
    assert len(report.rows) == 10
    assert {row.mse[0] for row in report.rows} == {0.0}
    plan(opaque, tmp_path / "small.mkv", strict=True, **LOSSLESS)  # nothing is lost


@pytest.mark.parametrize("kind", KINDS)
def test_transparent_source_is_refused_before_work_starts(kind: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"is transparent: the alpha channel \([^)]+\) is not opaque, .*--alpha drop"):
        plan(source(folder, kind, opaque_s=0), **LOSSLESS)


@pytest.mark.parametrize("kind", FADING)
def test_source_that_becomes_transparent_is_refused_there(kind: str, folder: Path, tmp_path: Path) -> None:
    late = source(folder, kind, opaque_s=0.6)
    said = refused(tmp_path, "encode", late, "-o", tmp_path / "small.mkv", *FAST, "--codec", "x265")
    assert "is transparent at 0.6" in said
    assert "--alpha drop encodes the colours only" in said


@pytest.mark.parametrize("kind", KINDS)
def test_alpha_is_dropped_when_asked(kind: str, folder: Path, tmp_path: Path) -> None:
    late = source(folder, kind, opaque_s=0.6)
    decided = plan(late, tmp_path / "small.mkv", alpha="drop", **LOSSLESS)
    assert any(note.startswith("the alpha channel (") and note.endswith(") is dropped") for note in decided.notes)
    report = evaluate_encode(decided, encode(decided))
    assert {row.mse[0] for row in report.rows} == {0.0}
    with av.open(str(tmp_path / "small.mkv")) as container:  # a player would look for the alpha that is gone
        assert "alpha_mode" not in {key.lower() for key in container.streams.video[0].metadata}


@pytest.mark.parametrize("kind", ["ffv1", "vp9"])
def test_colours_stay_as_they_are_without_alpha(kind: str, folder: Path, tmp_path: Path) -> None:
    transparent = source(folder, kind, opaque_s=0)
    small = coded(transparent, tmp_path / "small.mkv", alpha="drop", **LOSSLESS)
    np.testing.assert_array_equal(pixels(small, "yuv420p", (H, W)), pixels(transparent, "yuv420p", (H, W)))


@pytest.mark.parametrize("kind", ["ffv1", "png", "vp8", "vp9"])
def test_a_range_counts_alone(kind: str, folder: Path, tmp_path: Path) -> None:
    late = source(folder, kind, opaque_s=0.6)
    assert coded(late, tmp_path / "opaque.mkv", range="0:0.5", **LOSSLESS).exists()
    with pytest.raises(DecodeError, match=r"is transparent at 0\.6"):
        coded(late, tmp_path / "both.mkv", range="0.3:", **LOSSLESS)
    hole = clip(tmp_path / f"hole.{KINDS[kind][0]}", kind, opaque_s=0)
    early = make(tmp_path / f"early.{KINDS[kind][0]}", "-i", hole, "-c", "copy", "-t", "0.3")
    with pytest.raises(DecodeError, match=r"is transparent at 0\.0"):
        coded(early, tmp_path / "small.mkv", range="0:0.2", **LOSSLESS)


def test_a_transparent_palette_is_refused(tmp_path: Path) -> None:
    hole = "drawbox=w=iw/2:h=ih:color=black@0.0:t=fill:replace=1:enable='gte(t,0.6)'"
    moving = picture(f"{W}x{H}", 10, 1, then=f"format=rgba,{hole},{PALETTE}")
    late = make(tmp_path / "palette.mkv", *moving, "-c:v", "png")
    with av.open(str(late)) as container:
        assert next(container.decode(video=0)).format.name == "pal8"
    assert not any("alpha" in note for note in plan(late, **LOSSLESS).notes)
    with pytest.raises(DecodeError, match=r"is transparent at 0\.6"):
        coded(late, tmp_path / "small.mkv", **LOSSLESS)
    assert coded(late, tmp_path / "small.mkv", alpha="drop", **LOSSLESS).exists()


def test_the_first_word_on_strictness_is_kept(folder: Path) -> None:
    with pytest.raises(UsageError, match="--alpha drop loses transparency, and --strict refuses"):
        EncodeSettings.resolve({"alpha": "drop", "strict": True})


def test_the_command_line_takes_the_option(folder: Path, tmp_path: Path) -> None:
    transparent = source(folder, "gif", opaque_s=0)
    run = run_here("encode", transparent, "-o", tmp_path / "small.mkv", *FAST, "--alpha", "drop")
    assert run.code == 0, run.stderr
    with nothing_left(tmp_path):
        assert "alpha = 'keep'" in message(run_here("encode", transparent, "--alpha", "keep"), 2)


def test_alpha_is_not_compared_and_that_is_said(folder: Path) -> None:
    transparent, opaque = source(folder, "ffv1", opaque_s=0), source(folder, "ffv1")
    report = evaluate_files(transparent, transparent, FilesSettings())
    assert {row.mse for row in report.rows} == {(0.0, 0.0, 0.0)}
    assert report.notes == (f"{transparent.name}: the alpha channel (yuva420p) is not compared",) * 2
    assert evaluate_files(opaque, opaque, FilesSettings()).rows


def test_alpha_of_a_file_that_is_restored_by_hand_is_named(folder: Path, tmp_path: Path) -> None:
    transparent = source(folder, "gif", opaque_s=0)
    run = run_here("decode", transparent, "--pair", "lanczos", "--scale", "2", "-o", tmp_path / "large.mkv")
    assert run.code == 0, run.stderr
    assert "the output does not hold: the alpha channel (bgra)" in run.stderr
    with pytest.raises(ConfigError, match=r"--strict refuses to lose: the alpha channel \(bgra\)"):
        restored(transparent, tmp_path / "strict.mkv", pair="lanczos", scale="2", strict=True)
