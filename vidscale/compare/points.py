"""What a comparison is made of: ways to code, measured points, and all of them together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePath

from vidscale.compare.metrics import Metric, Within
from vidscale.media.encoders import CodecName
from vidscale.media.geometry import scale_text


@dataclass(frozen=True, slots=True, order=True)
class Way:
    """A way to code a movie: with which encoder, at which scale, and who scales.

    Attributes:
        down, up: family of the pair that shrinks and of the one that enlarges, such as "lanczos", or its folder;
            "ffmpeg-lanczos" and "ffmpeg-bicubic" are ffmpeg's own scale filter, as a player or a plain ffmpeg job
            would use it; both "" for the full size.
        scale: source over coded size; 1 for the full size.
        codec: encoder.
        preset: of the encoder.
    """

    down: str
    up: str
    scale: Fraction
    codec: CodecName
    preset: str

    @property
    def is_full(self) -> bool:
        """Coded at full size with nothing before or behind: what everything is compared with."""
        return not self.down and not self.up

    @property
    def scaling(self) -> str:
        """The scalers for people: "full size", "lanczos-x2", "lanczos-x2, up by ffmpeg-bicubic"."""
        if self.is_full:
            return "full size"
        suffix = f"-x{scale_text(self.scale)}"
        name = f"{PurePath(self.down).name.removesuffix(suffix)}{suffix}"
        return name if self.up == self.down else f"{name}, up by {PurePath(self.up).name.removesuffix(suffix)}"

    def __str__(self) -> str:
        return f"{self.scaling}, {self.codec} {self.preset}"


def ordered_ways(ways: Iterable[Way]) -> list[Way]:
    """Each way once: by encoder as they come, the full size first, then as they come, which is as they were named."""
    unique = list(dict.fromkeys(ways))
    encoders = list(dict.fromkeys(encoder_text(way) for way in unique))
    return sorted(unique, key=lambda way: (encoders.index(encoder_text(way)), not way.is_full))


def encoder_text(way: Way) -> str:
    """Encoder and preset: what two ways must share to differ in scaling alone."""
    return f"{way.codec} {way.preset}"


@dataclass(frozen=True, slots=True)
class Point:
    """One movie coded in one way at one crf, restored and measured against its source at the source's size.

    Where only samples of the movie are coded, a point is about all of them together: bytes and seconds are added up,
    metrics are means over all their frames.

    Attributes:
        crf: constant rate factor.
        video_bytes: of the coded video packets.
        duration_s: of what was coded, seconds, exact.
        frames: number of compared frames.
        metrics: mean over frames, except that "psnr_y" is the PSNR of the mean squared error, dB; only what was
            measured; a perfect copy has inf.
        encode_s, decode_s: wall time in seconds of coding (decoding the source and downscaling included) and of
            restoring (decoding and upscaling, without measuring).
        commands: what makes the point again, as one would type it.
    """

    crf: float
    video_bytes: int
    duration_s: Fraction
    frames: int
    metrics: Mapping[Metric, float]
    encode_s: float
    decode_s: float
    commands: tuple[str, ...] = ()

    @property
    def bitrate_kbps(self) -> float:
        """Video packets only, 1000 bit/s."""
        return float(self.video_bytes * 8 / self.duration_s / 1000)


@dataclass(frozen=True, slots=True)
class Curve:
    """All points of one movie coded in one way, by rising bitrate."""

    movie: str
    way: Way
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Still:
    """One frame of a movie as it came out of one point, or of the source itself.

    Attributes:
        movie: name.
        pts_s: time of the frame, seconds from the movie's first.
        way: None for the source.
        point: None for the source.
        path: an 8-bit RGB PNG at the source's size, or a crop of it; all stills of a movie show the same samples.
    """

    movie: str
    pts_s: Fraction
    way: Way | None
    point: Point | None
    path: Path = field(repr=False)


@dataclass(frozen=True, slots=True)
class MovieFacts:
    """A compared movie.

    Attributes:
        name: file name, unique in the comparison.
        width, height: luma samples.
        frame_rate: None when not constant or not known.
        samples: (start, end) in seconds of the coded parts; empty when the whole movie was coded.
        note: what a person should know, such as "synthetic motion"; "" for nothing.
    """

    name: str
    width: int
    height: int
    frame_rate: Fraction | None
    samples: tuple[tuple[Fraction, Fraction], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that was measured.

    Attributes:
        movies: those that could be compared.
        curves: one for each movie and way.
        metrics: what was measured, in the order in which it is shown.
        within: a metric and the range of it, within which rates are compared; None for all of the common range.
        failures: (movie, one line) of those that could not be compared.
        stills: source and restored frames at about one bitrate per movie.
        versions: name of program or library to version.
    """

    movies: Sequence[MovieFacts]
    curves: Sequence[Curve]
    metrics: Sequence[Metric]
    within: Within | None = None
    failures: Sequence[tuple[str, str]] = ()
    stills: Sequence[Still] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
