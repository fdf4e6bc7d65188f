"""Convolutions that are wide while they learn, and narrow afterwards.

A kernel is learnt as a wider one and a 1x1 that mixes its channels, and beside them the identity where as many channels
come out as go in. Nothing rectifies between them, so that they are one convolution, which is all that is computed; only
the way to it is easier. Bhardwaj et al., "Collapsible Linear Blocks for Super-Efficient Super Resolution", MLSys 2022.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vidscale.models.chains import SLOPE

_BESIDE_IDENTITY = 0.5  # of the first kernels, so that what passes does not grow from layer to layer


class _Collapsed(nn.Module):
    """The narrow kernel [out, in, k, k] of a wide one [wide, in, k, k].

    Args:
        wide: channels of the wide kernel.
        shape: of the narrow one.
        identity: whether to add it.
    """

    def __init__(self, wide: int, shape: torch.Size, *, identity: bool) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(shape[0], wide) / wide**0.5)
        beside = nn.init.dirac_(torch.empty(shape)) if identity else torch.zeros(1)
        self.register_buffer("beside", beside, persistent=False)

    def forward(self, kernel: Tensor) -> Tensor:
        return torch.einsum("ow,wikl->oikl", self.mix, kernel) + self.get_buffer("beside")


@torch.no_grad()
def widen(convolutions: nn.ModuleList, expansion: int) -> None:
    """Lets convolutions learn with `expansion` times their channels; the last one gives nothing at first.

    Args:
        convolutions: one behind the other, changed.
        expansion: 1 or more.
    """
    for convolution in convolutions:
        assert isinstance(convolution, nn.Conv2d)
        last = convolution is convolutions[-1]
        made, taken, *support = convolution.weight.shape
        wide, identity = expansion * max(made, taken), made == taken and not last
        kernel = nn.init.kaiming_normal_(torch.empty(wide, taken, *support), a=SLOPE)
        collapsed = _Collapsed(wide, convolution.weight.shape, identity=identity)
        if last:
            nn.init.zeros_(collapsed.mix)
        convolution.weight = nn.Parameter(kernel * _BESIDE_IDENTITY if identity else kernel)
        parametrize.register_parametrization(convolution, "weight", collapsed, unsafe=True)  # the shape changes


def collapse(convolutions: nn.ModuleList) -> None:
    """Makes ordinary convolutions of those that `widen` changed; they compute the same."""
    for convolution in convolutions:
        parametrize.remove_parametrizations(convolution, "weight", leave_parametrized=True)
