"""Cost of the identity: BD-rate of each pair against ffmpeg's scaler, with and without the identity's bytes.

    python benchmarks/identity_cost.py FOLDER

FOLDER is the output of `vidscale compare` including the encoded files, with ``ffmpeg-lanczos`` among the pairs; sampled
videos are skipped. Files of pairs have an identity before each keyframe, files scaled by ffmpeg have none.
"""

import argparse
import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from vidscale.compare.analysis.bd_rate import NoFigure, bd_rate, mean_delta
from vidscale.compare.analysis.figures import Figures
from vidscale.compare.output.files import read_comparison
from vidscale.compare.points import Candidate, Comparison, Curve, Point
from vidscale.media import bitstream
from vidscale.media.opening import open_container


def main() -> None:
    """Prints a row for each pair and metric."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    comparison = read_comparison(folder)
    whole = replace(comparison, movies=[movie for movie in comparison.movies if not movie.samples])
    for row in _rows(whole, Figures(whole), folder):
        print(json.dumps(row))


def _rows(comparison: Comparison, figures: Figures, folder: Path) -> Iterator[dict[str, Any]]:
    scaled = [candidate for candidate in figures.candidates if not candidate.is_full]
    by_ffmpeg = [candidate for candidate in scaled if candidate.down == candidate.up == "ffmpeg-lanczos"]
    anchors = {(candidate.codec, candidate.scale): candidate for candidate in by_ffmpeg}
    for candidate in scaled:
        anchor = anchors.get((candidate.codec, candidate.scale))
        if anchor is None or candidate.down.startswith("ffmpeg-"):
            continue
        pairs = list(_curves(comparison, figures, anchor, candidate))
        costs = [[_identity_bytes(folder, point) for point in test.points] for _, test in pairs]
        shares = [
            sum(cost) / point.video_bytes
            for (_, test), line in zip(pairs, costs, strict=True)
            for point, cost in zip(test.points, line, strict=True)
        ]
        for metric in comparison.metrics:
            found = [bd_rate(anchor_curve, test, metric) for anchor_curve, test in pairs]
            without = [bd_rate(a, _lighter(t, line), metric) for (a, t), line in zip(pairs, costs, strict=True)]
            means = [None if isinstance(mean, NoFigure) else mean.value for mean in map(mean_delta, (found, without))]
            yield {
                "encoder": candidate.encoder,
                "test": candidate.scaling,
                "anchor": anchor.scaling,
                "metric": metric,
                "movies": len(pairs),
                "bd_rate": means[0],
                "bd_rate_without_identity": means[1],
                "bytes_per_keyframe": fmean(size for line in costs for cost in line for size in cost),
                "keyframes": fmean(len(cost) for line in costs for cost in line),
                "largest_share": max(shares),
            }


def _curves(
    comparison: Comparison, figures: Figures, anchor: Candidate, test: Candidate
) -> Iterator[tuple[Curve, Curve]]:
    for movie in comparison.movies:
        curves = figures.curve(movie.name, anchor), figures.curve(movie.name, test)
        if curves[0] is not None and curves[1] is not None:
            yield curves[0], curves[1]


def _identity_bytes(folder: Path, point: Point) -> list[int]:
    """Size of each identity in a coded file, with its framing."""
    words = shlex.split(point.commands[0])
    sizes = []
    with open_container(folder / "coded" / words[words.index("-o") + 1]) as container:
        stream: Any = container.streams.video[0]
        codec, extradata = stream.codec_context.codec.canonical_name, stream.codec_context.extradata
        for packet in container.demux(stream):
            payload = bitstream.find(memoryview(packet), codec=codec, extradata=extradata) if packet.size else None
            if payload is not None:
                sizes.append(4 + len(bitstream.sei_nal(codec, payload)))  # MP4 puts a length of 4 bytes in front
    return sizes


def _lighter(curve: Curve, costs: list[list[int]]) -> Curve:
    points = [
        replace(point, video_bytes=point.video_bytes - sum(cost))
        for point, cost in zip(curve.points, costs, strict=True)
    ]
    return replace(curve, points=points)


if __name__ == "__main__":
    main()
