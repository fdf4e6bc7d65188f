"""Writes a network to a file."""

from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

from vidscale.errors import ConfigError, UsageError
from vidscale.media.encoders import STRONGEST
from vidscale.models.cards import PairCard, read_card
from vidscale.players.glsl import glsl_shader
from vidscale.players.network import Network, network_of
from vidscale.system.workspace import partial_files

Format = Literal["glsl", "onnx"]


def export_network(
    folder: Path, output: Path, kind: str, *, strength: float | None = None, overwrite: bool = False
) -> PairCard:
    """Writes the upscaler of a pair for other programs.

    Args:
        folder: of the pair.
        output: the file.
        kind: one of `Format`.
        strength: crf to fold into the weights; None leaves it variable.
        overwrite: replace an existing file.

    Returns:
        The pair's card.

    Raises:
        UsageError: an unknown format, or a strength outside 0 to 51.
        ModelError: see `network_of`.
        ConfigError: the file cannot be written.
    """
    if kind not in get_args(Format):
        raise UsageError(f"--to {kind}: not one of folder, {', '.join(get_args(Format))}")
    if strength is not None and not 0 <= strength <= STRONGEST:
        raise UsageError(f"--crf {strength:g}: outside 0 to {STRONGEST:g}")
    network = network_of(folder)
    with partial_files(output, source=None, overwrite=overwrite) as workspace:
        workspace.result.write_bytes(_content(network, kind, strength))
    return read_card(folder)


def shader_of(network: Network, strength: float | None = None) -> str:
    """The text of a network's shader; arguments as for `export_network`."""
    return glsl_shader(network, version=version("vidscale"), strength=strength)


def _content(network: Network, kind: str, strength: float | None) -> bytes:
    if kind == "glsl":
        return shader_of(network, strength).encode()
    from vidscale.players.onnx_model import onnx_model

    try:
        return onnx_model(network, version=version("vidscale"), strength=strength)
    except ImportError as error:
        raise ConfigError("--to onnx needs the package onnx: pip install 'vidscale[onnx]'") from error
