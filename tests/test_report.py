"""The report: numbers computed by hand and by ffmpeg, files that round-trip, a page that is safe and works offline."""

import base64
import csv
import dataclasses
import json
import math
import re
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from web import Page, assert_self_contained

from vidscale.errors import VidscaleError
from vidscale.media.frames import Color, Frame, PixelFormat
from vidscale.report.files import write_csv, write_json, write_report
from vidscale.report.page import _shots_table, render_html
from vidscale.report.plots import BINS, figure
from vidscale.report.reading import read_json
from vidscale.report.rows import (
    DistortedFacts,
    FrameScore,
    Pairing,
    Report,
    Shot,
    SourceFacts,
    StageTiming,
    Unpaired,
    WorstFrame,
)
from vidscale.report.totals import columns, psnr, remarks, sliding_bitrate_kbps, summary_lines, totals
from vidscale.report.worst_frames import PICTURE_WIDTH, WorstFrames, color_notes, pictures
from vidscale.text import format_bytes, timecode

YUV420 = PixelFormat("420", 8)
SOURCE = SourceFacts(
    "film.mkv", 64, 48, YUV420, Color("tv", "bt709", "bt709", "bt709"), Fraction(2), 100_000, 90_000, "prores"
)
DISTORTED = DistortedFacts("film.small.mp4", 32, 24, "h264", Fraction(2), 25_000, 24_000)


def score(index: int, mse: tuple[float, ...] = (4.0, 2.0, 1.0), **changes: object) -> FrameScore:
    """A row at 25 frames per second."""
    row = FrameScore(index, Fraction(index, 25), "P", 100, mse, (0.9,) * len(mse))
    return dataclasses.replace(row, **changes)


def report(rows: tuple[FrameScore, ...] = (), **changes: object) -> Report:
    return dataclasses.replace(Report(SOURCE, DISTORTED, rows or tuple(score(i) for i in range(50))), **changes)


def frame(value: int, index: int = 0, width: int = 64, height: int = 48, format: PixelFormat = YUV420) -> Frame:  # noqa: A002
    shapes = format.plane_shapes(height, width)
    planes = tuple(np.full(shape, value, dtype=format.dtype) for shape in shapes)
    return Frame(planes, format, index, Fraction(1, 25))


@pytest.fixture(scope="module")
def full_report() -> Report:
    """Every field set, including numbers that JSON cannot express and names with markup."""
    rows = (
        score(0, pict_type="I", bytes=5000, span_bytes=5300, vmaf=90.5, vmaf_neg=88.0, xpsnr_y=41.0),
        score(1, (0.0, 0.0, 0.5), pts_s=Fraction(1001, 30000), bytes=None, vmaf=99.0, vmaf_neg=98.0, xpsnr_y=math.inf),
        score(2, (1 / 3, 0.1, 123.456), ssim=(0.123456789012345, math.nan, math.nan), vmaf=80.0, xpsnr_y=30.0),
    )
    worst = WorstFrames()
    worst.offer(rows[0], frame(100), frame(102))
    return Report(
        source=dataclasses.replace(SOURCE, name="<script>alert(1)</script>.mp4"),
        distorted=dataclasses.replace(DISTORTED, name='"><img src=x onerror=alert(2)>.mp4'),
        rows=rows,
        ssim_window="ffmpeg8x8",
        unpaired=Unpaired([Fraction(1, 3), Fraction(5)], [Fraction(61)]),
        stages=(StageTiming("up<b>", 0.5, 50, "cuda:0", "triton"), StageTiming("encode", 0.0, 50)),
        wall_s=1.25,
        settings={"crf": 28, "pair": "</script><script>alert(3)</script>", "encode": {"tune": None, "list": [1, 2.5]}},
        commands=("ffmpeg -i '<i>' out.mp4",),
        versions={"vidscale": "0.1.0", "ffmpeg": "9.0"},
        notes=("A note with <u>markup</u>.",),
        pairing=Pairing(3001, 1500, Fraction(-1, 3)),
        shots=(
            Shot(0, Fraction(0), 1, 5000),
            Shot(1, Fraction(1001, 30000), 1, None),
            Shot(2, Fraction(2, 25), 2999, 0),
        ),
        worst=worst.frames(),
    )


