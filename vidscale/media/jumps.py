"""Timestamp discontinuities: concatenated recordings, inserted advertisements, clock resets.

MPEG-TS and related formats allow them. ffmpeg joins the parts by shifting everything after a jump. So does `Joiner`,
but it reads ahead first to see whether video and audio jump together.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, cast

import av
from av.format import Flags

_TS_DISCONT = cast("int", Flags.ts_discont.value)

# ffmpeg's thresholds: a jump goes this far back, or is this far from the expected time.
_BACK_S = Fraction(1, 10)
_AWAY_S = 10

SKEW_S = 3  # largest interleaving distance of video and audio
_FOLLOWED_S = 5  # how far a stream is read past a jump
_MOST_HELD = 2000  # packets

_Packet = Any  # "av.Packet[Stream]", whose stub has no setters for a generic stream


def may_jump(container: av.container.InputContainer) -> bool:
    """Whether timestamps may jump in this format."""
    return bool(container.format.flags & _TS_DISCONT)


@dataclass(slots=True)
class _Track:
    """Position of a stream, in seconds of its own timestamps.

    Attributes:
        last: decoding time of the last packet.
        due: expected time of the next one.
        is_dense: video or audio, which have no gaps.
        part: number of joints before it.
        offset: shift applied to its timestamps.
    """

    last: Fraction
    due: Fraction
    is_dense: bool
    part: int = 0
    offset: Fraction = Fraction(0)

    def jumps_to(self, time: Fraction) -> bool:
        return time < self.last - _BACK_S or abs(time - self.due) > _AWAY_S

    def advance(self, packet: _Packet, time: Fraction) -> None:
        length = packet.duration * packet.time_base if packet.duration else max(time - self.last, Fraction(0))
        self.last, self.due = time, time + length


@dataclass(slots=True)
class _Lookahead:
    """State of the packets read ahead from a jump on.

    Attributes:
        old: the streams on the old timeline.
        active: indices of those with packets around the jump.
        firsts, new: of those that jumped, the first time on the new timeline and the position there.
        stayed: indices of those that continued on the old timeline for longer than `SKEW_S`.
        strays: indices of those that jumped and came back.
        is_clear: enough was read to decide.
    """

    old: dict[int, _Track]
    active: set[int]
    firsts: dict[int, Fraction] = field(default_factory=dict)
    new: dict[int, _Track] = field(default_factory=dict)
    stayed: set[int] = field(default_factory=set)
    strays: set[int] = field(default_factory=set)
    is_clear: bool = False
    _starts: dict[int, Fraction] = field(default_factory=dict)

    def take(self, packet: _Packet, time: Fraction) -> None:
        """Takes the next packet into account."""
        index = packet.stream_index
        old = self.old.get(index)
        if old is None or not old.is_dense:
            return
        if index in self.new:
            new = self.new[index]
            if new.jumps_to(time):
                if not old.jumps_to(time):
                    self.strays.add(index)
                self.is_clear = True
            new.advance(packet, time)
            self.is_clear |= time - self.firsts[index] > _FOLLOWED_S
        elif old.jumps_to(time):
            self.firsts[index], self.new[index] = time, _Track(time, time, is_dense=True)
            self.new[index].advance(packet, time)
        else:
            if time - self._starts.setdefault(index, old.last) > SKEW_S:
                self.stayed.add(index)
            old.advance(packet, time)
        self.is_clear |= self.active <= self.new.keys() | self.stayed

    def is_joint(self, main: int) -> bool:
        """Whether the streams jumped together, rather than one while others continued."""
        return main not in self.stayed and (len(self.new) > 1 or not self.stayed)

    def offset(self, main: int) -> Fraction:
        """Shift of the new part: the main stream continues without a gap, unless another would go backwards."""
        offsets = {i: self.old[i].due + self.old[i].offset - first for i, first in self.firsts.items()}
        latest = max(offsets.values())
        least = offsets.get(main, latest)
        return latest if latest > least + _BACK_S else least


class Joiner:
    """The packets of a file in file order. After a jump, all timestamps are shifted so that each part begins where the
    previous one ends; video and audio of a part are shifted by the same offset.

    A jump is more than 0.1 s back or 10 s ahead. A stream that jumps alone is left unchanged, and a single packet with
    a wild timestamp gets the expected one.

    Args:
        packets: of all streams, in file order.
        main: index of the video stream, which continues without a gap at a joint.

    Attributes:
        joints: number of joints so far.
    """

    def __init__(self, packets: Iterator[_Packet], main: int) -> None:
        self.joints = 0
        self._packets = packets
        self._main = main
        self._held: deque[_Packet] = deque()
        self._error: Exception | None = None
        self._tracks: dict[int, _Track] = {}
        self._offset = Fraction(0)

    def __iter__(self) -> Iterator[_Packet]:
        return self

    def __next__(self) -> _Packet:
        packet = self._held.popleft() if self._held else self._read()
        time = _time(packet)
        if time is None:
            track = self._tracks.get(packet.stream_index)
        else:
            track = self._track_of(packet, time)
            track.advance(packet, _time(packet) or time)
        if track is not None:
            _move(packet, track.offset)
        return packet

    def _read(self) -> _Packet:
        if self._error is not None:
            raise self._error
        return next(self._packets)

    def _track_of(self, packet: _Packet, time: Fraction) -> _Track:
        """The track of a packet's stream, moved to the part that the packet belongs to."""
        track = self._tracks.get(packet.stream_index)
        if track is None:
            track = _Track(time, time, is_dense=packet.stream.type in ("video", "audio"))
            self._tracks[packet.stream_index] = track
            has_arrived = self._is_nearer_after(track, time)
        elif track.is_dense:
            has_arrived = track.jumps_to(time) or self._is_nearer_after(track, time, beyond=SKEW_S)
        else:
            has_arrived = time < track.last - _BACK_S or self._is_nearer_after(track, time)
        if track.part < self.joints:
            if has_arrived:
                self._enter(track, time)
        elif track.is_dense and track.jumps_to(time):
            self._handle_jump(packet, track, time)
        return track

    def _is_nearer_after(self, track: _Track, time: Fraction, *, beyond: int = 0) -> bool:
        """Whether a packet is nearer to the current picture with the last joint's offset, and over ``beyond`` s off
        without it."""
        main = self._tracks.get(self._main, track)
        now = main.last + main.offset
        before = abs(time + track.offset - now)
        return before > beyond and abs(time + self._offset - now) < before

    def _enter(self, track: _Track, time: Fraction) -> None:
        track.part, track.offset = self.joints, self._offset
        track.last = track.due = time

    def _handle_jump(self, packet: _Packet, track: _Track, time: Fraction) -> None:
        lookahead = self._lookahead(packet, time)
        if packet.stream_index in lookahead.strays:
            packet.dts = round(track.due / packet.time_base)
            packet.pts = None if packet.stream.type == "video" else packet.dts
        elif lookahead.is_joint(self._main):
            self.joints += 1
            self._offset = lookahead.offset(self._main)
            self._enter(track, time)
        else:
            track.last = track.due = time

    def _lookahead(self, packet: _Packet, time: Fraction) -> _Lookahead:
        dues = {i: t.due + t.offset for i, t in self._tracks.items() if t.is_dense}
        near = {i for i, due in dues.items() if max(dues.values()) - due <= SKEW_S} | {packet.stream_index}
        lookahead = _Lookahead({i: replace(t) for i, t in self._tracks.items()}, active=near)
        lookahead.take(packet, time)
        for ahead in self._ahead():
            if lookahead.is_clear:
                break
            ahead_time = _time(ahead)
            if ahead_time is not None:
                lookahead.take(ahead, ahead_time)
        return lookahead

    def _ahead(self) -> Iterator[_Packet]:
        """The next packets, which are buffered."""
        yield from list(self._held)
        while len(self._held) < _MOST_HELD:
            try:
                packet = self._read()
            except StopIteration:
                return
            except Exception as error:  # raised after the buffered packets
                self._error = error
                return
            self._held.append(packet)
            yield packet


def _time(packet: _Packet) -> Fraction | None:
    """Decoding time, s."""
    ticks = packet.dts if packet.dts is not None else packet.pts
    return None if ticks is None else Fraction(ticks * packet.time_base)


def _move(packet: _Packet, offset: Fraction) -> None:
    if offset:
        ticks = round(offset / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
