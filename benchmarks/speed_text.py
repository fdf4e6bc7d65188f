"""Speed and memory of vidscale as Markdown, from rows of `bench_pipeline.py` and `bench_effort.py`."""

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from bd_tables import head, row, wrapped

from vidscale.media.encoders import ENCODERS

_LONG, _SHORT = 1500, 300  # frames: with a small and with a large share of start-up time
_PAIR = "adaptive-x2"
_EFFORTS = {
    "fast": "fast",
    "normal": "normal",
    "AVX2 normal": "normal, AVX2 only",
    "patient": "patient",
    "AVX2 patient": "patient, AVX2 only",
}

Row = Mapping[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Rows of a benchmark, oldest first."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def readme_lines(rows: Sequence[Row]) -> str:
    """Three lines: encoding, decoding, memory; the newest row of each kind."""
    long, short = (_newest(rows, "encode wall time", frames=frames) for frames in (_LONG, _SHORT))
    decode = _newest(rows, "decode wall time", has=_PAIR)
    one, ten = (_newest(rows, "peak memory", minutes=minutes) for minutes in (1, 10))
    scaled = f"{_times(long, 'scaled_to_full')} and {_times(short, 'scaled_to_full')}"
    encoding = (
        f"- **Encoding** 1080p with x264 medium at scale 2 takes {_times(long, 'to_full')} times as long as at full "
        f"size for {_LONG} frames, {_times(short, 'to_full')} times for {_SHORT}, where start-up weighs more. "
        f"ffmpeg with its own scaler: {scaled}."
    )
    decoding = (
        f"- **Decoding** to y4m restores {_per_second(decode, _PAIR):.0f} frames/s of 1080p with `{_PAIR}`, start-up "
        f"included; ffmpeg decoding and enlarging with zscale is {decode['to_ffmpeg'][_PAIR]:.1f} times as fast."
    )
    memory = (
        f"- **Memory** does not grow with the length: {one['vidscale_mb']} MB for one minute of 1080p, "
        f"{ten['vidscale_mb']} MB for ten; {one['with_ffmpeg_mb']} and {ten['with_ffmpeg_mb']} MB with its ffmpeg."
    )
    return wrapped([encoding, decoding, memory])


def decode_table(rows: Sequence[Row]) -> str:
    """How fast each pair restores; the newest row that has the default pair."""
    decode = _newest(rows, "decode wall time", has=_PAIR)
    pairs = sorted(decode["to_ffmpeg"], key=lambda pair: -_per_second(decode, pair))
    lines = [*head("Decoding 1080p to y4m", ["frames/s", "time relative to ffmpeg"])]
    lines += [row([pair, f"{_per_second(decode, pair):.0f}", f"{decode['to_ffmpeg'][pair]:.1f}"]) for pair in pairs]
    where = (
        f"Median of {decode['rounds']} runs of {decode['frames']} frames, start-up included, {decode['cores']} cores "
        f"of {decode['cpu']}, commit {decode['commit']}. ffmpeg decodes the first small file and enlarges it with "
        f"zscale ({decode['seconds']['ffmpeg']} s)."
    )
    return wrapped([*lines, "", where])


def effort_table(rows: Sequence[Row]) -> str:
    """What each effort of the downscaler costs by 2, by encoder and preset; the newest row of each."""
    rows = [one for one in rows if one.get("scale") == "2" and "patient" in one["seconds"]]  # others are older
    newest = {(one["codec"], one["preset"]): one for one in rows}
    lines = [*head("Encoding 1080p, relative to full size", [*_EFFORTS.values(), "default"])]
    for (codec, preset), one in newest.items():
        ratios = [f"{one['to_full'][way]:.2f}" for way in _EFFORTS]
        lines.append(row([f"{codec} {preset}", *ratios, ENCODERS[codec].effort(preset, Fraction(2))]))
    last = rows[-1]
    where = (
        f"`python benchmarks/bench_effort.py`: median of {last['rounds']} runs of {last['frames']} frames, start-up "
        f"included, {last['cores']} cores of {last['cpu']}, commit {last['commit']}. The full size is ffmpeg alone."
    )
    return wrapped([*lines, "", where])


def _newest(rows: Sequence[Row], benchmark: str, *, has: str = "", **wanted: object) -> Row:
    found = [
        one
        for one in rows
        if one["benchmark"] == benchmark
        and all(one[key] == value for key, value in wanted.items())
        and (not has or has in one["to_ffmpeg"])
    ]
    if not found:
        raise SystemExit(f"there is no row {benchmark!r} with {has or wanted}: run bench_pipeline.py")
    return found[-1]


def _per_second(decode: Row, pair: str) -> float:
    return float(decode["frames"] / decode["seconds"][pair])


def _times(encode: Row, ratio: str) -> str:
    return f"{encode[ratio]:.2f}"
