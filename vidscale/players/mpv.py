"""How mpv plays a small file: with the shader of its pair, in its true size."""

from dataclasses import dataclass
from pathlib import Path

from vidscale.errors import ModelError
from vidscale.jobs.restore import SmallFile
from vidscale.media.geometry import Geometry
from vidscale.players.files import shader_of
from vidscale.players.network import Network, network_of


@dataclass(frozen=True)
class ShaderPlayback:
    """What mpv needs.

    Attributes:
        shader: its text, with the file's coding strength folded in, which every ``--vo`` of mpv takes.
        options: of mpv, besides the shader and the file.
    """

    shader: str
    options: tuple[str, ...]

    def command(self, shader: Path, movie: Path) -> list[str]:
        """The command line, with the shader in a file."""
        return ["mpv", *self.options, f"--glsl-shader={shader}", "--", str(movie)]


def shader_playback(small: SmallFile) -> ShaderPlayback:
    """How mpv plays a small file.

    Raises:
        ModelError: the pair has no network that can be a shader, or the file has parts, each with a pair of its own.
    """
    if small.parts:
        raise ModelError(f"{small.source.path} has parts scaled in different ways: no shader fits all of them")
    network = network_of(small.pair.folder, small.pair.name)
    options = [
        # Others would show the picture without the shader.
        "--vo=gpu-next,gpu",
        "--stop-playback-on-init-failure=yes",
        "--audio-fallback-to-null=yes",
        *_window(small),
        *_track(small),
        *_crop(small.geometry, network),
    ]
    return ShaderPlayback(shader_of(network, small.strength), tuple(options))


def _window(small: SmallFile) -> list[str]:
    """A window of the restored size, where the screen has room for it."""
    return [f"--autofit-smaller={small.geometry.width}x{small.geometry.height}", "--autofit-larger=100%x95%"]


def _track(small: SmallFile) -> list[str]:
    """The video track, by its number from 1, if it is not the first."""
    videos = [stream.index for stream in small.source.streams if stream.kind == "video"]
    number = videos.index(small.source.stream_index) + 1
    return [] if number == 1 else [f"--vid={number}"]


def _crop(geometry: Geometry, network: Network) -> list[str]:
    """Cuts off the padding, down to whole cells: less than a small sample too much is left."""
    width, height = (
        -(-side // network.small) * network.small for side in (geometry.small_width, geometry.small_height)
    )
    if (width, height) == (geometry.coded_width, geometry.coded_height):
        return []
    return [f"--vf=lavfi=[crop=w={width}:h={height}:x=0:y=0:exact=1]"]
