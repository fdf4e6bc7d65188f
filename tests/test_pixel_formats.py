"""Every pixel format that ffmpeg decodes to is encoded, with a note if it is converted, or rejected in one line."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.format import names as PIXEL_FORMATS
from material import coded, ffmpeg, luma, make, picture, pixels, plan, restored

from vidscale.config import FilesSettings
from vidscale.errors import ConfigError, MeasureError
from vidscale.jobs.evaluation import evaluate_encode, evaluate_files
from vidscale.jobs.pipeline import encode
from vidscale.media.frames import Color, Frame, VideoInfo
from vidscale.media.pictures import Picture, to_frames
from vidscale.media.pixel_formats import reading_of
from vidscale.media.probe import Source
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

pytestmark = pytest.mark.slow  # most cases encode and decode a file

H, W = 48, 64
FFV1 = ["-c:v", "ffv1"]
LOSSLESS: dict[str, dict[str, Any]] = {
    "x264": {"codec": "x264", "encoder_params": "qp=0"},
    "x265": {"codec": "x265", "encoder_params": "lossless=1"},
}
REFUSED = {
    "bayer_rggb8": "Bayer",
    "bayer_bggr16le": "Bayer",
    "gbrpf32le": "floating-point",
    "grayf16le": "floating-point",
    "rgbaf32be": "floating-point",
    "yaf32le": "floating-point",
    "gray32le": "32 bits",
    "rgb96le": "32 bits",
    "xyz12le": "XYZ",
    "rgb4": "4 bits",
    "cuda": "GPU",
}
# Made by hand or by other tests: swscale writes none of them.
UNWRITABLE = {"pal8", "uyyvyy411", "v30xbe", "x2bgr10be", "x2rgb10be", "xv30be", "y210be", "y212be", "y216be"}


def is_taken(name: str) -> bool:
    try:
        return bool(reading_of(name))
    except ConfigError:
        return False


TAKEN = [name for name in sorted(PIXEL_FORMATS) if is_taken(name)]
EXACT = [  # but where swscale itself writes and reads green one code off
    name
    for name in TAKEN
    if name not in UNWRITABLE
    and not (name.startswith("gbrp") and "msb" in name)
    and min(component.bits for component in av.VideoFormat(name).components) >= 8
]


def source_of(pix_fmt: str, **color: Any) -> Source:
    """The probe's result for a file in that format."""
    reading = reading_of(pix_fmt)
    video = VideoInfo(W, H, reading.format, Color(**{"matrix": "bt709", **color}), Fraction(1, 25))
    return Source(
        path=Path("made.nut"),
        container="nut",
        video=video,
        stream_index=0,
        codec="rawvideo",
        pix_fmt=pix_fmt,
        streams=(),
        has_chapters=False,
        metadata={},
        start_s=Fraction(0),
        size_bytes=0,
        side_data=(),
        may_jump=False,
        interlaced=False,
    )


