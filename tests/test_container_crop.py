"""Cropping in the container, MP4's clean aperture and Matroska's PixelCrop: only the cropped picture is encoded.

The reference is ffmpeg, which crops automatically.
"""

import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
import pytest
from material import FFMPEG, coded, described, make, picture, pixels, plan, restored, shown_times, sound
from robustness import FAST, refused, run_here

from vidscale.config import FilesSettings
from vidscale.errors import IdentityError
from vidscale.jobs.evaluation import evaluate_encode, evaluate_files
from vidscale.jobs.pipeline import encode
from vidscale.media.container_crop import Margins, container_crop
from vidscale.media.probe import probe

pytestmark = pytest.mark.slow  # most cases encode and decode a file

W, H = 96, 80
LOSSLESS: dict[str, Any] = {"codec": "x265", "encoder_params": "lossless=1"}
FFV1 = ["-c:v", "ffv1"]
Make = Callable[..., Path]


def with_clap(source: Path, target: Path, *numbers: int, track: int = 0) -> Path:
    """A copy of an MP4 or QuickTime file, with its index behind the media, with a clean aperture.

    Args:
        source, target: the files.
        numbers: width, height, horizontal and vertical offset from the centre, each a numerator and a denominator.
        track: which one.
    """
    data = bytearray(source.read_bytes())
    start, end, holders = 0, len(data), []
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", None):
        to_skip = track if name == b"trak" else 0
        while True:
            size, found = struct.unpack_from(">I4s", data, start)
            if name in (found, None):
                if not to_skip:
                    break
                to_skip -= 1
            start += size
            assert start < end, name
        holders.append(start)
        start, end = start + (16 if name == b"stsd" else 8), start + size
    data[end:end] = struct.pack(">I4s8i", 40, b"clap", *numbers)
    for at in holders:
        struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + 40)
    target.write_bytes(data)
    return target


def around(margins: Margins, width: int = W, height: int = H) -> tuple[int, ...]:
    """The numbers of a clean aperture with these margins."""
    left, top, right, bottom = margins
    return width - left - right, 1, height - top - bottom, 1, left - right, 2, top - bottom, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(params=["mov", "mkv"])
