"""Pictures that no encoder takes as they are: what is made of them, and how that is said."""

from dataclasses import replace

from vidscale.config import TimeRange
from vidscale.errors import ConfigError
from vidscale.media.alpha import ALPHA_REMEDY, Alpha
from vidscale.media.encoders import ENCODERS, Encoder
from vidscale.media.pixel_formats import reading_of
from vidscale.media.probe import Source


def is_converted(source: Source) -> bool:
    """Whether no encoder takes the pictures as they are."""
    reading = reading_of(source.pix_fmt)
    is_planar_yuv = not (reading.is_rgb or reading.has_alpha or reading.doubled_axes)
    return not is_planar_yuv or not any(encoder.takes(reading.format) for encoder in ENCODERS.values())


def fitted(source: Source, encoder: Encoder | None, *, keep_depth: bool = False) -> Source:
    """The source as it is read for an encoder: pictures that are converted, at a bit depth that it takes. What the
    stream cannot say of its colours is lost metadata.

    Args:
        source: what the probe found.
        encoder: None for FFV1, which takes all.
        keep_depth: leave the bit depth as it is.
    """
    if encoder is None:
        return source
    keep_depth = keep_depth or not is_converted(source)
    video = source.video
    lost = (*source.side_data, *encoder.lost_colors(video.color))
    pixel_format = video.format if keep_depth else encoder.nearest(video.format)
    return replace(source, video=replace(video, format=pixel_format), side_data=lost)


def has_alpha(source: Source) -> bool:
    """Whether a source has a place for transparency; of a palette, whether the first pictures are transparent."""
    return source.alpha is not None or source.is_transparent


def alpha_of(source: Source) -> str:
    """Where a source keeps transparency, in words."""
    return f"the alpha channel ({source.alpha or source.pix_fmt})"


def check_alpha(source: Source, alpha: Alpha, time_range: TimeRange | None) -> None:
    """Raises ConfigError where the first pictures are transparent, and that is refused."""
    if source.is_transparent and alpha == "refuse" and time_range is None:
        raise ConfigError(f"{source.path} is transparent: {alpha_of(source)} is not opaque, {ALPHA_REMEDY}")


def alpha_notes(source: Source, alpha: Alpha) -> list[str]:
    """That a source is coded without its alpha."""
    if not has_alpha(source):
        return []
    return [f"{alpha_of(source)} is left out{'' if alpha == 'drop' else ', as long as every pixel is opaque'}"]


def conversion_notes(source: Source, encoder: Encoder | None = None) -> list[str]:
    """How pictures are read that no encoder takes as they are.

    Args:
        source: what they come from.
        encoder: that codes them; None where none does.
    """
    reading, read_as = reading_of(source.pix_fmt), source.video.format
    notes = [] if source.window is None else [f"the container crops the picture to {source.window}"]
    if reading.is_rgb:
        matrix = source.video.color.matrix
        notes.append(f"RGB ({source.pix_fmt}) is converted to {read_as.name}, {matrix}, limited range")
    elif reading.doubled_axes:
        notes.append(f"{source.pix_fmt} is converted to {read_as.name}: its chroma is interpolated")
    had, gets = reading.format.bit_depth, read_as.bit_depth
    if had != gets and encoder is not None:
        reason = f"the most that {encoder.name} takes" if had > gets else "which loses nothing"
        notes.append(f"{had} bits a sample ({source.pix_fmt}) are coded as {gets}, {reason}")
    return notes