def test_psnr_by_hand():
    assert psnr([1.0, 255.0**2, 0.0], 255) == pytest.approx([48.1308036, 0.0, math.inf])
    assert float(psnr(1.0, 1023)) == pytest.approx(60.1975, abs=1e-4)


def test_totals_by_hand():
    sums = totals(report(tuple(score(i, (float(i + 1), 1.0, 1.0)) for i in range(100))))
    frames = [10 * math.log10(255**2 / (i + 1)) for i in range(100)]
    assert sums.psnr_y.mean_of_frames == pytest.approx(sum(frames) / 100)
    assert sums.psnr_y.mean_of_frames_finite == pytest.approx(sums.psnr_y.mean_of_frames)
    assert sums.psnr_y.of_mean_mse == pytest.approx(10 * math.log10(255**2 / 50.5))
    assert sums.psnr_y.minimum == pytest.approx(frames[99])
    assert sums.psnr_y.p1 == pytest.approx(frames[99])
    assert sums.psnr_y.p5 == pytest.approx(frames[95])
    assert sums.psnr_y.perfect_frames == 0
    assert sums.ssim_y.mean == pytest.approx(0.9)
    assert sums.vmaf is None
    assert sums.bitrate_kbps == pytest.approx(24_000 * 8 / 2 / 1000)
    assert sums.bpp == pytest.approx(24_000 * 8 / (100 * 64 * 48))
    assert sums.size_ratio == pytest.approx(0.25)


def test_page_shows_the_worst_shots_in_spite_of_unmeasured_ones():
    """Only every third shot is measured, the later the worse."""
    rows = tuple(score(i, (float(i + 1), 1.0, 1.0)) for i in range(0, 300, 3))
    shots = tuple(Shot(i, Fraction(i, 25), 1, 100) for i in range(300))
    table = _shots_table(made := report(rows, shots=shots), columns(made))
    assert [row[0] for row in table.rows] == [str(i + 1) for i in range(0, 300, 3)]


def test_totals_yuv_weighs_planes_by_samples():
    table = columns(report((score(0, (6.0, 3.0, 0.0)),)))
    assert table["mse_yuv"] == pytest.approx([(6.0 * 4 + 3.0) / 6])
    in_444 = dataclasses.replace(SOURCE, format=PixelFormat("444", 8))
    assert columns(report((score(0, (6.0, 3.0, 0.0)),), source=in_444))["mse_yuv"] == pytest.approx([3.0])


