"""Upscalers of luma at work on whole pictures: the strength folded into the weights, codes in, codes out."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.frames import Plane
from vidscale.models.luma import LumaUpscaler
from vidscale.threads import core_count
from vidscale.triton_kernels.cells import cells_from_codes, codes_from_cells

_STRIP_CELLS = 32 * 512  # what passes through the network at once: small enough for a core's own cache


def enlarger(network: LumaUpscaler, strength: float, bit_depth: int, device: str) -> Callable[[Plane, int, int], Plane]:
    """What enlarges planes of that bit depth, coded with that strength: (plane [h, w], H, W) to a plane [H, W].

    Args:
        network: on the CPU; stays as it is.
        strength: crf.
        bit_depth: of the codes.
        device: "cpu" or "cuda".
    """
    if device == "cpu":
        return CpuEnlarger(network, strength, bit_depth)
    return DeviceEnlarger(network, strength, bit_depth, device, torch.bfloat16)


class DeviceEnlarger:
    """An upscaler for one strength and bit depth on any device, whole pictures at once.

    Args:
        network: stays as it is.
        strength: crf.
        bit_depth: of the codes.
        device: where it runs.
        dtype: what convolutions run in; the linear part and the sum are float32.
    """

    def __init__(self, network: LumaUpscaler, strength: float, bit_depth: int, device: str, dtype: torch.dtype) -> None:
        self._network = deepcopy(network)
        cast("nn.Module", self._network).to(device).requires_grad_(requires_grad=False)
        self._dtype, self._device, self._peak = dtype, device, (1 << bit_depth) - 1
        self._strength = torch.tensor([strength], device=device)

    @torch.inference_mode()
    def __call__(self, plane: Plane, height: int, width: int) -> Plane:
        small, large = self._network.cell
        margin = self._network.margin * small
        padding = [
            (margin, -(-side // large) * small + margin - there)
            for side, there in zip((height, width), plane.shape, strict=True)
        ]
        codes = torch.from_numpy(np.pad(plane, padding, mode="edge").astype(np.int32)).to(self._device)
        luma = codes[None, None].float() / self._peak
        with torch.autocast(torch.device(self._device).type, self._dtype, enabled=self._dtype != torch.float32):
            restored = self._network(luma, self._strength)[0, 0, :height, :width].float()
        whole = (restored * self._peak + 0.5).floor().clamp(0, self._peak)
        return np.asarray(whole.to(torch.int32).cpu().numpy().astype(plane.dtype))


class CpuEnlarger:
    """An upscaler for one strength and bit depth on the CPU, in float32.

    A picture is cut into strips that the processors share; each strip runs on one, which is faster than all of them on
    one strip: layers this small would spend their time waiting for each other.

    Args:
        network: on the CPU.
        strength: crf.
        bit_depth: of the codes.
    """

    def __init__(self, network: LumaUpscaler, strength: float, bit_depth: int) -> None:
        self._cell, self._margin = network.cell, network.margin
        self._peak = (1 << bit_depth) - 1
        *inner, last = network.folded(strength)
        first = inner[0]._replace(weight=inner[0].weight / self._peak)  # codes in, codes out
        layers = [first, *inner[1:], last._replace(weight=last.weight * self._peak, bias=last.bias * self._peak)]
        self._layers = [(_channels_last(layer.weight), layer.bias.detach().clone()) for layer in layers]
        self._slope = network.slope
        self._linear = None if network.linear is None else _channels_last(network.linear.weight)
        self._inner = 0 if network.linear is None else network.margin - network.linear.kernel_size[0] // 2

    def __call__(self, plane: Plane, height: int, width: int) -> Plane:
        """The plane [height, width] that the small plane [h, w] was made of; sizes as the scale has them."""
        small, large = self._cell
        rows, columns = (-(-side // large) for side in (height, width))
        out = np.empty((height, width), plane.dtype)
        step = max(1, _STRIP_CELLS // columns)
        step = -(-rows // max(1, -(-rows // step)))  # strips of one size

        def strip(top: int) -> None:
            bottom = min(top + step, rows)
            reach = self._margin
            cells = cells_from_codes(plane, (top - reach, bottom + reach), (-reach, columns + reach), small)
            x = torch.from_numpy(cells).permute(2, 0, 1)[None]
            chain = self._chain(x)
            part = out[top * large : bottom * large]
            codes_from_cells(_numbers(self._added(x, chain)), _numbers(chain), part, large, self._peak)

        with ThreadPoolExecutor(core_count(), "network", torch.set_num_threads, (1,)) as pool:
            list(pool.map(_without_gradients(strip), range(0, rows, step)))
        return out

    def _chain(self, x: Tensor) -> Tensor:
        last = len(self._layers) - 1
        for index, (weight, bias) in enumerate(self._layers):
            x = F.conv2d(x, weight, bias)
            if index < last:
                x = F.leaky_relu_(x, self._slope)
        return x

    def _added(self, x: Tensor, chain: Tensor) -> Tensor:
        """The linear part of the result, nothing where there is none."""
        if self._linear is None:
            return torch.zeros_like(chain)
        inner = self._inner
        return F.conv2d(x[:, :, inner : x.shape[2] - inner, inner : x.shape[3] - inner], self._linear)


def _channels_last(weight: Tensor) -> Tensor:
    return weight.detach().contiguous(memory_format=torch.channels_last)


def _numbers(x: Tensor) -> Any:
    """[h, w, channels] of a [1, channels, h, w] that lies with its channels last."""
    return x[0].permute(1, 2, 0).contiguous().numpy()


def _without_gradients(strip: Callable[[int], None]) -> Callable[[int], None]:
    def run(top: int) -> None:
        with torch.inference_mode():
            strip(top)

    return run
