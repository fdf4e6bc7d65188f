"""Trains the network of one segment: first a gain for each channel and the biases, then all weights.

The loop of `vidscale.training` writes checkpoints and logs of hours; these are seconds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from vidscale.adapt.samples import Patches, Sample
from vidscale.models.networks.folded import FoldedNetwork
from vidscale.models.updates import Kind, Update, update_of
from vidscale.triton_kernels.chain import Chain, Precision

_PATCHES = 8  # in a step
_RISE = 20  # steps until the learning rate is reached
_BETAS = (0.9, 0.99)
_RATES: dict[Kind, float] = {"light": 5e-3, "full": 3e-3}
_OBSERVED = 8  # pictures for the ranges of the channels
_COMPARED = 32  # patches that show whether a training is worth going on with
_HOPELESS = 0.998  # of the error at the start: a network that has not come below it will not pay


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of the two trainings; the second is given up after half of it without a gain."""

    light: int = 100
    full: int = 500


STEPS = {"light": Steps(full=0), "full": Steps()}
"""Steps by the setting ``adapt``."""


def trained_updates(
    chain: Chain,
    samples: Sequence[Sample],
    *,
    bit_depth: int,
    precision: Precision,
    sha256: str,
    steps: Steps,
    device: str = "cpu",
) -> list[Update]:
    """Updates that fit the network to some frames, the light one first.

    Args:
        chain: the pair's own network.
        samples: the frames.
        bit_depth: of their codes.
        precision: that the updates are to run with.
        sha256: content hash of the pair's weights.
        steps: of the training.
        device: that torch trains on.
    """
    network = FoldedNetwork(chain)
    patches = Patches(samples, network.cell, network.margin, bit_depth)
    seen = patches.whole(_OBSERVED) if precision == "int8" else None
    updates = []
    network.to(device)
    if steps.light:
        _train(network, [*network.gains, *network.biases], patches, steps.light, _RATES["light"], device)
        updates.append(update_of(chain, _folded(network, seen, device), "light", precision, sha256))
    if steps.full:
        network = FoldedNetwork(network.folded()).to(device)
        linear = [] if network.linear is None else [network.linear]
        everything = [*linear, *network.weights, *network.biases]
        if _train(network, everything, patches, steps.full, _RATES["full"], device, start=chain):
            updates.append(update_of(chain, _folded(network, seen, device), "full", precision, sha256))
    return updates


def _folded(network: FoldedNetwork, seen: torch.Tensor | None, device: str) -> Chain:
    return network.folded(None if seen is None else seen.to(device))


def _train(
    network: FoldedNetwork,
    weights: Sequence[nn.Parameter],
    patches: Patches,
    steps: int,
    rate: float,
    device: str,
    *,
    start: Chain | None = None,
) -> bool:
    """Trains some of the weights; returns whether it went on to the end.

    Args:
        start: it ends early if the network is hardly better than this one.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # fastest with oneDNN
    network.requires_grad_(requires_grad=False)
    for weight in weights:
        weight.requires_grad_()
    optimizer = torch.optim.Adam(weights, lr=rate, betas=_BETAS)
    for step in range(steps):
        if start is not None and step == steps // 2 and not _is_better(network, start, patches, device):
            return False
        for group in optimizer.param_groups:
            cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2
            group["lr"] = rate * min(1, (step + 1) / _RISE) * cosine
        lr, hr = (part.to(device) for part in patches(_PATCHES))
        loss = (network(lr.contiguous(memory_format=torch.channels_last)) - hr).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return True


@torch.no_grad()
def _is_better(network: FoldedNetwork, start: Chain, patches: Patches, device: str) -> bool:
    """Whether a network restores some patches better than the one that the training began with."""
    lr, hr = (part.to(device) for part in patches.fixed(_COMPARED))
    error, before = ((some(lr) - hr).square().mean() for some in (network, FoldedNetwork(start).to(device)))
    return bool(error < _HOPELESS * before)