def test_totals_agree_with_ffmpeg(tmp_path):
    rng = np.random.default_rng(3)
    clips = [rng.integers(16, 236, (4, 48 * 64 * 3 // 2), dtype=np.uint8) for _ in range(2)]
    clips[1] = (0.9 * clips[0] + 0.1 * clips[1]).astype(np.uint8)
    for name, clip in zip(("ref", "dist"), clips, strict=True):
        (tmp_path / f"{name}.yuv").write_bytes(clip.tobytes())
    import imageio_ffmpeg

    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "64x48", "-i"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *raw, "dist.yuv", *raw, "ref.yuv"]
    subprocess.run([*command, "-lavfi", "psnr=stats_file=stats", "-f", "null", "-"], cwd=tmp_path, check=True)
    stats = [dict(pair.split(":") for pair in line.split()) for line in (tmp_path / "stats").read_text().splitlines()]

    def mse(first: int, stop: int, n: int) -> float:
        return float(((clips[0][n, first:stop].astype(float) - clips[1][n, first:stop]) ** 2).mean())

    rows = tuple(score(n, (mse(0, 3072, n), mse(3072, 3840, n), mse(3840, 4608, n))) for n in range(4))
    table = columns(report(rows))
    for ours, theirs in (("mse_y", "mse_y"), ("mse_yuv", "mse_avg"), ("psnr_u", "psnr_u"), ("psnr_yuv", "psnr_avg")):
        assert table[ours] == pytest.approx([float(row[theirs]) for row in stats], abs=0.0051), ours


def test_totals_perfect_frames_counted():
    sums = totals(report((score(0, (0.0, 1.0, 1.0)), score(1, (1.0, 1.0, 1.0)))))
    assert sums.psnr_y.mean_of_frames == math.inf
    assert sums.psnr_y.mean_of_frames_finite == pytest.approx(48.1308036)
    assert sums.psnr_y.of_mean_mse == pytest.approx(10 * math.log10(255**2 / 0.5))
    assert sums.psnr_y.perfect_frames == 1
    found = remarks(report((score(0, (0.0, 1.0, 1.0)), score(1))), sums)
    assert found == ["1 of 2 frames without luma error: PSNR-Y is inf; the mean of the others is 48.131 dB."]


def test_totals_all_perfect():
    sums = totals(report(tuple(score(i, (0.0, 0.0, 0.0)) for i in range(3))))
    assert sums.psnr_y.mean_of_frames_finite == sums.psnr_y.of_mean_mse == sums.psnr_y.p5 == math.inf


def test_totals_empty():
    empty = dataclasses.replace(report(), rows=())
    sums = totals(empty)
    assert math.isnan(sums.psnr_y.minimum)
    assert math.isnan(sums.ssim_y.mean)
    assert sums.bpp is None
    assert "nothing was compared" in render_html(empty)


def test_totals_missing_ssim_counted():
    sums = totals(report((score(0), score(1, ssim=(math.nan, 0.5, 0.5)))))
    assert sums.ssim_y.missing_frames == 1
    assert sums.ssim_y.mean == pytest.approx(0.9)


def test_bitrate_constant():
    pts = [float(Fraction(1001 * i, 30000)) for i in range(300)]
    assert sliding_bitrate_kbps(pts, [1000.0] * 300) == pytest.approx([8 * 30000 / 1001] * 300)


def test_bitrate_by_hand():
    # 10 frames per second; the window of frame 10 (t = 1.0) is 0.5 <= t < 1.5, that is frames 5 to 14.
    sizes = np.arange(30.0)
    rate = sliding_bitrate_kbps(np.arange(30) / 10, sizes)
    assert rate[10] == pytest.approx(sizes[5:15].sum() * 8 / 1000)
    assert rate[0] == pytest.approx(sizes[:5].sum() * 8 / 1000 / 0.5)
    assert rate[29] == pytest.approx(sizes[24:].sum() * 8 / 1000 / 0.6)


@pytest.mark.parametrize("frame_rate", [24, 25, 30, 50, 60, 120])
def test_bitrate_has_no_ripple(frame_rate):
    rate = sliding_bitrate_kbps([i / frame_rate for i in range(frame_rate * 20)], [100.0] * frame_rate * 20)
    assert rate == pytest.approx([0.8 * frame_rate] * len(rate))


def test_bitrate_unordered_and_unknown():
    shuffled = sliding_bitrate_kbps([0.2, 0.0, 0.1, 0.3], [3.0, 1.0, 2.0, 4.0])
    assert shuffled == pytest.approx([10 * 8 / 1000 / 0.4] * 4)
    unknown = sliding_bitrate_kbps(np.arange(30) / 10, [math.nan] + [1.0] * 29)
    assert np.isnan(unknown[:6]).all()
    assert np.isfinite(unknown[6:]).all()
    assert np.isnan(sliding_bitrate_kbps([0.0], [5.0])).all()


def test_report_is_printed_without_its_frames():
    assert repr(report((score(0),))) == repr(report(tuple(score(index) for index in range(5000))))


def test_json_round_trip(full_report, tmp_path):
    write_json(full_report, tmp_path / "a.json")
    again = read_json(tmp_path / "a.json")
    assert again.worst == ()
    assert again == full_report
    write_json(again, tmp_path / "b.json")
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "a.json").read_bytes()


def test_json_has_no_words_json_lacks(full_report, tmp_path):
    write_json(full_report, tmp_path / "report.json")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    data = json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)
    assert data["schema_version"] == 1
    assert data["totals"]["psnr_y"]["mean_of_frames"] == "inf"
    assert data["totals"]["psnr_y"]["perfect_frames"] == 1
    assert data["frames"][1]["psnr_y"] == "inf"
    assert data["frames"][1]["pts_s_exact"] == "1001/30000"
    assert data["frames"][1]["bytes"] is None
    assert data["frames"][2]["ssim_u"] is None
    assert data["frames"][2]["mse_y"] == 1 / 3
    assert data["unpaired"]["ref_only_pts_s_exact"] == ["1/3", "5"]
    assert data["stages"][1]["fps"] == "inf"


