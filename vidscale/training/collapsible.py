"""Convolutions that are overparametrised in training and collapse to narrow ones for inference.

Each kernel is trained as a wider kernel followed by a 1x1 that mixes its channels, plus the identity if the numbers of
input and output channels match. There is no nonlinearity in between, so together they are one convolution, the only one
computed; it just trains better. Bhardwaj et al., "Collapsible Linear Blocks for Super-Efficient Super Resolution",
MLSys 2022.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vidscale.models.chains import SLOPE

_BESIDE_IDENTITY = 0.5  # scales initial kernels, so that activations do not grow from layer to layer


class _Collapsed(nn.Module):
    """Collapses a wide kernel [wide, in, k, k] to a narrow one [out, in, k, k].

    Args:
        wide: channels of the wide kernel.
        shape: shape of the narrow one.
        identity: add the identity.
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
    """Reparametrises convolutions with `expansion` times their channels; the last one starts at zero.

    Args:
        convolutions: consecutive layers, modified in place.
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
    """Turns convolutions from `widen` back into plain ones with the same output."""
    for convolution in convolutions:
        parametrize.remove_parametrizations(convolution, "weight", leave_parametrized=True)