def cropped(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes a moving picture with margins in a container; ffmpeg writes Matroska's elements."""

    def made(
        margins: Margins, *words: object, then: str = "null", pix_fmt: str = "yuv420p", audio: bool = False
    ) -> Path:
        moving = picture(f"{W}x{H}", duration=0.4, then=then)
        tone = sound(0.4) if audio else []
        coding = words or FFV1
        whole = make(tmp_path / "whole.mov", *moving, *tone, "-pix_fmt", pix_fmt, *coding)
        mov = with_clap(whole, tmp_path / "cropped.mov", *around(margins))
        return mov if request.param == "mov" else make(tmp_path / "cropped.mkv", "-i", mov, "-map", "0", "-c", "copy")

    return made


def framing(path: Path) -> str | None:
    """The cropping of a file as ffmpeg reads it: left, right, top, bottom."""
    match = re.search(r"Frame Cropping: (\S+)", described(path))
    return match and match.group(1)


def shown(path: Path) -> str:
    """Size and aspect ratio of a file's frames in ffmpeg, such as "96x60 [SAR 1:1 DAR 8:5]"."""
    command = [FFMPEG, "-hide_banner", "-i", str(path), "-c:v", "ffv1", "-frames:v", "1", "-f", "null", "-"]
    said = subprocess.run(
        command, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=True
    ).stderr.decode()
    match = re.search(r"Stream #0:0\S*: Video: ffv1.*?, (\d+x\d+( \[SAR[^]]*\])?)", said.split("Output #0")[1])
    assert match
    return match[1]


def size_of(path: Path) -> tuple[int, int]:
    """(height, width) of a file's frames in ffmpeg."""
    width, height = shown(path).split()[0].split("x")
    return int(height), int(width)


@pytest.mark.parametrize(
    ("margins", "pix_fmt", "part"),
    [
        (Margins(top=20), "yuv420p", "96x60 at 0,20 of 96x80"),
        (Margins(8, 6, 4, 2), "yuv420p", "84x72 at 8,6 of 96x80"),
        (Margins(3, 21, 2, 4), "yuv420p", "90x54 at 2,20 of 96x80, which is 91x55 at 3,21 in whole chroma samples"),
        (Margins(right=1, bottom=1), "yuv420p", "94x78 at 0,0 of 96x80, which is 95x79 at 0,0 in whole chroma samples"),
        (Margins(left=1), "yuv420p", "94x80 at 0,0 of 96x80, which is 95x80 at 1,0 in whole chroma samples"),
        (Margins(3, 21, 3, 4), "yuv422p10le", "90x55 at 2,21 of 96x80, which is 90x55 at 3,21 in whole chroma samples"),
        (Margins(3, 21, 2, 4), "yuv444p", "91x55 at 3,21 of 96x80"),
        (Margins(3, 21, 2, 4), "gray", "91x55 at 3,21 of 96x80"),
    ],
)
def test_pictures_are_cropped_as_ffmpeg_crops_them(
    cropped: Make, margins: Margins, pix_fmt: str, part: str, tmp_path: Path
) -> None:
    source = cropped(margins, pix_fmt=pix_fmt)
    assert framing(source) == f"{margins.left}/{margins.right}/{margins.top}/{margins.bottom}"
    size = size_of(source)
    decided = plan(source, tmp_path / "small.mkv", **LOSSLESS)
    assert (decided.identity.height, decided.identity.width) == size
    assert f"the container crops the picture to {part}" in decided.notes
    outcome = encode(decided)
    np.testing.assert_array_equal(pixels(outcome.path, pix_fmt, size), pixels(source, pix_fmt, size))
    assert framing(outcome.path) is None  # it is not cropped again
    assert {row.mse[0] for row in evaluate_encode(decided, outcome).rows} == {0.0}


@pytest.mark.parametrize(
    ("margins", "pix_fmt", "size"),
    [
        (Margins(6, 5, 3, 4), "yuv411p", (71, 84)),
        (Margins(3, 5, 2, 4), "gbrp", (71, 91)),
        (Margins(3, 5, 2, 4), "yuva420p", (70, 90)),
        (Margins(3, 5, 2, 4), "yuv420p16le", (70, 90)),
    ],
)
def test_pictures_that_are_converted_are_cropped_too(
    cropped: Make, margins: Margins, pix_fmt: str, size: tuple[int, int], tmp_path: Path
) -> None:
    source = cropped(margins, pix_fmt=pix_fmt)
    assert size_of(source) == size
    decided = plan(source, tmp_path / "small.mkv", **LOSSLESS)
    assert (decided.identity.height, decided.identity.width) == size
    gray = pixels(encode(decided).path, "gray", size, "-vf", "extractplanes=y")
    assert gray.shape == (10, size[0] * size[1])
    if pix_fmt in ("yuv411p", "yuva420p"):
        np.testing.assert_array_equal(gray, pixels(source, "gray", size, "-vf", "extractplanes=y"))


def test_packed_pictures_are_cropped(cropped: Make, tmp_path: Path) -> None:
    source = cropped(Margins(4, 6, 2, 8), "-c:v", "rawvideo", "-tag:v", "yuv2", pix_fmt="yuyv422")
    small = coded(source, tmp_path / "small.mkv", **LOSSLESS)
    size = size_of(source)
    assert size == (66, 90)
    np.testing.assert_array_equal(pixels(small, "yuv422p", size), pixels(source, "yuv422p", size))


def test_interlaced_pictures_are_deinterlaced_and_cropped(cropped: Make, tmp_path: Path) -> None:
    words = ["-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-q:v", "2"]
    source = cropped(Margins(top=10, bottom=10), *words, then="tinterlace=interleave_top,fieldorder=tff")
    decided = plan(source, tmp_path / "small.mkv", interlaced="bwdif", **LOSSLESS)
    outcome = encode(decided)
    whole = pixels(source, "yuv420p", (60, W), "-vf", "bwdif=mode=send_frame:deint=interlaced")
    luma = slice(4 * W, 56 * W)  # ffmpeg crops first, and its edges are not ours
    np.testing.assert_array_equal(pixels(outcome.path, "yuv420p", (60, W))[1:, luma], whole[1:, luma])


@pytest.mark.parametrize("turn", ["90", "180"])
def test_rotation_stays_about_the_cropped_picture(cropped: Make, turn: str, tmp_path: Path) -> None:
    source = cropped(Margins(8, 20, 4, 6))
    turned = make(tmp_path / f"turned{source.suffix}", "-display_rotation", turn, "-i", source, "-c", "copy")
    assert framing(turned) == framing(source) == "8/4/20/6"
    small = coded(turned, tmp_path / f"small{source.suffix.replace('mov', 'mp4')}", **LOSSLESS)
    assert shown(small).split()[0] == shown(turned).split()[0] == ("54x84" if turn == "90" else "84x54")
    np.testing.assert_array_equal(pixels(small, "yuv420p", (54, 84)), pixels(turned, "yuv420p", (54, 84)))


@pytest.mark.parametrize("sar", ["4/3", "8/9", "1"])
def test_aspect_ratio_is_that_of_the_cropped_picture(cropped: Make, sar: str, tmp_path: Path) -> None:
    source = cropped(Margins(8, 20, 4, 6), then=f"setsar={sar}")
    small = coded(source, tmp_path / "small.mkv", **LOSSLESS)
    assert shown(small) == shown(source)
    assert "SAR" in shown(source)
    assert shown(restored(small, tmp_path / "large.mkv", lossless=True)) == shown(source)


def test_a_part_is_cropped_as_all(cropped: Make, tmp_path: Path) -> None:
    source = cropped(Margins(top=20), "-c:v", "ffv1", "-g", "1")
    small = coded(source, tmp_path / "small.mkv", range="0.16:0.32", **LOSSLESS)
    assert len(shown_times(small)) == 4
    np.testing.assert_array_equal(pixels(small, "yuv420p", (60, W)), pixels(source, "yuv420p", (60, W))[4:8])


def test_sound_beside_it_is_no_video_track(cropped: Make, tmp_path: Path) -> None:
    source = cropped(Margins(top=20), audio=True)
    with av.open(str(coded(source, tmp_path / "small.mkv", **LOSSLESS))) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert container.streams.video[0].height == 60


@pytest.mark.parametrize("suffix", ["mov", "mkv"])
@pytest.mark.parametrize("track", [0, 1])
def test_each_of_two_streams_has_its_own(suffix: str, track: int, tmp_path: Path) -> None:
    both = [*picture(f"{W}x{H}", duration=0.2), *picture(f"{W}x{H}", duration=0.2)]
    whole = make(tmp_path / "whole.mov", *both, "-map", "0", "-map", "1", "-pix_fmt", "yuv420p", *FFV1)
    source = with_clap(whole, tmp_path / "two.mov", *around(Margins(top=20)), track=track)
    if suffix == "mkv":
        source = make(tmp_path / "two.mkv", "-i", source, "-map", "0", "-c", "copy")
    assert [probe(source, stream=number).video.height for number in (0, 1)] == ([60, 80] if track == 0 else [80, 60])


def test_a_cropped_source_is_measured_as_it_is_shown(cropped: Make, tmp_path: Path) -> None:
    source = cropped(Margins(8, 20, 4, 6))
    flat = make(tmp_path / "flat.mkv", "-i", source, *FFV1)  # as ffmpeg shows it
    small = coded(source, tmp_path / "small.mkv", **LOSSLESS)
    note = f"{source.name}: the container crops the picture to 84x54 at 8,20 of 96x80"
    for ref, dist in ((source, flat), (flat, source), (source, small)):
        report = evaluate_files(ref, dist, FilesSettings())
        assert {row.mse for row in report.rows} == {(0.0, 0.0, 0.0)}
        assert (report.source.width, report.source.height) == (84, 54)
        assert note in report.notes
    part = FilesSettings.resolve({"crop": "60:40:4:2"})
    cut = make(tmp_path / "cut.mkv", "-i", flat, "-vf", "crop=60:40:4:2", *FFV1)
    assert {row.mse for row in evaluate_files(source, cut, part).rows} == {(0.0, 0.0, 0.0)}


def test_what_leaves_nothing_is_refused(folder: Path, tmp_path: Path) -> None:
    whole = make(folder / "nothing.mov", *picture(f"{W}x{H}", duration=0.2), "-pix_fmt", "yuv420p", *FFV1)
    source = with_clap(whole, folder / "nothing.clap.mov", *around(Margins(left=95)))
    said = refused(tmp_path, "encode", source, "-o", tmp_path / "small.mkv", *FAST)
    assert said.endswith("the container crops 95 columns at the left, 0 at the right, 0 rows at the top and 0 at the "
                         "bottom of pictures of 96x80: nothing is left")  # fmt: skip
    # Of 4:4:4 a column is left, which can be coded.
    whole = make(folder / "column.mov", *picture(f"{W}x{H}", duration=0.2), "-pix_fmt", "yuv444p", *FFV1)
    source = with_clap(whole, folder / "column.clap.mov", *around(Margins(left=95)))
    assert plan(source).source.video.width == 1


@pytest.mark.parametrize(
    "numbers",
    [
        (400, 1, 300, 1, 0, 1, 0, 1),  # beyond the picture
        (90, 0, 70, 1, 0, 1, 0, 1),
        (10, 1, 10, 1, 90, 1, 0, 1),
        (W, 1, H, 1, 0, 1, 0, 1),  # all of it
        (181, 2, 71, 1, 1, 2, 0, 1),  # parts of a sample
        (91, 1, 71, 1, 0, 1, 0, 1),
        (60, 1, 40, 1, 5, 1, -5, 1),
        (10, 1, 10, 1, 43, 1, 0, 1),
    ],
)
def test_odd_apertures_are_read_as_ffmpeg_reads_them(numbers: tuple[int, ...], folder: Path) -> None:
    whole = make(folder / "odd.mp4", *picture(f"{W}x{H}", duration=0.1), "-pix_fmt", "yuv420p", "-c:v", "mpeg4")
    source = with_clap(whole, folder / "odd.clap.mp4", *numbers)
    left, top, right, bottom = container_crop(source, "mov,mp4,m4a,3gp,3g2,mj2", track=1, number=0)
    said = f"{left}/{right}/{top}/{bottom}"
    assert (None if said == "0/0/0/0" else said) == framing(source)


def test_live_and_fragmented_files(folder: Path) -> None:
    whole = make(folder / "live.mov", *picture(f"{W}x{H}", duration=0.2), "-pix_fmt", "yuv420p", *FFV1)
    source = with_clap(whole, folder / "live.clap.mov", *around(Margins(8, 20, 4, 6)))
    live = make(folder / "live.mkv", "-i", source, "-c", "copy", "-live", "1", "-f", "matroska")
    assert container_crop(live, "matroska,webm", track=0, number=0) == Margins(8, 20, 4, 6)
    fragments = ["-movflags", "frag_keyframe+empty_moov+default_base_moof", "-c:v", "libx264"]
    whole = make(folder / "fragments.mp4", *picture(f"{W}x{H}", duration=0.2), *fragments)
    source = with_clap(whole, folder / "fragments.clap.mp4", *around(Margins(8, 20, 4, 6)))
    assert probe(source).video.height == 54


@pytest.mark.parametrize("suffix", ["mov", "mkv"])
def test_broken_headers_crop_nothing_or_little_and_raise_nothing(suffix: str, folder: Path, tmp_path: Path) -> None:
    whole = make(folder / "broken.mov", *picture(f"{W}x{H}", duration=0.1), "-pix_fmt", "yuv420p", *FFV1)
    source = with_clap(whole, folder / "broken.clap.mov", *around(Margins(8, 20, 4, 6)))
    if suffix == "mkv":
        source = make(folder / "broken.mkv", "-i", source, "-c", "copy")
    name = "matroska,webm" if suffix == "mkv" else "mov,mp4,m4a,3gp,3g2,mj2"
    data, random = source.read_bytes(), Random(1)
    broken = tmp_path / f"broken.{suffix}"
    for _ in range(300):
        changed = bytearray(data[: random.randrange(len(data))] if random.random() < 0.3 else data)
        for _ in range(random.randrange(12)):
            if changed:
                changed[random.randrange(len(changed))] = random.randrange(256)
        broken.write_bytes(changed)
        assert len(container_crop(broken, name, track=1, number=0)) == 4


def test_a_small_file_that_is_cropped_since_is_not_restored_by_its_identity(folder: Path, tmp_path: Path) -> None:
    whole = make(folder / "since.mkv", *picture(f"{2 * W}x{2 * H}", duration=0.2), "-pix_fmt", "yuv420p", *FFV1)
    small = coded(whole, tmp_path / "small.mp4", scale="2", pair="lanczos")
    late = make(tmp_path / "late.mp4", "-i", small, "-c", "copy", "-movflags", "use_metadata_tags")  # its index behind
    since = with_clap(late, tmp_path / "since.mp4", *around(Margins(top=20)))
    with pytest.raises(
        IdentityError, match="the identity is for whole pictures, and the container crops them to 96x60"
    ):
        restored(since, tmp_path / "large.mkv")
    run = run_here("decode", since, "-o", tmp_path / "large.mkv", "--pair", "lanczos", "--scale", "2", "--lossless")
    assert run.code == 0, run.stderr
    assert size_of(tmp_path / "large.mkv") == (120, 192)
