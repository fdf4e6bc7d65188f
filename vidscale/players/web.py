"""A web page that plays a small file restored: plain modules, the small file, and its network beside it."""

import json
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from vidscale.errors import ConfigError, reason_of
from vidscale.jobs.restore import SmallFile
from vidscale.media.frames import VideoInfo
from vidscale.players.network import Network, network_of
from vidscale.system.workspace import check_folder, check_target

ELEMENT = "vidscale-video.js"
MODULES = (ELEMENT, "restorer.js", "shaders.js")

_INDEX = "index.html"
_VERSION = 1  # of the description
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


@dataclass(frozen=True)
class Site:
    """A written page.

    Attributes:
        index: its address on this machine.
        bytes: of the page and the network, without the movie.
        notes: what a browser cannot play or does not restore, one line each.
    """

    index: Path
    bytes: int
    notes: tuple[str, ...]


def write_site(small: SmallFile, folder: Path, *, overwrite: bool = False) -> Site:
    """Writes the page into a folder, which is created if it is missing.

    Args:
        small: the small file; it is copied.
        folder: the folder.
        overwrite: replace the files of an earlier page.

    Raises:
        ModelError: the pair has no network that can be exported.
        ConfigError: rotated pictures, a playlist, or the folder cannot be written.
    """
    movie = small.source.path
    if small.source.container == "hls":
        raise ConfigError(f"{movie} is a playlist, and the page plays one file: encode the movie to .mp4")
    network = network_of(small.pair.folder, small.pair.name).at(small.strength)
    if small.source.video.display_matrix is not None:
        raise ConfigError(f"{movie}: rotated pictures cannot be restored in a browser; vidscale decode can")
    names = {"movie": movie.name, "restore": f"{movie.stem}.json", "weights": f"{movie.stem}.weights"}
    described = _description(small, network, names["weights"])
    contents = {
        _INDEX: _page(small, described, names),
        **{name: files("vidscale.players").joinpath("page", name).read_bytes() for name in MODULES},
        names["restore"]: (json.dumps(described, indent=1) + "\n").encode(),
        names["weights"]: _weights(network),
    }
    check_folder(folder, record=ELEMENT)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*contents, movie.name):
            check_target(folder / name, source=movie, overwrite=overwrite or name in (_INDEX, *MODULES))
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        shutil.copyfile(movie, folder / movie.name)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {reason_of(error)}") from error
    return Site(folder / _INDEX, sum(map(len, contents.values())), _notes(small))


def _description(small: SmallFile, network: Network, weights: str) -> dict[str, Any]:
    geometry, video = small.geometry, small.source.video
    red, blue = _to_luma(video, geometry.height)
    return {
        "vidscale_player": _VERSION,
        "pair": small.pair.name,
        "codec": _CODECS.get(small.source.codec, small.source.codec),
        "width": geometry.width,
        "height": geometry.height,
        "small_width": geometry.small_width,
        "small_height": geometry.small_height,
        "coded_width": geometry.coded_width,
        "coded_height": geometry.coded_height,
        "aspect": round(float(geometry.width * (video.sar or 1) / geometry.height), 6),
        "luma": [red, round(1 - red - blue, 6), blue],
        "range": video.color.color_range or "tv",
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


def _page(small: SmallFile, described: dict[str, Any], names: dict[str, str]) -> bytes:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vidscale.players", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    text = environment.get_template(f"{_INDEX}.j2").render(
        title=small.source.path.stem,
        width=described["width"],
        aspect=described["aspect"],
        movie=quote(names["movie"]),
        restore=quote(names["restore"]),
    )
    return text.encode()


def _notes(small: SmallFile) -> tuple[str, ...]:
    notes = []
    if small.is_adapted:
        notes.append("the movie is adapted to its shots, but the page restores with the pair's own network")
    if small.source.codec == "hevc":
        notes.append("HEVC plays only in browsers that have a decoder for it; H.264 plays in all")
    if "mp4" not in small.source.container and small.source.path.suffix.lower() != ".webm":
        notes.append(f"browsers play MP4, hardly {small.source.path.suffix}: encode to .mp4")
    if small.source.video.format.bit_depth > 8:
        notes.append("browsers give a page 8 bits per channel; the file has more")
    return tuple(notes)
