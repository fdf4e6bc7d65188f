"""`adaptive_resample` for tensors: the autograd function around the numba and Triton versions."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vidscale.triton_kernels._dispatch import Implementation
from vidscale.triton_kernels.adaptive_ref import adaptive_heads_ref, adaptive_resample_ref


class AdaptiveResample(torch.autograd.Function):
    """Forward and backward by numba or Triton. The picture's gradient is computed only if it is needed."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, taps: Tensor, offset_x: Tensor, offset_y: Tensor, scale: int, path: Implementation
    ) -> Tensor:
        ctx.save_for_backward(x, taps, offset_x, offset_y)
        ctx.scale, ctx.path = scale, path
        if path == "triton":
            from vidscale.triton_kernels import adaptive_triton

            return adaptive_triton.forward(x, taps, offset_x, offset_y, scale=scale)
        from vidscale.triton_kernels import adaptive_cpu

        out = adaptive_cpu.forward(
            *map(_array, (x, taps, offset_x, offset_y)), scale=scale, threads=torch.get_num_threads()
        )
        return torch.from_numpy(out).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs: tuple[Tensor, ...] = ctx.saved_tensors
        wanted = ctx.needs_input_grad[0]
        gradients: list[Any]
        if ctx.path == "triton":
            from vidscale.triton_kernels import adaptive_triton

            gradients = list(adaptive_triton.backward(grad, *inputs, scale=ctx.scale, of_x=wanted))
        else:
            from vidscale.triton_kernels import adaptive_cpu

            arrays = map(_array, (grad, *inputs))
            found = adaptive_cpu.backward(*arrays, scale=ctx.scale, of_x=wanted, threads=torch.get_num_threads())
            gradients = [None if g is None else torch.from_numpy(g) for g in found]
        typed = [None if g is None else g.to(t.dtype) for g, t in zip(gradients, inputs, strict=True)]
        return *typed, None, None


def adaptive_resample_torch(
    x: Tensor, taps: Tensor, offset_x: Tensor, offset_y: Tensor, *, scale: int, path: Implementation
) -> Tensor:
    """`adaptive_resample` of tensors by the version `path`."""
    if path == "torch":
        return adaptive_resample_ref(x, taps, offset_x, offset_y, scale=scale)
    result: Tensor = AdaptiveResample.apply(x, taps, offset_x, offset_y, scale, path)  # type: ignore[no-untyped-call]
    return result


@torch.no_grad()
def adaptive_heads_torch(x: Tensor, *heads: Tensor, path: Implementation, **settings: Any) -> Tensor:
    """`adaptive_resample_heads` of tensors by the version `path`."""
    if path == "torch":
        return adaptive_heads_ref(x, *heads, **settings)
    if path == "triton":
        from vidscale.triton_kernels import adaptive_triton

        return adaptive_triton.forward_heads(x, *heads, **settings)
    from vidscale.triton_kernels import adaptive_cpu

    out_name = settings.pop("out_name")
    picture = x.detach() if x.dtype in (torch.uint8, torch.uint16) else x.detach().float()
    written = "float32" if "float" in out_name else out_name
    found = adaptive_cpu.forward_heads(
        picture.numpy(), *(h.detach() for h in heads), out_name=written, threads=torch.get_num_threads(), **settings
    )
    out: Tensor = torch.from_numpy(found).to(getattr(torch, out_name))
    return out


def _array(tensor: Tensor) -> Any:
    return tensor.detach().float().contiguous().numpy()
