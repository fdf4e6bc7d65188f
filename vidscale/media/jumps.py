"""Timestamps that jump: recordings put one behind the other, inserted advertisements, clocks that start anew.

MPEG-TS and its relatives may do that. ffmpeg joins such parts by moving all that follows a jump. So does `Joiner`, but
it first reads on to see what picture and sound do together.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, cast

import av
from av.format import Flags

_TS_DISCONT = cast("int", Flags.ts_discont.value)

# ffmpeg's limits: this far back, or this far from what is due, is a jump.
_BACK_S = Fraction(1, 10)
_AWAY_S = 10

SKEW_S = 3  # by how much picture and sound of one time may lie apart in a file
_FOLLOWED_S = 5  # how far a stream is followed behind a jump
_MOST_HELD = 2000  # packets

_Packet = Any  # "av.Packet[Stream]", whose stub knows no setters for a generic stream


def may_jump(container: av.container.InputContainer) -> bool:
    """Whether timestamps may jump in this format."""
    return bool(container.format.flags & _TS_DISCONT)


@dataclass(slots=True)
class _Track:
    """Where a stream stands, in seconds of its own timestamps.

    Attributes:
        last: decoding time of the last packet.
        due: where the next one is expected.
        is_dense: it has no pauses: picture or sound.
        part: number of joints before it.
        offset: what its times are moved by.
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
class _Outlook:
    """What the packets from a jump on show.

    Attributes:
        old: the streams where they leave the old timestamps.
        under_way: indices of those that had packets around the jump.
        firsts, new: where those that jumped begin, and how far they have been followed.
        stayed: indices of those that went on as before for longer than picture and sound lie apart.
        strays: indices of those that jumped and came back.
        is_clear: it has been read far enough.
    """

    old: dict[int, _Track]
    under_way: set[int]
    firsts: dict[int, Fraction] = field(default_factory=dict)
    new: dict[int, _Track] = field(default_factory=dict)
    stayed: set[int] = field(default_factory=set)
    strays: set[int] = field(default_factory=set)
    is_clear: bool = False
    _starts: dict[int, Fraction] = field(default_factory=dict)

    def take(self, packet: _Packet, time: Fraction) -> None:
        """Looks at one more packet."""
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
        self.is_clear |= self.under_way <= self.new.keys() | self.stayed

    def is_joint(self, main: int) -> bool:
        """Whether streams jumped together, and not one alone while others went on."""
        return main not in self.stayed and (len(self.new) > 1 or not self.stayed)

    def offset(self, main: int) -> Fraction:
        """What the new part is moved by: the main stream goes on without a gap, unless another one would go back."""
        offsets = {i: self.old[i].due + self.old[i].offset - first for i, first in self.firsts.items()}
        latest = max(offsets.values())
        least = offsets.get(main, latest)
        return latest if latest > least + _BACK_S else least


class Joiner:
    """The packets of a file in its order. Where time jumps, all that follows is moved so that each part begins where
    the one before it ends; picture and sound of a part move by the same.

    A jump is one of more than 0.1 s back or 10 s ahead. Where one stream alone jumps, it is left as it is, and a single
    packet with a wild timestamp gets the one that is due.

    Args:
        packets: of all streams, in the order of the file.
        main: index of the video stream, whose pictures follow each other without a gap at a joint.

    Attributes:
        joints: how many there were so far.
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
        """The track of a packet's stream, in the part that the packet belongs to."""
        track = self._tracks.get(packet.stream_index)
        if track is None:
            track = _Track(time, time, is_dense=packet.stream.type in ("video", "audio"))
            self._tracks[packet.stream_index] = track
            has_arrived = self._nearer_behind(track, time)
        elif track.is_dense:
            has_arrived = track.jumps_to(time) or self._nearer_behind(track, time, beyond=SKEW_S)
        else:
            has_arrived = time < track.last - _BACK_S or self._nearer_behind(track, time)
        if track.part < self.joints:
            if has_arrived:
                self._enter(track, time)
        elif track.is_dense and track.jumps_to(time):
            self._face_jump(packet, track, time)
        return track

    def _nearer_behind(self, track: _Track, time: Fraction, *, beyond: int = 0) -> bool:
        """Whether a packet is nearer to the present picture behind the last joint, and otherwise ``beyond`` s off."""
        main = self._tracks.get(self._main, track)
        now = main.last + main.offset
        before = abs(time + track.offset - now)
        return before > beyond and abs(time + self._offset - now) < before

    def _enter(self, track: _Track, time: Fraction) -> None:
        track.part, track.offset = self.joints, self._offset
        track.last = track.due = time

    def _face_jump(self, packet: _Packet, track: _Track, time: Fraction) -> None:
        seen = self._outlook(packet, time)
        if packet.stream_index in seen.strays:
            packet.dts = round(track.due / packet.time_base)
            packet.pts = None if packet.stream.type == "video" else packet.dts
        elif seen.is_joint(self._main):
            self.joints += 1
            self._offset = seen.offset(self._main)
            self._enter(track, time)
        else:
            track.last = track.due = time

    def _outlook(self, packet: _Packet, time: Fraction) -> _Outlook:
        dues = {i: t.due + t.offset for i, t in self._tracks.items() if t.is_dense}
        near = {i for i, due in dues.items() if max(dues.values()) - due <= SKEW_S} | {packet.stream_index}
        seen = _Outlook({i: replace(t) for i, t in self._tracks.items()}, under_way=near)
        seen.take(packet, time)
        for ahead in self._ahead():
            if seen.is_clear:
                break
            then = _time(ahead)
            if then is not None:
                seen.take(ahead, then)
        return seen

    def _ahead(self) -> Iterator[_Packet]:
        """The packets to come, which are held back."""
        yield from list(self._held)
        while len(self._held) < _MOST_HELD:
            try:
                packet = self._read()
            except StopIteration:
                return
            except Exception as error:  # it is raised behind the packets that were read before it
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
