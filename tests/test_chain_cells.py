"""`vidscale.triton_kernels.chain_cells` by numba: outputs and gradients are those of torch's convolutions."""

import pytest
import torch

from vidscale.triton_kernels.chain_cells import chain_cells, chain_cells_ref

CHAINS = {
    "eight channels": ([1, 8, 8, 4], [3, 3, 3], 5),
    "other channels": ([4, 12, 9], [3, 3], 3),
    "other supports": ([1, 6, 5, 1], [5, 1, 3], None),
    "one layer": ([3, 2], [3], 1),
}


def material(channels, supports, linear, size):
    """Cells, and the tensors of a chain."""
    random = torch.Generator().manual_seed(0)

    def tensor(*shape):
        return torch.randn(*shape, generator=random).requires_grad_()

    shapes = zip(channels, channels[1:], supports, strict=False)
    weights = [tensor(made, taken, k, k) for taken, made, k in shapes]
    biases = [tensor(made) for made in channels[1:]]
    parts = None if linear is None else tensor(channels[-1], channels[0], linear, linear)
    return torch.randn(*size[:1], channels[0], *size[1:], generator=random), weights, biases, parts


@pytest.mark.parametrize("size", [(1, 11, 17), (3, 40, 29)])
@pytest.mark.parametrize("slope", [0.0, 0.2])
@pytest.mark.parametrize("name", CHAINS)
def test_numba_is_torch_in_double_precision(name, slope, size):
    x, weights, biases, linear = material(*CHAINS[name], size)
    parameters = [*weights, *biases, *([] if linear is None else [linear])]
    found = chain_cells(x, weights, biases, linear, slope=slope)
    exact = [one.detach().double().requires_grad_() for one in parameters]
    kernels, shifts = exact[: len(weights)], exact[len(weights) : 2 * len(weights)]
    wanted = chain_cells_ref(x.double(), kernels, shifts, None if linear is None else exact[-1], slope=slope)
    assert found.grad_fn is not None
    assert torch.allclose(found.double(), wanted, rtol=1e-5, atol=1e-4)
    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    found.mul(weight).sum().backward()
    wanted.mul(weight).sum().backward()
    for one, other in zip(parameters, exact, strict=True):
        assert (one.grad - other.grad).norm() <= 1e-5 * other.grad.norm()


def test_two_passes_do_not_share_memory():
    """The gradient of the first is right after the second."""
    x, weights, biases, linear = material(*CHAINS["eight channels"], (1, 20, 20))
    first = chain_cells(x, weights, biases, linear, slope=0.1)
    chain_cells(2 * x, weights, biases, linear, slope=0.1)
    first.sum().backward()
    found = weights[1].grad.clone()
    weights[1].grad = None
    chain_cells_ref(x, weights, biases, linear, slope=0.1).sum().backward()
    assert torch.allclose(found, weights[1].grad, rtol=1e-4, atol=1e-3)


def test_gradient_of_the_cells_is_by_torch():
    x, weights, biases, linear = material(*CHAINS["other channels"], (1, 12, 12))
    x.requires_grad_()
    chain_cells(x, weights, biases, linear, slope=0.1).sum().backward()
    assert x.grad is not None
