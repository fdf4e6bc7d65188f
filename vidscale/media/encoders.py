"""The encoders: their ffmpeg names, ranges and limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

from vidscale.errors import ConfigError
from vidscale.media.frames import Chroma, Color, ContentLight, MasteringDisplay, PixelFormat

CodecName = Literal["x264", "x265", "svtav1"]

Effort = Literal["fast", "normal", "patient"]
"""How much work downscaling is: a filter, or also a small or a large network that corrects it for the upscaler."""

# Other names for the encoders: the libraries as ffmpeg calls them, and the formats.
_ALIASES: dict[str, CodecName] = {
    "libx264": "x264",
    "h264": "x264",
    "avc": "x264",
    "libx265": "x265",
    "h265": "x265",
    "hevc": "x265",
    "libsvtav1": "svtav1",
    "svt-av1": "svtav1",
    "av1": "svtav1",
}

# Efforts below scale 2, where the small picture is larger, and from 2 on.
_FROM_2: tuple[Effort, Effort] = ("fast", "normal")
_NORMAL: tuple[Effort, Effort] = ("normal", "normal")
_PATIENT: tuple[Effort, Effort] = ("normal", "patient")

STRONGEST = 51.0  # highest crf of x264 and x265
_NEVER = "1000000"  # frames from keyframe to keyframe at least: x264 knows "infinite" only as the most
_OF_FFMPEG = frozenset({"vgamut", "vlog"})  # not in H.273


@dataclass(frozen=True, slots=True)
class Encoder:
    """One encoder inside ffmpeg.

    Attributes:
        name: as on vidscale's command line.
        ffmpeg_name: as in ffmpeg's ``-c:v``.
        codec: name of the coded format, as a demuxer reports it.
        crf_max: highest constant rate factor; the lowest is 0.
        presets: accepted values of ``-preset``.
        default_preset: the preset when none is given.
        params_option: the ffmpeg option for the encoder's own ``key=value:key=value`` settings.
        chroma: supported chroma formats.
        bit_depths: supported bit depths.
        min_height, min_width, max_side: limits of the picture size, luma samples.
        max_height: limit of the picture height, luma samples.
        unwritable: colour names that it cannot signal in the stream.
        efforts: default efforts of a downscaler for each preset, below scale 2 and from 2 on; presets that are not
            there have "fast". From 2 on it is the highest that keeps downscaling and encoding within 0.8 of the time
            of the full size (``benchmarks/bench_effort.py``).
        crf_digits: decimal places of crf that ffmpeg passes on, or that make a difference.
    """

    name: CodecName
    ffmpeg_name: str
    codec: str
    crf_max: int
    presets: tuple[str, ...]
    default_preset: str
    params_option: str
    chroma: tuple[Chroma, ...]
    bit_depths: tuple[int, ...]

    min_height: int
    min_width: int
    max_side: int = 16384
    max_height: int = 16384
    unwritable: frozenset[str] = _OF_FFMPEG
    crf_digits: int = 2
    efforts: Mapping[str, tuple[Effort, Effort]] = field(default_factory=dict)

    def effort(self, preset: str, scale: Fraction | None = None) -> Effort:
        """The default effort of the downscaler.

        Args:
            preset: of the encoder.
            scale: HR over LR; None where vidscale chooses it for the fewest bits: then that of 2 is used everywhere.
        """
        below, above = self.efforts.get(preset, ("fast", "fast"))
        return below if scale is not None and scale < 2 else above

    @property
    def no_own_keyframes(self) -> dict[str, str]:
        """Its own settings for keyframes only where they are forced, each starting a closed GOP."""
        if self.name == "svtav1":
            return {"keyint": "-1"}
        if self.name == "x265":
            return {"keyint": "-1", "min-keyint": _NEVER, "open-gop": "0"}
        return {"keyint": "infinite", "min-keyint": _NEVER}  # a cut gets an I-frame that is no keyframe

    def rate_params(self, params: str) -> dict[str, str]:
        """Those of the encoder's own settings that set its rate or quality, in place of crf or beside it.

        Args:
            params: ``key=value:key=value``.
        """
        return {
            key: value
            for key, value in parsed_params(params)
            if key in _RATE_PARAMS and not (key in _SWITCHES and value.lower() in ("0", "false", "no"))
        }

    def crf_of_quantiser(self, mean: float, preset: str, bit_depth: int) -> float:
        """The crf that codes with a mean quantiser, in steps of 0.1: the strength of an encode by qp or bitrate.

        Args:
            mean: of all frames, on the encoder's scale, as ffmpeg's ``-vstats_file`` has it.
            preset: of the encoder.
            bit_depth: of the samples; x264 counts 6 more for each above 8, for the same step.
        """
        above = _ABOVE_CRF_FASTEST.get((self.name, preset), _ABOVE_CRF[self.name])
        if self.name == "x264":
            above += 6 * (bit_depth - 8)
        crf = mean - above if mean > 0 else 0.0  # x264 codes without loss at 0
        return round(min(max(crf, 0.0), self.crf_max), 1)

    def coded_size(self, height: int, width: int, pixel_format: PixelFormat) -> tuple[int, int]:
        """Smallest (height, width) that the encoder accepts for a picture of that size."""
        sub_y, sub_x = pixel_format.subsampling
        return (
            max(self.min_height, -(-height // sub_y) * sub_y),
            max(self.min_width, -(-width // sub_x) * sub_x),
        )

    def check(self, pixel_format: PixelFormat, height: int, width: int) -> None:
        """Raises ConfigError when the encoder does not support this format and size."""
        if pixel_format.chroma not in self.chroma or pixel_format.bit_depth not in self.bit_depths:
            others = [e.name for e in ENCODERS.values() if e.takes(pixel_format)]
            remedy = f"; {' and '.join(others)} can" if others else "; no encoder here can"
            raise ConfigError(f"{self.name} cannot encode {pixel_format.name}{remedy} (--codec)")
        if width > self.max_side or height > self.max_height:
            raise ConfigError(f"{width}x{height} is over the limit of {self.name}, {self.max_side}x{self.max_height}")

    def nearest(self, pixel_format: PixelFormat) -> PixelFormat:
        """The format that loses least: the pictures' own, or one of the depth that keeps most of it."""
        enough = [depth for depth in self.bit_depths if depth >= pixel_format.bit_depth]
        return replace(pixel_format, bit_depth=min(enough, default=max(self.bit_depths)))

    def lost_colors(self, color: Color) -> tuple[str, ...]:
        """The parts of a colour description that the encoder cannot signal, in words."""
        values = {"primaries": color.primaries, "transfer": color.transfer, "matrix": color.matrix}
        return tuple(f"the colour {field} {value}" for field, value in values.items() if value in self.unwritable)

    def written_color(self, color: Color) -> Color:
        """The colour description without the parts that the encoder cannot signal."""
        values = {"primaries": color.primaries, "transfer": color.transfer, "matrix": color.matrix}
        return replace(color, **{field: None for field, value in values.items() if value in self.unwritable})

    def nearest_crf(self, crf: float) -> float:
        """The crf that it takes in place of any number: within its range, in its steps."""
        return min(max(float(round(crf, self.crf_digits)), 0.0), float(self.crf_max))

    def strength(self, crf: float) -> float:
        """The crf as upscalers receive it, on the scale of x264 and x265: 0 to 51."""
        return crf * STRONGEST / self.crf_max

    def takes(self, pixel_format: PixelFormat) -> bool:
        """Whether the encoder supports this pixel format."""
        return pixel_format.chroma in self.chroma and pixel_format.bit_depth in self.bit_depths


