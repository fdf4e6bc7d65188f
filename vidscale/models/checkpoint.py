"""Imports the published checkpoints of CAR: ``kgn.pth`` (downscaler) and ``usn.pth`` (EDSR)."""

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from vidscale.errors import ModelError
from vidscale.models.networks.car import ResamplerNet
from vidscale.models.networks.edsr import EDSR
from vidscale.models.networks.layers import MeanShift
from vidscale.models.weight_files import number_of

# Of the upscaler published with CAR; not stored in its weights.
_RES_SCALE = 0.1

_RESAMPLER_BLOCKS = 5
_PREFIX = "module."  # added to every name by torch's DataParallel


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads tensors by name from a `torch.save` file; no code in the file is executed.

    Returns:
        tensors on the CPU, without the DataParallel prefix.

    Raises:
        ModelError: not such a file, or it contains anything else.
    """
    if not path.is_file():
        raise ModelError(f"{path} does not exist")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, pickle.UnpicklingError) as error:
        raise ModelError(f"{path} cannot be read safely as weights") from error
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"{path} is not a state dict")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ModelError(f"{path} is not a state dict: {name!r} is not a tensor")
    prefix = _PREFIX if all(name.startswith(_PREFIX) for name in content) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in content.items()}


def import_resampler(path: Path, scale: int) -> ResamplerNet:
    """Imports the downscaler from a published ``kgn.pth``, of any width.

    Args:
        path: checkpoint file.
        scale: expected scale, 2 or 4.

    Raises:
        ModelError: missing or unexpected tensors (by their published names), another scale, or values not finite.
    """
    state, shown = _renamed(read_state_dict(path), _resampler_modules())
    with _named(path):
        network = ResamplerNet.from_state_dict(state, shown)
        _check_use(network.scale, scale, network.subtract_mean)
    return network


def import_edsr(path: Path, scale: int, *, res_scale: float = _RES_SCALE) -> EDSR:
    """Imports the upscaler from a published ``usn.pth``, of any size.

    Args:
        path: checkpoint file.
        scale: expected scale, 2, 3, 4 or 8.
        res_scale: residual scaling.

    Raises:
        ModelError: missing or unexpected tensors (by their published names), another scale, or values not finite.
    """
    published = read_state_dict(path)
    stages = (number_of("tail.0", published) + 1) // 2  # a convolution, a pixel shuffle, a convolution
    modules = _edsr_modules(number_of("body", published) - 1, stages)  # the last one follows the blocks
    state, shown = _renamed(published, modules)
    with _named(path):
        network = EDSR.from_state_dict(state | {"res_scale": torch.tensor(res_scale)}, shown)
        _check_use(network.scale, scale, network.subtract_mean)
    return network


def _resampler_modules() -> dict[str, str]:
    """Our module names to the published ones."""
    modules = {
        "subtract_mean": "sub_mean",
        "stem": "ds_1.1",
        "to_half": "ds_2.downsample.1",
        "to_quarter": "ds_4.downsample.1",
        "to_eighth": "ds_8.downsample.1",
    }
    for block in range(_RESAMPLER_BLOCKS):
        modules[f"blocks.{block}.first"] = f"res_4.{block}.transform.1"
        modules[f"blocks.{block}.last"] = f"res_4.{block}.transform.4"
    for ours, theirs in (("taps_trunk", "kernels_trunk"), ("offsets_trunk", "offsets_trunk")):
        modules |= {f"{ours}.convs.{number}": f"{theirs}.{3 * number + 1}" for number in range(3)}
        modules |= {f"{ours}.enlarge": f"{theirs}.9.upsample.0", f"{ours}.last": f"{theirs}.11"}
    for ours, theirs in (
        ("taps_head", "kernels_weight"),
        ("offset_x_head", "offsets_h_generation"),
        ("offset_y_head", "offsets_v_generation"),
    ):
        modules |= {f"{ours}.hidden": f"{theirs}.1", f"{ours}.last": f"{theirs}.4"}
    return modules


def _edsr_modules(blocks: int, stages: int) -> dict[str, str]:
    modules = {"subtract_mean": "sub_mean", "add_mean": "add_mean", "head": "head.0"}
    for block in range(blocks):
        modules[f"blocks.{block}.first"] = f"body.{block}.body.0"
        modules[f"blocks.{block}.second"] = f"body.{block}.body.2"
    modules["body_end"] = f"body.{blocks}"
    modules |= {f"enlarge.{stage}": f"tail.0.{2 * stage}" for stage in range(stages)}
    modules["tail"] = "tail.1"
    return modules


def _renamed(published: Mapping[str, Tensor], modules: Mapping[str, str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors by our names where they have one, and our tensor names to the published ones for messages."""
    shown = {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in modules.items() for kind in ("weight", "bias")}
    ours_of = {theirs: ours for ours, theirs in shown.items()}
    return {ours_of.get(name, name): tensor for name, tensor in published.items()}, shown


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Prefixes messages with the file's path."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _check_use(scale: int, wanted: int, mean: MeanShift) -> None:
    if scale != wanted:
        raise ModelError(f"weights for scale {scale}, not for {wanted}")
    if not mean.bias.is_meta and mean.bias.abs().max() > 1:
        raise ModelError("weights for pixel values in [0, 255], not in [0, 1]")