def random_planes(pix_fmt: str) -> list[npt.NDArray[Any]]:
    """Random codes at the depth of a format for all of its planes but alpha."""
    reading, rng = reading_of(pix_fmt), np.random.default_rng(1)
    sub_y, sub_x = reading.subsampling
    shapes = [(H, W)] + [(-(-H // sub_y), -(-W // sub_x))] * (0 if reading.format.chroma == "gray" else 2)
    return [rng.integers(0, 1 << reading.format.bit_depth, shape).astype(reading.format.dtype) for shape in shapes]


def filled(pix_fmt: str, planes: list[npt.NDArray[Any]]) -> av.VideoFrame:
    """A frame of a planar format."""
    frame = av.VideoFrame(W, H, pix_fmt)
    for plane, codes in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // codes.itemsize), codes.dtype)
        rows[: codes.shape[0], : codes.shape[1]] = codes
        plane.update(rows)  # type: ignore[arg-type]
    frame.pts = 0
    return frame


def packed(pix_fmt: str, planes: list[npt.NDArray[Any]]) -> av.VideoFrame:
    """An opaque frame, by swscale."""
    reading = reading_of(pix_fmt)
    planar = reading.planar
    if planar.startswith("ya"):  # gray and alpha, which have no planar form: made of gray
        planar = planar.replace("ya8", "gray").replace("ya", "gray")
    elif reading.has_alpha:
        planes = [*planes, np.full((H, W), (1 << reading.format.bit_depth) - 1, reading.format.dtype)]
    frame = filled(planar, planes).reformat(format=pix_fmt)
    frame.pts = 0
    return frame


def read(frame: av.VideoFrame, source: Source) -> Frame:
    (found,) = to_frames(iter([(Picture(frame, 0, None), 0)]), source, "ignore", Clock("test"))
    return found


def yuv_of_gbr(planes: list[npt.NDArray[Any]], had: int, depth: int) -> npt.NDArray[np.float64]:
    """BT.709 limited-range codes, not rounded."""
    green, blue, red = (plane.astype(np.float64) / ((1 << had) - 1) for plane in planes)
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    u, v = (blue - y) / 1.8556, (red - y) / 1.5748
    unit = 1 << (depth - 8)
    return np.stack([(16 + 219 * y) * unit, (128 + 224 * u) * unit, (128 + 224 * v) * unit])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def test_formats_are_taken_or_refused_in_one_line() -> None:
    assert len(TAKEN) > 190
    for name in sorted(set(PIXEL_FORMATS) - set(TAKEN)):
        with pytest.raises(ConfigError) as error:
            reading_of(name)
        assert str(error.value).startswith(f"pixel format {name} ")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_format_that_is_refused(name: str) -> None:
    if name not in PIXEL_FORMATS:
        pytest.skip("of a newer ffmpeg")
    with pytest.raises(ConfigError, match=REFUSED[name]):
        reading_of(name)


def test_file_of_a_format_that_is_refused(folder: Path) -> None:
    source = make(folder / "float.nut", *picture(duration=0.1), "-pix_fmt", "gbrpf32le", "-c:v", "rawvideo")
    with pytest.raises(ConfigError, match="pixel format gbrpf32le has floating-point samples; convert it"):
        plan(source)


@pytest.mark.parametrize("name", sorted(UNWRITABLE - {"pal8", "uyyvyy411"}))
def test_pictures_that_ffmpeg_cannot_repack_are_refused(name: str) -> None:
    if name not in PIXEL_FORMATS:
        pytest.skip("of a newer ffmpeg")
    with pytest.raises(ConfigError, match=f"pixel format {name} cannot be read"):
        read(av.VideoFrame(W, H, name), source_of(name))


@pytest.mark.parametrize("color_range", [None, "pc"])
@pytest.mark.parametrize("name", EXACT)
def test_pictures_of_every_format_are_repacked_exactly(name: str, color_range: str | None) -> None:
    reading, planes = reading_of(name), random_planes(name)
    frame = packed(name, planes)
    if color_range is not None:
        frame.color_range, frame.colorspace = 2, 1
    found = read(frame, source_of(name, color_range=color_range)).planes
    if reading.is_rgb:
        depth = reading.format.bit_depth
        assert abs(np.stack(found) - yuv_of_gbr(planes, depth, depth)).max() <= 0.52  # rounding, in float32
        return
    assert [plane.shape for plane in found] == list(reading.format.plane_shapes(H, W))
    assert all(plane.strides[1] == plane.itemsize for plane in found)
    for number, (plane, truth) in enumerate(zip(found, planes, strict=True)):
        if number == 0 or not reading.doubled_axes:  # what becomes of chroma has a test of its own
            np.testing.assert_array_equal(plane, truth)


@pytest.mark.parametrize("name", ["rgb565le", "bgr555be", "rgb444le", "rgb8", "bgr4_byte"])
def test_rgb_of_few_bits_is_read_as_ffmpeg_shows_it(name: str, folder: Path) -> None:
    source = make(folder / f"{name}.nut", *picture(f"{W}x{H}", duration=0.1), "-pix_fmt", name, "-c:v", "rawvideo")
    planes = [*pixels(source, "gbrp", (H, W))[0].reshape(3, H, W)]
    (found, *_) = decode_frames(plan(source).source, log=ReadLog(), clock=Clock("test"))
    assert abs(np.stack(found.planes) - yuv_of_gbr(planes, 8, 8)).max() <= 0.51


@pytest.mark.parametrize("name", ["monow", "monob"])
@pytest.mark.parametrize("codec", ["x264", "x265"])
def test_black_and_white_is_gray_of_full_range(name: str, codec: str, folder: Path, tmp_path: Path) -> None:
    source = make(folder / f"{name}.nut", *picture(f"{W}x{H}", duration=0.2), "-pix_fmt", name, "-c:v", "rawvideo")
    small = coded(source, tmp_path / "small.mkv", **LOSSLESS[codec])
    shown = luma(small, "gray", H, W)  # by the tag of the file
    np.testing.assert_array_equal(shown, luma(source, "gray", H, W))
    assert set(np.unique(shown)) == {0, 255}


# Depths


def at_depth(codes: npt.NDArray[Any], had: int, gets: int) -> npt.NDArray[Any]:
    """Limited-range codes at another depth, by H.273: a power of two."""
    scaled = codes * Fraction(2) ** (gets - had)
    return np.vectorize(lambda code: min(int(code + Fraction(1, 2)), (1 << gets) - 1))(scaled)


@pytest.mark.parametrize(
    ("pix_fmt", "codec", "becomes"),
    [
        ("yuv420p16le", "x265", "yuv420p12le"),
        ("yuv420p16le", "x264", "yuv420p10le"),
        ("yuv420p14le", "x265", "yuv420p12le"),
        ("yuv420p9le", "x264", "yuv420p10le"),
        ("yuv422p16le", "x264", "yuv422p10le"),
        ("yuv444p16le", "x265", "yuv444p12le"),
        ("yuv422p16le", "x265", "yuv422p12le"),
    ],
)
def test_depth_that_no_encoder_takes_is_coded_at_the_nearest(
    pix_fmt: str, codec: str, becomes: str, folder: Path, tmp_path: Path
) -> None:
    source = make(folder / f"{pix_fmt}.mkv", *picture(f"{W}x{H}", duration=0.1), "-pix_fmt", pix_fmt, *FFV1)
    had, gets = (reading_of(name).format.bit_depth for name in (pix_fmt, becomes))
    notes = [note for note in plan(source, **LOSSLESS[codec]).notes if "bits per sample" in note]
    reason = f"the maximum of {codec}" if had > gets else "without loss"
    assert notes == [f"{had} bits per sample ({pix_fmt}) are encoded as {gets}, {reason}"]
    small = coded(source, tmp_path / "small.mkv", **LOSSLESS[codec])
    data = np.frombuffer(ffmpeg("-i", source, "-f", "rawvideo", "-pix_fmt", pix_fmt, "-"), "<u2")
    found = pixels(small, becomes, (H, W))
    np.testing.assert_array_equal(found.ravel(), at_depth(data, had, gets))


def test_sixteen_bits_through_av1(folder: Path, tmp_path: Path) -> None:
    source = make(folder / "av1.mkv", *picture(f"{W}x{H}", duration=0.1), "-pix_fmt", "yuv420p16le", *FFV1)
    small = coded(source, tmp_path / "small.mkv", codec="svtav1", crf=5)
    with av.open(str(small)) as container:
        assert container.streams.video[0].format.name == "yuv420p10le"


def test_twelve_bits_are_still_refused_where_another_encoder_keeps_them(folder: Path) -> None:
    source = make(folder / "twelve.mkv", *picture(duration=0.1), "-pix_fmt", "yuv420p12le", *FFV1)
    with pytest.raises(ConfigError, match="x264 cannot encode yuv420p12le; x265 can"):
        plan(source, codec="x264")


@pytest.mark.parametrize(("depth", "gets"), [(16, 12), (16, 10), (14, 10), (9, 10)])
def test_codes_of_full_range_are_scaled_by_their_peaks(depth: int, gets: int) -> None:
    name = f"yuv444p{depth}le"
    planes = random_planes(name)
    for plane in planes:
        plane.flat[:3] = 0, (1 << depth) - 1, 1 << (depth - 1)
    source = source_of(name, color_range="pc")
    source = replace(source, video=replace(source.video, format=replace(source.video.format, bit_depth=gets)))
    found = read(filled(name, planes), source).planes
    ratio = ((1 << gets) - 1) / ((1 << depth) - 1)
    middle = 1 << (depth - 1)
    truth = [planes[0] * ratio, *((plane.astype(float) - middle) * ratio + (1 << (gets - 1)) for plane in planes[1:])]
    for plane, wanted in zip(found, truth, strict=True):
        assert abs(plane - wanted.clip(0, (1 << gets) - 1)).max() <= 0.501
    assert [int(plane.flat[2]) for plane in found[1:]] == [1 << (gets - 1)] * 2  # no colour stays no colour


@pytest.mark.parametrize(
    ("name", "words", "codec", "depth"),
    [
        ("png48.mkv", ["-pix_fmt", "rgb48be", "-c:v", "png"], "x265", 12),
        ("gbrp16.mkv", ["-pix_fmt", "gbrp16le", *FFV1], "x265", 12),
        ("gbrp14.mkv", ["-pix_fmt", "gbrp14le", *FFV1], "x264", 10),
        ("gbrp9.mkv", ["-pix_fmt", "gbrp9le", *FFV1], "x264", 10),
    ],
)
def test_deep_rgb_is_converted_in_one_step(
    name: str, words: list[str], codec: str, depth: int, folder: Path, tmp_path: Path
) -> None:
    source = make(folder / name, *picture(f"{W}x{H}", duration=0.1), *words)
    with av.open(str(source)) as container:
        own = container.streams.video[0].format.name.replace("rgb48be", "gbrp16le")  # which repacks alone
    data = np.frombuffer(ffmpeg("-i", source, "-f", "rawvideo", "-pix_fmt", own, "-"), "<u2")
    planes = [*data.reshape(-1, 3, H, W)[0]]
    small = coded(source, tmp_path / "small.mkv", **LOSSLESS[codec])
    found = pixels(small, f"yuv444p{depth}le", (H, W))[0].reshape(3, H, W)
    assert abs(found - yuv_of_gbr(planes, reading_of(own).format.bit_depth, depth)).max() <= 0.52


def test_sixteen_bits_are_measured_at_the_depth_of_what_was_coded(folder: Path, tmp_path: Path) -> None:
    source = make(folder / "measured.mkv", *picture(f"{W}x{H}", duration=0.2), "-pix_fmt", "yuv420p16le", *FFV1)
    decided = plan(source, tmp_path / "small.mkv", **LOSSLESS["x265"])
    report = evaluate_encode(decided, encode(decided))
    assert report.source.format.name == "yuv420p12le"
    assert {row.mse for row in report.rows} == {(0.0, 0.0, 0.0)}  # of what twelve bits hold, nothing is lost
    report = evaluate_files(source, decided.output.path, FilesSettings())
    assert {row.mse for row in report.rows} == {(0.0, 0.0, 0.0)}
    assert "measured.mkv: 16 bits per sample (yuv420p16le) are compared as 12, as in the other file" in report.notes
    assert not any("bits per sample" in note for note in evaluate_files(source, source, FilesSettings()).notes)


def test_sixteen_bits_are_measured_as_the_second_too(folder: Path) -> None:
    deep = make(folder / "deep.mkv", *picture(f"{W}x{H}", duration=0.2), "-pix_fmt", "yuv420p16le", *FFV1)
    ten = make(folder / "ten.mkv", "-i", deep, "-pix_fmt", "yuv420p10le", "-sws_dither", "none", *FFV1)
    report = evaluate_files(ten, deep, FilesSettings())
    assert "deep.mkv: 16 bits per sample (yuv420p16le) are compared as 10, as in the other file" in report.notes
    assert max(max(row.mse) for row in report.rows) <= 1  # ffmpeg rounds otherwise


def test_depths_that_encoders_take_are_not_mixed(folder: Path) -> None:
    eight = make(folder / "eight.mkv", *picture(f"{W}x{H}", duration=0.1), "-pix_fmt", "yuv420p", *FFV1)
    ten = make(folder / "mixed.mkv", *picture(f"{W}x{H}", duration=0.1), "-pix_fmt", "yuv420p10le", *FFV1)
    with pytest.raises(MeasureError, match="only videos of the same size and pixel format"):
        evaluate_files(ten, eight, FilesSettings())


def test_sixteen_bits_are_restored_by_hand(folder: Path, tmp_path: Path) -> None:
    source = make(folder / "hand.mkv", *picture(f"{W}x{H}", duration=0.1), "-pix_fmt", "yuv420p16le", *FFV1)
    whole = restored(source, tmp_path / "whole.mkv", pair="lanczos", scale="2", codec="x265")
    exact = restored(source, tmp_path / "exact.mkv", pair="lanczos", scale="2", lossless=True)
    for path, pix_fmt in ((whole, "yuv420p12le"), (exact, "yuv420p16le")):
        with av.open(str(path)) as container:
            assert container.streams.video[0].format.name == pix_fmt


# Chroma that no encoder takes


@pytest.mark.parametrize(
    ("pix_fmt", "becomes"), [("yuv411p", "yuv422p"), ("yuv410p", "yuv420p"), ("yuv440p", "yuv444p")]
)
@pytest.mark.parametrize("place", ["left", "center", "topleft", "bottom"])
@pytest.mark.parametrize("size", [(W, H), (62, 46), (61, 47)])
def test_chroma_is_interpolated_where_it_lies(pix_fmt: str, becomes: str, place: str, size: tuple[int, int]) -> None:
    width, height = size
    raw = ["-f", "rawvideo", "-s", f"{width}x{height}"]
    cut = picture(f"{W}x{H}", duration=0.1, then=f"format=rgb24,crop={width}:{height}:0:0")
    data = ffmpeg(*cut, "-frames:v", 1, "-pix_fmt", pix_fmt, *raw[:2], "-")
    reading, codes = reading_of(pix_fmt), np.frombuffer(data, np.uint8)
    sub_y, sub_x = reading.subsampling
    shapes = [(height, width)] + [(-(-height // sub_y), -(-width // sub_x))] * 2
    ends = np.cumsum([h * w for h, w in shapes])
    planes = [part.reshape(shape) for part, shape in zip(np.split(codes, ends[:-1]), shapes, strict=True)]
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, part in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[: part.shape[0], : part.shape[1]] = part
        plane.update(rows)  # type: ignore[arg-type]
    source = source_of(pix_fmt, chroma_location=place)
    source = replace(source, video=replace(source.video, width=width, height=height))
    found = read(frame, source).planes

    zimg = f"zscale=filter=bicubic:param_a=0:param_b=0.5:cin={place}:c={place}:d=none,format={becomes}"
    if width % sub_x or height % sub_y:  # zimg refuses them; their size alone is looked at
        assert [plane.shape for plane in found] == list(reading.format.plane_shapes(height, width))
        np.testing.assert_array_equal(found[0], planes[0])
        return
    truth = np.frombuffer(
        ffmpeg(*raw, "-pix_fmt", pix_fmt, "-i", "-", "-vf", zimg, "-f", "rawvideo", "-", data=data), np.uint8
    )
    assert abs(np.concatenate([plane.ravel() for plane in found]).astype(int) - truth).max() <= 1
    np.testing.assert_array_equal(found[0], planes[0])


@pytest.fixture(scope="module")
def dv(folder: Path) -> Path:
    """NTSC DV: 4:1:1, interlaced, cosited."""
    words = ["-f", "lavfi", "-i", "testsrc2=s=720x480:r=30000/1001:d=0.2", "-pix_fmt", "yuv411p", "-c:v", "dvvideo"]
    return make(folder / "ntsc.dv", *words)


@pytest.mark.parametrize("interlaced", ["ignore", "bwdif"])
def test_ntsc_dv_is_coded(dv: Path, interlaced: str, tmp_path: Path) -> None:
    decided = plan(dv, tmp_path / "small.mkv", interlaced=interlaced, **LOSSLESS["x265"])
    assert [note for note in decided.notes if "yuv411p" in note] == [
        "yuv411p is converted to yuv422p: its chroma is interpolated"
    ]
    assert decided.source.video.color.chroma_location == "topleft"
    small = encode(decided).path
    with av.open(str(small)) as container:
        assert container.streams.video[0].format.name == "yuv422p"
    filters = ["-vf", "bwdif=mode=send_frame:deint=interlaced,format=yuv411p"] if interlaced == "bwdif" else []
    raw = np.frombuffer(ffmpeg("-i", dv, *filters, "-f", "rawvideo", "-pix_fmt", "yuv411p", "-"), np.uint8)
    truth = raw.reshape(-1, 480 * 720 * 3 // 2)
    found = pixels(small, "yuv422p", (480, 720))
    luma_samples = 480 * 720
    # The ffmpeg libraries of PyAV and of the binary make something different of the first picture's second row.
    first = interlaced == "bwdif"
    np.testing.assert_array_equal(found[first:, :luma_samples], truth[first:, :luma_samples])
    chroma = found[:, luma_samples:].reshape(-1, 2, 480, 360)
    np.testing.assert_array_equal(chroma[first:, ..., ::2], truth[first:, luma_samples:].reshape(-1, 2, 480, 180))


def test_ntsc_dv_without_a_choice_is_refused_for_its_fields(dv: Path) -> None:
    with pytest.raises(Exception, match="is flagged interlaced: --interlaced bwdif"):
        plan(dv)


def test_ntsc_dv_through_av1_is_refused_naming_others(dv: Path) -> None:
    with pytest.raises(ConfigError, match="svtav1 cannot encode yuv422p; x264 and x265 can"):
        plan(dv, codec="svtav1", interlaced="ignore")


def test_ntsc_dv_is_measured_with_a_crop_on_its_chroma(dv: Path) -> None:
    report = evaluate_files(dv, dv, FilesSettings.resolve({"crop": "400:300:4:2", "scale_dist": "bicubic"}))
    assert report.rows
    with pytest.raises(ConfigError, match="2,2 is not a multiple of 4,1, as the chroma of yuv411p"):
        evaluate_files(dv, dv, FilesSettings.resolve({"crop": "400:300:2:2"}))


def test_packed_411_is_read(folder: Path, tmp_path: Path) -> None:
    planes = random_planes("yuv411p")
    y, u, v = planes[0].reshape(H, W // 4, 4), planes[1], planes[2]
    packed = np.stack([u, y[..., 0], y[..., 1], v, y[..., 2], y[..., 3]], axis=-1).tobytes()
    raw = ["-f", "rawvideo", "-s", f"{W}x{H}", "-pix_fmt", "uyyvyy411", "-r", "25", "-i", "-"]
    source = make(folder / "packed411.avi", *raw, "-c", "copy", data=packed * 2)
    decided = plan(source, tmp_path / "small.mkv", **LOSSLESS["x265"])
    assert decided.source.pix_fmt == "uyyvyy411"
    found = pixels(encode(decided).path, "yuv422p", (H, W))[0]
    np.testing.assert_array_equal(found[: H * W].reshape(H, W), planes[0])
    np.testing.assert_array_equal(found[H * W :].reshape(2, H, W // 2)[..., ::2], np.stack([u, v]))


@pytest.mark.parametrize(
    ("name", "words", "becomes"),
    [
        ("svq1.mov", ["-c:v", "svq1", "-pix_fmt", "yuv410p"], "yuv420p"),
        ("440.mkv", ["-pix_fmt", "yuv440p12le", *FFV1], "yuv444p12le"),
        ("j440.mkv", ["-pix_fmt", "yuv440p", "-color_range", "pc", "-c:v", "ffvhuff"], "yuv444p"),
    ],
)
def test_other_chroma_is_coded_with_a_note(
    name: str, words: list[str], becomes: str, folder: Path, tmp_path: Path
) -> None:
    source = make(folder / name, *picture(f"{W}x{H}", duration=0.2), *words)
    decided = plan(source, tmp_path / "small.mkv", **LOSSLESS["x265"])
    pix_fmt = decided.source.pix_fmt
    assert f"{pix_fmt} is converted to {becomes}: its chroma is interpolated" in decided.notes
    small = encode(decided).path
    with av.open(str(small)) as container:
        assert container.streams.video[0].format.name.replace("yuvj", "yuv") == becomes
    data = ffmpeg("-i", source, "-f", "rawvideo", "-pix_fmt", pix_fmt, "-")
    dtype = "<u2" if becomes.endswith("le") else "u1"
    frames = len(pixels(small, becomes, (H, W)))
    truth = np.frombuffer(data, dtype).reshape(frames, -1)
    np.testing.assert_array_equal(pixels(small, becomes, (H, W))[:, : H * W], truth[:, : H * W])


@pytest.mark.parametrize(
    ("name", "words", "pix_fmt"),
    [
        ("4444.mov", ["-pix_fmt", "yuva444p10le", "-c:v", "prores_ks", "-profile:v", "4444"], "yuva444p12le"),
        ("gbrp12.mkv", ["-pix_fmt", "gbrp12le", *FFV1], "gbrp12le"),
        ("yuva12.mkv", ["-pix_fmt", "yuva422p12le", *FFV1], "yuva422p12le"),
    ],
)
def test_pictures_that_are_converted_anyway_are_coded_by_every_encoder_of_their_chroma(
    name: str, words: list[str], pix_fmt: str, folder: Path, tmp_path: Path
) -> None:
    source = make(folder / name, *picture(f"{W}x{H}", duration=0.2), *words)
    decided = plan(source, tmp_path / "small.mkv", **LOSSLESS["x264"])
    assert decided.source.pix_fmt == pix_fmt
    assert f"12 bits per sample ({pix_fmt}) are encoded as 10, the maximum of x264" in decided.notes
    report = evaluate_encode(decided, encode(decided))
    assert {row.mse for row in report.rows} == {(0.0, 0.0, 0.0)}
    report = evaluate_files(source, decided.output.path, FilesSettings())
    assert {row.mse for row in report.rows} == {(0.0, 0.0, 0.0)}
    deep = plan(source, tmp_path / "deep.mkv", **LOSSLESS["x265"])
    assert deep.source.video.format.bit_depth == 12
    assert not any("bits per sample" in note for note in deep.notes)


def test_rgb_is_measured_at_the_depth_of_what_was_made_of_it(folder: Path) -> None:
    source = make(folder / "eight.mkv", *picture(f"{W}x{H}", duration=0.2), "-pix_fmt", "gbrp", *FFV1)
    matrix = "scale=in_range=pc:out_range=tv:out_color_matrix=bt709:sws_dither=none,format=yuv444p10le"
    ten = make(folder / "ten444.mkv", "-i", source, "-vf", matrix, *FFV1)
    report = evaluate_files(source, ten, FilesSettings())
    assert report.source.format.name == "yuv444p10le"
    assert max(max(row.mse) for row in report.rows) < 16  # swscale takes 10 bits for 8 with zeros behind
