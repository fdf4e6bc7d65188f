"""The description of a movie for its page: sizes, colours, networks, and the part of the movie that each is for."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any
from urllib.parse import quote

import numpy as np

from vidscale.errors import ModelError
from vidscale.jobs.restore import SmallFile
from vidscale.jobs.spans import Span, spans
from vidscale.media.frames import VideoInfo
from vidscale.media.opening import open_container
from vidscale.models.plane_pair import PlanePair
from vidscale.players.network import Network, network_of
from vidscale.stages.read_log import ReadLog

_VERSION = 2  # of the description
_HD_HEIGHT = 720
_TO_LUMA = {  # weights of R and B, ITU-T H.273
    "bt709": (0.2126, 0.0722),
    "bt470bg": (0.299, 0.114),
    "smpte170m": (0.299, 0.114),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
    "bt2020nc": (0.2627, 0.0593),
}
_CODECS = {"h264": "H.264", "hevc": "HEVC", "av1": "AV1"}
_NEAR_S = Fraction(1, 1000)


@dataclass(frozen=True)
class PageData:
    """Files beside the page.

    Attributes:
        files: contents by name: the description first, weights, and those of adapted movies.
        pairs: names of the pairs that the page restores with.
        notes: what it does not restore, one line each.
    """

    files: dict[str, bytes]
    pairs: tuple[str, ...]
    notes: tuple[str, ...]


def page_data(renditions: Mapping[str, Sequence[SmallFile]], stem: str) -> PageData:
    """Describes a movie.

    Args:
        renditions: the parts of each rendition in order, by its address in the playlist; "" is that of a single file.
        stem: of the names of the files.

    Raises:
        ModelError: nothing of it can be restored by a page.
    """
    writing = _Writing(stem)
    parts = {uri: writing.parts(each) for uri, each in renditions.items()}
    if not writing.pairs:
        raise writing.refused or ModelError(f"{stem} has no parts")
    small = next(iter(renditions.values()))[0]
    video, geometry = small.source.video, small.geometry
    red, blue = _to_luma(video, geometry.height)
    described = {
        "vidscale_player": _VERSION,
        "codec": _CODECS.get(small.source.codec, small.source.codec),
        "width": geometry.width,
        "height": geometry.height,
        "aspect": round(float(geometry.width * (video.sar or 1) / geometry.height), 6),
        "luma": [red, round(1 - red - blue, 6), blue],
        "range": video.color.color_range or "tv",
        "start": _seconds(small.source.start_s),
        "networks": writing.networks,
        "renditions": parts,
    }
    files = {f"{stem}.json": _text(described), **writing.files}
    return PageData(files, tuple(writing.pairs), tuple(dict.fromkeys(writing.notes)))


@dataclass
class _Writing:
    """The networks so far. Parts with the same pair, strength and sizes share one, unless they are adapted."""

    stem: str
    files: dict[str, bytes] = field(default_factory=dict)
    networks: list[dict[str, Any]] = field(default_factory=list)
    pairs: dict[str, None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    refused: ModelError | None = None
    _known: dict[tuple[object, ...], int] = field(default_factory=dict)

    def parts(self, parts: Sequence[SmallFile]) -> list[dict[str, Any]]:
        """A rendition for the page: the network of each part and, of several, first and last picture."""
        found = []
        for small in parts:
            seen: Sequence[Span] = spans(small, ReadLog()) if small.is_adapted or len(parts) > 1 else ()
            times = {"first": _seconds(seen[0].first), "last": _seconds(seen[-1].last)} if len(parts) > 1 else {}
            found.append({"network": self._network(small, seen)} | times)
        return found

    def _network(self, small: SmallFile, seen: Sequence[Span]) -> int:
        key = (small.pair.name, small.pair.sha256, small.strength, small.geometry)
        if not small.is_adapted and key in self._known:
            return self._known[key]
        number = len(self.networks)
        self.networks.append(self._described(small, seen))
        if not small.is_adapted:
            self._known[key] = number
        return number

    def _described(self, small: SmallFile, seen: Sequence[Span]) -> dict[str, Any]:
        geometry, scale = small.geometry, small.geometry.scale
        sizes = {
            "small_width": geometry.small_width,
            "small_height": geometry.small_height,
            "coded_width": geometry.coded_width,
            "coded_height": geometry.coded_height,
            "small": scale.denominator,
            "large": scale.numerator,
            "layers": [],
            "linear": 0,
            "slope": 0.0,
        }
        try:
            network = network_of(small.pair.folder, small.pair.name).at(small.strength)
        except ModelError as error:
            self.refused = self.refused or error
            if scale > 1:
                self.notes.append(f"{small.source.path}: {error}; the page only enlarges it")
            return sizes
        self.pairs[small.pair.name] = None
        number = f".{len(self.networks)}" if self.networks else ""
        weights = f"{self.stem}{number}.weights"
        self.files[weights] = _weights(network)
        described = sizes | {
            "pair": small.pair.name,
            "small": network.small,
            "large": network.large,
            "slope": network.slope,
            "layers": [
                {"in": layer.weight.shape[1], "out": layer.weight.shape[0], "support": layer.weight.shape[2]}
                for layer in network.layers
            ],
            "linear": 0 if network.linear is None else network.linear.shape[2],
            "weights": quote(weights),
        }
        if segments := self._segments(small, network, seen):
            adapted = f"{self.stem}{number}.adapted.json"
            self.files[adapted] = _text({"segments": segments})
            described["adapted"] = quote(adapted)
        return described

    def _segments(self, small: SmallFile, network: Network, seen: Sequence[Span]) -> list[dict[str, Any]]:
        """The segments of an adapted movie that have an update, each with its own weights."""
        pair = small.pair
        if not small.is_adapted or not isinstance(pair, PlanePair):
            return []
        if not _starts_at_zero(small):
            self.notes.append("the movie does not begin at 0, so it is restored without the updates of its shots")
            return []
        return [
            {
                "first": _seconds(span.first),
                "last": _seconds(span.last),
                "weights": base64.b64encode(
                    _weights(network.with_weights(pair.chain(small.strength, span.update)))
                ).decode(),
            }
            for span in seen
            if span.update
        ]


def _starts_at_zero(small: SmallFile) -> bool:
    """Browsers do not agree on the time of a picture in a file whose first stream begins later."""
    with open_container(small.source.path) as container:
        return abs(Fraction(container.start_time or 0, 1_000_000)) < _NEAR_S


def _to_luma(video: VideoInfo, height: int) -> tuple[float, float]:
    """Weights of R and B; unspecified matrices as players guess them."""
    guess = "bt709" if height >= _HD_HEIGHT else "smpte170m"
    return _TO_LUMA.get(video.color.matrix or "", _TO_LUMA[guess])


def _weights(network: Network) -> bytes:
    """float16, for each layer its offsets and its taps [k * k, in, out], then the linear part in the same order."""
    parts = []
    for layer in network.layers:
        parts += [layer.offset[0], layer.weight.transpose(2, 3, 1, 0)]
    if network.linear is not None:
        parts.append(network.linear.transpose(2, 3, 1, 0))
    return np.concatenate([part.reshape(-1) for part in parts]).astype("<f2").tobytes()


def _seconds(time: Fraction) -> float:
    return round(float(time), 6)


def _text(value: object) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
