"""Trains the network of one segment: first a gain for each channel and the biases, then all weights.

This takes seconds, so that it needs neither the checkpoints nor the logs of `vidscale.training`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vidscale.adapt.loss import Loss
from vidscale.adapt.rounding import Rounding
from vidscale.adapt.samples import Patches, Sample
from vidscale.adapt.soap import Soap
from vidscale.models.networks.folded import FoldedNetwork
from vidscale.models.updates import Kind, Update, update_of, updated
from vidscale.triton_kernels.chain import Chain, Precision

_PATCHES = 4  # in a step: more steps of fewer patches gain more in the same time
_RISE = 10  # steps until the learning rate is reached
_BETAS = (0.9, 0.99)
_RATES: dict[Kind, float] = {"light": 5e-3, "full": 4e-3}
_REFINING = 2e-3  # the rate of an update that is trained further
_OBSERVED = 8  # strips of pictures for the ranges of the channels
_COMPARED = 32  # patches that show whether to continue a training
_NEAR = 0.8  # of the full update's gain: a light one that gains more is tried too
_ROUNDED = 0.5  # of the steps for all weights, the last ones, train them as they will be stored
_SMALLEST: dict[Kind, int] = {"light": 800, "full": 3200}  # bits of an update: one that gains less is given up


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of the trainings.

    Attributes:
        light: of gains and biases.
        full: of all weights; 0 for none. It is given up halfway if it gains too little.
        refined: of a full update that is trained further.
    """

    light: int = 60
    full: int = 400
    refined: int = 200


STEPS = {"light": Steps(full=0), "full": Steps(), "best": Steps()}
"""Steps by the setting ``adapt``."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a segment's updates are for.

    Attributes:
        bit_depth: of the codes.
        precision: that the updates are to run with.
        sha256: content hash of the pair's weights.
        per_bit: mean squared error of the segment, in codes, that a bit of an update is worth.
    """

    bit_depth: int
    precision: Precision
    sha256: str
    per_bit: float


class Trained(NamedTuple):
    """An update, and whether it is clearly the best of its segment on the compared patches, bits aside."""

    update: Update
    is_best: bool


def trained_updates(
    chain: Chain, samples: Sequence[Sample], target: Target, steps: Steps, device: str = "cpu"
) -> Iterator[Trained]:
    """Updates that fit the network to some frames: the full one first, then the light one, as the steps ask for.

    An update that gains too little on the compared patches to pay for itself is left out.

    Args:
        chain: the pair's own network.
        samples: the frames.
        target: what they are for.
        steps: of the training.
        device: that torch trains on.
    """
    training = _Training(chain, samples, target, device)
    light = training.light(steps.light)
    if steps.full and (update := training.full(steps.full, light)):
        near = training.gain(updated(chain, update)) * _NEAR < training.gain(light)
        yield Trained(update, is_best=not near)
    if steps.light and (update := training.light_update(light)):
        yield Trained(update, is_best=True)


def refined_update(
    chain: Chain, update: Update, samples: Sequence[Sample], target: Target, steps: Steps, device: str = "cpu"
) -> Update:
    """Trains an update further that was trained on other small frames of the same segment.

    Unchanged, it may cost less by squared error, but not by SSIM and VMAF.

    Args:
        update: the update.
        chain, samples, target, steps, device: as for `trained_updates`.
    """
    training = _Training(chain, samples, target, device)
    before = updated(chain, update)
    if update.kind == "light":
        return training.light_update(training.light(steps.light, before)) or update
    return training.full(steps.refined, before, rounded=1, rate=_REFINING) or update


