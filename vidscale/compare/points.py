"""The data of a comparison: candidates, points, curves, stills, and the comparison itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePath

from vidscale.config import Adapt
from vidscale.media.encoders import CodecName
from vidscale.media.geometry import scale_text
from vidscale.quality import Metric, Within

ADAPTED, LIGHTLY = "+adapt", "+light"
"""What follows the name of a pair whose upscaler is adapted, as by `--adapt full` and `--adapt light`."""


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """One way to encode a movie: at full size, or through a pair of scalers, with one encoder and preset.

    Attributes:
        down, up: family or folder of the pair that downscales and of the one that upscales, such as "lanczos";
            "ffmpeg-lanczos" and "ffmpeg-bicubic" are ffmpeg's scale filter, as a plain ffmpeg job or a player uses it;
            "adaptive+adapt" and "adaptive+light" are pairs whose upscaler is adapted to the movie; both "" for the full
            size.
        scale: source size over coded size; 1 for the full size.
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
        """Whether it is the plain full size, without scalers: the anchor of the comparison."""
        return not self.down and not self.up

    @property
    def adapt(self) -> Adapt:
        """How the upscaler is adapted to the movie."""
        if self.down.endswith(LIGHTLY):
            return "light"
        return "full" if self.down.endswith(ADAPTED) else "off"

    @property
    def is_adapted(self) -> bool:
        """Whether the upscaler is adapted to the movie."""
        return self.adapt != "off"

    @property
    def pair(self) -> str:
        """Family or folder of the pair that downscales."""
        return unadapted(self.down)

    @property
    def scaling(self) -> str:
        """Name of the scalers: "full size", "lanczos-x2", "lanczos-x2, up by ffmpeg-bicubic"."""
        if self.is_full:
            return "full size"
        suffix = f"-x{scale_text(self.scale)}"
        name = f"{PurePath(self.pair).name.removesuffix(suffix)}{suffix}{self.down[len(self.pair) :]}"
        return name if self.up == self.down else f"{name}, up by {PurePath(self.up).name.removesuffix(suffix)}"

    @property
    def encoder(self) -> str:
        """Encoder and preset, which candidates share whose curves differ by scaling alone: "x264 medium"."""
        return f"{self.codec} {self.preset}"

    def __str__(self) -> str:
        return f"{self.scaling}, {self.encoder}"


def unadapted(family: str) -> str:
    """A family's name without the suffix of an adapted upscaler."""
    return family.removesuffix(ADAPTED).removesuffix(LIGHTLY)


def ordered_candidates(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Each candidate once: grouped by encoder, the full size first in each group, otherwise in the given order."""
    unique = list(dict.fromkeys(candidates))
    encoders = list(dict.fromkeys(candidate.encoder for candidate in unique))
    return sorted(unique, key=lambda candidate: (encoders.index(candidate.encoder), not candidate.is_full))


@dataclass(frozen=True, slots=True)
class Point:
    """One movie, encoded as one candidate at one crf, restored, and measured against the source at the source's size.

    If only samples of the movie were encoded, the point stands for all of them together: bytes and seconds add up,
    metrics are means over all frames.

    Attributes:
        crf: constant rate factor.
        video_bytes: bytes of the encoded video packets.
        duration_s: of what was encoded, seconds, exact.
        frames: number of compared frames.
        metrics: means over frames, but "psnr_y" is the PSNR of the mean squared error, dB, inf for a perfect copy; only
            metrics that were measured.
        encode_s, decode_s: wall time in seconds of encoding (including decoding the source and downscaling) and of
            restoring (decoding and upscaling, without measuring).
        commands: shell commands that reproduce the point.
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
    """All points of one movie encoded as one candidate, by rising bitrate."""

    movie: str
    candidate: Candidate
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Still:
    """One frame of a movie, restored at one point of a curve, or from the source.

    Attributes:
        movie: name.
        pts_s: time of the frame, seconds from the first frame of the movie.
        candidate: None for the source.
        point: None for the source.
        path: 8-bit RGB PNG at the source's size, or a crop of it; all stills of a movie show the same region.
    """

    movie: str
    pts_s: Fraction
    candidate: Candidate | None
    point: Point | None
    path: Path = field(repr=False)


@dataclass(frozen=True, slots=True)
class MovieFacts:
    """A compared movie.

    Attributes:
        name: file name, unique in the comparison.
        width, height: luma samples.
        frame_rate: None when not constant or not known.
        samples: (start, end) in seconds of the encoded segments; empty if the whole movie was encoded.
        note: a remark for the reader, such as "synthetic motion"; "" for none.
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
        movies: movies that were compared.
        curves: one for each movie and candidate.
        metrics: what was measured, in display order.
        within: a metric and the range of it to which the comparison is restricted; None for the whole common range.
        failures: (movie, one line) of movies that could not be compared.
        stills: source and restored frames, at about equal bitrate for each movie.
        versions: version by name of program or library.
    """

    movies: Sequence[MovieFacts]
    curves: Sequence[Curve]
    metrics: Sequence[Metric]
    within: Within | None = None
    failures: Sequence[tuple[str, str]] = ()
    stills: Sequence[Still] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
