"""The colour description of decoded pictures, from the code points that PyAV has."""

from collections.abc import Mapping

import av

from vidscale.media import h273
from vidscale.media.frames import Color, Siting
from vidscale.media.pixel_formats import reading_of

_UNSPECIFIED = (0, 2, 3)  # H.273: reserved, unspecified, reserved


def color_of(frame: av.VideoFrame, context: av.VideoCodecContext, location: Siting | None) -> Color:
    """The colour description of a video; that of the stream where its pictures have none.

    Args:
        frame: one of its pictures.
        context: of the stream.
        location: siting of the chroma samples, which PyAV does not expose.
    """
    if reading_of(frame.format.name).is_rgb:
        # RGB has no matrix; players expect BT.709 limited for untagged 4:4:4 video.
        primaries = _word(h273.PRIMARIES, frame.color_primaries) or "bt709"
        transfer = _word(h273.TRANSFER, frame.color_trc) or "bt709"
        return Color("tv", "bt2020nc" if primaries == "bt2020" else "bt709", primaries, transfer)
    full = frame.format.name.startswith(("yuvj", "mono"))
    matrix = _word(h273.MATRIX, frame.colorspace, context.colorspace)
    return Color(
        color_range="pc" if full else _word(h273.COLOR_RANGE, frame.color_range, context.color_range),
        matrix=None if matrix == "gbr" else matrix,
        primaries=_word(h273.PRIMARIES, frame.color_primaries, context.color_primaries),
        transfer=_word(h273.TRANSFER, frame.color_trc, context.color_trc),
        chroma_location=location,
    )


def unknown_colors(frame: av.VideoFrame) -> tuple[str, ...]:
    """Colour code points of a picture without a name in `vidscale.media.h273`, in words."""
    fields = (
        ("primaries", h273.PRIMARIES, frame.color_primaries),
        ("transfer", h273.TRANSFER, frame.color_trc),
        ("matrix", h273.MATRIX, frame.colorspace),
    )
    return tuple(
        f"the colour {field} {int(code)}"
        for field, table, code in fields
        if code is not None and int(code) not in table and int(code) not in _UNSPECIFIED
    )


def _word(table: Mapping[int, str], *codes: int | None) -> str | None:
    """The name of the first code that has one."""
    return next((table[int(code)] for code in codes if code is not None and int(code) in table), None)
