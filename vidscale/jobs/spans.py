"""Which frames of a small file are restored with which update of the upscaler, without decoding them."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import NamedTuple

from vidscale.jobs.restore import SmallFile, inspection
from vidscale.media.packets import video_packets
from vidscale.stages.read_log import ReadLog
from vidscale.stages.updates import KeyframeUpdates


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive frames with the same update.

    Attributes:
        first, last: timestamps of the first and the last of them in the file, seconds.
        update: as stored in the stream; b"" for the pair's own network.
    """

    first: Fraction
    last: Fraction
    update: bytes


class _Shown(NamedTuple):
    pts: int
    key_frame: bool


def spans(small: SmallFile, log: ReadLog) -> tuple[Span, ...]:
    """All frames of a small file, in presentation order; its packets are read.

    Args:
        small: the file, of one part.
        log: of problems found while reading it.

    Raises:
        IdentityError: the identity changes within the file.
    """
    inspect, updates, shown = inspection(small, log), KeyframeUpdates(), []
    with video_packets(small.source) as packets:
        unit = packets.time_base
        for packet in packets:
            if not packet.size:
                continue
            if packet.is_keyframe and inspect is not None:
                updates.open(packet.pts, inspect(packet))
            if packet.pts is not None and not packet.is_discard:
                shown.append(_Shown(packet.pts, packet.is_keyframe))
    frames = ((picture.pts * unit, updates.at(picture)) for picture in sorted(shown))
    found = []
    for update, group in groupby(frames, key=lambda frame: frame[1]):
        times = [time for time, _ in group]
        found.append(Span(times[0], times[-1], update))
    return tuple(found)
