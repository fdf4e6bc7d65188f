"""Plans of jobs, and the ffmpeg command lines that follow from them; `vidscale.jobs.planning` makes them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from vidscale.config import DecodeSettings, EncodeSettings, TimeRange
from vidscale.jobs.restore import SmallFile
from vidscale.media.containers import OutputPlan
from vidscale.media.encoders import ENCODERS
from vidscale.media.ffmpeg import Ffmpeg
from vidscale.media.frames import VideoInfo
from vidscale.media.geometry import Geometry
from vidscale.media.identity import Identity
from vidscale.media.probe import Source
from vidscale.media.timing import Timing
from vidscale.models.pair import Pair
from vidscale.stages import mux
from vidscale.stages.encode import encode_command, lossless_command


@dataclass(frozen=True, slots=True)
class EncodePlan:
    """Plan of an `encode` job.

    Attributes:
        settings: resolved settings.
        source: the probed source.
        ffmpeg: the binary.
        pair: the scalers.
        geometry: source and small size.
        output: path, container, streams.
        identity: written into the small file.
        notes: messages for the user, one line each.
        keyframes: where keyframes are, see `vidscale.stages.encode.encode_command`.
    """

    settings: EncodeSettings
    source: Source
    ffmpeg: Ffmpeg
    pair: Pair
    geometry: Geometry
    output: OutputPlan
    identity: Identity
    notes: tuple[str, ...]
    keyframes: str = ""

    @property
    def codec(self) -> str:
        """Coded format of the small file."""
        return ENCODERS[self.settings.codec].codec

    @property
    def small(self) -> VideoInfo:
        """The small video."""
        return replace(self.source.video, width=self.geometry.coded_width, height=self.geometry.coded_height)

    @property
    def written(self) -> VideoInfo:
        """The video that is encoded."""
        return self.small

    @property
    def coded_suffix(self) -> str:
        """File name suffix of the encoded video before muxing."""
        return ".mp4"

    @property
    def time_range(self) -> TimeRange | None:
        """Part of the source to encode, None for all."""
        return self.settings.range

    @property
    def display_aspect(self) -> None:
        """The encoded stream stores its aspect ratio."""

    @property
    def report_dir(self) -> Path:
        """Folder of the report."""
        return self.settings.report_dir or self.output.path.with_name(f"{self.output.path.name}.report")

    @property
    def measures_strength(self) -> bool:
        """Whether the coding strength is known only after the encode, from the encoder's quantisers."""
        return self.settings.coded_crf is None

    def with_quantiser(self, mean: float | None) -> "EncodePlan":
        """The plan whose identity has the crf that corresponds to a mean quantiser; None when unknown."""
        encoder, depth = ENCODERS[self.settings.codec], self.small.format.bit_depth
        crf = None if mean is None else encoder.crf_of_quantiser(mean, self.settings.resolved_preset, depth)
        return replace(self, identity=self.identity.model_copy(update={"crf": crf}))

    def encode_command(self, video: Path, starts: Sequence[Fraction] = ()) -> list[str]:
        """The encoding command line. Args: starts: see `vidscale.stages.encode.encode_command`."""
        return encode_command(self.ffmpeg, self.settings, self.small, video, keyframes=self.keyframes, starts=starts)


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """Plan of a `decode` job: the small file, the binary, the output."""

    settings: DecodeSettings
    small: SmallFile
    ffmpeg: Ffmpeg
    output: OutputPlan
    notes: tuple[str, ...]

    @property
    def source(self) -> Source:
        """The small file."""
        return self.small.source

    @property
    def written(self) -> VideoInfo:
        """The restored video."""
        return self.small.restored

    @property
    def identity(self) -> None:
        """A restored file has none."""

    @property
    def time_range(self) -> None:
        """A small file is restored as a whole."""

    @property
    def display_aspect(self) -> Fraction | None:
        """Display aspect ratio for the container, when the encoded stream cannot store it."""
        info = self.small.restored
        return info.sar * info.width / info.height if self.codec == "ffv1" and info.sar != 1 else None

    @property
    def coded_suffix(self) -> str:
        """File name suffix of the encoded video before muxing."""
        return ".mkv" if self.codec == "ffv1" else ".mp4"

    @property
    def codec(self) -> str:
        """Coded format of the restored file."""
        if not self.settings.lossless:
            return ENCODERS[self.settings.codec].codec
        return "ffv1" if self.output.muxer == "matroska" else "h264"

    def encode_command(self, video: Path) -> list[str]:
        """The encoding command line."""
        info = self.small.restored
        if self.settings.lossless:
            return lossless_command(self.ffmpeg, info, video, codec=self.codec)
        return encode_command(self.ffmpeg, self.settings, info, video)


def commands(plan: EncodePlan | DecodePlan) -> list[list[str]]:
    """The ffmpeg command lines of a job, with the final file names."""
    video = plan.output.path.with_suffix(f".video{plan.coded_suffix}")
    return [plan.encode_command(video), mux_command(plan, video, plan.output.path)]


def mux_command(
    plan: EncodePlan | DecodePlan,
    video: Path,
    path: Path,
    *,
    timing: Timing | None = None,
    origin_s: Fraction = Fraction(0),
    covers: dict[int, Path] | None = None,
    joined: Path | None = None,
) -> list[str]:
    """The command line that muxes the encoded video with the source's other streams; see `mux.mux_command`."""
    return mux.mux_command(
        plan.ffmpeg,
        video=video,
        source=plan.source,
        plan=plan.output,
        identity=plan.identity,
        path=path,
        covers=covers or {},
        joined=joined,
        time_range=plan.time_range,
        timing=timing,
        origin_s=origin_s,
        display_aspect=plan.display_aspect,
    )
