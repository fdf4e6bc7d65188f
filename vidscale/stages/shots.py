"""Shot boundary detection by ffmpeg's scdet filter on thumbnails of the luma."""

from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from vidscale.media.filters import link, pulled
from vidscale.media.frames import Frame, added_bytes
from vidscale.report.rows import Shot

THRESHOLD = 10  # scdet's default: difference of neighbouring frames above the usual, per cent of the code range
_COLUMNS = 240  # of a thumbnail, approximately


class ShotFinder:
    """Divides a sequence of frame pairs into shots of the source.

    Attributes:
        begins_shot: the first pair is the first of a shot, also after the frames that were shown before it.
    """

    def __init__(self) -> None:
        self.begins_shot = True
        self._shown = 0
        self._graph: av.filter.Graph | None = None
        self._starts: list[tuple[int, Fraction]] = []
        self._bytes: list[int | None] = []
        self._pairs = 0

    def offer(self, frame: Frame, coded_bytes: int | None) -> None:
        """Takes the next pair, in order.

        Args:
            frame: the source's frame.
            coded_bytes: size of the other frame's packet; None when unknown.
        """
        is_first = self.show(frame)
        if not self._starts:
            self.begins_shot = is_first
        if is_first or not self._starts:
            self._starts.append((self._pairs, frame.time))
            self._bytes.append(0)
        self._pairs += 1
        self.count(coded_bytes)

    def count(self, coded_bytes: int | None) -> None:
        """Adds a coded frame to the shot: that of the pair, or one after it that has no partner."""
        if self._bytes:
            self._bytes[-1] = added_bytes(self._bytes[-1], coded_bytes)

    def show(self, frame: Frame) -> bool:
        """Compares the source's next frame with those before it; returns whether it is the first of a shot."""
        picture = _thumbnail(frame)
        graph = self._graph = self._graph or _graph(picture.shape)
        small = av.VideoFrame.from_ndarray(picture, format="gray")
        small.pts, small.time_base = self._shown, Fraction(1, 1000)
        graph.push(small)
        self._shown += 1
        return any(True for _ in pulled(graph))  # scdet outputs the first frame of a shot

    def extend(self, other: "ShotFinder") -> None:
        """Takes the pairs of another finder, which come next."""
        for (index, time), size in zip(other._starts, other._bytes, strict=True):
            if index == 0 and self._starts and not other.begins_shot:
                self.count(size)
            else:
                self._starts.append((index + self._pairs, time))
                self._bytes.append(size)
        self._pairs += other._pairs

    def end(self) -> None:
        """There are no more frames: only what was found is kept."""
        self._graph = None

    def shots(self) -> tuple[Shot, ...]:
        """All shots so far."""
        ends = [index for index, _ in self._starts[1:]] + [self._pairs]
        return tuple(
            Shot(index, time, end - index, size)
            for (index, time), end, size in zip(self._starts, ends, self._bytes, strict=True)
        )


def _thumbnail(frame: Frame) -> npt.NDArray[np.uint8]:
    """Luma reduced by an integer factor, 8 bit: each sample is the mean of four that are spread evenly over its square.

    Four are enough to detect a cut, and reading every sample would cost more than the detection.
    """
    luma = frame.planes[0]
    half = min(frame.width // _COLUMNS, frame.height) // 2
    if half:
        step, first = 2 * half, half // 2
        luma = luma[: luma.shape[0] // step * step, : luma.shape[1] // step * step]
        upper, lower = luma[first::step], luma[first + half :: step]
        total = upper[:, first::step].astype(np.uint32)
        for part in (upper[:, first + half :: step], lower[:, first::step], lower[:, first + half :: step]):
            total += part
        return (total >> frame.format.bit_depth - 6).astype(np.uint8)  # four samples, then 8 bit
    return np.ascontiguousarray(luma >> frame.format.bit_depth - 8, dtype=np.uint8)


def _graph(shape: tuple[int, ...]) -> av.filter.Graph:
    graph = av.filter.Graph()
    height, width = shape
    gray, ms = av.VideoFormat("gray"), Fraction(1, 1000)
    link_detector(graph, graph.add_buffer(width=width, height=height, format=gray, time_base=ms))
    return graph


def link_detector(graph: av.filter.Graph, *steps: av.filter.context.FilterContext) -> None:
    """Links the steps of a graph and a shot detector: the graph outputs only the first frame of each shot."""
    detector = graph.add("scdet", f"threshold={THRESHOLD}:sc_pass=1")  # metadata of frames came with PyAV 18.1
    link(graph, *steps, detector)
