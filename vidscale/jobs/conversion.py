"""Conversion of pictures in formats that no encoder supports, and the notes about it."""

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
    """The source as read for an encoder: converted pictures at a bit depth that it supports. Colour metadata that the
    encoder cannot signal is added to the lost side data.

    Args:
        source: result of `probe`.
        encoder: None for FFV1, which supports all formats.
        keep_depth: keep the bit depth.
    """
    if encoder is None:
        return source
    keep_depth = keep_depth or not is_converted(source)
    video = source.video
    lost = (*source.side_data, *encoder.lost_colors(video.color))
    pixel_format = video.format if keep_depth else encoder.nearest(video.format)
    return replace(source, video=replace(video, format=pixel_format), side_data=lost)


def has_alpha(source: Source) -> bool:
    """Whether a source has an alpha channel; for a palette, whether the first pictures are transparent."""
    return source.alpha is not None or source.is_transparent


def alpha_of(source: Source) -> str:
    """The alpha channel of a source, in words."""
    return f"the alpha channel ({source.alpha or source.pix_fmt})"


def check_alpha(source: Source, alpha: Alpha, time_range: TimeRange | None) -> None:
    """Raises ConfigError when the first pictures are transparent and alpha is "refuse"."""
    if source.is_transparent and alpha == "refuse" and time_range is None:
        raise ConfigError(f"{source.path} is transparent: {alpha_of(source)} is not opaque, {ALPHA_REMEDY}")


def alpha_notes(source: Source, alpha: Alpha) -> list[str]:
    """The note that a source is encoded without its alpha."""
    if not has_alpha(source):
        return []
    return [f"{alpha_of(source)} is dropped{'' if alpha == 'drop' else ', provided that every pixel is opaque'}"]


def conversion_notes(source: Source, encoder: Encoder | None = None) -> list[str]:
    """Notes on the conversion of pictures in formats that no encoder supports.

    Args:
        source: their source.
        encoder: the encoder; None when they are not encoded.
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
        reason = f"the maximum of {encoder.name}" if had > gets else "without loss"
        notes.append(f"{had} bits per sample ({source.pix_fmt}) are encoded as {gets}, {reason}")
    return notes
