"""What `encode` does to the frames: sizes, pixel formats, colour, HDR, rotation, aspect ratio, interlacing."""

import re
import struct
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.sidedata.sidedata import Type as SideData
from material import (
    FFMPEG,
    coded,
    coding,
    described,
    ffmpeg,
    luma,
    make,
    picture,
    pixels,
    plan,
    restored,
    shown_times,
    stream_line,
)
from robustness import run_here

from vidscale.config import DecodeSettings
from vidscale.errors import ConfigError, DecodeError, VidscaleError
from vidscale.jobs.evaluation import evaluate_encode
from vidscale.jobs.losses import raw_video_notes
from vidscale.jobs.pipeline import decode, encode
from vidscale.jobs.planning import plan_decode
from vidscale.jobs.restore import open_small, restored_frames
from vidscale.media.file_identity import probe_identity
from vidscale.media.frames import YuvImage
from vidscale.media.identity import Identity
from vidscale.media.pictures import Picture, to_frames
from vidscale.media.pixel_formats import reading_of
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

pytestmark = pytest.mark.slow

H, W = 48, 64
Floats = npt.NDArray[np.float64]
# Settings with which each encoder changes no pixel (SVT-AV1 in 10 bit: by 3 codes at most).
LOSSLESS: dict[str, dict[str, Any]] = {
    "x264": {"codec": "x264", "encoder_params": "qp=0"},
    "x265": {"codec": "x265", "encoder_params": "lossless=1"},
    "svtav1": {"codec": "svtav1", "encoder_params": "lossless=1"},
}
FFV1 = ["-c:v", "ffv1", "-level", "3"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources that several tests share; outputs go elsewhere."""
    return tmp_path_factory.mktemp("sources")


def tagged(path: Path, pix_fmt: str, words: str, *options: str) -> Path:
    """A short clip with colour tags, made once; ``words`` are arguments of the setparams filter."""
    if not path.exists():
        options = options or ("-c:v", "libx264", "-preset", "ultrafast")
        make(path, *picture(duration=0.2), "-vf", f"format={pix_fmt},setparams={words}", *options)
    return path


def colour(path: Path) -> tuple[int, int, int, int]:
    """Range, matrix, primaries, transfer as numbers of H.273 (range: 1 limited, 2 full), as PyAV decodes them."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return int(frame.color_range), int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)


def location(path: Path) -> str | None:
    """The chroma location printed by ``ffmpeg -i``."""
    match = re.search(r"\((?:[^()]*, )?(left|center|topleft|top|bottomleft|bottom)\), \d+x", stream_line(path))
    return match.group(1) if match else None


def side_data(path: Path) -> dict[SideData, bytes]:
    """Side data of the first frame."""
    with av.open(str(path)) as container:
        entries: list[Any] = list(next(container.decode(video=0)).side_data)
        return {entry.type: bytes(entry) for entry in entries}


def aspect(path: Path) -> Fraction:
    """Sample aspect ratio."""
    with av.open(str(path)) as container:
        return Fraction(container.streams.video[0].sample_aspect_ratio or 1)


# Colour

COLOURS = {
    "full709": ("yuv420p", "range=pc:colorspace=bt709:color_primaries=bt709:color_trc=bt709:chroma_location=left"),
    "ntsc": ("yuv420p", "range=tv:colorspace=smpte170m:color_primaries=smpte170m:color_trc=smpte170m"),
    "pal": ("yuv420p", "range=pc:colorspace=bt470bg:color_primaries=bt470bg:color_trc=bt470bg"),
    "pq": ("yuv420p10le", "range=tv:colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084"),
    "hlg": ("yuv420p10le", "range=tv:colorspace=bt2020nc:color_primaries=bt2020:color_trc=arib-std-b67"),
    "hlgfull": ("yuv420p10le", "range=pc:colorspace=bt2020c:color_primaries=bt2020:color_trc=bt2020-10"),
}
NUMBERS = {
    "full709": (2, 1, 1, 1),
    "ntsc": (1, 6, 6, 6),
    "pal": (2, 5, 5, 5),
    "pq": (1, 9, 9, 16),
    "hlg": (1, 9, 9, 18),
    "hlgfull": (2, 10, 9, 14),
}


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", ["x264", "x265", "svtav1"])
@pytest.mark.parametrize("name", list(COLOURS))
def test_colour_tags_and_codes_are_kept(name: str, codec: str, container: str, folder: Path, tmp_path: Path) -> None:
    pix_fmt, words = COLOURS[name]
    source = tagged(folder / f"{name}.mp4", pix_fmt, words)
    assert colour(source) == NUMBERS[name]

    small = coded(source, tmp_path / f"small.{container}", **LOSSLESS[codec])

    assert colour(small) == NUMBERS[name]
    ours, theirs = (pixels(path, pix_fmt, (H, W)).astype(int) for path in (small, source))
    assert abs(ours - theirs).max() <= (3 if codec == "svtav1" and pix_fmt == "yuv420p10le" else 0)


@pytest.mark.parametrize(
    "settings", [{"lossless": True}, {"codec": "x264"}, {"codec": "x265"}, {"codec": "svtav1"}], ids=str
)
@pytest.mark.parametrize("name", ["full709", "pq"])
def test_restored_file_has_the_colour_of_the_source(
    name: str, settings: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    source = tagged(folder / f"{name}.mp4", *COLOURS[name])
    small = coded(source, tmp_path / "small.mp4", scale="2")
    for container in ("mkv", "mp4"):
        path = restored(small, tmp_path / f"restored.{container}", **settings)
        assert colour(path) == NUMBERS[name]
        if settings.get("lossless"):
            assert_same_pictures(path, small)


def assert_same_pictures(path: Path, small: Path) -> None:
    """The file holds exactly the codes of `restored_frames`."""
    info = open_small(small, ffmpeg="", settings=DecodeSettings())
    frames = restored_frames(info, log=ReadLog(), decoding=Clock("d"), upscaling=Clock("u"))
    expected = np.stack([np.concatenate([plane.ravel() for plane in frame.planes]) for frame in frames])
    pixel_format = info.restored.format.name
    size = (info.restored.height, info.restored.width)
    with av.open(str(path)) as container:  # a full-range picture is yuvj420p there: ask for no conversion
        found = [_codes(frame) for frame in container.decode(video=0)]
    assert pixel_format.startswith("yuv420p")
    assert found[0].size == expected.shape[1] == size[0] * size[1] + 2 * ceil(size[0] / 2) * ceil(size[1] / 2)
    np.testing.assert_array_equal(np.stack(found), expected)


def _codes(frame: av.VideoFrame) -> npt.NDArray[Any]:
    dtype = np.dtype("<u2" if "10" in frame.format.name else "u1")
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(bytes(plane), dtype).reshape(-1, plane.line_size // dtype.itemsize)
        planes.append(rows[: plane.height, : plane.width].ravel())
    return np.concatenate(planes)


def test_untagged_colour_stays_untagged(folder: Path, tmp_path: Path) -> None:
    source = make(folder / "untagged.mp4", *picture(duration=0.2), "-pix_fmt", "yuv420p", "-c:v", "libx264")
    small = coded(source, tmp_path / "small.mp4", crf=0)
    assert colour(small) == colour(source) == (0, 2, 2, 2)


@pytest.mark.parametrize("place", ["left", "center", "topleft"])
@pytest.mark.parametrize("codec", ["x264", "x265", "svtav1"])
def test_chroma_location_is_kept(place: str, codec: str, folder: Path, tmp_path: Path) -> None:
    source = tagged(folder / f"{place}.mp4", "yuv420p", f"range=tv:chroma_location={place}")
    assert location(source) == place
    small = coded(source, tmp_path / "small.mkv", codec=codec)
    kept = None if (codec, place) == ("svtav1", "center") else place  # AV1 has no word for center
    assert location(small) == kept
    found = open_small(small, ffmpeg=plan(source).ffmpeg.path, settings=DecodeSettings())
    assert found.restored.color.chroma_location == place  # the identity has it in any case
    assert location(restored(small, tmp_path / "restored.mkv")) == place


# HDR

MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
MASTERING_VALUES = [0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 0.005, 1000.0]  # R, G, B, white; min, max


@pytest.fixture(scope="session")
def hdr10(folder: Path) -> Path:
    """PQ with mastering display and content light, 10 bit."""
    params = f"log-level=error:repeat-headers=1:master-display={MASTERING}:max-cll=1000,400"
    options = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", params]
    return tagged(folder / "hdr10.mp4", *COLOURS["pq"], *options)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", ["x264", "x265", "svtav1"])
def test_static_hdr_metadata_is_kept(codec: str, container: str, hdr10: Path, tmp_path: Path) -> None:
    small = coded(hdr10, tmp_path / f"small.{container}", codec=codec, scale="2")
    path = restored(small, tmp_path / f"restored.{container}", codec=codec)
    for file in (hdr10, small, path):
        data = side_data(file)
        numbers = struct.unpack("=22i", data[SideData.MASTERING_DISPLAY_METADATA])
        values = [numbers[i] / numbers[i + 1] for i in range(0, 20, 2)]
        # AV1 has 16 bits behind the point for chromaticity, 14 for the minimum.
        assert values == pytest.approx(MASTERING_VALUES, rel=0, abs=1 / 2**14 if codec == "svtav1" else 0)
        assert numbers[20:] == (1, 1)
        assert struct.unpack("=2I", data[SideData.CONTENT_LIGHT_LEVEL])[:2] == (1000, 400)
        assert colour(file) == NUMBERS["pq"]


# Metadata that coding loses


def bits(*fields: tuple[int, int]) -> bytes:
    """Bytes of (value, width) fields, padded with zeros."""
    text = "".join(f"{value:0{width}b}" for value, width in fields)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


HDR10_PLUS = bytes.fromhex("b5003c0001 04 01") + bits(
    *((1, 2), (400, 27), (0, 1)),  # one window, maximum of the target, no actual peak
    *((1000, 17), (1000, 17), (1000, 17), (500, 17)),
    *((1, 4), (99, 7), (900, 17), (0, 10)),  # one percentile
    *((0, 1), (0, 1), (0, 1)),
)
TIMECODE = bits(
    *((1, 2), (1, 1), (0, 1), (0, 5), (1, 1), (0, 1), (0, 1)), *((7, 9), (3, 6), (2, 6), (1, 5), (0, 5), (1, 1))
)


def with_sei(path: Path, source: Path, kind: int, payload: bytes) -> Path:
    """A copy whose first frame carries an SEI message."""
    message = bytes([kind, len(payload)]) + payload + b"\x80"
    escaped = re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", message)
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        is_hevc = stream.codec_context.name == "hevc"
        unit = (b"\x4e\x01" if is_hevc else b"\x06") + escaped
        for number, packet in enumerate(p for p in old.demux(stream) if p.size):
            out = packet
            if number == 0:
                out = av.Packet(len(unit).to_bytes(4, "big") + unit + bytes(packet))
                out.pts, out.dts, out.duration, out.time_base = (
                    packet.pts,
                    packet.dts,
                    packet.duration,
                    packet.time_base,
                )
                out.is_keyframe = packet.is_keyframe
            out.stream = copy
            new.mux(out)
    return path


@pytest.mark.parametrize(
    ("name", "kind", "payload", "side", "words"),
    [
        ("hdr10plus", 4, HDR10_PLUS, SideData.DYNAMIC_HDR_PLUS, "HDR10+ metadata"),
        ("timecode", 136, TIMECODE, SideData.S12M_TIMECODE, "timecode (SMPTE 12M)"),
    ],
)
def test_metadata_that_coding_loses_is_named(
    name: str, kind: int, payload: bytes, side: SideData, words: str, hdr10: Path, folder: Path
) -> None:
    source = with_sei(folder / f"{name}.mp4", hdr10, kind, payload)
    assert side in side_data(source)  # the source is what the test is about
    assert f"the output does not hold: {words}" in plan(source).notes
    with pytest.raises(ConfigError, match="--strict refuses to lose: " + re.escape(words)):
        plan(source, strict=True)
    assert not any("does not hold" in note for note in plan(hdr10, strict=True).notes)


@pytest.mark.parametrize("mode", ["left_right", "row_interleaved_rl"])
def test_stereo_layout_of_matroska_is_kept_and_not_called_lost(mode: str, tmp_path: Path) -> None:
    words = [*picture("128x96", duration=0.2), "-c:v", "libx264", "-metadata:s:v", f"stereo_mode={mode}"]
    source = make(tmp_path / "stereo.mkv", *words)
    layout = side_data(source)[SideData.STEREO3D]
    for step in (plan(source, tmp_path / "small.mkv", scale="2"), plan(source, tmp_path / "copy.mkv", strict=True)):
        assert not any("does not hold" in note for note in step.notes)
        encode(step)
        assert side_data(step.output.path)[SideData.STEREO3D] == layout
    decided = plan_decode(tmp_path / "small.mkv", tmp_path / "restored.mkv", DecodeSettings(strict=True))
    decode(decided)
    assert side_data(tmp_path / "restored.mkv")[SideData.STEREO3D] == layout


@pytest.mark.parametrize("container", ["mkv", "mp4"])
def test_stereo_layout_that_is_lost_is_named(container: str, tmp_path: Path) -> None:
    words = [*picture("128x96", duration=0.2), "-c:v", "libx264"]
    coded_layout = make(tmp_path / "sei.mp4", *words, "-x264-params", "frame-packing=3")
    tagged = make(tmp_path / "tag.mkv", *words, "-metadata:s:v", "stereo_mode=left_right")
    for source in (coded_layout, *([tagged] if container == "mp4" else [])):
        target = tmp_path / f"small.{container}"
        assert any("does not hold" in note and "stereo 3D layout" in note for note in plan(source, target).notes)
        assert SideData.STEREO3D not in side_data(coded(source, target))


def test_group_timecode_of_mpeg2_is_named(folder: Path) -> None:
    source = make(folder / "mpeg2.ts", *picture(duration=0.2), "-c:v", "mpeg2video", "-timecode", "01:00:00:00")
    assert any("timecode (GOP)" in note for note in plan(source).notes)


def test_dolby_vision_of_a_phone_is_named(shared_data: Path) -> None:
    source = shared_data / "odd" / "hlg10_1080p_vfr.mp4"
    decided = plan(source)
    assert any("does not hold" in note and "Dolby Vision metadata" in note for note in decided.notes)
    assert decided.source.video.color.transfer == "arib-std-b67"


# Pixel formats


@pytest.mark.parametrize(
    ("name", "pix_fmt", "codec", "others"),
    [
        ("12.mkv", "yuv420p12le", "x264", "x265 can"),
        ("12gray.mkv", "gray12le", "x264", "x265 can"),
        ("422.mkv", "yuv422p", "svtav1", "x264 and x265 can"),
        ("12.mkv", "yuv420p12le", "svtav1", "x265 can"),
    ],
)
def test_format_that_the_encoder_lacks_is_refused_naming_another(
    name: str, pix_fmt: str, codec: str, others: str, folder: Path
) -> None:
    source = make(folder / f"lacks_{name}", *picture(duration=0.1), "-pix_fmt", pix_fmt, *FFV1)
    with pytest.raises(ConfigError, match=f"{codec} cannot encode {pix_fmt}; {others}"):
        plan(source, codec=codec)


@pytest.mark.parametrize("chroma", ["420", "422", "444", "gray"])
@pytest.mark.parametrize("depth", [8, 10, 12])
def test_pixel_format_and_codes_are_kept(chroma: str, depth: int, folder: Path, tmp_path: Path) -> None:
    suffix = "" if depth == 8 else f"{depth}le"
    pix_fmt = f"gray{suffix}" if chroma == "gray" else f"yuv{chroma}p{suffix}"
    source = make(folder / f"kept_{pix_fmt}.mkv", *picture(duration=0.2), "-pix_fmt", pix_fmt, *FFV1)
    truth = pixels(source, pix_fmt, (H, W)).astype(int)
    for codec in ("x265", "x264"):
        if codec == "x264" and depth == 12:
            continue
        small = coded(source, tmp_path / f"{codec}.mkv", **LOSSLESS[codec])
        found = pixels(small, pix_fmt, (H, W)).astype(int)
        np.testing.assert_array_equal(found, truth)
        with av.open(str(small)) as opened:
            decoded = opened.streams.video[0].format.name.replace("yuvj", "yuv")
        # Decoders show gray H.264 as 4:2:0 without colour.
        assert decoded == (f"yuv420p{suffix}" if codec == "x264" and chroma == "gray" else pix_fmt)


@pytest.mark.parametrize(
    ("name", "words", "planar"),
    [
        ("nv12.nut", ["-pix_fmt", "nv12", "-c:v", "rawvideo"], "yuv420p"),
        ("yuyv.avi", ["-pix_fmt", "yuyv422", "-c:v", "rawvideo"], "yuv422p"),
        ("uyvy.mov", ["-pix_fmt", "uyvy422", "-c:v", "rawvideo"], "yuv422p"),
        ("v210.mov", ["-pix_fmt", "yuv422p10le", "-c:v", "v210"], "yuv422p10le"),
    ],
)
def test_packed_pictures_are_only_repacked(
    name: str, words: list[str], planar: str, folder: Path, tmp_path: Path
) -> None:
    source = make(folder / name, *picture(duration=0.2), *words)
    small = coded(source, tmp_path / "small.mkv", **LOSSLESS["x265"])
    with av.open(str(small)) as opened:
        assert opened.streams.video[0].format.name == planar
    np.testing.assert_array_equal(pixels(small, planar, (H, W)), pixels(source, planar, (H, W)))


def test_p010_pictures_are_only_repacked(folder: Path) -> None:
    source = make(folder / "ten.mkv", *picture(duration=0.2), "-pix_fmt", "yuv420p10le", *FFV1)
    assert reading_of("p010le").format.name == "yuv420p10le"
    probed = replace(plan(source, codec="x265").source, pix_fmt="p010le")
    with av.open(str(source)) as opened:
        packed = [frame.reformat(format="p010le") for frame in opened.decode(video=0)]
    pictures = ((Picture(frame, None), pts) for pts, frame in enumerate(packed))
    frames = list(to_frames(pictures, probed, "ignore", Clock("test")))
    found = np.stack([np.concatenate([plane.ravel() for plane in frame.planes]) for frame in frames])
    np.testing.assert_array_equal(found, pixels(source, "yuv420p10le", (H, W)))


RGB_TO_YUV = {"bt709": (0.2126, 0.0722), "bt2020nc": (0.2627, 0.0593)}


def yuv_of_rgb(rgb: Floats, matrix: str, depth: int) -> Floats:
    """Limited-range codes [frames, 3, pixels], not rounded, from R, G, B in 0 to 1."""
    kr, kb = RGB_TO_YUV[matrix]
    red, green, blue = rgb[:, 0], rgb[:, 1], rgb[:, 2]
    y = kr * red + (1 - kr - kb) * green + kb * blue
    u, v = (blue - y) / (2 - 2 * kb), (red - y) / (2 - 2 * kr)
    unit = 1 << (depth - 8)
    return np.stack([(16 + 219 * y) * unit, (128 + 224 * u) * unit, (128 + 224 * v) * unit], axis=1)


@pytest.mark.parametrize(
    ("name", "words", "depth", "matrix"),
    [
        ("x264.mp4", ["-pix_fmt", "rgb24", "-c:v", "libx264rgb", "-crf", "0"], 8, "bt709"),
        ("ffv1.mkv", ["-pix_fmt", "bgr0", *FFV1], 8, "bt709"),
        ("raw.avi", ["-pix_fmt", "bgr24", "-c:v", "rawvideo"], 8, "bt709"),
        ("palette.mkv", ["-pix_fmt", "pal8", "-c:v", "png"], 8, "bt709"),
        ("ten.mkv", ["-pix_fmt", "gbrp10le", *FFV1], 10, "bt709"),
        ("twelve.mkv", ["-pix_fmt", "gbrp12le", *FFV1], 12, "bt709"),
        ("wide.mkv", ["-vf", "format=gbrp10le,setparams=color_primaries=bt2020", *FFV1], 10, "bt2020nc"),
    ],
)
def test_rgb_is_converted_with_an_explicit_matrix(
    name: str, words: list[str], depth: int, matrix: str, folder: Path, tmp_path: Path
) -> None:
    source = make(folder / f"rgb_{name}", *picture(duration=0.2), *words)
    suffix = "" if depth == 8 else f"{depth}le"
    planes = pixels(source, f"gbrp{suffix}", (H, W)).reshape(-1, 3, H * W)
    truth = yuv_of_rgb(planes[:, [2, 0, 1]] / (2**depth - 1), matrix, depth)
    decided = plan(source, tmp_path / "small.mkv", **LOSSLESS["x265"])
    assert any(note.startswith("RGB (") and f"{matrix}, limited range" in note for note in decided.notes)

    small = coded(source, tmp_path / "small.mkv", **LOSSLESS["x265"])

    found = pixels(small, f"yuv444p{suffix}", (H, W)).reshape(-1, 3, H * W)
    error = abs(found - truth)
    assert error.max() <= 0.51  # rounding
    assert colour(small)[:2] == (1, 1 if matrix == "bt709" else 9)


def test_gray_is_measured_and_restored(folder: Path, tmp_path: Path) -> None:
    source = make(folder / "gray.mkv", *picture(duration=0.2), "-pix_fmt", "gray", *FFV1)
    for codec in ("x264", "x265"):
        decided = plan(source, tmp_path / f"{codec}.mkv", **LOSSLESS[codec])
        outcome = coding(source, tmp_path / f"{codec}.mkv", **LOSSLESS[codec])
        report = evaluate_encode(decided, outcome)
        assert [row.mse for row in report.rows] == [(0.0,)] * 5
        path = restored(outcome.path, tmp_path / f"{codec}.restored.mkv", lossless=True)
        with av.open(str(path)) as file:
            assert file.streams.video[0].codec_context.pix_fmt == "gray"  # though H.264 is decoded as 4:2:0
        np.testing.assert_array_equal(luma(path, "gray", H, W), luma(source, "gray", H, W))
        assert colour(path)[0] == 2
        again = restored(outcome.path, tmp_path / f"{codec}.again.mp4", lossless=True)  # gray H.264
        np.testing.assert_array_equal(luma(again, "gray", H, W), luma(source, "gray", H, W))


# Interlaced


@pytest.fixture(scope="session")
def interlaced(folder: Path) -> Path:
    """Ten frames of two fields each, flagged as interlaced."""
    words = ["-vf", "tinterlace=interleave_top,setfield=tff", "-c:v", "libx264", "-flags", "+ildct+ilme"]
    return make(folder / "interlaced.mp4", *picture(rate=50, duration=0.4), *words, "-pix_fmt", "yuv420p")


def test_interlaced_is_refused_naming_the_option(interlaced: Path) -> None:
    with pytest.raises(DecodeError, match=r"flagged interlaced: --interlaced bwdif .*--interlaced ignore"):
        plan(interlaced)


def test_interlaced_is_ignored_when_asked(interlaced: Path, tmp_path: Path) -> None:
    small = coded(interlaced, tmp_path / "small.mp4", interlaced="ignore", crf=0)
    np.testing.assert_array_equal(pixels(small, "yuv420p", (H, W)), pixels(interlaced, "yuv420p", (H, W)))
    assert plan(small, tmp_path / "again.mp4").source.interlaced is False


def test_interlaced_is_deinterlaced_when_asked(interlaced: Path, tmp_path: Path) -> None:
    small = coded(interlaced, tmp_path / "small.mp4", interlaced="bwdif", crf=0)
    assert shown_times(small) == shown_times(interlaced)
    truth = pixels(interlaced, "yuv420p", (H, W), "-vf", "bwdif=mode=send_frame:deint=interlaced")
    found = pixels(small, "yuv420p", (H, W))
    # The ffmpeg libraries of PyAV and of the binary make something different of the first picture's second row.
    np.testing.assert_array_equal(found[1:], truth[1:])
    decided = plan(interlaced, tmp_path / "small.mp4", interlaced="bwdif", crf=0)
    report = evaluate_encode(decided, coding(interlaced, tmp_path / "small.mp4", interlaced="bwdif", crf=0))
    assert {row.mse for row in report.rows} == {(0.0, 0.0, 0.0)}


# Rotation and aspect ratio

TURNS = {"90": ["-display_rotation", "90"], "180": ["-display_rotation", "180"], "flip": ["-display_hflip"]}


@pytest.mark.parametrize("codec", ["x264", "x265", "svtav1"])
@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("turn", list(TURNS))
def test_rotation_and_aspect_ratio_are_kept(
    turn: str, container: str, codec: str, folder: Path, tmp_path: Path
) -> None:
    plain = folder / "wide.mp4"
    if not plain.exists():
        make(plain, *picture("128x96", duration=0.2), "-vf", "setsar=3/2", "-c:v", "libx264", "-preset", "ultrafast")
    source = make(folder / f"turned_{turn}.{container}", *TURNS[turn], "-i", plain, "-c", "copy")
    matrix = side_data(source)[SideData.DISPLAYMATRIX]

    small = coded(source, tmp_path / f"small.{container}", codec=codec, scale="2", crf=10)

    path = restored(small, tmp_path / f"restored.{container}", codec=codec)
    for file, size in ((small, (64, 48)), (path, (128, 96))):
        assert side_data(file)[SideData.DISPLAYMATRIX] == matrix
        assert aspect(file) == aspect(source) == Fraction(3, 2)
        with av.open(str(file)) as opened:
            stream = opened.streams.video[0]
            assert (stream.width, stream.height) == size  # the pixels are not turned
    ours, theirs = (luma(file, "gray", 96, 128).astype(int) for file in (path, source))
    assert abs(ours - theirs).mean() < abs(ours[:, ::-1] - theirs).mean() / 3


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        ("90", "rotation by 90 degrees"),
        ("180", "rotation by 180 degrees"),
        ("flip", "horizontal flip"),
        ("-90 -display_vflip", "horizontal flip and rotation by 90 degrees"),
        ("7.5", "rotation by 7.5 degrees"),
    ],
)
@pytest.mark.parametrize("container", ["ts", "m2ts"])
def test_rotation_that_a_container_does_not_hold_is_named(
    turn: str, words: str, container: str, folder: Path, tmp_path: Path
) -> None:
    plain = make(tmp_path / "plain.mp4", *picture("128x96", duration=0.2), "-c:v", "libx264")
    options = TURNS.get(turn) or ["-display_rotation", *turn.split()]
    source = make(tmp_path / "turned.mp4", *options, "-i", plain, "-c", "copy")
    assert SideData.DISPLAYMATRIX in side_data(source)
    target = tmp_path / f"small.{container}"
    assert f"the output does not hold: {words}" in plan(source, target).notes
    with pytest.raises(ConfigError, match=f"--strict refuses to lose: {words}"):
        plan(source, target, strict=True)
    assert SideData.DISPLAYMATRIX not in side_data(coded(source, target))
    for other in ("mp4", "mov", "mkv"):
        assert not any("does not hold" in note for note in plan(source, tmp_path / f"small.{other}", strict=True).notes)

    small = coded(source, tmp_path / "small.mp4", scale="2")
    decided = plan_decode(small, tmp_path / f"restored.{container}", DecodeSettings())
    assert f"the output does not hold: {words}" in decided.notes
    with pytest.raises(ConfigError, match=f"--strict refuses to lose: {words}"):
        plan_decode(small, tmp_path / f"restored.{container}", DecodeSettings(strict=True))
    raw = open_small(small, ffmpeg=FFMPEG, settings=DecodeSettings())
    assert raw_video_notes(raw, strict=False) == (f"the output does not hold: {words}",)


def test_rotation_that_raw_video_does_not_hold_is_named(tmp_path: Path) -> None:
    plain = make(tmp_path / "plain.mp4", *picture("128x96", duration=0.1), "-c:v", "libx264")
    small = coded(make(tmp_path / "turned.mp4", "-display_rotation", "90", "-i", plain, "-c", "copy"), scale="2")
    run = run_here("decode", small, "--y4m", "-o", tmp_path / "raw.y4m")
    assert (run.code, run.stderr) == (0, "the output does not hold: rotation by 90 degrees\n")
    run = run_here("decode", small, "--y4m", "-o", tmp_path / "strict.y4m", "--strict")
    assert (run.code, "--strict refuses to lose: rotation by 90 degrees" in run.stderr) == (1, True)
    assert not (tmp_path / "strict.y4m").exists()


def matrix_of(path: Path) -> tuple[int, ...] | None:
    data = side_data(path).get(SideData.DISPLAYMATRIX)
    return struct.unpack("=9i", data) if data else None


ONE, LAST = 1 << 16, 1 << 30
MATRICES = {
    "quarter": (0, ONE, 0, -ONE, 0, 0, 0, 0, LAST),
    "quarter, put into place": (0, ONE, 0, -ONE, 0, 0, 96 * ONE, 0, LAST),
    "oblique": (46341, 46341, 0, -46341, 46341, 0, 0, 0, LAST),
    "transposed": (0, ONE, 0, ONE, 0, 0, 0, 0, LAST),
    "shifted": (ONE, 0, 0, 0, ONE, 0, 10 * ONE, 0, LAST),
    "enlarged": (2 * ONE, 0, 0, 0, 2 * ONE, 0, 0, 0, LAST),
    "slanted": (ONE, ONE // 2, 0, 0, ONE, 0, 0, 0, LAST),
}


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm", "ts"])
@pytest.mark.parametrize("name", list(MATRICES))
def test_turn_is_kept_or_named(name: str, container: str, tmp_path: Path) -> None:
    """Compares the rotation that ffmpeg applies; players that rotate ignore the translation."""
    plain = make(tmp_path / "plain.mp4", *picture("128x96", duration=0.1), "-c:v", "libx264")
    source = tmp_path / "turned.mp4"
    with av.open(str(plain)) as old, av.open(str(source), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        stream.set_display_matrix(MATRICES[name])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    assert matrix_of(source) == MATRICES[name]
    target, codec = tmp_path / f"small.{container}", "svtav1" if container == "webm" else "x264"
    named = any("does not hold" in note for note in plan(source, target, codec=codec).notes)
    found = matrix_of(coded(source, target, codec=codec)) or (ONE, 0, 0, 0, ONE, 0, 0, 0, LAST)
    kept = all(abs(found[at] - MATRICES[name][at]) <= 2 for at in (0, 1, 3, 4))
    assert kept != named


def test_rotation_of_a_copied_stream_is_named(tmp_path: Path) -> None:
    plain = make(tmp_path / "plain.mp4", *picture("128x96", duration=0.2), "-c:v", "libx264")
    words = ["-map", "0", "-map", "1", "-c", "copy"]
    source = make(tmp_path / "two.mp4", "-i", plain, "-display_rotation", "90", "-i", plain, *words)
    note = "the output does not hold: the rotation of video stream 1 (h264)"
    assert note in plan(source, tmp_path / "small.ts").notes
    assert "rotation of" not in described(coded(source, tmp_path / "small.ts"))
    assert plan(source, tmp_path / "small.mkv", strict=True).output.lost == ()
    assert "rotation of 90" in described(coded(source, tmp_path / "small.mkv"))


@pytest.mark.parametrize("container", ["mp4", "ts"])
@pytest.mark.parametrize("sar", [Fraction(160, 99), Fraction(1281, 1280)])
def test_aspect_ratio_is_kept_to_the_last_digit(sar: Fraction, container: str, tmp_path: Path) -> None:
    shape = f"setsar={sar.numerator}/{sar.denominator}:max=65535"
    source = make(tmp_path / "source.mp4", *picture("128x96", duration=0.2), "-vf", shape, "-c:v", "libx264")
    assert aspect(coded(source, tmp_path / f"small.{container}", scale="2")) == sar


# Sizes

SIZES = [(35, 27), (34, 27), (27, 35), (1, 1), (7, 5), (16, 16), (66, 34)]
SCALES = ["1", "4/3", "1.5", "2", "3", "4", "8"]


def noise(path: Path, width: int, height: int, pix_fmt: str = "yuv420p", frames: int = 2) -> Path:
    """A clip of any size, from raw frames with a gradient and some noise."""
    if path.exists():
        return path
    rng = np.random.default_rng(0)
    sub_y, sub_x = {"420": (2, 2), "422": (1, 2), "444": (1, 1)}[pix_fmt[3:6]]
    sizes = [(height, width)] + [(ceil(height / sub_y), ceil(width / sub_x))] * 2
    data = b""
    for _ in range(frames):
        for h, w in sizes:
            slope = 60 + 100 * np.add.outer(np.arange(h) / h, np.arange(w) / w) / 2
            data += (slope + rng.integers(0, 9, (h, w))).astype(np.uint8).tobytes()
    words = ["-f", "rawvideo", "-pix_fmt", pix_fmt, "-s", f"{width}x{height}", "-r", 25, "-i", "pipe:0"]
    return make(path, *words, *FFV1, data=data)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_sizes(width: int, height: int, scale: str, folder: Path, tmp_path: Path) -> None:
    source = noise(folder / f"{width}x{height}.mkv", width, height)
    decided = plan(source, tmp_path / "small.mkv", scale=scale, crf=0)
    small = coded(source, tmp_path / "small.mkv", scale=scale, crf=0)

    def even(size: int) -> int:
        return ceil(ceil(size / Fraction(scale)) / 2) * 2

    with av.open(str(small)) as opened:
        stream = opened.streams.video[0]
        assert (stream.width, stream.height) == (even(width), even(height))
    identity = probe_identity(small)
    assert identity is not None
    assert (identity.width, identity.height) == (width, height)
    assert (identity.coded_width, identity.coded_height) == (even(width), even(height))
    assert identity.scale == str(Fraction(scale))
    path = restored(small, tmp_path / "restored.mkv", lossless=True)
    with av.open(str(path)) as opened:
        stream = opened.streams.video[0]
        assert (stream.width, stream.height) == (width, height)
    stored = luma(small, "yuv420p", even(height), even(width))
    true_height, true_width = ceil(height / Fraction(scale)), ceil(width / Fraction(scale))
    repeated = np.pad(
        stored[:, :true_height, :true_width],
        [(0, 0), (0, even(height) - true_height), (0, even(width) - true_width)],
        mode="edge",
    )
    np.testing.assert_array_equal(stored, repeated)
    # Both codings are lossless: what is left is the pair alone, whatever was padded and cut in between.
    pair, geometry = decided.pair, decided.geometry
    expected = []
    for frame in decode_frames(decided.source, log=ReadLog(), clock=Clock("d")):
        shrunk = pair.downscale(YuvImage(frame.planes, frame.format))
        planes = pair.upscale(YuvImage(tuple(shrunk), frame.format), geometry, 0)
        expected.append(np.concatenate([plane.ravel() for plane in planes]))
    np.testing.assert_array_equal(pixels(path, "yuv420p", (height, width)), expected)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "smallest"),
    [
        ("x264", "yuv422p", (2, 2)),
        ("x264", "yuv444p", (2, 2)),
        ("x265", "yuv420p", (64, 16)),
        ("x265", "yuv444p", (64, 16)),
        ("svtav1", "yuv420p", (4, 4)),
    ],
)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 5), (35, 27), (68, 52)])
def test_sizes_of_other_encoders_and_formats(
    codec: str, pix_fmt: str, smallest: tuple[int, int], width: int, height: int, folder: Path, tmp_path: Path
) -> None:
    source = noise(folder / f"{width}x{height}{pix_fmt}.mkv", width, height, pix_fmt)
    small = coded(source, tmp_path / "small.mkv", codec=codec, scale="2")
    identity = probe_identity(small)
    assert isinstance(identity, Identity)
    sub_y, sub_x = {"420": (2, 2), "422": (1, 2), "444": (1, 1)}[pix_fmt[3:6]]
    with av.open(str(small)) as opened:
        stream = opened.streams.video[0]
        assert (stream.width, stream.height) == (identity.coded_width, identity.coded_height)
        assert stream.width >= max(smallest[0], ceil(width / 2))
        assert stream.height >= max(smallest[1], ceil(height / 2))
        assert stream.width <= max(smallest[0], ceil(ceil(width / 2) / sub_x) * sub_x)
        assert stream.height <= max(smallest[1], ceil(ceil(height / 2) / sub_y) * sub_y)
    path = restored(small, tmp_path / "restored.mkv", lossless=True)
    with av.open(str(path)) as opened:
        stream = opened.streams.video[0]
        assert (stream.width, stream.height, stream.format.name) == (width, height, pix_fmt)


