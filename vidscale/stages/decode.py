"""The decoding stage: a file's video stream as frames, in presentation order, each with its own timestamp."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

import av

from vidscale.config import TimeRange
from vidscale.errors import DecodeError
from vidscale.media.frames import Frame
from vidscale.media.matroska import HEAD_BYTES, segment_end
from vidscale.media.packets import MAX_REORDER, VideoPackets, video_packets
from vidscale.media.pictures import Picture, to_frames
from vidscale.media.probe import Source
from vidscale.media.side_data import carried, changed
from vidscale.stages.timeline import Timeline
from vidscale.system.threads import Clock

logger = logging.getLogger(__name__)

_TS_PACKET_SIZES = (188, 192, 204)  # plain, with a time stamp (M2TS), with error correction


@dataclass(slots=True)
class ReadLog:
    """What happened while a source was read.

    Attributes:
        frames: pictures handed out.
        unreadable: packets that did not decode, and pictures the container promises that never came.
        concealed: pictures handed out in which the decoder concealed damage.
        damaged_identities: keyframes that do not say how they were made, though another one of the file does.
        timestamps_made: pictures that had no timestamp and got one from the frame rate.
        timestamps_mended: pictures whose timestamp repeats, goes back or tells when to decode, and was put in order.
        joints: how often time jumps; what comes behind was moved to follow what comes before.
        late_streams: there are streams that the source does not begin with; they were not read.
        origin_s: time in the source of the output's zero; not 0 with a range, and where a source starts before 0.
        truncated_at_s: where reading broke off before the end that the container announces.
        side_data: what pictures carry that raw pictures lose, in words, and the time in the source of the first, s.
    """

    frames: int = 0
    unreadable: int = 0
    concealed: int = 0
    damaged_identities: int = 0
    timestamps_made: int = 0
    timestamps_mended: int = 0
    joints: int = 0
    late_streams: bool = False
    origin_s: Fraction = Fraction(0)
    truncated_at_s: Fraction | None = None
    side_data: dict[str, Fraction] = field(default_factory=dict)

    @property
    def damaged(self) -> bool:
        """Whether the source could not be read in full."""
        return bool(self.unreadable or self.concealed or self.truncated_at_s is not None)

    def notes(self, path: Path) -> tuple[str, ...]:
        """What a person should know of it, one line each."""
        name, lines = path.name, []
        if self.unreadable:
            lines.append(f"{_frames(self.unreadable)} of {name} {'was' if self.unreadable == 1 else 'were'} unreadable")
        if self.truncated_at_s is not None:
            lines.append(f"{name} breaks off at {float(self.truncated_at_s):.2f} s: what is there was read")
        if self.concealed:
            verb = "is" if self.concealed == 1 else "are"
            lines.append(f"{_frames(self.concealed)} of {name} {verb} damaged, mended as well as the decoder could")
        if self.damaged_identities:
            what = (
                "identity of 1 keyframe"
                if self.damaged_identities == 1
                else f"identities of {self.damaged_identities} keyframes"
            )
            lines.append(f"the {what} of {name} cannot be read; what else it says of itself can, and was followed")
        if self.origin_s < 0:
            lines.append(f"{name} starts at {float(self.origin_s):.3f} s: all streams were moved to start at 0")
        if self.timestamps_made:
            lines.append(f"{_frames(self.timestamps_made)} of {name} had no timestamp and got one from the frame rate")
        if self.timestamps_mended:
            lines.append(
                f"the timestamps of {_frames(self.timestamps_mended)} of {name} repeat or are out of order: "
                "they were put in order"
            )
        if self.joints:
            count = "once" if self.joints == 1 else f"{self.joints} times"
            lines.append(f"the timestamps of {name} jump {count}: the parts were joined, picture and sound alike")
        if self.late_streams:
            lines.append(f"{name} has streams that begin later on: these were left out; split it there to code them")
        return tuple(lines)

    def check_strict(self, path: Path) -> None:
        """Raises DecodeError where ``--strict`` refuses the source."""
        if self.damaged:
            raise DecodeError(f"{path} is damaged ({self.notes(path)[0]}) and --strict refuses to lose anything")
        if self.joints:
            raise DecodeError(f"the timestamps of {path} jump and --strict refuses to join its parts; remux it first")
        if self.late_streams:
            raise DecodeError(
                f"{path} has streams that begin later on and --strict refuses to lose them; split it there"
            )


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def decode_frames(
    source: Source,
    *,
    log: ReadLog,
    clock: Clock,
    time_range: TimeRange | None = None,
    interlaced: Literal["refuse", "ignore", "bwdif"] = "ignore",
    inspect: Callable[["av.Packet[av.VideoStream]"], None] | None = None,
    filters: Sequence[tuple[str, str]] = (),
) -> Iterator[Frame]:
    """Frames of the source's video stream, in the pixel format that ``source.video`` tells.

    Timestamps are the source's own; with a range they count from the first frame of the range, as they do from the
    first frame of all where that lies before 0. Packets that do not decode are counted in ``log`` and left out.

    Args:
        source: what `probe` found.
        log: filled in on the way.
        clock: counts pictures and time.
        time_range: part to read, None for all.
        interlaced: what to do with pictures that are flagged interlaced.
        inspect: called with every keyframe packet before it is decoded; what it raises ends the reading.
        filters: name and arguments of ffmpeg's filters, one picture for one, of the same pixel format.

    Raises:
        DecodeError: interlaced pictures when they are refused, a size or pixel format that changes, timestamps that
            do not rise, or nothing to decode at all.
    """
    start, end = _bounds(source, time_range)
    with video_packets(source, start) as packets:
        stream = packets.stream
        stream.thread_type = "AUTO"
        timeline = Timeline(source, packets, log)
        pictures = _decoded(packets, log, clock, inspect)
        selected = _selected(pictures, source, timeline, start, end, interlaced)
        for frame in to_frames(_watched(selected, source, log), source, interlaced, clock, filters):
            log.frames += 1
            log.concealed += frame.corrupt
            yield frame
        if log.frames == 0:
            where = " in that range" if time_range else ""
            raise DecodeError(f"{source.path} holds no decodable frame{where}")
        log.joints, log.late_streams = packets.joints, packets.passed_over > 0
        log.origin_s = (timeline.origin or 0) * source.video.time_base
        if time_range is None:
            _note_truncation(source, timeline, log, lacks_packets=_index_goes_on(stream, source.size_bytes))


def _bounds(source: Source, time_range: TimeRange | None) -> tuple[Fraction | None, Fraction | None]:
    if time_range is None:
        return None, None
    end = None if time_range.end is None else source.start_s + time_range.end
    return source.start_s + time_range.start, end


def _decoded(
    packets: VideoPackets,
    log: ReadLog,
    clock: Clock,
    inspect: Callable[["av.Packet[av.VideoStream]"], None] | None,
) -> Iterator[Picture]:
    """Decoded pictures in presentation order."""
    sizes: dict[int, int] = {}
    packets.stream.codec_context.copy_opaque = True
    while True:
        with clock.measure(frames=0):
            packet = _next_packet(packets, log)
            if packet is None:
                return
            if packet.size:
                packet.opaque = (packet.size,)  # PyAV tells them apart by identity, which small numbers share
                _remember_size(sizes, packet)
                if inspect is not None and packet.is_keyframe:
                    inspect(packet)
            frames = _frames_of(packet, log)
        for frame in frames:
            yield Picture(frame, _coded_bytes(frame, sizes))


def _coded_bytes(frame: av.VideoFrame, sizes: dict[int, int]) -> int | None:
    """Size of the packet that the decoder took the picture from; of a second picture of one, by timestamp."""
    by_time = sizes.pop(frame.pts, None) if frame.pts is not None else None
    size = cast("tuple[int] | None", frame.opaque)
    return by_time if size is None else size[0]


def _next_packet(packets: Iterator["av.Packet[av.VideoStream]"], log: ReadLog) -> "av.Packet[av.VideoStream] | None":
    """The next packet; None at the end, and where the container is damaged so that nothing can be read behind it."""
    try:
        return next(packets, None)
    except av.error.EOFError:
        return None
    except av.error.InvalidDataError as error:
        logger.info("the container is damaged: %s", error)
        log.unreadable += 1
        return None
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(f"reading the source failed: {getattr(error, 'strerror', None) or error}") from error


def _frames_of(packet: "av.Packet[av.VideoStream]", log: ReadLog) -> list[av.VideoFrame]:
    """The pictures that a packet brings out of the decoder."""
    try:
        return packet.decode()
    except av.error.EOFError:
        return []
    except MemoryError:
        raise
    except av.FFmpegError as error:  # which one, is the decoder's taste: of damaged data they say all kinds of things
        logger.info("unreadable packet: %s", error)
        log.unreadable += 1
        return []


def _remember_size(sizes: dict[int, int], packet: "av.Packet[av.VideoStream]") -> None:
    """Keeps a packet's size until its picture comes out of the decoder; of pictures that never come, forgets it."""
    if packet.pts is None:
        return
    sizes[packet.pts] = packet.size
    if len(sizes) > 2 * MAX_REORDER:
        for pts in sorted(sizes)[:MAX_REORDER]:
            del sizes[pts]


