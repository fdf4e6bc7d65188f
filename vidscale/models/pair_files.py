"""Reads and writes pair folders: ``weights.safetensors`` and ``card.json``."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor, nn

from vidscale.errors import ConfigError, ModelError, reason_of
from vidscale.models.cards import BACK_PROJECTION, CARD, ERROR_FED, UNKNOWN, PairCard
from vidscale.models.fixed_pair import FixedPair, filter_of
from vidscale.models.networks.back_projection import BackProjection
from vidscale.models.networks.car import ResamplerNet
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.models.networks.edsr import EDSR
from vidscale.models.networks.error_fed import ErrorFedDownscaler
from vidscale.models.networks.espcn import ESPCN
from vidscale.models.networks.progressive import ProgressiveUpscaler
from vidscale.models.weight_files import WEIGHTS, Arrays, content_hash, part, read_weights
from vidscale.system.folders import created_folder

_QUICK = "quick_downscaler"

Downscaler = ResamplerNet | ErrorFedDownscaler | BackProjection | FixedPair
Upscaler = EDSR | CompactUpscaler | ESPCN | ProgressiveUpscaler

_UPSCALERS: dict[str, type[Upscaler]] = {
    "edsr": EDSR,
    "compact": CompactUpscaler,
    "espcn": ESPCN,
    "progressive": ProgressiveUpscaler,
}


@dataclass(frozen=True, eq=False)
class LoadedPair:
    """A pair read from a folder: its card, with the sizes that the weights have, and its networks on the CPU in eval
    mode."""

    card: PairCard
    downscaler: Downscaler
    upscaler: Upscaler
    quick_downscaler: BackProjection | None = None


def write_pair_dir(
    folder: Path,
    name: str,
    downscaler: Downscaler,
    upscaler: Upscaler,
    *,
    quick_downscaler: BackProjection | None = None,
    licence: str = UNKNOWN,
    data: str = UNKNOWN,
    training: str = UNKNOWN,
    source: str = UNKNOWN,
    overwrite: bool = False,
) -> PairCard:
    """Writes a pair.

    Args:
        folder: output folder; created if missing.
        name: family and scale, such as "car-x2".
        downscaler, upscaler: networks of the same scale.
        quick_downscaler: for the effort "normal", beside a larger one.
        licence, data, training, source: for the card.
        overwrite: replace an existing pair.

    Returns:
        the card as written.

    Raises:
        ModelError: invalid name, or networks of different scales.
        ConfigError: the folder already has a pair, or cannot be written.
    """
    if downscaler.scale != upscaler.scale:
        raise ModelError(f"scales differ: {downscaler.scale} for the downscaler, {upscaler.scale} for the upscaler")
    parts = {"downscaler": downscaler, "upscaler": upscaler, _QUICK: quick_downscaler}
    networks = {half: network for half, network in parts.items() if isinstance(network, nn.Module)}
    tensors = {
        f"{half}.{key}": value for half, network in networks.items() for key, value in network.state_dict().items()
    }
    arrays: Arrays = {key: value.detach().cpu().contiguous().numpy() for key, value in tensors.items()}
    card = PairCard(
        name=name,
        scale=Fraction(upscaler.scale),
        sha256=content_hash(arrays),
        downscaler=downscaler.sizes,
        upscaler=upscaler.sizes,
        quick_downscaler=quick_downscaler.sizes if quick_downscaler else None,
        parameters=sum(weights.numel() for network in networks.values() for weights in network.parameters()),
        licence=licence,
        data=data,
        training=training,
        source=source,
    )
    _write(folder, arrays, card, overwrite=overwrite)
    return card


def copy_pair_dir(source: Path, folder: Path, *, overwrite: bool = False) -> PairCard:
    """Copies a pair after checking its weights.

    Args:
        source: folder of a pair.
        folder: output folder; created if missing.
        overwrite: replace an existing pair.

    Raises:
        ModelError: see `load_pair_dir`.
        ConfigError: the folder already has a pair, or cannot be written.
    """
    card, arrays = read_weights(source)
    _loaded(source, card, arrays)
    _write(folder, arrays, card, overwrite=overwrite)
    return card


def _write(folder: Path, arrays: Arrays, card: PairCard, *, overwrite: bool) -> None:
    """Writes both files under temporary names, then renames them. The hash reveals new weights next to an old card."""
    from safetensors import SafetensorError
    from safetensors.numpy import save

    if (folder / CARD).exists() and not overwrite:
        raise ConfigError(f"{folder} already has a pair; -y replaces it")

    weights, text = folder / f".{WEIGHTS}.partial", folder / f".{CARD}.partial"
    try:
        with created_folder(folder):
            weights.write_bytes(save(arrays))  # save_file would make it readable by the owner only
            text.write_text(card.to_json(), encoding="utf-8")
            weights.replace(folder / WEIGHTS)
            text.replace(folder / CARD)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"cannot write {folder}: {reason_of(error)}") from error
    finally:
        with suppress(OSError):
            weights.unlink(missing_ok=True)
            text.unlink(missing_ok=True)


def load_pair_dir(folder: Path) -> LoadedPair:
    """Loads a pair.

    Raises:
        ModelError: no pair in the folder, weights that are damaged or do not match the card, or an unknown network.
    """
    return _loaded(folder, *read_weights(folder))


def _loaded(folder: Path, card: PairCard, arrays: Arrays) -> LoadedPair:
    downscaler = _downscaler(card, _tensors(arrays, "downscaler."))
    kind = card.upscaler.get("network")
    if downscaler is None or kind not in _UPSCALERS:
        known = card.downscaler.get("network")
        raise ModelError(f"{folder} has an unknown kind of network: {known}, {kind}; a newer vidscale may read it")
    upscaler = _UPSCALERS[str(kind)].from_state_dict(_tensors(arrays, "upscaler.")).eval()
    if not downscaler.scale == upscaler.scale == card.scale:
        raise ModelError(
            f"{folder}: the networks have scales {downscaler.scale} and {upscaler.scale}, the card {card.scale}"
        )
    quick = None if card.quick_downscaler is None else _back_projection(card, _tensors(arrays, f"{_QUICK}."))
    card = replace(
        card,
        downscaler=downscaler.sizes,
        upscaler=upscaler.sizes,
        quick_downscaler=quick.sizes if quick else None,
    )
    return LoadedPair(card, downscaler, upscaler, quick)


def _downscaler(card: PairCard, tensors: Mapping[str, Tensor]) -> Downscaler | None:
    """The downscaler, None if its kind is unknown."""
    kind = card.downscaler.get("network")
    if kind == "filter":
        return filter_of(card)
    if kind == BACK_PROJECTION:
        return _back_projection(card, tensors)
    if kind == ERROR_FED:
        return ErrorFedDownscaler.from_state_dict(tensors).eval()
    return ResamplerNet.from_state_dict(tensors).eval() if kind == "resampler" else None


def _back_projection(card: PairCard, tensors: Mapping[str, Tensor]) -> BackProjection:
    corrector = BackProjection.from_state_dict(tensors).eval()
    corrector.sharpness = filter_of(card).sharpness
    return corrector


def _tensors(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in part(arrays, prefix).items()}
