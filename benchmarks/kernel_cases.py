"""Cases of `bench_kernels.py`, and the implementations of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vidscale.triton_kernels import metrics, metrics_ref
from vidscale.triton_kernels.adaptive import adaptive_resample, adaptive_resample_heads, implementation
from vidscale.triton_kernels.adaptive_ref import activated, adaptive_heads_ref, adaptive_resample_ref
from vidscale.triton_kernels.polyphase import polyphase_resample
from vidscale.triton_kernels.polyphase_ref import polyphase_ref

Size = tuple[int, int]
HALF = Fraction(1, 2)


@dataclass(frozen=True)
class Case:
    """One piece of work.

    Attributes:
        settings: what tells it from others, for the rows.
        moved: bytes that any way must read and write.
        ways: the first is ours, "ref" is the reference; each returns its results.
    """

    settings: dict[str, Any]
    moved: int
    ways: dict[str, Callable[[], Any]]


def gpu_cases(device: torch.device) -> Iterator[Case]:
    """Triton's kernels at the sizes of video; compact pairs have K = 2 * scale."""
    for size in ((1080, 1920), (2160, 3840)):
        for scale in (2, 4):
            for support in (3 * scale + 1, 2 * scale):
                for channels in (3, 1):
                    yield from _adaptive_on_gpu(device, size, scale, support, channels)
        yield from _planes(device, size, triton=True)


def cpu_cases() -> Iterator[Case]:
    """The CPU paths: a small training of CAR, inference, and planes of video."""
    device = torch.device("cpu")
    yield from _adaptive_on_cpu((16, 3, 96, 96), (540, 960))
    yield from _planes(device, (1080, 1920), triton=False)


def toy_cases(device: torch.device) -> Iterator[Case]:
    """Everything once; kernels in Triton's interpreter where there is no GPU."""
    size = (12, 14)
    yield from _adaptive_on_gpu(device, size, 2, 2, 3)
    yield from _planes(device, size, triton=True)
    if device.type == "cpu":
        yield from _adaptive_on_cpu((1, 3, 12, 12), (8, 8))
        yield from _planes(device, size, triton=False)


