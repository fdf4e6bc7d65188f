"""`--scale auto`, targets and limits, `plan`, and the verdict: on encodes."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from material import make, picture, sound
from robustness import Run, documented, message, nothing_left, run_here

from vidscale import api
from vidscale.compare.points import Candidate
from vidscale.compare.trials import programs
from vidscale.compare.trials.measuring import coded_frames
from vidscale.compare.trials.store import TrialResult
from vidscale.compare.trials.window import Window
from vidscale.config import EncodeSettings, TimeRange
from vidscale.errors import ConfigError, UsageError
from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.media.probe import probe
from vidscale.per_title import deciding
from vidscale.per_title.checking import Check, better_crf, closest
from vidscale.per_title.curves import RateCurve, RatePoint, pooled
from vidscale.per_title.encoding import Planned, plan_title, run_title
from vidscale.per_title.evidence import Evidence, Goal, SampledMovie
from vidscale.per_title.meter import meter_for
from vidscale.per_title.parts import LEAD, Part, Sampling, sampling_of
from vidscale.per_title.probes import PartProbe, Probe, _part_probe
from vidscale.per_title.ways import ways_of
from vidscale.quality import parse_amount, parse_target
from vidscale.report.rows import Report
from vidscale.report.verdict import Verdict

Clip = Callable[..., Path]
# Not ultrafast: x264 then codes a frame with one whole quantiser, and quality changes in steps.
FAST = {"preset": "veryfast"}
QUICK = ["--preset", "veryfast"]


def records(run: Run) -> list[dict[str, Any]]:
    """The JSON lines of a successful run."""
    assert run.code == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of a moving picture with sound; files are written beside it."""
    return make(
        tmp_path_factory.mktemp("auto") / "clip.mp4", *picture("160x120"), *sound(0.5), "-t", "0.5", "-crf", "4"
    )


# What users ask for.


@pytest.mark.parametrize(
    ("text", "amount"),
    [("700M", 700_000_000), ("1.5G", 1_500_000_000), ("15k", 15_000), ("2MiB", 2 << 20), ("2.3M", 2_300_000), ("9", 9)],
)
def test_amounts(text: str, amount: int) -> None:
    assert parse_amount(text, "max_size") == amount


@pytest.mark.parametrize("text", ["", "700X", "-3", "0", "1e9", "k"])
def test_amount_errors(text: str) -> None:
    with pytest.raises(ValueError, match="max_size"):
        parse_amount(text, "max_size")


