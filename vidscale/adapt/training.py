"""Trains the network of one segment: first a gain for each channel and the biases, then all weights.

The loop of `vidscale.training` writes checkpoints and logs of hours; these are seconds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from vidscale.adapt.loss import Loss
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
_HOPELESS = 0.998  # of the loss at the start: a network that has not come below it will not pay


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
    network = FoldedNetwork(chain).to(device)
    training = _Training(network, Patches(samples, network.cell, network.margin, bit_depth), device)
    found: list[tuple[Kind, Chain]] = []
    if steps.light:
        training.run(network, [*network.gains, *network.biases], steps.light, _RATES["light"])
        found.append(("light", training.folded(network)))
    if steps.full:
        network = FoldedNetwork(network.folded()).to(device)
        linear = [] if network.linear is None else [network.linear]
        everything = [*linear, *network.weights, *network.biases]
        if training.run(network, everything, steps.full, _RATES["full"], gives_up=True):
            found.append(("full", training.folded(network)))
    return [update_of(chain, adapted, kind, precision, sha256) for kind, adapted in found]


class _Training:
    """What the trainings of a segment have in common.

    Args:
        start: the pair's own network.
        patches: of the segment.
        device: that torch trains on.
    """

    def __init__(self, start: FoldedNetwork, patches: Patches, device: str) -> None:
        self._patches, self._device = patches, device
        self._fixed = [part.to(device) for part in patches.fixed(_COMPARED)]
        self._seen = patches.whole(_OBSERVED).to(device)
        with torch.no_grad():
            self._loss = Loss(start(self._fixed[0]), self._fixed[1])
            self._before = self._loss_of(start)

    def folded(self, network: FoldedNetwork) -> Chain:
        """The network, with ranges as they are on the segment."""
        return network.folded(self._seen)

    def run(
        self,
        network: FoldedNetwork,
        weights: Sequence[nn.Parameter],
        steps: int,
        rate: float,
        *,
        gives_up: bool = False,
    ) -> bool:
        """Trains some of the weights; returns whether it went on to the end.

        Args:
            network: to train.
            weights: those of its parameters that change.
            steps: updates of them.
            rate: highest learning rate.
            gives_up: end after half the steps if the network is no better than that at the start.
        """
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # fastest with oneDNN
        network.requires_grad_(requires_grad=False)
        for weight in weights:
            weight.requires_grad_()
        optimizer = torch.optim.Adam(weights, lr=rate, betas=_BETAS)
        for step in range(steps):
            if gives_up and step == steps // 2 and self._loss_of(network) > _HOPELESS * self._before:
                return False
            for group in optimizer.param_groups:
                cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2
                group["lr"] = rate * min(1, (step + 1) / _RISE) * cosine
            lr, hr = (part.to(self._device) for part in self._patches(_PATCHES))
            loss = self._loss(network(lr.contiguous(memory_format=torch.channels_last)), hr)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return True

    @torch.no_grad()
    def _loss_of(self, network: FoldedNetwork) -> float:
        """On patches that stay the same."""
        lr, hr = self._fixed
        return float(self._loss(network(lr), hr))