def test_8k(folder: Path, tmp_path: Path) -> None:
    words = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "1"]
    source = make(folder / "8k.mp4", *picture("8192x4320", duration=0.08), *words)
    small = coded(source, tmp_path / "small.mp4", scale="2")
    with av.open(str(small)) as opened:
        stream = opened.streams.video[0]
        assert (stream.width, stream.height) == (4096, 2160)
        assert len([packet for packet in opened.demux(stream) if packet.size]) == 2
    found = open_small(small, ffmpeg="", settings=DecodeSettings())
    frames = restored_frames(found, log=ReadLog(), decoding=Clock("d"), upscaling=Clock("u"))
    assert [plane.shape for plane in next(frames).planes] == [(4320, 8192), (2160, 4096), (2160, 4096)]
    frames.close()  # type: ignore[attr-defined]


def blob(height: int, width: int) -> Floats:
    """A bell well inside the frame, off its centre by a fraction of a pixel."""
    y, x = np.mgrid[:height, :width]
    return np.asarray(
        np.exp(-((y - 0.47 * height) ** 2 + (x - 0.53 * width) ** 2) / (2 * (min(height, width) / 7) ** 2))
    )


def centroid(plane: npt.NDArray[Any], floor: float) -> tuple[float, float]:
    """Centroid of the brightness above ``floor``, (y, x) in samples."""
    weight = np.clip(plane.astype(float) - floor, 0, None)
    y, x = np.mgrid[: plane.shape[0], : plane.shape[1]]
    return float((weight * y).sum() / weight.sum()), float((weight * x).sum() / weight.sum())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("place", "codec"), [("left", "x264"), ("topleft", "x265"), ("center", "svtav1")])
