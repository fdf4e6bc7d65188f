"""What a comparison selects automatically: segments and rates; and the keys by which it reuses results."""

import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
from material import ffmpeg
from scipy.interpolate import PchipInterpolator

import vidscale
from vidscale.compare.points import Candidate, Point
from vidscale.compare.running import unique_names
from vidscale.compare.settings import CompareSettings, Samples
from vidscale.compare.trials import candidates, keys
from vidscale.compare.trials.budget import free_memory, parallel_jobs
from vidscale.compare.trials.candidates import FULL, Scalers, scalers_of
from vidscale.compare.trials.keys import content_digest, operations_digest, trial_key
from vidscale.compare.trials.rates import WITHIN_POINTS, common_target, rates_to_span, start_rates
from vidscale.compare.trials.samples import sample_ranges, scene_cuts
from vidscale.compare.trials.stills import at_equal_rate
from vidscale.config import TimeRange
from vidscale.errors import ModelError, UsageError
from vidscale.media.encoders import ENCODERS, CodecName
from vidscale.media.frames import Frame
from vidscale.media.probe import probe
from vidscale.models.fixed_pair import FixedPair
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

# Samples.


@pytest.fixture(scope="module")
def long_movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute at 10 fps with a late start; cuts at 4, 17.3, 31 and 50 s."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    scenes = [("testsrc2", 4), ("smptebars", 13.3), ("mandelbrot", 13.7), ("rgbtestsrc", 19), ("testsrc2", 10)]
    inputs = [word for name, length in scenes for word in ("-f", "lavfi", "-t", length, "-i", f"{name}=s=64x48:r=10")]
    tags = "".join(f"[{index}]format=yuv420p,setsar=1[v{index}];" for index in range(len(scenes)))
    chain = tags + "".join(f"[v{index}]" for index in range(len(scenes))) + f"concat=n={len(scenes)}"
    ffmpeg(*inputs, "-filter_complex", chain, "-preset", "ultrafast", "-g", 25, "-output_ts_offset", 3, path)
    return path


def test_cuts_are_where_scenes_begin(long_movie: Path) -> None:
    source = probe(long_movie)
    assert scene_cuts(source, Fraction(0), Fraction(60)) == [4, Fraction("17.3"), 31, 50]
    assert scene_cuts(source, Fraction(16), Fraction(18)) == [Fraction("17.3")]
    assert scene_cuts(source, Fraction(18), Fraction(30)) == []


def test_samples_start_at_cuts_and_lie_apart(long_movie: Path) -> None:
    source = probe(long_movie)
    ranges = sample_ranges(source, Samples.parse("4x2"))
    # Even places are 6.5, 21.5, 36.5 and 51.5 s; of the cuts 4 and 50 lie within four seconds of them.
    assert [part.start for part in ranges if part] == [4, Fraction("21.5"), Fraction("36.5"), 50]
    assert [part.end - part.start for part in ranges if part and part.end] == [2] * 4


def test_frames_of_a_sample_are_those_from_the_cut_on(long_movie: Path) -> None:
    source = probe(long_movie)
    part = TimeRange(start=Fraction("17.3"), end=Fraction("18.3"))
    frames = list(decode_frames(source, log=ReadLog(), clock=Clock("decode"), time_range=part))
    assert len(frames) == 10
    before = TimeRange(start=Fraction("17.2"), end=Fraction("17.3"))
    (last,) = decode_frames(source, log=ReadLog(), clock=Clock("decode"), time_range=before)
    assert difference(last, frames[0]) > 20
    assert max(difference(frames[0], frame) for frame in frames[1:]) < 20


def difference(one: Frame, other: Frame) -> float:
    return float(abs(one.planes[0].astype(int) - other.planes[0].astype(int)).mean())


@pytest.mark.parametrize("text", ["1x60", "15x4", "100x1"])
def test_samples_as_long_as_the_movie_are_all_of_it(long_movie: Path, text: str) -> None:
    assert sample_ranges(probe(long_movie), Samples.parse(text)) == (None,)


def test_short_movie_is_coded_whole_and_long_one_in_samples(long_movie: Path, make_clip: Callable[..., Path]) -> None:
    assert sample_ranges(probe(make_clip("short.mp4")), None) == (None,)
    ranges = sample_ranges(probe(long_movie), None)
    assert [part.end - part.start for part in ranges if part and part.end] == [4] * 5