def _selected(
    pictures: Iterator[Picture],
    source: Source,
    timeline: Timeline,
    start: Fraction | None,
    end: Fraction | None,
    interlaced: str,
) -> Iterator[tuple[Picture, int]]:
    """The pictures of the range, each with its timestamp in the output."""
    for picture, pts in timeline.placed(_checked(pictures, source, interlaced)):
        if start is not None and pts * source.video.time_base < start:
            continue
        if end is not None and pts * source.video.time_base >= end:
            return
        if timeline.origin is None and (start is not None or pts < 0):
            timeline.origin = pts
        yield picture, pts - (timeline.origin or 0)


def _watched(pictures: Iterator[tuple[Picture, int]], source: Source, log: ReadLog) -> Iterator[tuple[Picture, int]]:
    """The pictures; what they carry is noted: captions and much else may begin anywhere in a film."""
    for picture, pts in pictures:
        for words in (*carried(picture.frame), *changed(picture.frame, source.video)):
            at = pts if picture.frame.pts is None else picture.frame.pts
            log.side_data.setdefault(words, at * source.video.time_base)
        yield picture, pts


def _checked(pictures: Iterator[Picture], source: Source, interlaced: str) -> Iterator[Picture]:
    for picture in pictures:
        _check_picture(picture.frame, source, interlaced)
        yield picture