def _adaptive_inputs(device: torch.device, shape: tuple[int, ...], scale: int, support: int) -> list[Tensor]:
    """x and raw heads in float32."""
    torch.manual_seed(0)
    size = (shape[0], support * support, *(-(-side // scale) for side in shape[2:]))
    return [torch.rand(shape, device=device), *(torch.randn(size, device=device) for _ in range(3))]


def _adaptive_on_gpu(device: torch.device, size: Size, scale: int, support: int, channels: int) -> Iterator[Case]:
    from adaptive_variants import naive_forward, naive_heads

    from vidscale.triton_kernels import adaptive_triton as gpu

    x, *heads = _adaptive_inputs(device, (1, channels, *size), scale, support)
    plain = [x, *activated(*heads, scale=scale)]
    planes, taps = x.nbytes + x.nbytes // scale**2, 3 * heads[0].nbytes
    about = {"size": f"{size[1]}x{size[0]}", "scale": scale, "K": support, "C": channels}
    ways: dict[str, Callable[[], Any]] = {
        "triton": partial(gpu.forward, *plain, scale=scale),
        "triton, straightforward": partial(naive_forward, *plain, scale=scale),
        "ref": partial(adaptive_resample_ref, *plain, scale=scale),
    }
    yield Case({"operation": "adaptive forward, float32", **about}, planes + taps, ways)
    codes, *halves = (x * 255).to(torch.uint8), *(h.half() for h in heads)
    settings: dict[str, Any] = {"scale": scale, "out_name": "uint8", "gain": 1.0, "peak": 255}
    ways = {
        "triton": partial(gpu.forward_heads, codes, *halves, **settings),
        "triton, straightforward": partial(naive_heads, codes, *halves, scale=scale),
        "ref": partial(adaptive_heads_ref, codes, *halves, **settings),
    }
    yield Case({"operation": "adaptive heads, float16 to uint8", **about}, planes // 4 + taps // 2, ways)
    yield from _adaptive_gradients(plain, scale, about)


def _adaptive_gradients(plain: list[Tensor], scale: int, about: dict[str, Any]) -> Iterator[Case]:
    from adaptive_variants import gathered, naive_backward

    from vidscale.triton_kernels import adaptive_triton as gpu

    inputs = [t.detach().requires_grad_() for t in plain]
    graph = adaptive_resample_ref(*inputs, scale=scale)
    grad = torch.randn_like(graph)
    taken, found = (sum(t.nbytes for t in some) for some in ([*plain, grad], plain[1:]))
    ways: dict[str, Callable[[], Any]] = {
        "triton": partial(gpu.backward, grad, *plain, scale=scale, of_x=False),
        "triton, straightforward": partial(naive_backward, grad, *plain, scale=scale),
        "ref": partial(torch.autograd.grad, graph, inputs[1:], grad, retain_graph=True),
    }
    yield Case({"operation": "adaptive backward, float32", **about}, taken + found, ways)

    def by_gathering() -> list[Tensor | None]:
        return [gathered(grad, *plain, scale=scale), *gpu.backward(grad, *plain, scale=scale, of_x=False)]

    ways = {
        "triton": partial(gpu.backward, grad, *plain, scale=scale, of_x=True),
        "triton, picture by gathering": by_gathering,
        "ref": partial(torch.autograd.grad, graph, inputs, grad, retain_graph=True),
    }
    operation = "adaptive backward, float32, of the picture too"
    yield Case({"operation": operation, **about}, taken + found + plain[0].nbytes, ways)


def _adaptive_on_cpu(training: tuple[int, ...], size: Size) -> Iterator[Case]:
    scale, support, device = 2, 7, torch.device("cpu")
    x, *heads = _adaptive_inputs(device, training, scale, support)
    plain = [x, *activated(*heads, scale=scale)]
    taps = 3 * heads[0].nbytes
    about = {"size": "x".join(map(str, training)), "scale": scale, "K": support, "threads": torch.get_num_threads()}

    def step(function: Callable[..., Tensor], first: int) -> tuple[Tensor, ...]:
        inputs = [t.detach().requires_grad_(i >= first) for i, t in enumerate(plain)]
        out = function(*inputs, scale=scale)
        return (out.detach(), *torch.autograd.grad(out.square().sum(), inputs[first:]))

    for of, first in (("of taps and offsets", 1), ("of all inputs", 0)):
        ways: dict[str, Callable[[], Any]] = {
            implementation("cpu"): partial(step, adaptive_resample, first),
            "ref": partial(step, adaptive_resample_ref, first),
        }
        yield Case({"operation": f"adaptive forward and backward {of}", **about}, 2 * x.nbytes + 3 * taps, ways)
    x, *heads = _adaptive_inputs(device, (1, 3, *size), scale, support)
    settings: dict[str, Any] = {"scale": scale, "out_name": "uint8", "gain": 255.0, "peak": 255}
    ways = {
        implementation("cpu"): partial(adaptive_resample_heads, x, *heads, scale=scale, out_dtype="uint8"),
        "ref": partial(adaptive_heads_ref, x, *heads, **settings),
    }
    about["size"] = f"{size[1]}x{size[0]}"
    yield Case({"operation": "adaptive heads, float32 to uint8", **about}, x.nbytes + 3 * heads[0].nbytes, ways)


def _planes(device: torch.device, size: Size, *, triton: bool) -> Iterator[Case]:
    """The fixed filter and the metrics."""
    name, resample = metrics.implementation("cpu"), partial(polyphase_resample)
    measures: list[Callable[..., Any]] = [metrics.squared_error, partial(metrics.ssim_gaussian, bit_depth=8)]
    if triton:
        from vidscale.triton_kernels import metrics_triton, polyphase_triton

        name, resample = "triton", partial(polyphase_triton.polyphase_triton)
        measures = [metrics_triton.squared_error, partial(metrics_triton.ssim_gaussian, bit_depth=8)]
    references: list[Callable[..., Any]] = [metrics_ref.squared_error, partial(metrics_ref.ssim_gaussian, bit_depth=8)]
    torch.manual_seed(0)
    ref, dist = (torch.randint(0, 256, size, dtype=torch.uint8, device=device) for _ in range(2))
    half, about = (size[0] // 2, size[1] // 2), {"size": f"{size[1]}x{size[0]}"}
    settings: dict[str, Any] = {"step": Fraction(2), "siting": (HALF, HALF), "size": half, "kind": "lanczos"}
    ways: dict[str, Callable[[], Any]] = {
        name: partial(resample, ref, bit_depth=8, **settings),
        "ref": partial(polyphase_ref, ref, bit_depth=8, **settings),
    }
    yield Case({"operation": "polyphase lanczos, step 2, uint8", **about}, ref.nbytes + half[0] * half[1], ways)
    for what, measure, reference in zip(("squared_error", "ssim_gaussian"), measures, references, strict=True):
        ways = {name: partial(measure, ref, dist), "ref": partial(reference, ref, dist)}
        yield Case({"operation": f"{what}, uint8", **about}, 2 * ref.nbytes, ways)
