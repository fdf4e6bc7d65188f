"""The check of a finished file, before it is renamed to its final name."""

from fractions import Fraction
from pathlib import Path
from typing import cast

import av

from vidscale.errors import EncodeError, reason_of
from vidscale.media.timing import Timing

_MOVIE_TICK_S = Fraction(1, 1000)  # unit of track durations in MP4


def check_output(path: Path, *, stream_index: int, timing: Timing) -> None:
    """Verifies that a written file is complete, before it is renamed to its final name.

    Args:
        path: the file.
        stream_index: of the encoded video among the output's streams.
        timing: expected timestamps of its pictures.

    Raises:
        EncodeError: pictures are missing, have a wrong timestamp or do not decode, or the last one has a wrong end.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = cast("av.VideoStream", container.streams[stream_index])
            last_key, found = 0, []
            for packet in container.demux(stream):
                if packet.size and packet.pts is not None:
                    found.append((packet.pts, packet.pts + (packet.duration or 0)))
                    if packet.is_keyframe:  # MPEG-TS seeks by decoding time
                        last_key = packet.pts if packet.dts is None else min(packet.pts, packet.dts)
            if len(found) != len(timing.pts):
                raise EncodeError(f"{len(timing.pts)} frames were encoded, but {len(found)} are in the output")
            unit = Fraction(stream.time_base or timing.time_base)
            shown = sorted(found)
            ends = {found[-1][1], shown[-1][1], (stream.start_time or 0) + (stream.duration or 0)}
            _check_times([pts for pts, _ in shown], unit, timing)
            if container.format.name != "mpegts":
                _check_end(ends, unit, timing)
            container.seek(last_key, stream=stream, backward=True)
            stream.thread_type = "AUTO"
            if max((f.pts for f in container.decode(stream) if f.pts is not None), default=None) != shown[-1][0]:
                raise EncodeError("the end of the output does not decode")
    except (av.FFmpegError, OSError) as error:
        raise unreadable(error) from error


def _check_times(found: list[int], unit: Fraction, timing: Timing) -> None:
    tolerance = max(unit, timing.time_base) / 2
    worst = max(abs(a * unit - b * timing.time_base) for a, b in zip(found, timing.pts, strict=True))
    if worst > tolerance:
        raise EncodeError(f"timestamps in the output are off by up to {float(worst):.6f} s")


def _check_end(ends: set[int], unit: Fraction, timing: Timing) -> None:
    """One of the ``ends`` must be right: with B-frames MP4 can store only one of them."""
    if timing.until is None:
        return
    wanted_s = timing.until * timing.time_base
    wrong_s = min((end * unit - wanted_s for end in ends), key=abs)
    if abs(wrong_s) > 2 * max(unit, timing.time_base, _MOVIE_TICK_S):
        raise EncodeError(f"the last frame in the output ends {float(wrong_s):+.6f} s from the expected time")


def unreadable(error: Exception) -> EncodeError:
    """The error for an output that cannot be read back."""
    return EncodeError(f"the output cannot be read back: {reason_of(error)}")