@pytest.mark.parametrize("text", ["vmaf", "vmaf=", "vmaf=101", "vmaf=0", "ssim=1.5", "sharpness=3", "psnr=high"])
def test_target_errors(text: str) -> None:
    with pytest.raises(ValueError, match=r"target|metric"):
        parse_target(text)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"target": "vmaf=90", "crf": 20}, "--crf 20 and --target both decide the quality"),
        ({"target": "vmaf=90", "max_size": "1M"}, "--target and --max-size both decide the quality"),
        ({"max_bitrate": "1M", "crf": 20}, "--crf 20 and --max-bitrate both decide"),
        ({"best_effort": True}, "--best-effort is for --target"),
        ({"target_percentile": 5}, "--target-percentile is for --target"),
        ({"target": "vmaf=90", "target_percentile": 100}, "target_percentile"),
        ({"verify": True}, "--verify is for --target"),
        ({"judge": "beauty"}, "unknown metric 'beauty'"),
        ({"client": "tv"}, "client"),
        ({"scale": 2, "target": "vmaf=90", "encoder_params": "crf=30"}, "--target varies crf"),
    ],
)
def test_settings_that_contradict_each_other(given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        EncodeSettings.resolve(given)


@pytest.mark.parametrize(
    ("given", "chooses"),
    [({}, True), ({"scale": "auto", "pair": "lanczos"}, True), ({"scale": 2}, False), ({"pair": "adaptive"}, False)],
)
def test_only_what_is_not_named_is_chosen(given: dict[str, object], chooses: bool) -> None:
    assert EncodeSettings.resolve(given).chooses_scale == chooses


# Ways.


def test_ways_are_the_installed_pairs_that_fit(clip: Path) -> None:
    def names(**settings: object) -> list[str]:
        return [way.scaling for way in ways_of(EncodeSettings.resolve(settings), video, "vmaf_neg")]

    video = probe(clip).video
    assert names() == ["full size", "restore-vmaf-x1", "adaptive-vmaf-x1.5", "adaptive-vmaf-x2", "adaptive-x3"]
    assert names(tune="psnr")[1:4] == ["restore-x1", "adaptive-x1.5", "adaptive-x2"]
    assert names(client="any")[1:3] == ["adaptive-x1.5, up by bicubic", "adaptive-x2, up by bicubic"]
    assert names(scale="auto", pair="adaptive-quality") == ["full size", "adaptive-quality-vmaf-x2"]
    assert names(codec="x265") == ["full size", "restore-vmaf-x1", "adaptive-vmaf-x1.5", "adaptive-vmaf-x2"]  # 64 wide
    assert names(scale=1, pair="lanczos") == ["full size"]


# Parts and evidence.


def measured(sampling: Sampling) -> int:
    """Frames that are measured in the parts of a long movie."""
    return sum(ceil((part.body.stop - part.body.start) / part.window.every) for part in sampling.parts)


def test_long_movies_are_sampled_and_short_ones_are_not(tmp_path: Path, clip: Path) -> None:
    source = probe(clip)
    assert sampling_of(source, None).is_whole
    long = replace(source, video=replace(source.video, duration_s=Fraction(600), frame_count=15000))
    found = sampling_of(long, None)
    assert not found.is_whole
    assert 3 <= len(found.parts) <= 8
    spans = [part.segment for part in found.parts if part.segment]
    assert all(before.end < after.start for before, after in pairwise(spans) if before.end)
    assert measured(found) < 15000 / 20
    ranged = sampling_of(long, TimeRange(start=Fraction(100), end=Fraction(200)))
    assert all(100 <= part.segment.start <= 200 for part in ranged.parts if part.segment)
    assert measured(sampling_of(long, None, quick=True)) < measured(found)


def test_first_measured_frame_and_frames_around_a_part_do_not_count() -> None:
    part = Part(TimeRange(), Window(LEAD - 1, 5, 1), slice(LEAD, LEAD + 4))
    sizes = tuple(range(1000, 1000 + LEAD + 12))
    scores = {"vmaf": (50.0, 90.0, 91.0, 92.0, 93.0)}
    result = TrialResult(sum(sizes), Fraction(1), 5, {"vmaf": 0.0}, 1.0, 1.0, (), "", sizes, (0, LEAD + 2), scores)
    found = _part_probe(result, part)
    assert found.scores == {"vmaf": (90.0, 91.0, 92.0, 93.0)}
    assert found.key_bytes == (1000, 1000 + LEAD + 2)
    assert (found.inter_frames, found.inter_bytes) == (3, sum(1000 + LEAD + index for index in (0, 1, 3)))


def test_libvmaf_scores_the_first_frame_low(clip: Path) -> None:
    """The reason why it is dropped: even of identical clips."""
    rows = api.measure(clip, clip, vmaf=True).rows
    assert rows[0].vmaf is not None
    assert rows[0].vmaf < min(row.vmaf for row in rows[1:] if row.vmaf is not None)


def evidence_of(*parts: tuple[float, float]) -> tuple[Evidence, Candidate]:
    """A full size and a way, at equal quality, with these (full size, way) bytes per frame in each part."""
    full, way = Candidate("", "", Fraction(1), "x264", "medium"), Candidate("a", "a", Fraction(2), "x264", "medium")

    def part(size: float) -> PartProbe:
        return PartProbe((round(20 * size),), round(24 * size), 24, 0, {"vmaf_neg": (80.0,) * 24}, 1.0, 44, 1.0, 24)

    def probe_of(which: int, candidate: Candidate) -> Probe:
        return Probe(candidate, 20.0, tuple(part(sizes[which]) for sizes in parts))

    movie = SampledMovie(1000, 4.0, is_whole=False, bit_depth=8)
    probes = {full: [probe_of(0, full)], way: [probe_of(1, way)]}
    return Evidence(full, Goal("vmaf_neg", crf=20.0), movie, ("vmaf_neg",), probes), way


def test_interval_follows_the_spread_over_parts() -> None:
    alike, way = evidence_of((100, 80), (200, 160), (50, 40))
    narrow = alike.difference(way)
    assert narrow.bits == pytest.approx(-0.2, abs=1e-3)
    assert narrow.high - narrow.low < 0.02
    unlike, way = evidence_of((100, 50), (100, 80), (100, 110))
    wide = unlike.difference(way)
    assert wide.low < -0.3 < wide.high
    assert wide.high > 0
    one, way = evidence_of((100, 80))
    assert one.difference(way).high > one.difference(way).bits + 0.05


def test_curve_is_exact_at_probes_and_finds_them_again() -> None:
    points = [RatePoint(crf, {"vmaf": 100 - crf**1.2}, 1e6 * 2 ** (-crf / 6)) for crf in (18.0, 22.0, 27.0, 30.0)]
    curve = RateCurve(points, 51)
    for point in points:
        assert curve.video_bytes(point.crf) == pytest.approx(point.video_bytes)
        assert curve.crf_of_quality("vmaf", point.quality["vmaf"]) == pytest.approx(point.crf, abs=1e-6)
        assert curve.crf_of_bytes(point.video_bytes) == pytest.approx(point.crf, abs=1e-6)
    assert curve.video_bytes(24.0) == pytest.approx(1e6 * 2**-4, rel=0.01)
    assert curve.crf_of_quality("vmaf", 101) == 0


@pytest.mark.slow
def test_size_of_a_long_movie_is_predicted_from_its_parts(tmp_path: Path) -> None:
    """By the encode of all of it: 20 s with keyframes every 50 frames, more often than in any part."""
    movie = make(tmp_path / "movie.mp4", *picture("128x96", duration=20), "-preset", "ultrafast", "-crf", "4")
    settings = {"codec": "x264", "preset": "ultrafast", "crf": 30, "encoder_params": "keyint=50"}
    found = api.plan(movie, quick=True, **settings)
    assert found.full
    assert len(found.parts) == 3
    encoded = api.encode(movie, scale=1, pair="lanczos", report=False, **settings)
    assert found.full.video_bytes == pytest.approx(sum(coded_frames(encoded.path).sizes), rel=0.08)


# Decisions.


def test_plan_of_a_whole_clip_is_exact_and_as_good_as_the_exhaustive_one(clip: Path, tmp_path: Path) -> None:
    found, every = api.plan(clip, crf=30, **FAST), api.plan(clip, crf=30, exhaustive=True, **FAST)
    assert found.full
    assert (found.goal.crf, found.judge, found.parts) == (30, "vmaf_neg", ())
    encoded = api.encode(clip, tmp_path / "full.mp4", scale=1, pair="lanczos", crf=30, report=False, **FAST)
    assert round(found.full.video_bytes) == sum(coded_frames(encoded.path).sizes)
    assert len(every.ways) == 5
    best = min((one for one in every.ways if one.is_reached), key=lambda one: one.bits.bits)
    assert every.chosen.bits.bits <= max(best.bits.bits, -0.005) + 0.02
    assert found.chosen.way == every.chosen.way
    again = api.plan(clip, crf=30, **FAST)
    assert replace(again, seconds=0.0, probed_frames=0) == replace(found, seconds=0.0, probed_frames=0)
    assert again.probed_frames == 0  # from the cache


def test_target_is_met_by_the_finished_file(clip: Path, tmp_path: Path) -> None:
    encoded = api.encode(clip, tmp_path / "small.mp4", target="vmaf=80", **FAST)
    assert encoded.report
    assert encoded.decision
    measured = np.mean([row.vmaf for row in encoded.report.rows])
    assert measured == pytest.approx(80, abs=0.5)
    assert encoded.checks[-1].measured == pytest.approx(measured)
    assert encoded.checks[-1].is_met
    assert encoded.report.verdict
    assert encoded.report.verdict.bits <= 0
    written = json.loads((tmp_path / "small.mp4.report" / "report.json").read_text())
    assert written["decision"]["goal"]["quality"] == 80
    assert written["verdict"]["sentence"] == encoded.report.verdict.sentence
    read = api.read_json(tmp_path / "small.mp4.report" / "report.json")
    assert (read.verdict, read.decision) == (encoded.report.verdict, encoded.report.decision)


def test_percentile_of_a_target(clip: Path, tmp_path: Path) -> None:
    encoded = api.encode(
        clip, tmp_path / "small.mp4", target="psnr=24", target_percentile=10, scale=2, pair="lanczos", **FAST
    )
    assert encoded.report
    worst = np.percentile([row.mse[0] for row in encoded.report.rows], 90)
    assert 10 * np.log10(255**2 / worst) == pytest.approx(24, abs=0.2)


@pytest.mark.parametrize(("percentile", "worst"), [(25, 100.0), (26, 9.0), (50, 9.0), (75, 4.0), (99, 1.0)])
def test_percentile_is_the_value_of_a_frame(percentile: float, worst: float) -> None:
    """As `p1` and `p5` of a report: a quarter of four frames is one, the one with the largest error."""
    found = pooled("psnr_y", np.array([4.0, 100.0, 1.0, 9.0]), percentile, 8)
    assert found == pytest.approx(10 * np.log10(255**2 / worst))


def test_target_exceeded_at_the_highest_crf_is_met(tmp_path: Path) -> None:
    """A black movie has more than 40 dB at any crf."""
    movie = make(tmp_path / "black.mkv", "-f", "lavfi", "-i", "color=black:s=64x48:r=25:d=0.4")
    encoded = api.encode(movie, tmp_path / "small.mkv", target="psnr=40", scale=2, pair="lanczos", **FAST)
    (check,) = encoded.checks
    assert (check.crf, check.is_met) == (51, True)
    assert check.measured > 40


def test_limit_of_size_holds(clip: Path, tmp_path: Path) -> None:
    limit = 40_000
    encoded = api.encode(clip, tmp_path / "small.mp4", max_size=limit, report=False, **FAST)
    assert 0.6 * limit < encoded.path.stat().st_size <= limit
    assert encoded.report is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target", "psnr=99", "--scale", "2"], "--target psnr_y=99 cannot be reached: the best is"),
        (["--max-size", "2k"], "--max-size 2,000 bytes leaves no room for video beside audio"),
        (["--max-bitrate", "100"], "--max-bitrate: the video does not fit into"),
        (["--pair", "nothing", "--scale", "auto"], "is installed at none of the scales"),
        (["--range", "100:"], "range"),
        (["--encoder-params", "qp=30"], "sets qp, but the scale is chosen by varying crf: name a --scale"),
    ],
)
def test_goals_that_cannot_be_met(tmp_path: Path, clip: Path, options: list[str], words: str) -> None:
    with nothing_left(tmp_path):
        run = run_here("encode", clip, "-o", tmp_path / "small.mp4", *QUICK, *options)
        said = message(run, code=2 if "qp=30" in options else 1)
    assert words in said