def test_cuts_of_a_long_movie_are_found_without_decoding_it_all(
    long_movie: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, decoded = probe(long_movie), []
    real = scene_cuts.__globals__["_timed_frames"]

    def counted(*args: Any) -> Any:
        for frame in real(*args):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setitem(scene_cuts.__globals__, "_timed_frames", counted)
    sample_ranges(source, Samples.parse("2x4"))
    assert 0 < len(decoded) < 600 / 2


# Rates.


@hypothesis.given(
    st.sampled_from(["x264", "x265", "svtav1"]),
    st.floats(0.3, 3),
    st.floats(60, 130),
    st.floats(20, 60),
    st.floats(2, 30),
)
def test_asked_for_range_is_spanned_or_the_encoder_ends(
    codec: CodecName, slope: float, best: float, low: float, length: float
) -> None:
    """On a curve whose quality falls linearly with crf."""
    wanted = low, low + length
    measured = {crf: best - slope * crf for crf in start_rates(codec, Fraction(2))}
    for _ in range(20):
        more = rates_to_span(measured, wanted, codec, left=20, strict=True)
        measured |= {crf: best - slope * crf for crf in more}
        if not more:
            break
    assert max(measured.values()) >= wanted[1] or 0 in measured
    assert min(measured.values()) <= wanted[0] or ENCODERS[codec].crf_max in measured
    assert all(0 <= crf <= ENCODERS[codec].crf_max for crf in measured)


def test_range_between_two_points_gets_more_of_them() -> None:
    measured = {20.0: 90.0, 26.0: 80.0, 32.0: 70.0, 38.0: 60.0}
    found = rates_to_span(measured, (72, 78), "x264", left=8, strict=True)
    assert found == (29,)
    measured |= {29.0: 75.0}
    (next_rate,) = rates_to_span(measured, (72, 78), "x264", left=8, strict=True)
    assert 26 < next_rate < 32
    measured |= {next_rate: 76.5}
    assert len([value for value in measured.values() if 70 <= value <= 80]) == WITHIN_POINTS
    assert rates_to_span(measured, (72, 78), "x264", left=8, strict=True) == ()


def test_no_rate_beyond_the_budget_or_without_gain() -> None:
    measured = {20.0: 90.0, 26.0: 80.0}
    assert rates_to_span(measured, (70, 95), "x264", left=0, strict=True) == ()
    assert len(rates_to_span(measured, (70, 95), "x264", left=1, strict=True)) == 1
    flat = {20.0: 80.01, 26.0: 80.0, 40.0: 60.0}
    assert rates_to_span(flat, (60, 95), "x264", left=3, strict=False) == ()
    assert rates_to_span({20.0: float("inf"), 26.0: 80.0}, (70, 95), "x264", left=3, strict=True) == ()


# VMAF by crf of real clips, at the rates that steps along the last slope took; and the best of the full size.
RECORDED: list[tuple[CodecName, dict[float, float], float]] = [
    ("x264", {36: 35.79, 30: 60.07, 24: 75.86, 18: 84.15, 11: 88.32, 10: 88.65}, 92.39),
    ("x264", {38: 50.36, 32: 72.37, 26: 84.03, 20: 89.36, 14: 91.56, 10: 92.36}, 93.94),
    ("x264", {36: 22.68, 30: 43.53, 24: 65.60, 18: 81.65, 14: 87.28, 12: 88.93, 10: 90.09}, 89.56),
    ("x265", {36: 56.76, 30: 76.43, 24: 86.99, 18: 91.86, 13: 94.01, 10: 94.77}, 95.21),
    ("x265", {36: 53.14, 30: 74.02, 24: 87.06, 18: 93.78, 13: 96.33, 10: 97.10}, 98.56),
    ("x265", {36: 37.08, 30: 60.67, 24: 79.60, 18: 90.58, 16: 92.81, 14: 94.56}, 93.38),
]


@pytest.mark.parametrize(("codec", "recorded", "best"), RECORDED)
def test_fewer_rates_cover_as_much(codec: CodecName, recorded: dict[float, float], best: float) -> None:
    crfs = sorted(recorded)
    curve = PchipInterpolator(crfs, [recorded[crf] for crf in crfs])
    measured = {crf: recorded[crf] for crf in crfs[-4:]}
    wanted = measured[crfs[-1]], best
    while more := rates_to_span(measured, wanted, codec, left=7 - len(measured), strict=False):
        assert min(more) >= crfs[0]
        measured |= {crf: float(curve(crf)) for crf in more}
    assert len(measured) < len(recorded)
    assert max(measured.values()) >= min(best, max(recorded.values()))


def test_small_pictures_begin_at_better_rates() -> None:
    for codec in ENCODERS:
        full, x15, x2 = (start_rates(codec, Fraction(text)) for text in ("1", "3/2", "2"))
        assert all(a > b > c for a, b, c in zip(full, x15, x2, strict=True))


def test_full_size_goes_down_to_those_that_hardly_reach_it() -> None:
    assert common_target((60, 90), [(50, 85), (55, 80)]) == ((60, 90), (60, 90))
    assert common_target((60, 90), [(40, 65), (55, 80)]) == ((40, 90), (60, 90))


# Pairs.


def test_pairs_scales_and_notes() -> None:
    named = "lanczos,area-x3,lanczos:ffmpeg-bicubic,ffmpeg-lanczos-x1.5"
    settings = CompareSettings.resolve({"pairs": named, "scales": "1,2"})
    found, notes = scalers_of(settings)
    assert found == [
        FULL,
        Scalers("lanczos", "lanczos", Fraction(2)),
        Scalers("area", "area", Fraction(3)),
        Scalers("lanczos", "ffmpeg-bicubic", Fraction(2)),
        Scalers("ffmpeg-lanczos", "ffmpeg-lanczos", Fraction(3, 2)),
    ]
    assert len(notes) == 2


def test_adapted_pairs_are_candidates_of_their_own() -> None:
    found, _ = scalers_of(CompareSettings.resolve({"pairs": "adaptive,adaptive-x2+adapt"}))
    adapted = found[2].candidate("x265", "medium")
    assert (str(adapted), adapted.pair, adapted.is_adapted) == ("adaptive-x2+adapt, x265 medium", "adaptive", True)
    assert found[1] == Scalers("adaptive", "adaptive", Fraction(2))
    ((_, light), _) = scalers_of(CompareSettings.resolve({"pairs": "restore+light", "scales": "1"}))
    named = light.candidate("x264", "medium")
    assert (named.scaling, named.pair, named.adapt) == ("restore-x1+light", "restore", "light")
    for name in ("lanczos+adapt", "adaptive:adaptive+adapt", "adaptive-vmaf+light", "ffmpeg-lanczos+adapt"):
        with pytest.raises(UsageError, match="only luma networks that are not tuned for VMAF adapt"):
            scalers_of(CompareSettings.resolve({"pairs": name}))


def test_pair_with_weights_works_at_scale_1_and_only_at_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str, scale: Fraction | None, device: str) -> FixedPair:
        if name.startswith("restore") and scale in (None, 1):
            return FixedPair("lanczos", Fraction(1), sha256="ab")
        if name == "lanczos":
            return FixedPair("lanczos", scale or Fraction(1))
        raise ModelError(f"there is no pair {name!r} at {scale}")

    monkeypatch.setattr(candidates, "find_pair", find)
    found, notes = scalers_of(CompareSettings.resolve({"pairs": "lanczos,restore", "scales": "1,2"}))
    assert found == [FULL, Scalers("lanczos", "lanczos", Fraction(2)), Scalers("restore", "restore", Fraction(1))]
    assert notes == ["skipped: lanczos at scale 1 is the full size", "skipped: there is no pair 'restore' at 2"]
    found, _ = scalers_of(CompareSettings.resolve({"pairs": "restore-x1", "scales": "2"}))
    assert found[1:] == [Scalers("restore", "restore", Fraction(1))]
    with pytest.raises(ModelError, match="restore"):
        scalers_of(CompareSettings.resolve({"pairs": "restore", "scales": "2"}))


