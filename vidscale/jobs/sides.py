"""Preparation of two files for comparison: crop, size and bit depth."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vidscale.config import Crop
from vidscale.errors import ConfigError, MeasureError
from vidscale.jobs.conversion import alpha_of, conversion_notes, has_alpha, is_converted
from vidscale.media.frames import Frame, VideoInfo
from vidscale.media.pixel_formats import reading_of
from vidscale.media.probe import Source
from vidscale.stages.decode import decode_frames
from vidscale.stages.measure import is_luma_of
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock


@dataclass(frozen=True, slots=True)
class Side:
    """One of two files that are compared.

    Attributes:
        source: the file.
        shown: the video as compared.
        filters: ffmpeg filters that produce it; see `decode_frames`.
        notes: messages for the user, one line each.
    """

    source: Source
    shown: VideoInfo
    filters: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def frames(self, log: ReadLog, clock: Clock) -> Iterator[Frame]:
        """Its frames, as compared."""
        return decode_frames(self.source, log=log, clock=clock, filters=self.filters, alpha="drop")

    def at_depth(self, bits: int) -> "Side":
        """The same, read at another bit depth."""
        at_depth = replace(self.source.video, format=replace(self.source.video.format, bit_depth=bits))
        shown = replace(at_depth, width=self.shown.width, height=self.shown.height)
        return replace(self, source=replace(self.source, video=at_depth), shown=shown)

    @property
    def conversions(self) -> tuple[str, ...]:
        """Notes on the conversions of its pictures before the comparison, one line each."""
        lines = conversion_notes(self.source)
        had, read_as = reading_of(self.source.pix_fmt).format.bit_depth, self.shown.format.bit_depth
        if had != read_as and not self.source.is_rgb:
            lines.append(f"{had} bits per sample ({self.source.pix_fmt}) are compared as {read_as}, like the other's")
        if has_alpha(self.source):
            lines.append(f"{alpha_of(self.source)} is not compared")
        return tuple(f"{self.source.path.name}: {line}" for line in lines)


def cropped(source: Source, crop: Crop | None) -> Side:
    """The part of a source to compare; ConfigError when the crop does not fit."""
    video = source.video
    if crop is None:
        return Side(source, video)
    sub_y, sub_x = reading_of(source.pix_fmt).subsampling
    x = (video.width - crop.width) // 2 // sub_x * sub_x if crop.x is None else crop.x
    y = (video.height - crop.height) // 2 // sub_y * sub_y if crop.y is None else crop.y
    where = f"{crop.width}x{crop.height} at {x},{y}"
    if min(x, y) < 0 or x + crop.width > video.width or y + crop.height > video.height:
        raise ConfigError(f"--crop: {where} reaches beyond {source.path}, which is {video.width}x{video.height}")
    if x % sub_x or y % sub_y:
        raise ConfigError(f"--crop: {x},{y} is not a multiple of {sub_x},{sub_y}, as the chroma of {source.pix_fmt}")
    return Side(
        source,
        replace(video, width=crop.width, height=crop.height),
        (("crop", f"w={crop.width}:h={crop.height}:x={x}:y={y}:exact=1"),),
        (f"{where} of {source.path.name} is compared",),
    )


def scaled(source: Source, wanted: VideoInfo, kernel: str | None) -> Side:
    """A file at the size of another video, by swscale's ``kernel``; unchanged when that is None."""
    video, size = source.video, f"{wanted.width}x{wanted.height}"
    if kernel is None or (video.width, video.height) == (wanted.width, wanted.height):
        return Side(source, video)
    return Side(
        source,
        replace(video, width=wanted.width, height=wanted.height),
        (("scale", f"w={wanted.width}:h={wanted.height}:flags={kernel}+accurate_rnd+full_chroma_int"),),
        (f"{source.path.name} was scaled from {video.width}x{video.height} to {size} by ffmpeg's {kernel}",),
    )


def at_one_depth(ours: Side, theirs: Side) -> tuple[Side, Side]:
    """Both sides at the same bit depth where the pictures of one are converted anyway: of two such, the deeper one is
    read at the depth of the other."""
    bits, their_bits = ours.shown.format.bit_depth, theirs.shown.format.bit_depth
    converted, theirs_converted = is_converted(ours.source), is_converted(theirs.source)
    if bits != their_bits and converted and (bits > their_bits or not theirs_converted):
        return ours.at_depth(their_bits), theirs
    if bits != their_bits and theirs_converted:
        return ours, theirs.at_depth(bits)
    return ours, theirs


def check_comparable(ours: Side, theirs: Side) -> None:
    """Raises MeasureError when the frames of the two differ in size or pixel format."""
    ref, dist = ours.shown, theirs.shown
    compared = ref.format if is_luma_of(ref.format, dist.format) else dist.format
    if (ref.width, ref.height, ref.format) != (dist.width, dist.height, compared):
        remedy = ""
        if (ref.width, ref.height) != (dist.width, dist.height):
            remedy = "; --scale-dist bicubic scales the second one, --crop W:H:X:Y crops the first"
        theirs_is = f"{theirs.source.path} is {dist.width}x{dist.height} {dist.format.name}"
        ours_is = f"{ours.source.path} is {ref.width}x{ref.height} {ref.format.name}"
        raise MeasureError(
            f"{theirs_is}, {ours_is}: only videos of the same size and pixel format can be compared{remedy}"
        )


def color_notes(ours: Side, theirs: Side) -> list[str]:
    """A note when the colour tags of the two differ, since code values are compared regardless."""
    ref, dist = ours.shown.color, theirs.shown.color
    differing = [
        f"{field} {a} and {b}"
        for field, a, b in (
            ("range", ref.color_range, dist.color_range),
            ("matrix", ref.matrix, dist.matrix),
            ("transfer", ref.transfer, dist.transfer),
        )
        if a is not None and b is not None and a != b
    ]
    return [f"the two are tagged differently ({', '.join(differing)}): code values are compared"] if differing else []
