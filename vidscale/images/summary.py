"""Summaries of picture jobs."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from vidscale.images.jobs import Failed, Result, Scaled


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean of a metric over pictures.

    Attributes:
        value: over the pictures with a finite value; inf if all are perfect, nan if there are none.
        perfect: number of pictures with infinite PSNR, which the mean leaves out.
    """

    value: float
    perfect: int = 0

    @classmethod
    def of(cls, values: Iterable[float]) -> "Mean":
        """The mean of values that may be inf or nan."""
        there = [value for value in values if not math.isnan(value)]
        finite = [value for value in there if math.isfinite(value)]
        perfect = len(there) - len(finite)
        return cls(fmean(finite) if finite else math.inf if perfect else math.nan, perfect)


@dataclass(frozen=True, slots=True)
class Summary:
    """Totals over the pictures of a job.

    Attributes:
        pictures: number of pictures scaled.
        failed: number of pictures that failed.
        source_bytes, bytes: sums over the files.
        seconds: sum of wall times.
        psnr_y, ssim_y: means, dB and -1 to 1; None if not measured.
    """

    pictures: int
    failed: int
    source_bytes: int
    bytes: int
    seconds: float
    psnr_y: Mean | None
    ssim_y: Mean | None


def summarize(results: Sequence[Result]) -> Summary:
    """Summarizes a job's results."""
    scaled = [result for result in results if isinstance(result, Scaled)]
    return Summary(
        pictures=len(scaled),
        failed=sum(isinstance(result, Failed) for result in results),
        source_bytes=sum(result.source_bytes for result in scaled),
        bytes=sum(result.bytes for result in scaled),
        seconds=sum(result.seconds for result in scaled),
        psnr_y=_mean([result.psnr_y for result in scaled]),
        ssim_y=_mean([result.ssim_y for result in scaled]),
    )


def _mean(values: Iterable[float | None]) -> Mean | None:
    measured = [value for value in values if value is not None]
    return Mean.of(measured) if measured else None