def test_best_effort_takes_the_best(clip: Path) -> None:
    found = api.plan(clip, target="psnr=99", scale=2, best_effort=True, **FAST)
    assert found.chosen.crf == 0
    assert not found.chosen.is_reached


@pytest.mark.parametrize(
    ("picture_of", "options"),
    [
        ("testsrc2=s=64x48:r=25:d=0.04", []),
        ("color=black:s=64x48:r=25:d=0.4", []),
        ("nullsrc=s=96x64:r=25:d=0.2,geq=random(1)*255:128:128", []),
        ("testsrc2=s=16x16:r=25:d=0.2", []),
        ("testsrc2=s=50x34:r=25:d=0.4,select='not(mod(n\\,3))'", ["-fps_mode", "vfr"]),
    ],
    ids=["one frame", "black", "noise", "too small for VMAF", "variable frame rate"],
)
def test_odd_movies_are_decided_as_well(tmp_path: Path, picture_of: str, options: list[str]) -> None:
    movie = make(tmp_path / "odd.mkv", "-f", "lavfi", "-i", picture_of, "-preset", "ultrafast", "-crf", "4", *options)
    run = run_here("encode", movie, "-o", tmp_path / "small.mkv", *QUICK, "--no-report", "--json")
    assert run.code == 0, run.stderr
    (encoded,) = records(run)
    decision = encoded["decision"]
    assert decision["ways"][decision["chosen"]]["bits"]["bits"] <= 0
    assert ("VMAF" in decision["goal"]["text"]) == ("16x16" not in picture_of)


