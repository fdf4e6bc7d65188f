"""Quality metrics, how they are displayed, and what users ask for: a value of a metric, a size, a bitrate."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Metric = Literal["psnr_y", "ssim_y", "vmaf", "vmaf_neg", "xpsnr_y"]

METRICS: tuple[Metric, ...] = ("psnr_y", "ssim_y", "vmaf", "vmaf_neg", "xpsnr_y")

VMAF_METRICS: tuple[Metric, ...] = ("vmaf", "vmaf_neg")
"""Those on the scale of VMAF, which libvmaf measures."""

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

    def named(self, value: float, sign: str = "") -> str:
        """A value with name and unit: "PSNR-Y 1.20 dB"; ``sign`` is that of a format, "+" for differences."""
        return f"{self.label} {value:{sign}.{self.digits}f}{self.unit and f' {self.unit}'}"


METRIC_TEXT: dict[Metric, MetricText] = {
    "psnr_y": MetricText("PSNR-Y", "dB", 2),
    "ssim_y": MetricText("SSIM-Y", "", 4),
    "vmaf": MetricText("VMAF", "", 2),
    "vmaf_neg": MetricText("VMAF NEG", "", 2),
    "xpsnr_y": MetricText("XPSNR-Y", "dB", 2),
}

# The names without a plane are those of the options of other commands.
METRIC_NAMES: dict[str, Metric] = {
    "psnr": "psnr_y",
    "ssim": "ssim_y",
    "xpsnr": "xpsnr_y",
    **{metric: metric for metric in METRICS},
}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)([kmg]?)(i?)(b?)", re.IGNORECASE)
_FACTOR = {"": 0, "k": 1, "m": 2, "g": 3}


@dataclass(frozen=True, slots=True)
class Target:
    """A value that a metric is to reach, on its own scale: ``vmaf=93``."""

    metric: Metric
    value: float

    def __str__(self) -> str:
        return f"{self.metric}={self.value:g}"


def metric_named(name: str) -> Metric:
    """A metric by its name, with or without its plane; ValueError for an unknown one."""
    if name not in METRIC_NAMES:
        raise ValueError(f"unknown metric {name!r}; choose from {', '.join(METRICS)}")
    return METRIC_NAMES[name]


def highest(metric: Metric) -> float:
    """The highest value of a metric; of those in dB, which have none, more than any codec reaches."""
    return 1.0 if metric == "ssim_y" else 100.0


def measuring(metrics: Collection[Metric]) -> dict[str, bool]:
    """The settings to switch on for these metrics, by the names in `vidscale.config.MeasureSettings`."""
    needed = {"vmaf": any(metric in VMAF_METRICS for metric in metrics), "xpsnr": "xpsnr_y" in metrics}
    return {name: True for name, is_needed in needed.items() if is_needed}


def parse_target(text: str) -> Target:
    """A target from ``METRIC=VALUE``; ValueError when it is malformed or no picture can have it."""
    name, _, number = text.strip().partition("=")
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"target {text!r} is not METRIC=VALUE, such as vmaf=93") from None
    metric = metric_named(name.strip().lower().replace("-", "_"))
    if not 0 < value <= highest(metric):
        raise ValueError(f"target {text} is outside 0 to {highest(metric):g}")
    return Target(metric, value)


def parse_amount(text: str, name: str) -> int:
    """A number of bytes or bits from ``700M``, ``1.5G``, ``1500k`` (powers of 1000) or ``700MiB`` (of 1024).

    Args:
        text: the amount.
        name: of the setting, for the message.

    Raises:
        ValueError: malformed or below one.
    """
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{name} {text!r} is not an amount such as 700M, 1.5G or 1500k")
    number, prefix, binary, _ = match.groups()
    amount = int(Fraction(number) * (1024 if binary else 1000) ** _FACTOR[prefix.lower()])
    if amount < 1:
        raise ValueError(f"{name} {text} is below 1")
    return amount