_X26X_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
ENCODERS: dict[CodecName, Encoder] = {
    "x264": Encoder(
        name="x264",
        ffmpeg_name="libx264",
        codec="h264",
        crf_max=51,
        presets=_X26X_PRESETS,
        default_preset="medium",
        params_option="x264-params",
        chroma=("420", "422", "444", "gray"),
        bit_depths=(8, 10),
        min_height=2,
        min_width=2,
        unwritable=_OF_FFMPEG | {"ebu3213", "ipt-c2", "ycgco-re", "ycgco-ro"},  # silently dropped
        efforts=dict.fromkeys(("medium", "slow"), _FROM_2) | dict.fromkeys(("slower", "veryslow", "placebo"), _PATIENT),
    ),
    "x265": Encoder(
        name="x265",
        ffmpeg_name="libx265",
        codec="hevc",
        crf_max=51,
        presets=_X26X_PRESETS,
        default_preset="medium",
        params_option="x265-params",
        chroma=("420", "422", "444", "gray"),
        bit_depths=(8, 10, 12),
        min_height=16,
        min_width=64,  # x265 accepts 16, but overruns its buffers (4.3: at widths 33 to 48, any height and depth)
        unwritable=_OF_FFMPEG | {"ebu3213", "ycgco-re", "ycgco-ro"},  # x265 does not start with them
        efforts=dict.fromkeys(("fast", "medium"), _NORMAL)
        | dict.fromkeys(("slow", "slower", "veryslow", "placebo"), _PATIENT),
    ),
    "svtav1": Encoder(
        name="svtav1",
        ffmpeg_name="libsvtav1",
        codec="av1",
        crf_max=63,
        presets=tuple(str(preset) for preset in range(14)),
        default_preset="8",
        params_option="svtav1-params",
        chroma=("420",),
        bit_depths=(8, 10),
        min_height=4,
        min_width=4,
        max_height=8704,
        efforts=dict.fromkeys(("0", "1", "2"), _PATIENT),
        crf_digits=0,
    ),
}