def test_part_that_cannot_be_read_is_left_out(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a movie in three parts, the second fails in every probe."""
    from vidscale.compare.trials.runner import Trial, TrialRunner
    from vidscale.errors import DecodeError

    def parts(*_: object, **__: object) -> Sampling:
        tenth = Fraction(1, 10)
        segments = [TimeRange(start=index * tenth, end=(index + 1) * tenth) for index in range(3)]
        return Sampling(
            tuple(Part(each, Window(0, 2), slice(0, 2)) for each in segments), 12, Fraction(1, 2), is_whole=False
        )

    run = TrialRunner.run

    def failing(self: TrialRunner, trial: Trial) -> TrialResult:
        if trial.index == 1:
            raise DecodeError("damaged here")
        return run(self, trial)

    monkeypatch.setattr(deciding, "sampling_of", parts)
    monkeypatch.setattr(TrialRunner, "run", failing)
    found = api.plan(clip, scale="auto", pair="lanczos", **FAST)
    assert found.notes == ("part 2 of 3 is left out of the estimate: damaged here",)


def test_judge_without_libvmaf_is_ssim(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*args: object, filters: list[str], **others: object) -> object:
        if "libvmaf" in filters:
            raise ConfigError("no ffmpeg can do this")
        return find_ffmpeg(*args, filters=filters, **others)

    monkeypatch.setattr(programs, "find_ffmpeg", without)
    meter = meter_for(probe(clip), EncodeSettings())
    assert meter.judge == "ssim_y"
    assert "libvmaf" in meter.notes[0]
    with pytest.raises(ConfigError):
        meter_for(probe(clip), EncodeSettings.resolve({"judge": "vmaf"}))


# The verdict.


@pytest.mark.parametrize(
    ("limit", "measured", "kept"),
    [
        (False, [78.1, 80.8, 77.3], 1),
        (False, [78.1, 80.8, 79.3], 2),
        (False, [78.1, 77.4], 0),
        (True, [90, 104, 101], 0),  # only the first fits
        (True, [90, 104, 60], 0),  # the last does as well
        (True, [106, 104, 102], 2),  # none does
    ],
)
def test_goal_missed_by_all_tries_takes_the_closest(limit: bool, measured: list[float], kept: int) -> None:
    wanted = 100 if limit else 80
    checks = [Check("goal", wanted, wanted, one, False, 30 - number, 25.0) for number, one in enumerate(measured)]
    way = SimpleNamespace(codec="x264")
    decision: Any = SimpleNamespace(
        goal=SimpleNamespace(quality=None if limit else wanted), chosen=SimpleNamespace(way=way)
    )
    assert better_crf(decision, checks) is None
    assert closest(decision, checks) == kept


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_earlier_file_that_is_closer_is_kept(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Of three files: below the limit, above it, and far below it, because the predicted slope is far too flat."""

    def refuse(*args: object) -> None:
        raise OSError(errno.EPERM, "no hard links")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    settings = EncodeSettings.resolve({"max_bitrate": "150k", "scale": 2, "pair": "lanczos", "report": False, **FAST})
    planned = plan_title(clip, tmp_path / "small.mp4", settings)
    assert planned.decision
    chosen = replace(planned.decision.chosen, log_rate_slope=-1e-9)
    lower = planned.plan.settings.model_copy(update={"crf": chosen.crf + 1.5})
    planned = Planned(replace(planned.plan, settings=lower), replace(planned.decision, ways=(chosen,), chosen=chosen))
    files: list[bytes] = []
    finished = run_title(planned, encoded=lambda outcome: files.append(outcome.path.read_bytes()))
    rates = [check.measured for check in finished.checks]
    assert rates[2] < rates[0] < 0.95 * 150_000 < 150_000 < rates[1]
    assert [check.is_kept for check in finished.checks] == [True, False, False]
    assert finished.outcome.path.read_bytes() == files[0]
    assert finished.plan.settings.crf == finished.checks[0].crf
    assert [path.name for path in tmp_path.iterdir()] == ["small.mp4"]


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        (
            Verdict("VMAF NEG", -0.23, -0.27, -0.19, 3, 1.0, psnr_y=-0.758, ssim_y=-0.014),
            "23 % fewer bits than full size at equal VMAF NEG (estimated from 3 parts: -27 to -19 %); there PSNR-Y "
            "0.76 dB lower, SSIM-Y 0.0140 lower",
        ),
        (
            Verdict("VMAF NEG", 0.07, 0.04, 0.11, 1, 1.0),
            "costs 7 % more bits than full size at equal VMAF NEG (estimated from 1 part: +4 to +11 %): --scale auto "
            "finds a way that does not",
        ),
        (
            Verdict("SSIM-Y", 0.001, -0.02, 0.02, 0, 1.0, is_rough=True),
            "as many bits as full size at equal SSIM-Y (roughly estimated from the whole movie: -2 to +2 %)",
        ),
        (
            Verdict("VMAF NEG", 0, 0, 0, 0, 1.0, is_full=True),
            "full size: no other way is certain to need fewer bits at equal VMAF NEG",
        ),
    ],
)
def test_sentences(verdict: Verdict, sentence: str) -> None:
    assert verdict.sentence == sentence


