"""The verdict of a report: the bits of the coded video against those of the full size."""

from dataclasses import dataclass

from vidscale.quality import METRIC_TEXT, Metric
from vidscale.text import plural


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the coded video needs against the full size, with the same encoder at equal quality.

    Attributes:
        metric: by which the quality is equal, as text: "VMAF NEG".
        bits: share of the full size's bits: -0.2 is a fifth less.
        low, high: 90 % interval.
        parts: number of parts of the movie that were probed; 0 for all of it.
        seconds: wall time that the estimate took.
        is_full: the video is the full size.
        is_rough: the full size was not probed near that quality.
        psnr_y, ssim_y: of the coded video at that quality, less those of the full size: dB, and SSIM; None for the
            metric by which they are equal, or if not measured.
    """

    metric: str
    bits: float
    low: float
    high: float
    parts: int
    seconds: float
    is_full: bool = False
    is_rough: bool = False
    psnr_y: float | None = None
    ssim_y: float | None = None

    @property
    def basis(self) -> str:
        """What the estimate is from, as text: "3 parts"."""
        return plural(self.parts, "part") if self.parts else "the whole movie"

    @property
    def interval(self) -> str:
        """The interval, as text: "-27 to -19 %"."""
        return f"{100 * self.low:+.0f} to {100 * self.high:+.0f} %"

    @property
    def beside(self) -> str:
        """The difference by the other metrics, as text: "PSNR-Y 1.20 dB lower, SSIM-Y 0.0120 lower"."""
        found: list[tuple[Metric, float | None]] = [("psnr_y", self.psnr_y), ("ssim_y", self.ssim_y)]
        return ", ".join(
            f"{METRIC_TEXT[metric].named(abs(more))} {'lower' if more < 0 else 'higher'}"
            for metric, more in found
            if more is not None
        )

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        if self.is_full:
            return f"full size: no other way is certain to need fewer bits at equal {self.metric}"
        percent = f"{100 * abs(self.bits):.0f} %"
        based = f"at equal {self.metric} ({'roughly ' * self.is_rough}estimated from {self.basis}: {self.interval})"
        based += f"; there {self.beside}" if self.beside else ""
        if percent == "0 %":
            return f"as many bits as full size {based}"
        if self.bits < 0:
            return f"{percent} fewer bits than full size {based}"
        return f"costs {percent} more bits than full size {based}: --scale auto finds a way that does not"