def test_preset_goes_to_the_encoders_that_know_it() -> None:
    settings = CompareSettings.resolve({"codecs": "x264,svtav1", "preset": "medium"})
    assert (settings.preset_of("x264"), settings.preset_of("svtav1")) == ("medium", "8")


# Keys.


def test_key_depends_on_everything_that_decides_the_result(
    make_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = probe(make_clip("clip.mp4"))
    candidate = Candidate("lanczos", "lanczos", Fraction(2), "x264", "medium")
    versions = {"ffmpeg": "7", "x264": "164", "numpy": "2"}

    def digest(
        candidate: Candidate = candidate, crf: float = 20, segment: TimeRange | None = None, **changed: Any
    ) -> str:
        others = {"versions": versions, "device": "cpu", "interlaced": "refuse"} | changed
        return trial_key(source, segment, "content", candidate, crf, **others).digest

    same = digest()
    assert digest() == same
    assert digest(versions=versions | {"numpy": "3"}) == same
    others = [
        digest(crf=21),
        digest(segment=TimeRange(start=Fraction(1), end=Fraction(2))),
        digest(versions=versions | {"x264": "165"}),
        digest(interlaced="bwdif"),
        digest(effort="fast"),
        digest(other_upscaler := Candidate("lanczos", "area", Fraction(2), "x264", "medium")),
        digest(Candidate("lanczos", "lanczos", Fraction(3), "x264", "medium")),
        digest(Candidate("lanczos", "lanczos", Fraction(2), "x264", "slow")),
        digest(Candidate("lanczos+adapt", "lanczos+adapt", Fraction(2), "x264", "medium")),
    ]
    monkeypatch.setattr(keys, "pair_of", lambda family, scale, device: FixedPair(family, scale, sha256="other"))
    others.append(digest())
    assert len({same, *others}) == 1 + len(others)
    both = [
        trial_key(source, None, "content", each, 20, versions=versions, device="cpu", interlaced="refuse")
        for each in (candidate, other_upscaler)
    ]
    assert both[0].coded == both[1].coded
    assert both[0].digest != both[1].digest


def test_content_is_the_packets_of_the_segment(long_movie: Path, tmp_path: Path) -> None:
    part = TimeRange(start=Fraction(20), end=Fraction(22))
    whole, some = content_digest(probe(long_movie), None), content_digest(probe(long_movie), part)
    copy = tmp_path / "renamed.mp4"
    ffmpeg("-i", long_movie, "-i", long_movie, "-map", "0:v", "-c", "copy", "-copyts", "-metadata", "title=x", copy)
    assert content_digest(probe(copy), part) == some
    data = bytearray(long_movie.read_bytes())
    at = data.index(b"mdat") + 3000  # within the first seconds
    data[at] ^= 0xFF
    copy.write_bytes(data)
    assert content_digest(probe(copy), None) != whole
    assert content_digest(probe(copy), part) == some


def test_code_counts_and_comments_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "files", lambda _: tmp_path)
    digests = []
    for text in [
        'def f(x):\n    """What."""\n    return x + 1  # why\n',
        '"""Module."""\n\n\ndef f(x):\n\n    return x+1\n',
        "def f(x):\n    return x + 2\n",
        "def f(x):\n    return 'x + 1'\n",
    ]:
        (tmp_path / "a.py").write_text(text)
        operations_digest.cache_clear()
        digests.append(operations_digest(("*.py",)))
    operations_digest.cache_clear()
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_every_operation_is_there_to_be_counted() -> None:
    root = Path(vidscale.__file__).parent
    assert all(list(root.glob(pattern)) for pattern in keys._SCALING + keys._WEIGHTED + keys._MEASURING)