def test_verdict_on_an_explicit_scale(tmp_path: Path) -> None:
    """By encodes of the full size every two crf, and the line between the two around the encode's quality.

    The points of such a small clip lie up to 2 % beside a smooth curve, by VMAF NEG half a crf, which is 0.3 dB.
    """
    movie = make(
        tmp_path / "zoom.mp4", "-f", "lavfi", "-i", "mandelbrot=s=160x120:r=25,format=yuv420p", "-t", "0.6", "-crf", "4"
    )
    run = run_here("encode", movie, "-o", tmp_path / "small.mp4", *QUICK, "--scale", "2", "--crf", "24", "--vmaf")
    assert run.code == 0, run.stderr
    report = api.read_json(tmp_path / "small.mp4.report" / "report.json")
    assert report.verdict
    assert run.stdout.splitlines()[1] == f"bits               {report.verdict.sentence}"
    page = (tmp_path / "small.mp4.report" / "index.html").read_text()
    assert page.index("Against full size") < page.index("PSNR-Y</")
    quality, bits, psnr_y = _quality_and_bits(report)
    points = []
    for crf in range(28, 38, 2):
        full = api.encode(
            movie, tmp_path / f"{crf}.mp4", scale=1, pair="lanczos", crf=crf, vmaf=True, verdict=False, **FAST
        )
        assert full.report
        points.append(_quality_and_bits(full.report))
    points.sort()
    assert points[0][0] < quality < points[-1][0]
    needed = np.exp(np.interp(quality, [q for q, *_ in points], np.log([b for _, b, _ in points])))
    assert report.verdict.bits == pytest.approx(bits / needed - 1, abs=0.04)
    of_full = np.interp(quality, [q for q, *_ in points], [p for *_, p in points])
    assert report.verdict.psnr_y == pytest.approx(psnr_y - of_full, abs=0.4)


