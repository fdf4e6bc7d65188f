"""The metrics of a comparison and how they are displayed."""

from dataclasses import dataclass

from vidscale.quality import METRICS, Metric

__all__ = ["METRICS", "METRIC_TEXT", "Metric", "MetricText", "Within"]

Within = tuple[Metric, float, float]
"""A metric and the range of it, low before high, in which rates are compared."""


@dataclass(frozen=True, slots=True)
class MetricText:
    """How a metric is displayed.

    Attributes:
        label: its name.
        unit: "dB", or "" for none.
        digits: decimal places of a mean over frames.
    """

    label: str
    unit: str
    digits: int

    @property
    def title(self) -> str:
        """Name and unit, as on an axis."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


METRIC_TEXT: dict[Metric, MetricText] = {
    "psnr_y": MetricText("PSNR-Y", "dB", 2),
    "ssim_y": MetricText("SSIM-Y", "", 4),
    "vmaf": MetricText("VMAF", "", 2),
    "vmaf_neg": MetricText("VMAF NEG", "", 2),
    "xpsnr_y": MetricText("XPSNR-Y", "dB", 2),
}
