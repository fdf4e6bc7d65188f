"""A chain of convolutions in torch, with the gradients of its weights: by numba on the CPU, else by torch."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from vidscale.triton_kernels._dispatch import choose

_WIDEST = 16  # channels: with 8, numba takes less than half the time of torch, with 32 as long


def chain_cells(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], linear: Tensor | None, *, slope: float
) -> Tensor:
    """What a `Chain` makes of cells, without padding.

    By numba for layers of few channels in float32 on the CPU, if the gradient of `x` is not wanted; else by
    `chain_cells_ref`.

    Args:
        x: [N, C, h, w] float, a cell's samples as channels.
        weights: of the convolutions, [out, in, k, k], k odd.
        biases: of the convolutions, [out].
        linear: [out, C, k, k] of the linear part, k no more than what the convolutions reach; None for none.
        slope: of the leaky ReLUs between the convolutions, 0 to 1.

    Returns:
        [N, out, h - m, w - m], m the sum of all k - 1.
    """
    is_plain = x.dtype == torch.float32 and not x.requires_grad and not torch.is_autocast_enabled(x.device.type)
    is_narrow = all(len(weight) <= _WIDEST for weight in weights)
    if is_plain and is_narrow and choose(x.device, "chain_weights_cpu") == "numba":
        found: Tensor = _OnCpu.apply(x, linear, slope, *weights, *biases)  # type: ignore[no-untyped-call]
        return found
    return chain_cells_ref(x, weights, biases, linear, slope=slope)


def chain_cells_ref(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], linear: Tensor | None, *, slope: float
) -> Tensor:
    """`chain_cells` in torch."""
    *_, total = layer_outputs(x, weights, biases, slope=slope)
    if linear is None:
        return total
    inner = (x.shape[2] - total.shape[2] - linear.shape[2] + 1) // 2
    with torch.autocast(x.device.type, enabled=False):  # bfloat16 is too coarse for the codes
        return total + F.conv2d(x[..., inner : x.shape[2] - inner, inner : x.shape[3] - inner], linear)


def layer_outputs(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], *, slope: float) -> Iterator[Tensor]:
    """Outputs of the convolutions in order, after their leaky ReLUs; arguments as for `chain_cells`."""
    for n, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = F.conv2d(x, weight, bias)
        if n < len(weights) - 1:
            x = F.leaky_relu(x, slope)
        yield x


class _OnCpu(torch.autograd.Function):
    """`chain_cells` by numba."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, linear: Tensor | None, slope: float, *parameters: Tensor) -> Tensor:
        from vidscale.triton_kernels import chain_weights_cpu

        count = len(parameters) // 2
        arrays = [_array(one) for one in parameters]
        weights, biases = arrays[:count], arrays[count:]
        of_linear = None if linear is None else _array(linear)
        out, done = chain_weights_cpu.forward(_array(x), weights, biases, of_linear, slope)
        if any(ctx.needs_input_grad):
            ctx.done, ctx.weights, ctx.linear, ctx.slope = done, weights, of_linear, slope
        else:
            done.release()
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from vidscale.triton_kernels import chain_weights_cpu

        if not ctx.done.inputs:
            raise RuntimeError("the backward pass of chain_cells runs once")
        found = chain_weights_cpu.backward(_array(gradient), ctx.done, ctx.weights, ctx.linear, ctx.slope)
        ctx.done.release()
        of_weights, of_biases, of_linear = found
        tensors = [torch.from_numpy(one) for one in (*of_weights, *of_biases)]
        return None, None if of_linear is None else torch.from_numpy(of_linear), None, *tensors


def _array(tensor: Tensor) -> Any:
    return tensor.detach().numpy()