# Others.


def test_stills_are_at_about_one_bitrate() -> None:
    from test_bd_rate import curve

    curves = [curve([(100, 30.0), (400, 35.0), (1600, 40.0)]), curve([(50, 29.0), (390, 33.0), (800, 36.0)], "area")]
    assert [point.bitrate_kbps for _, point in at_equal_rate(curves)] == [400, 390]


def test_names_are_unique() -> None:
    paths = [Path("/a/x.mp4"), Path("/b/x.mp4"), Path("/c/y.mp4"), Path("/c/y.mp4")]
    assert unique_names(paths) == ["a/x.mp4", "b/x.mp4", "c/y.mp4", "c/y.mp4 (2)"]


def test_jobs_are_bounded_by_memory() -> None:
    assert free_memory() > 0
    assert parallel_jobs(1 << 40) == 1
    assert 1 <= parallel_jobs(0) <= (os.cpu_count() or 1)


def test_settings_take_the_forms_of_the_command_line() -> None:
    settings = CompareSettings.resolve(
        {"metrics": "ssim,xpsnr", "within": "vmaf=60:88", "samples": "6x2.5", "rates": "auto", "scales": "1.5, 4/3"}
    )
    assert settings.measured == ("ssim_y", "vmaf", "xpsnr_y")
    assert settings.leading == "vmaf"
    assert settings.samples == Samples(count=6, seconds=Fraction(5, 2))
    assert settings.rates is None
    assert settings.scales == (Fraction(3, 2), Fraction(4, 3))


def test_command_line_does_not_import_torch_for_help() -> None:
    program = "import sys; import vidscale.cli; sys.exit(bool({'torch', 'scipy', 'plotly', 'av'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_point_is_all_segments_together(bit_depth: int) -> None:
    from vidscale.compare.trials.curve_set import point_of
    from vidscale.compare.trials.store import TrialResult

    mse_y = 0.01 * (2**bit_depth - 1) ** 2
    results = [
        TrialResult(1000, Fraction(1), 10, {"mse_y": 0.0, "vmaf": 90.0}, 1.0, 0.5, ("a", "r"), ""),
        TrialResult(3000, Fraction(3), 30, {"mse_y": mse_y, "vmaf": 70.0}, 2.0, 1.0, ("b", "r"), ""),
    ]
    point = point_of(20, results, ["psnr_y", "vmaf"], bit_depth=bit_depth)
    assert point.metrics["vmaf"] == pytest.approx(75)
    assert point.metrics["psnr_y"] == pytest.approx(21.2494, abs=1e-4)  # -10 log10(0.0075)
    assert (point.bitrate_kbps, point.frames, point.encode_s) == (8, 40, 3)
    assert point.commands == ("a", "r", "b")
    assert isinstance(point, Point)
    assert point_of(20, results[:1], ["psnr_y"], bit_depth=bit_depth).metrics["psnr_y"] == float("inf")