def _check_picture(frame: av.VideoFrame, source: Source, interlaced: str) -> None:
    video = source.video
    if (frame.width, frame.height, frame.format.name) != (video.width, video.height, source.pix_fmt):
        raise DecodeError(
            f"the picture changes at {_time_text(frame)} from {video.width}x{video.height} {source.pix_fmt} "
            f"to {frame.width}x{frame.height} {frame.format.name}; split the source there"
        )
    if interlaced == "refuse" and frame.interlaced_frame:
        raise DecodeError(
            f"the source is flagged interlaced (at {_time_text(frame)}): --interlaced bwdif deinterlaces it, "
            "--interlaced ignore codes it as it is, for sources that are flagged by mistake"
        )


def _time_text(frame: av.VideoFrame) -> str:
    return "an unknown time" if frame.time is None else f"{frame.time:.3f} s"


def _note_truncation(source: Source, timeline: Timeline, log: ReadLog, *, lacks_packets: bool) -> None:
    """Compares what came with what the container announced."""
    video = source.video
    ends_early = lacks_packets or _ends_early(source, timeline, log)
    if video.frame_count and video.frame_count > log.frames + log.unreadable and ends_early:
        # Edit lists and dropped leading pictures hide a few frames of a sound file; the end tells a cut one.
        log.unreadable = video.frame_count - log.frames
    if (ends_early or _ends_within_packet(source) or _ends_within_segment(source)) and timeline.last is not None:
        log.truncated_at_s = timeline.last * video.time_base


def _ends_early(source: Source, timeline: Timeline, log: ReadLog) -> bool:
    video = source.video
    if video.duration_s is None or timeline.last is None or log.joints:
        return False
    tolerance = max(Fraction(1), video.duration_s / 50)
    if video.frame_count and video.frame_rate:
        tolerance = 3 / video.frame_rate
    return timeline.last * video.time_base - source.start_s < video.duration_s - tolerance


def _index_goes_on(stream: av.VideoStream, size_bytes: int | None) -> bool:
    """Whether the container's index names packets beyond the end of the file."""
    if size_bytes is None:
        return False
    entries = stream.index_entries
    last = (entries[at] for at in range(max(0, len(entries) - MAX_REORDER), len(entries)))
    return any(entry.pos + entry.size > size_bytes for entry in last)


def _ends_within_segment(source: Source) -> bool:
    """Matroska (RFC 9559) says in front how many bytes follow; a live one says that it does not know."""
    if source.container != "matroska,webm" or not source.path.is_file() or source.size_bytes is None:
        return False
    with source.path.open("rb") as file:
        announced = segment_end(file.read(HEAD_BYTES))
    return announced is not None and announced > source.size_bytes


def _ends_within_packet(source: Source) -> bool:
    """MPEG-TS announces no end, but consists of packets of one size."""
    size = source.size_bytes
    return source.container == "mpegts" and size is not None and all(size % packet for packet in _TS_PACKET_SIZES)