def _quality_and_bits(report: Report) -> tuple[float, int, float]:
    """VMAF NEG, bytes, PSNR-Y of the mean squared error."""
    assert report.distorted.video_bytes
    mse = np.mean([row.mse[0] for row in report.rows])
    return (
        float(np.mean([row.vmaf_neg for row in report.rows])),
        report.distorted.video_bytes,
        float(10 * np.log10(255**2 / mse)),
    )


@pytest.mark.parametrize("options", [["--no-verdict"], ["--scale", "1", "--pair", "lanczos"]])
def test_no_verdict(make_clip: Clip, options: list[str]) -> None:
    (encoded,) = records(run_here("encode", make_clip(), *QUICK, "--scale", "2", *options, "--json"))
    assert (encoded["verdict"], encoded["decision"], encoded["checks"]) == (None, None, [])


# The commands.


def test_plan_prints_the_commands_of_all_ways(tmp_path: Path, clip: Path) -> None:
    page = tmp_path / "plan.html"
    run = run_here("plan", clip, *QUICK, "--crf", "30", "--table", "-o", page)
    assert run.code == 0, run.stderr
    assert "full size at crf 30" in run.stdout
    assert "equal VMAF NEG" in run.stdout
    assert f"vidscale encode {clip} --scale 1 --crf 30 --pair lanczos --preset veryfast" in run.stdout.splitlines()
    assert "probed" in run.stdout
    assert "full size at crf 30" in page.read_text()
    assert "equal VMAF NEG" in page.read_text()


