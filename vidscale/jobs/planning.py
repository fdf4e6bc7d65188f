"""Planning of a job: all decisions and checks before it starts."""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from vidscale.config import CodecSettings, DecodeSettings, EncodeSettings, SourceSettings, TimeRange
from vidscale.errors import ConfigError, DecodeError, UsageError
from vidscale.jobs.conversion import alpha_notes, check_alpha, conversion_notes, fitted
from vidscale.jobs.losses import loss_notes
from vidscale.jobs.restore import SmallFile, open_small
from vidscale.media.containers import OutputPlan, plan_output
from vidscale.media.encoders import ENCODERS, Encoder
from vidscale.media.ffmpeg import Ffmpeg, find_ffmpeg, refused_params
from vidscale.media.frames import VideoInfo
from vidscale.media.geometry import Geometry, scale_text
from vidscale.media.identity import Identity
from vidscale.media.probe import Source, probe
from vidscale.media.timing import Timing
from vidscale.media.versions import versions
from vidscale.models.pair import Pair
from vidscale.models.pairs import choose_pair, find_pair, scale_named
from vidscale.report.files import RECORD
from vidscale.stages.encode import encode_command, lossless_command
from vidscale.stages.mux import mux_command
from vidscale.system.devices import resolve
from vidscale.system.workspace import check_folder, check_target


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
    """

    settings: EncodeSettings
    source: Source
    ffmpeg: Ffmpeg
    pair: Pair
    geometry: Geometry
    output: OutputPlan
    identity: Identity
    notes: tuple[str, ...]

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
    def report_dir(self) -> Path:
        """Folder of the report."""
        return self.settings.report_dir or self.output.path.with_name(f"{self.output.path.name}.report")

    @property
    def measures_strength(self) -> bool:
        """Whether the encoder itself decides how strongly it codes, so that the identity is known only afterwards."""
        return self.settings.coded_crf is None

    def with_quantiser(self, mean: float | None) -> "EncodePlan":
        """The plan with the crf in its identity that a mean quantiser amounts to; None where nobody knows it."""
        encoder, depth = ENCODERS[self.settings.codec], self.small.format.bit_depth
        crf = None if mean is None else encoder.crf_of_quantiser(mean, self.settings.resolved_preset, depth)
        return replace(self, identity=self.identity.model_copy(update={"crf": crf}))

    def commands(self) -> list[list[str]]:
        """The ffmpeg command lines, with the final file names."""
        video = self.output.path.with_suffix(f".video{self.coded_suffix}")
        return [self.encode_command(video), self.mux_command(video, self.output.path)]

    def encode_command(self, video: Path) -> list[str]:
        """The encoding command line."""
        return encode_command(self.ffmpeg, self.settings, self.small, video)

    def mux_command(
        self,
        video: Path,
        path: Path,
        *,
        timing: Timing | None = None,
        origin_s: Fraction = Fraction(0),
        covers: dict[int, Path] | None = None,
        joined: Path | None = None,
    ) -> list[str]:
        """The command line that muxes the encoded video with the source's other streams; see `mux.mux_command`."""
        return mux_command(
            self.ffmpeg,
            video=video,
            source=self.source,
            plan=self.output,
            identity=self.identity,
            path=path,
            covers=covers or {},
            joined=joined,
            time_range=self.settings.range,
            timing=timing,
            origin_s=origin_s,
        )