def test_nothing_moves(scale: str, place: str, codec: str, folder: Path, tmp_path: Path) -> None:
    height, width = 134, 202  # the small picture is padded at most scales
    shapes = [(height, width), (height // 2, width // 2), (height // 2, width // 2)]
    source = folder / f"blob_{place}.mkv"
    if not source.exists():
        planes = [np.round(64 + 150 * blob(*shape)).astype(np.uint8) for shape in shapes]
        data = b"".join(plane.tobytes() for plane in planes)
        words = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", 25, "-i", "pipe:0"]
        make(
            source, *words, "-vf", f"setparams=range=tv:chroma_location={place}", "-c:v", "libx264", "-qp", 0, data=data
        )
    small = coded(source, tmp_path / "small.mkv", scale=scale, **LOSSLESS[codec])
    found = open_small(small, ffmpeg=plan(source).ffmpeg.path, settings=DecodeSettings())
    frames = restored_frames(found, log=ReadLog(), decoding=Clock("d"), upscaling=Clock("u"))
    (frame,) = list(frames)
    truth = next(iter(decode_frames(plan(source).source, log=ReadLog(), clock=Clock("d"))))
    for ours, theirs, shape in zip(frame.planes, truth.planes, shapes, strict=True):
        assert ours.shape == shape
        moved = np.subtract(centroid(ours, 80), centroid(theirs, 80))
        assert abs(moved).max() < 0.06


def test_small_chroma_lies_where_the_source_has_it(folder: Path, tmp_path: Path) -> None:
    # Without siting, chroma of the small picture would lie a quarter of a sample off; zscale knows the rule.
    for place in ("left", "center", "topleft"):
        source = tagged(folder / f"{place}.mp4", "yuv420p", f"range=tv:chroma_location={place}")
        small = coded(source, tmp_path / "small.mkv", scale="2", **LOSSLESS["x264"])
        filters = [
            "-vf",
            f"setparams=chroma_location={place},zscale=32:24:filter=lanczos:chromalin={place}:chromal={place}",
        ]
        truth = pixels(source, "yuv420p", (H // 2, W // 2), *filters).astype(int)
        found = pixels(small, "yuv420p", (H // 2, W // 2)).astype(int)
        assert abs(found - truth).max() <= 1


def test_source_without_pictures_of_that_stream_is_refused(folder: Path) -> None:
    source = make(folder / "sound.mkv", "-f", "lavfi", "-i", "sine=d=0.2", "-c:a", "pcm_s16le")
    with pytest.raises(VidscaleError, match="holds no video stream"):
        plan(source)
    assert ffmpeg("-i", source, "-f", "null", "-") == b""
