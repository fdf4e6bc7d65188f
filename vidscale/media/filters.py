"""Graphs of ffmpeg's filters."""

from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import av


def link(graph: av.filter.Graph, *steps: av.filter.context.FilterContext) -> None:
    """Links the steps of a graph in their order, from its source to a sink after the last, and configures it.

    Raises:
        av.FFmpegError: the steps do not fit together.
    """
    for before, after in pairwise([*steps, graph.add("buffersink")]):
        before.link_to(after)
    graph.configure()


def pulled(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    """The frames that a graph has ready."""
    while True:
        try:
            yield cast("av.VideoFrame", graph.pull())
        except (av.error.BlockingIOError, av.error.EOFError):
            return