def plan_encode(path: Path, output: Path | None, settings: EncodeSettings, *, pair: Pair | None = None) -> EncodePlan:
    """Probes the source and plans the job.

    Args:
        path: the source.
        output: the small file, None for ``NAME.vsS.EXT`` in the source's folder.
        settings: resolved settings.
        pair: the pair in the settings, if already loaded; its speed is then neither measured nor noted.

    Raises:
        VidscaleError: the job is not possible; the message says why.
    """
    encoder = ENCODERS[settings.codec]
    if "scale" not in settings.model_fields_set and (named := scale_named(settings.pair)):
        settings = settings.model_copy(update={"scale": named})
    resolve(settings.device)  # a missing GPU must fail now, not after an hour of work
    ffmpeg = find_ffmpeg(settings.ffmpeg, encoders=[encoder.ffmpeg_name], filters=["setparams", "setsar"])
    _check_params(ffmpeg, settings)
    source = fitted(probe(path, stream=settings.stream, ffmpeg=ffmpeg.path), encoder)
    _check_interlaced(source, settings)
    check_alpha(source, settings.alpha, settings.range)
    found = pair or find_pair(
        choose_pair(settings.pair, settings.scale, settings.tune), settings.scale, settings.device
    )
    video = source.video
    geometry = Geometry.for_encoder(video.height, video.width, settings.scale, encoder, video.format)
    encoder.check(video.format, geometry.coded_height, geometry.coded_width)
    stem = f"{path.stem}.vs{scale_text(settings.scale)}"
    target = plan_output(source, encoder.codec, ffmpeg=ffmpeg.path, stem=stem, requested=output)
    check_target(target.path, source=path, overwrite=settings.overwrite)
    plan = EncodePlan(
        settings=settings,
        source=source,
        ffmpeg=ffmpeg,
        pair=found,
        geometry=geometry,
        output=target,
        identity=_identity(source, found, geometry, settings),
        notes=(*_notes(source, target, settings), *(() if pair else _time_notes(source, found, geometry, settings))),
    )
    if settings.report:
        check_folder(plan.report_dir, record=RECORD)
    return plan


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

    def mux_command(
        self,
        video: Path,
        path: Path,
        *,
        timing: Timing | None = None,
        origin_s: Fraction = Fraction(0),
        covers: dict[int, Path] | None = None,
        joined: Path | None = None,
    ) -> list[str]:
        """The command line that muxes the restored video with the small file's other streams."""
        info = self.small.restored
        shown = info.sar * info.width / info.height
        return mux_command(
            self.ffmpeg,
            video=video,
            source=self.small.source,
            plan=self.output,
            identity=None,
            path=path,
            covers=covers or {},
            joined=joined,
            timing=timing,
            origin_s=origin_s,
            display_aspect=shown if self.codec == "ffv1" and info.sar != 1 else None,
        )

    def commands(self) -> list[list[str]]:
        """The ffmpeg command lines, with the final file names."""
        video = self.output.path.with_suffix(f".video{self.coded_suffix}")
        return [self.encode_command(video), self.mux_command(video, self.output.path)]


def plan_decode(path: Path, output: Path | None, settings: DecodeSettings) -> DecodePlan:
    """Probes the small file and plans the job; see `plan_encode`."""
    encoder = ENCODERS[settings.codec]
    resolve(settings.device)
    name = encoder.ffmpeg_name if not settings.lossless else "libx264"
    ffmpeg = find_ffmpeg(settings.ffmpeg, encoders=[name], filters=["setparams", "setsar"])
    _check_params(ffmpeg, settings)
    small = open_small(path, ffmpeg=ffmpeg.path, settings=settings)
    stem = f"{_source_stem(path, small)}.restored"
    requested = output or (path.with_name(f"{stem}.mkv") if settings.lossless else None)
    codec = "h264" if settings.lossless else encoder.codec
    target = plan_output(small.source, codec, ffmpeg=ffmpeg.path, stem=stem, requested=requested)
    check_target(target.path, source=path, overwrite=settings.overwrite)
    encoder_used = _encoder_used(settings, target)
    small = replace(small, source=fitted(small.source, encoder_used, keep_depth=settings.lossless))
    plan = DecodePlan(settings, small, ffmpeg, target, ())
    losses = loss_notes(small.source, target, plan.codec, settings.strict)
    conversions = conversion_notes(small.source, encoder_used)
    plan = replace(plan, notes=(*small.notes, *losses, *_restoring_notes(small), *conversions))
    if encoder_used is not None:
        _check_encodable(small, encoder_used, lossless=settings.lossless)
    return plan


def _encoder_used(settings: DecodeSettings, target: OutputPlan) -> Encoder | None:
    """The encoder of a restored file; None for FFV1."""
    if not settings.lossless:
        return ENCODERS[settings.codec]
    return None if target.muxer == "matroska" else ENCODERS["x264"]


def _check_params(ffmpeg: Ffmpeg, settings: CodecSettings) -> None:
    encoder, params = ENCODERS[settings.codec], settings.encoder_params
    if params and (reason := refused_params(ffmpeg, encoder.ffmpeg_name, encoder.params_option, params)):
        raise UsageError(f"--encoder-params {params}: rejected by {encoder.name} ({reason})")


