"""Planning of a job: all decisions and checks before it starts."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

from vidscale.config import AUTO, CodecSettings, DecodeSettings, EncodeSettings, SourceSettings
from vidscale.errors import ConfigError, DecodeError, UsageError
from vidscale.jobs.adaptation import why_not_adapted, why_not_encoded_again
from vidscale.jobs.conversion import alpha_notes, check_alpha, conversion_notes, fitted
from vidscale.jobs.estimates import encoding_notes, restoring_notes
from vidscale.jobs.losses import loss_notes
from vidscale.jobs.plans import DecodePlan, EncodePlan
from vidscale.jobs.restore import SmallFile, open_small
from vidscale.media.containers import OutputPlan, plan_output
from vidscale.media.encoders import ENCODERS, Encoder
from vidscale.media.ffmpeg import Ffmpeg, find_ffmpeg, refused_params
from vidscale.media.geometry import Geometry, scale_text
from vidscale.media.identity import Identity
from vidscale.media.probe import Source, probe
from vidscale.media.versions import versions
from vidscale.models.pair import Pair
from vidscale.models.pairs import choose_pair, default_effort, find_pair, scale_named, with_effort
from vidscale.report.files import RECORD
from vidscale.system.devices import resolve
from vidscale.system.workspace import check_folder, check_target


def plan_encode(
    path: Path,
    output: Path | None,
    settings: EncodeSettings,
    *,
    pair: Pair | None = None,
    target: OutputPlan | None = None,
    source: Source | None = None,
) -> EncodePlan:
    """Probes the source and plans the job.

    Args:
        path: the source.
        output: the small file, None for ``NAME.vsS.EXT`` in the source's folder.
        settings: resolved settings.
        pair: the pair in the settings, if already loaded; its speed is then neither measured nor noted.
        target: the output and its streams, in place of ``output``; None to choose them.
        source: the source as another plan has it; None to probe ``path``.

    Raises:
        VidscaleError: the job is not possible; the message says why.
    """
    encoder = ENCODERS[settings.codec]
    scale = _scale(settings)
    settings = settings.model_copy(update={"scale": scale})
    resolve(settings.device)  # a missing GPU must fail now, not after an hour of work
    ffmpeg = find_ffmpeg(settings.ffmpeg, encoders=[encoder.ffmpeg_name], filters=["setparams", "setsar"])
    _check_params(ffmpeg, settings)
    source = source or fitted(probe(path, stream=settings.stream, ffmpeg=ffmpeg.path), encoder)
    _check_interlaced(source, settings)
    check_alpha(source, settings.alpha, settings.range)
    found = pair or find_pair(choose_pair(settings.pair, scale, settings.tune or "psnr"), scale, settings.device)
    found = with_effort(found, settings.shared_effort or default_effort(found, encoder, settings.resolved_preset))
    video = source.video
    geometry = Geometry.for_encoder(video.height, video.width, scale, encoder, video.format)
    encoder.check(video.format, geometry.coded_height, geometry.coded_width)
    stem = f"{path.stem}.vs{scale_text(scale)}"
    target = target or plan_output(source, encoder.codec, ffmpeg=ffmpeg.path, stem=stem, requested=output)
    check_target(target.path, source=path, overwrite=settings.overwrite)
    plan = EncodePlan(
        settings=settings,
        source=source,
        ffmpeg=ffmpeg,
        pair=found,
        geometry=geometry,
        output=target,
        identity=_identity(source, found, geometry, settings),
        notes=(
            *_notes(source, target, settings, found),
            *(() if pair else encoding_notes(source, found, geometry, settings)),
        ),
    )
    if settings.report:
        check_folder(plan.report_dir, record=RECORD)
    return plan


def _scale(settings: EncodeSettings) -> Fraction:
    """The scale in the settings, that of the named pair, or 2."""
    if settings.scale == AUTO:
        raise ValueError(f"{settings.scale = } must be chosen before the job is planned")
    return cast("Fraction | None", settings.scale) or scale_named(settings.pair) or Fraction(2)


def plan_decode(path: Path, output: Path | None, settings: DecodeSettings) -> DecodePlan:
    """Probes the small file and plans the job; see `plan_encode`."""
    if output is not None and output.suffix.lower() == ".y4m":
        raise UsageError(f"{output}: --y4m writes raw video, without audio")
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
    plan = replace(plan, notes=(*small.notes, *losses, *restoring_notes(small), *conversions))
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
        scale=str(pair.scale),
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


def _notes(source: Source, target: OutputPlan, settings: EncodeSettings, pair: Pair) -> tuple[str, ...]:
    notes = list(loss_notes(source, target, ENCODERS[settings.codec].codec, settings.strict))
    notes += [*conversion_notes(source, ENCODERS[settings.codec]), *alpha_notes(source, settings.alpha)]
    if settings.adapt != "off":
        notes += filter(None, [why_not_adapted(settings, pair) or why_not_encoded_again(settings, pair)])
    return tuple(notes)


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