def test_json_keys_are_documented(full_report, tmp_path):
    write_json(full_report, tmp_path / "report.json")
    text = (Path(__file__).parents[1] / "docs" / "report-schema.md").read_text()

    def keys(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*(keys(item) for key, item in value.items() if key not in ("settings", "versions")))
        return set().union(*(keys(item) for item in value)) if isinstance(value, list) else set()

    missing = {key for key in keys(json.loads((tmp_path / "report.json").read_text())) if f"`{key}`" not in text}
    assert not missing


def test_json_of_older_reports_is_read(full_report, tmp_path):
    write_json(full_report, tmp_path / "report.json")
    data = json.loads((tmp_path / "report.json").read_text())
    del data["source"]["codec"]
    (tmp_path / "report.json").write_text(json.dumps(data))
    assert read_json(tmp_path / "report.json").source == dataclasses.replace(full_report.source, codec="")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1}'])
def test_json_errors(text, tmp_path):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(VidscaleError, match=r"report\.json"):
        read_json(tmp_path / "report.json")


def test_csv_round_trip(full_report, tmp_path):
    write_csv(full_report, tmp_path / "frames.csv")
    with (tmp_path / "frames.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == [*columns(full_report)]
    assert [float(row["mse_y"]) for row in rows] == [row.mse[0] for row in full_report.rows]
    assert rows[1]["psnr_y"] == "inf"
    assert rows[1]["bytes"] == rows[2]["ssim_u"] == rows[2]["vmaf_neg"] == ""
    assert float(rows[1]["pts_s"]) == pytest.approx(1001 / 30000)
    assert rows[0]["bytes"] == "5000"


def test_write_report_makes_directory_and_leaves_nothing_else(full_report, tmp_path):
    write_report(full_report, tmp_path / "new" / "report")
    assert sorted(path.name for path in (tmp_path / "new" / "report").iterdir()) == [
        "frames.csv",
        "index.html",
        "report.json",
    ]


def test_write_keeps_old_file_on_failure(full_report, tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")
    broken = dataclasses.replace(full_report, rows=(score(0), score(1, pict_type=object())))
    with pytest.raises(TypeError):
        write_json(broken, path)
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_gray_has_one_plane(tmp_path):
    source = dataclasses.replace(SOURCE, format=PixelFormat("gray", 10))
    gray = report(tuple(score(i, (4.0,)) for i in range(3)), source=source)
    write_report(gray, tmp_path)
    assert read_json(tmp_path / "report.json") == gray
    assert "psnr_yuv" not in columns(gray)
    assert totals(gray).psnr_u is totals(gray).psnr_yuv is None
    assert totals(gray).psnr_y.minimum == pytest.approx(10 * math.log10(1023**2 / 4))
    assert "PSNR-U" not in (tmp_path / "index.html").read_text().split("<script>")[0]


def test_summary_lines(full_report):
    lines = summary_lines(full_report)
    assert lines[0].endswith("3 compared, 2 only in the source, 1 only in the restored video")
    assert any(line.startswith("PSNR-Y ") and "inf mean of frames" in line and "mean MSE" in line for line in lines)
    assert any(line.startswith("SSIM-Y ffmpeg8x8 ") for line in lines)
    starts = {re.match(r".*?\s{2,}(?=\S)", line).end() for line in lines}
    assert len(starts) == 1


def test_summary_of_pictures_smaller_than_the_window_has_no_ssim():
    lines = summary_lines(report((score(0, ssim=(math.nan,) * 3),)))
    assert not any(line.startswith("SSIM") or "nan" in line for line in lines)
    assert lines[-1].endswith("1 frame without SSIM: smaller than the window.")


@pytest.mark.parametrize(("errors", "is_told"), [([0, 0], False), ([4, 4], False), ([0, 4], True)])
def test_summary_names_perfect_frames_only_beside_others(errors, is_told):
    lines = summary_lines(report(tuple(score(number, (error,) * 3) for number, error in enumerate(errors))))
    (line,) = [line for line in lines if line.startswith("PSNR-Y ")]
    assert ("without perfect" in line) == is_told


def test_remarks_say_hdr():
    hdr = report(source=dataclasses.replace(SOURCE, color=Color(transfer="smpte2084")))
    assert any("code values" in line for line in remarks(hdr, totals(hdr)))
    assert any("tone mapping" in line for line in color_notes(hdr.source))


@pytest.mark.slow
def test_long_report_is_quick_and_small(tmp_path):
    count = 200_000
    rows = tuple(
        FrameScore(i, Fraction(i, 25), "IPB"[i % 3], 100 + i % 1000, (1.0 + i % 7, 1.0, 2.0), (0.9, 0.9, 0.9))
        for i in range(count)
    )
    start = time.monotonic()
    write_report(report(rows), tmp_path)
    assert time.monotonic() - start < 60
    page = (tmp_path / "index.html").read_text()
    assert f"lines have {BINS} points" in page
    assert len(page) < 6_500_000
    assert (tmp_path / "frames.csv").read_bytes().count(b"\n") == count + 1


def test_figure_bins_keep_extremes():
    rows = [score(i, (4.0, 1.0, 1.0)) for i in range(10_000)]
    rows[5000] = score(5000, (400.0, 1.0, 1.0))
    rows[7000] = score(7000, (0.0, 1.0, 1.0))
    long = report(tuple(rows))
    drawn = figure(long, columns(long))
    y = [trace for trace in drawn["data"] if trace["meta"]["series"] == "psnr_y"]
    assert [len(trace["y"]) for trace in y] == [BINS] * 3
    assert min(y[0]["y"]) == pytest.approx(10 * math.log10(255**2 / 400), abs=1e-3)
    assert [trace["meta"]["series"] for trace in drawn["data"]].count("perfect") == 1
    json.dumps(drawn, allow_nan=False)


def test_page_of_a_perfect_copy():
    """Nothing says or shows what there is not: triangles, a mean of other frames, an SSIM above 1."""
    perfect = report(tuple(dataclasses.replace(score(i, (0.0,) * 3), ssim=(1.0,) * 3) for i in range(3)))
    text = render_html(perfect)
    assert "Triangles" not in text.split("<script>")[0]
    row = re.search(r"PSNR-Y, dB</th>(.*?)</tr>", text, re.DOTALL)
    assert row is not None
    assert row[1].strip().endswith("–</td>")
    low, high = figure(perfect, columns(perfect))["layout"]["yaxis"]["range"]
    assert 0.95 < low < 1 < high < 1.01


def test_html_is_self_contained(full_report):
    text = render_html(full_report)
    assert Page(text).references
    assert_self_contained(text)


def test_html_names_the_codecs_of_both_files(full_report):
    assert "Codec prores h264" in " ".join(" ".join(Page(render_html(full_report)).visible).split())


def test_html_escapes_names(full_report):
    text = render_html(full_report)
    page = Page(text)
    assert page.tags.count("script") == 3
    assert page.tags.count("img") == 4
    assert not page.handlers
    assert "u" not in page.tags
    visible = "".join(page.visible)
    assert "<title>&lt;script&gt;alert(1)" in text
    for part in ("<script>alert(1)</script>.mp4", "</script><script>alert(3)</script>", "<u>markup</u>", "up<b>"):
        assert part in visible


def test_html_shows_unpaired_frames(full_report):
    text = "".join(Page(render_html(full_report)).visible)
    assert "2 frames only in the source: 0:00.333, 0:05.000." in text
    assert "1 frame only in the restored video: 1:01.000." in text
    many = report(unpaired=Unpaired([Fraction(i) for i in range(100)]))
    assert "and 60 more" in render_html(many)


def test_html_pictures_decode(full_report):
    uris = re.findall(r'src="data:image/webp;base64,([^"]+)"', render_html(full_report))
    assert len(uris) == 3
    with av.open(_Bytes(base64.b64decode(uris[0])), format="webp_pipe") as container:
        picture = next(container.decode(video=0))
    assert (picture.width, picture.height) == (64, 48)


def _Bytes(data: bytes) -> object:  # noqa: N802
    import io

    return io.BytesIO(data)


def _decoded(data: bytes) -> np.ndarray:
    with av.open(_Bytes(data), format="webp_pipe") as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)


_PATCH = (200, 80, 40)


@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("color_range", ["tv", "pc"])
@pytest.mark.parametrize(
    ("matrix", "kr", "kb"), [("bt709", 0.2126, 0.0722), ("smpte170m", 0.299, 0.114), ("bt2020nc", 0.2627, 0.0593)]
)
def test_pictures_follow_matrix_and_range(matrix, kr, kb, color_range, bit_depth):
    red, green, blue = (value / 255 for value in _PATCH)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    unit, peak = 1 << (bit_depth - 8), (1 << bit_depth) - 1
    if color_range == "tv":
        codes = [(16 + 219 * luma) * unit, *((128 + 224 * c) * unit for c in chroma)]
    else:
        codes = [luma * peak, *(128 * unit + c * peak for c in chroma)]
    pixel_format = PixelFormat("420", bit_depth)
    planes = tuple(
        np.full(shape, round(code), dtype=pixel_format.dtype)
        for shape, code in zip(pixel_format.plane_shapes(45, 67), codes, strict=True)
    )
    source = dataclasses.replace(SOURCE, format=pixel_format, color=Color(color_range, matrix))
    shown = WorstFrame(score(0), planes, planes, np.zeros((45, 67), np.float32))
    ref, dist, error = pictures(shown, source)
    assert (ref.width, ref.height) == (67, 45)
    assert ref.data == dist.data
    assert np.abs(_decoded(ref.data) - _PATCH).max() <= 4  # WebP's own 4:2:0 and limited range cost some
    assert _decoded(error.data).max() <= 8


def test_pictures_gray_limited_range():
    source = dataclasses.replace(SOURCE, format=PixelFormat("gray", 10), color=Color("tv"))
    plane = np.full((48, 64), 940, dtype=np.uint16)
    ref, _, _ = pictures(WorstFrame(score(0), (plane,), (plane,), np.zeros((48, 64), np.float32)), source)
    assert _decoded(ref.data).min() >= 253


def test_worst_frames_apart_and_ordered():
    worst = WorstFrames(keep=3)
    for i in range(500):
        worst.offer(score(i, (float(i), 1.0, 1.0)), frame(100, i), frame(101, i))
    chosen = worst.frames()
    assert [found.score.index for found in chosen] == [499, 474, 449]


def test_worst_frames_equal_greedy_choice():
    rng = np.random.default_rng(11)
    errors = rng.exponential(10, 2000)
    worst = WorstFrames(keep=4)
    for i, error in enumerate(errors):
        worst.offer(score(i, (float(error), 1.0, 1.0)), frame(1), frame(2))
    seconds = [max(range(s, s + 25), key=lambda i: errors[i]) for s in range(0, 2000, 25)]
    expected: list[int] = []
    for i in sorted(seconds, key=lambda i: -errors[i]):
        if len(expected) < 4 and all(abs(i - other) >= 25 for other in expected):
            expected.append(i)
    assert [found.score.index for found in worst.frames()] == expected


def test_worst_frames_never_perfect_and_copied_when_their_second_is_over():
    worst = WorstFrames()
    ref, dist = frame(100), frame(104)
    worst.offer(score(0, (0.0, 0.0, 0.0)), ref, ref)
    assert worst.frames() == ()
    worst.offer(score(0, (16.0, 16.0, 16.0)), ref, dist)
    worst.offer(score(100, (0.0, 0.0, 0.0)), dist, dist)
    ref.planes[0][:] = 0
    (found,) = worst.frames()
    assert (found.ref[0] == 100).all()
    assert found.error == pytest.approx(np.full((48, 64), 4.0))


@pytest.mark.parametrize(("width", "height"), [(3840, 2160), (1921, 1083), (4096, 17)])
def test_worst_frames_are_reduced(width, height):
    worst = WorstFrames()
    worst.offer(score(0), frame(100, width=width, height=height), frame(97, width=width, height=height))
    (found,) = worst.frames()
    small_height, small_width = found.ref[0].shape
    assert PICTURE_WIDTH <= small_width < 2 * PICTURE_WIDTH
    assert [plane.shape for plane in found.dist] == [*YUV420.plane_shapes(small_height, small_width)]
    assert all((plane == 97).all() for plane in found.dist)
    np.testing.assert_allclose(found.error, 3.0)
    source = dataclasses.replace(SOURCE, width=width, height=height)
    assert {picture.width for picture in pictures(found, source)} == {PICTURE_WIDTH}


def test_worst_frames_errors():
    with pytest.raises(ValueError, match="keep"):
        WorstFrames(keep=-1)
    with pytest.raises(ValueError, match="differ"):
        WorstFrames().offer(score(0), frame(1), frame(2, width=32))
    none = WorstFrames(keep=0)
    none.offer(score(0), frame(1), frame(2))
    assert none.frames() == ()


def test_color_notes_name_what_was_assumed():
    unsaid = color_notes(dataclasses.replace(SOURCE, color=Color()))
    assert "smpte170m matrix, tv range (matrix and range assumed" in unsaid[0]
    assert "assumed" not in color_notes(SOURCE)[0]
    assert "bt2020nc matrix" in color_notes(dataclasses.replace(SOURCE, color=Color("tv", "ictcp", "bt2020")))[0]


def test_words_for_people():
    assert [format_bytes(n) for n in (0, 999, 1000, 1_234_567, 5 * 10**12)] == [
        "0 B",
        "999 B",
        "1 kB",
        "1.23 MB",
        "5.00 TB",
    ]
    assert [timecode(t) for t in (Fraction(0), Fraction(417, 100), Fraction(-1, 2), Fraction(3723))] == [
        "0:00.000",
        "0:04.170",
        "-0:00.500",
        "1:02:03.000",
    ]


def test_import_is_light():
    code = (
        "import sys, vidscale.report.rows, vidscale.report.totals, vidscale.report.files, vidscale.report.worst_frames;"
        "print([m for m in ('av', 'torch', 'plotly', 'jinja2') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
