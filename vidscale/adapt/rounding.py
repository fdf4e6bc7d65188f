"""Training with weights rounded as an update stores them: the loss is distortion plus the cost of the bits.

Steps and bits follow from what a bit is worth: where bits are expensive, steps are large and most differences are zero.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vidscale.models.update_codes import step_code, step_size

_PASSES = 16  # of the curvature, a patch each
_COARSER = 2.0  # than the best steps at high rates: here a step is as large as most differences
_BITS_PER_DOUBLING = 6.0  # of a difference: more than it costs in the end; found by trial
_TINY = 1e-12


class Rounding:
    """Rounds the differences of the weights from the pair's own, group by group.

    Args:
        groups: the weights to train, in groups with a common step.
        own: those of the pair, in the same groups.
        per_bit: loss that a bit is worth.
        error: mean squared error, code / peak, that is a loss of 1.
        output: runs the network on random patches.

    Attributes:
        steps: of the groups.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[nn.Parameter]],
        own: Sequence[Sequence[nn.Parameter]],
        per_bit: float,
        error: float,
        output: Callable[[], Tensor],
    ) -> None:
        self._per_bit = per_bit
        curvatures = _curvatures(groups, output)
        wanted = [
            _COARSER * math.sqrt(12 * per_bit * error / (math.log(2) * max(curvature, _TINY)))
            for curvature in curvatures
        ]
        self.steps = [step_size(step_code(step)) for step in wanted]
        self._weights = [weight for group in groups for weight in group]
        self._before = _flat([weight for group in own for weight in group])
        sizes = [sum(weight.numel() for weight in group) for group in groups]
        self._step = torch.tensor(self.steps).repeat_interleave(torch.tensor(sizes)).to(self._before)

    def differentiate(self, backward: Callable[[], None]) -> None:
        """Adds the gradients of the loss at the rounded weights, by ``backward``, and those of the cost of the bits."""
        kept = _flat(self._weights)
        self.round()
        backward()
        with torch.no_grad():
            difference = kept - self._before
            slope = self._per_bit * _BITS_PER_DOUBLING / math.log(2)
            prices = slope * difference.sign() / (difference.abs() + self._step)
            for weight, value, price in zip(self._weights, self._split(kept), self._split(prices), strict=True):
                weight.copy_(value)
                assert weight.grad is not None
                weight.grad += price

    @torch.no_grad()
    def round(self) -> None:
        """Replaces each weight by the nearest one that an update can store."""
        steps = torch.round((_flat(self._weights) - self._before) / self._step)
        for weight, value in zip(self._weights, self._split(self._before + steps * self._step), strict=True):
            weight.copy_(value)

    def _split(self, flat: Tensor) -> list[Tensor]:
        parts = torch.split(flat, [weight.numel() for weight in self._weights])
        return [part.reshape(weight.shape) for part, weight in zip(parts, self._weights, strict=True)]


def _flat(weights: Sequence[nn.Parameter]) -> Tensor:
    return torch.cat([weight.detach().reshape(-1) for weight in weights])


def _curvatures(groups: Sequence[Sequence[nn.Parameter]], output: Callable[[], Tensor]) -> list[float]:
    """Curvature of the mean squared error, mean over the weights of each group (Gauss-Newton, by Hutchinson's
    estimate)."""
    weights = [weight for group in groups for weight in group]
    random = torch.Generator().manual_seed(0)
    sums = [0.0] * len(weights)
    for _ in range(_PASSES):
        picture = output()
        signs = torch.randint(0, 2, picture.shape, generator=random).to(picture) * 2 - 1
        gradients = torch.autograd.grad((picture * signs).sum(), weights)
        for n, gradient in enumerate(gradients):
            sums[n] += 2 * float(gradient.square().sum()) / (picture.numel() * _PASSES)
    found, at = [], 0
    for group in groups:
        found.append(sum(sums[at : at + len(group)]) / sum(weight.numel() for weight in group))
        at += len(group)
    return found