class _Training:
    """The trainings of a segment; arguments as for `trained_updates`."""

    def __init__(self, chain: Chain, samples: Sequence[Sample], target: Target, device: str) -> None:
        self._own, self._target, self._device = chain, target, device
        start = FoldedNetwork(chain).to(device)
        patches = Patches(samples, start.cell, start.margin, target.bit_depth)
        self._patches = patches
        self._fixed = [part.to(device) for part in patches.fixed(_COMPARED)]
        self._seen = patches.strips(_OBSERVED).to(device)
        with torch.no_grad():
            restored = start(self._fixed[0])
            self._loss = Loss(restored, self._fixed[1])
            self._error = float((restored - self._fixed[1]).square().mean()) or 1.0
        self._per_bit = target.per_bit / (self._error * ((1 << target.bit_depth) - 1) ** 2)

    def light(self, steps: int, start: Chain | None = None) -> Chain:
        """Trains gains and biases alone, of the pair's own network by default."""
        network = self._network(start or self._own)
        weights = [*network.gains, *network.biases]
        _select(network, weights)
        optimiser = Soap(weights, _RATES["light"], _BETAS)  # plain Adam: these are vectors
        for step in range(steps):
            self._step(network, weights, optimiser, _rate_factor(step, steps))
        return network.folded()

    def light_update(self, light: Chain) -> Update | None:
        """The update for a result of `light`; None if it will not pay."""
        network = self._network(light)
        if not self._pays(network, "light"):
            return None
        adapted = network.folded(self._seen)
        return update_of(self._own, adapted, "light", self._target.precision, self._target.sha256)

    def full(self, steps: int, start: Chain, rounded: float = _ROUNDED, rate: float = _RATES["full"]) -> Update | None:
        """Trains all weights, the last part of the steps as they will be stored; None if that will not pay."""
        network = self._network(start)
        groups = network.groups()
        weights = [weight for group in groups for weight in group]
        _select(network, weights)
        optimiser = Soap(weights, rate)
        free = steps - int(rounded * steps)
        for step in range(free):
            self._step(network, weights, optimiser, _rate_factor(step, steps))
        if not self._pays(network, "full"):
            return None
        own = FoldedNetwork(self._own).to(self._device).groups()

        def output() -> Tensor:
            return network(self._patches(1)[0].to(self._device))  # type: ignore[no-any-return]

        rounding = Rounding(groups, own, self._per_bit, self._error, output)
        for step in range(free, steps):
            self._step(network, weights, optimiser, _rate_factor(step, steps), rounding)
        rounding.round()
        adapted = network.folded(self._seen)
        target = self._target
        return update_of(self._own, adapted, "full", target.precision, target.sha256, rounding.steps)

    def _network(self, chain: Chain) -> FoldedNetwork:
        return FoldedNetwork(chain).to(self._device)

    def gain(self, chain: Chain) -> float:
        """By how much the loss on the compared patches is below that of the pair's own network, which is 1."""
        return self._gain(self._network(chain))

    @torch.no_grad()
    def _gain(self, network: FoldedNetwork) -> float:
        return 1 - float(self._loss(network(self._fixed[0]), self._fixed[1]))

    def _pays(self, network: FoldedNetwork, kind: Kind) -> bool:
        return self._gain(network) >= self._per_bit * _SMALLEST[kind]

    def _step(
        self,
        network: FoldedNetwork,
        weights: Sequence[nn.Parameter],
        optimiser: Soap,
        rate_factor: float,
        rounding: Rounding | None = None,
    ) -> None:
        lr, hr = (some.to(self._device) for some in self._patches(_PATCHES))
        for weight in weights:
            weight.grad = None

        def differentiate() -> None:
            loss = self._loss(network(lr.contiguous(memory_format=torch.channels_last)), hr)
            loss.backward()  # type: ignore[no-untyped-call]

        if rounding is None:
            differentiate()
        else:
            rounding.differentiate(differentiate)
        optimiser.step(rate_factor)


def _select(network: FoldedNetwork, weights: Sequence[nn.Parameter]) -> None:
    """Makes only these parameters trainable."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # fastest with oneDNN
    network.requires_grad_(requires_grad=False)
    for weight in weights:
        weight.requires_grad_()


def _rate_factor(step: int, steps: int) -> float:
    """The learning rate relative to the highest: a fast warm-up, then cosine decay to 2 %."""
    return min(1, (step + 1) / _RISE) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)
