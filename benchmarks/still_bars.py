"""Bars of PSNR and SSIM as an SVG picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_LINE, _HEAD, _TOP = 17, 30, 34  # heights in pixels: of a bar, of the heading of a scale, of the title
_NAMES, _BARS, _NUMBER = 160, 210, 60  # widths
_LEAST, _MOST = (20.0, 0.5), (40.0, 1.0)  # ends of the bars, dB and SSIM
_COLORS = {"interpolation": "#9aa3ad", "network": "#3b78c2", "car": "#1c9a6c"}


@dataclass(frozen=True, slots=True)
class Bar:
    """A method at a scale: PSNR in dB and SSIM."""

    scale: int
    name: str
    psnr_y: float
    ssim_y: float

    @property
    def kind(self) -> str:
        """ "interpolation", "network" or "car"."""
        if self.name.startswith("car"):
            return "car"
        return "network" if "-x" in self.name or self.name.startswith("EDSR") else "interpolation"


def bars_svg(bars: Sequence[Bar], title: str) -> str:
    """The bars, grouped by scale, in the given order."""
    width = _NAMES + 2 * (_BARS + _NUMBER)
    parts, y, scale = [_text(8, 20, title, "title")], _TOP, 0
    for bar in bars:
        if bar.scale != scale:
            scale = bar.scale
            parts.append(_text(8, y + 20, f"by {scale}", "head"))
            parts += [
                _text(_NAMES + k * (_BARS + _NUMBER), y + 20, unit) for k, unit in enumerate(("PSNR-Y", "SSIM-Y"))
            ]
            y += _HEAD
        parts.append(f'<text x="{_NAMES - 8}" y="{y + 12}" text-anchor="end">{escape(bar.name)}</text>')
        for k, (value, digits) in enumerate(((bar.psnr_y, 2), (bar.ssim_y, 4))):
            x = _NAMES + k * (_BARS + _NUMBER)
            length = round(_BARS * (value - _LEAST[k]) / (_MOST[k] - _LEAST[k]), 1)
            parts.append(
                f'<rect x="{x}" y="{y + 2}" width="{length}" height="{_LINE - 5}" fill="{_COLORS[bar.kind]}"/>'
            )
            parts.append(_text(x + length + 4, y + 12, f"{value:.{digits}f}"))
        y += _LINE
    style = (
        "text{font:12px system-ui,sans-serif;fill:#222}"
        ".title{font-weight:600;font-size:14px}.head{font-weight:600;font-size:13px}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y + 8}" width="{width}" height="{y + 8}" '
        f'role="img" aria-label="{escape(title)}"><style>{style}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, name: str = "") -> str:
    styled = f' class="{name}"' if name else ""
    return f'<text x="{x:g}" y="{y}"{styled}>{escape(text)}</text>'