def test_noise_is_not_smoothed_away(tmp_path: Path) -> None:
    """VMAF NEG hardly sees noise: by it alone a way that leaves it out needs a third fewer bits."""
    noise = "color=gray:s=160x120:r=25,geq=lum='255*gt(random(1),0.5)':cb=128:cr=128,format=yuv420p"
    movie = make(tmp_path / "noise.mkv", "-f", "lavfi", "-i", noise, "-t", "0.6", "-qp", "0")
    page = tmp_path / "plan.html"
    run = run_here("plan", movie, *QUICK, "--crf", "40", "-o", page)
    assert run.code == 0, run.stderr
    assert run.stdout.startswith(("noise.mkv: full size", "noise.mkv: restore-vmaf-x1"))
    assert "is not chosen, though it needs" in run.stdout
    assert "is not chosen, though it needs" in page.read_text()


def test_plan_as_json_is_documented(clip: Path) -> None:
    (found,) = records(run_here("plan", clip, *QUICK, "--crf", "30", "--json"))
    assert set(found) == documented("decision") | {"event"}
    schema = (Path(__file__).parents[1] / "docs" / "report-schema.md").read_text()
    assert {key for way in found["ways"] for key in way if f"`{key}`" not in schema} == {"command"}
    assert found["ways"][0]["way"] == "full size"


def test_plan_errors(tmp_path: Path, clip: Path) -> None:
    assert "there is nothing to plan" in message(run_here("plan", clip, "--scale", "2"), code=2)
    assert "does not exist" in message(run_here("plan", tmp_path / "none.mp4"))
    both = run_here("plan", tmp_path / "none.mp4", clip, *QUICK, "--quick", "--crf", "30")
    assert both.code == 1
    assert "none.mp4" in both.stderr
    assert "full size at crf 30" in both.stdout


def test_dry_run_decides_and_writes_nothing(tmp_path: Path, clip: Path) -> None:
    movie = Path(shutil.copy(clip, tmp_path / "movie.mp4"))
    with nothing_left(tmp_path):
        run = run_here("encode", movie, *QUICK, "--crf", "30", "--dry-run", "--json")
    (plan,) = records(run)
    assert plan["settings"]["scale"] in {"1", "3/2", "2", "3"}
    assert "full size at crf 30" in run.stderr
    assert "equal VMAF NEG" in run.stderr


def test_output_is_checked_before_any_probe(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "prober", None)
    (tmp_path / "small.mp4").write_text("precious")
    assert "exists" in message(run_here("encode", clip, "-o", tmp_path / "small.mp4"))