# By how much the mean quantiser of all frames lies above crf: 6 clips of 480x270, 60 frames each, at 4 crfs, default
# presets. From clip to clip and from crf to crf it differs by 1. B-frames and mbtree, which the fastest lack, raise it.
_ABOVE_CRF: dict[CodecName, float] = {"x264": 4.0, "x265": 5.0, "svtav1": -3.3}
_ABOVE_CRF_FASTEST: dict[tuple[CodecName, str], float] = {("x264", "ultrafast"): -0.5, ("x264", "superfast"): -1.5}

_RATE_PARAMS = frozenset(
    {
        *("qp", "qp-constant", "q", "crf", "bitrate", "pass", "lossless", "rc", "tbr", "mbr"),
        *("vbv-maxrate", "vbv-bufsize", "crf-max", "crf-min", "qpmin", "qpmax", "qp-min", "qp-max", "min-qp", "max-qp"),
        *("zones", "zonefile", "qpfile", "strict-cbr", "rate-tolerance", "ratetol"),
    }
)
_SWITCHES = frozenset({"lossless", "rc", "strict-cbr"})


def parsed_params(params: str) -> list[tuple[str, str]]:
    """Keys, lower-case with hyphens, and values of an encoder's own settings, ``key=value:key=value``."""
    items = (item.partition("=") for item in params.split(":") if item)
    return [(key.strip().lower().replace("_", "-"), value.strip()) for key, _, value in items]


def hdr_params(encoder: Encoder, mastering: MasteringDisplay | None, light: ContentLight | None) -> dict[str, str]:
    """Encoder settings that write static HDR metadata into the stream."""
    params = {}
    complete = mastering and mastering.primaries and mastering.white_point and mastering.luminance
    if mastering and complete:
        name = "master-display" if encoder.name == "x265" else "mastering-display"
        params[name] = _mastering_text(mastering, in_units=encoder.name != "svtav1")
    if light:
        name = {"x264": "cll", "x265": "max-cll", "svtav1": "content-light"}[encoder.name]
        params[name] = f"{light.max_cll},{light.max_fall}"
    return params


def _mastering_text(mastering: MasteringDisplay, *, in_units: bool) -> str:
    """``G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min)``: in units of 0.00002 and 0.0001 cd/m2 (SEI), or plain decimals."""
    if not (mastering.primaries and mastering.white_point and mastering.luminance):
        raise ValueError(f"incomplete {mastering = }")
    red, green, blue = mastering.primaries
    low, high = mastering.luminance

    def number(value: Fraction, unit: int) -> str:
        return str(round(value * unit)) if in_units else f"{float(value):.5f}"

    points = [("G", green), ("B", blue), ("R", red), ("WP", mastering.white_point)]
    chromaticity = "".join(f"{name}({number(x, 50000)},{number(y, 50000)})" for name, (x, y) in points)
    return f"{chromaticity}L({number(high, 10000)},{number(low, 10000)})"


def codec_name(value: object) -> object:
    """The encoder name for an alias such as "libx265", "hevc" or "H.265"; any other value unchanged."""
    return _ALIASES.get(value.lower().replace(".", ""), value) if isinstance(value, str) else value