def _check_interlaced(source: Source, settings: SourceSettings) -> None:
    if source.interlaced and settings.interlaced == "refuse":
        raise DecodeError(
            f"{source.path} is flagged interlaced: --interlaced bwdif deinterlaces it, --interlaced ignore encodes it "
            "as progressive, for sources that are flagged by mistake"
        )


def _identity(source: Source, pair: Pair, geometry: Geometry, settings: EncodeSettings) -> Identity:
    return Identity(
        pair=pair.name,
        sha256=pair.sha256,
        scale=str(settings.scale),
        width=geometry.width,
        height=geometry.height,
        coded_width=geometry.coded_width,
        coded_height=geometry.coded_height,
        crf=settings.coded_crf,
        codec=ENCODERS[settings.codec].codec,
        time_base=str(source.video.time_base),
        chroma_location=source.video.color.chroma_location,
        chroma=source.video.format.chroma,
        tool=f"vidscale {versions()['vidscale']}",
    )


def _notes(source: Source, target: OutputPlan, settings: EncodeSettings) -> tuple[str, ...]:
    notes = list(loss_notes(source, target, ENCODERS[settings.codec].codec, settings.strict))
    video = source.video
    notes += [*conversion_notes(source, ENCODERS[settings.codec]), *alpha_notes(source, settings.alpha)]
    if target.time_unit and video.time_base < target.time_unit:
        notes.append("Matroska stores timestamps in ms, coarser than the source: they are rounded to the nearest ms")
    return tuple(notes)


def _time_notes(source: Source, pair: Pair, geometry: Geometry, settings: EncodeSettings) -> tuple[str, ...]:
    """Estimated time of slow networks, as a warning before a job that takes days."""
    size = geometry.height, geometry.width
    downscaling = pair.downscale_seconds(*size)
    restoring = pair.upscale_seconds(*size) if settings.report else None
    parts = []
    if downscaling is not None:
        parts.append(f"{_duration(downscaling)} per frame to downscale")
    if restoring is not None:
        parts.append(f"{_duration(restoring)} {'per frame ' * (downscaling is None)}to restore it for the report")
    if not parts:
        return ()
    backend = pair.upscale_backend if downscaling is None else pair.downscale_backend
    frames = expected_frames(source, settings.range)
    text = f"{pair.name} on {backend.device}: about {' and '.join(parts)}"
    return (text + _total(frames, (downscaling or 0) + (restoring or 0)),)


def _restoring_notes(small: SmallFile) -> tuple[str, ...]:
    seconds = small.pair.upscale_seconds(small.geometry.height, small.geometry.width)
    if seconds is None:
        return ()
    text = f"{small.pair.name} on {small.pair.upscale_backend.device}: about {_duration(seconds)} per frame to restore"
    return (text + _total(expected_frames(small.source, None), seconds),)


def _total(frames: int | None, seconds: float) -> str:
    return f", {_duration(frames * seconds)} in total" if frames else ""


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for limit, unit, length in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 86400:.3g} days"


def _source_stem(path: Path, small: SmallFile) -> str:
    return path.stem.removesuffix(f".vs{scale_text(small.geometry.scale)}")


def _check_encodable(small: SmallFile, encoder: Encoder, *, lossless: bool) -> None:
    """Raises ConfigError when the encoder does not support the exact size and format of the restored pictures."""
    height, width, pixel_format = small.restored.height, small.restored.width, small.restored.format
    if lossless and not encoder.takes(pixel_format):
        raise ConfigError(f"lossless H.264 does not support {pixel_format.name}; write Matroska, which gets FFV1")
    encoder.check(pixel_format, height, width)
    if encoder.coded_size(height, width, pixel_format) != (height, width):
        remedy = "write Matroska, which gets FFV1" if lossless else "use --lossless or --y4m"
        raise ConfigError(f"{width}x{height} {pixel_format.name} cannot be encoded at this exact size; {remedy}")


def expected_frames(source: Source, time_range: TimeRange | None) -> int | None:
    """Expected number of frames in a source or a part of it; None when unknown."""
    video = source.video
    if time_range is None and video.frame_count:
        return video.frame_count
    if not video.frame_rate or not video.duration_s:
        return None
    end = video.duration_s
    start = Fraction(0)
    if time_range is not None:
        start, end = time_range.start, min(end, time_range.end or end)
    return max(1, round((end - start) * video.frame_rate))
