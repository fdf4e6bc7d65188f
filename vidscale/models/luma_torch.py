"""Luma upscalers in torch, on any device: whole planes of codes in and out."""

from copy import deepcopy
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.media.frames import Plane
from vidscale.models.networks.back_projection import BackProjection
from vidscale.models.networks.luma import LumaUpscaler


class TorchLumaUpscaler:
    """An upscaler for one strength and bit depth.

    Args:
        network: network to run; it is copied.
        strength: crf.
        bit_depth: bit depth of the codes.
        device: torch device.
        dtype: dtype of the convolutions; the linear part and the sum are float32.
    """

    def __init__(self, network: LumaUpscaler, strength: float, bit_depth: int, device: str, dtype: torch.dtype) -> None:
        self._network = deepcopy(network)
        cast("nn.Module", self._network).to(device).requires_grad_(requires_grad=False)
        self._dtype, self._device, self._peak = dtype, device, (1 << bit_depth) - 1
        self._strength = torch.tensor([strength], device=device)

    @torch.inference_mode()
    def __call__(self, plane: Plane, height: int, width: int) -> Plane:
        codes = torch.from_numpy(np.ascontiguousarray(plane)).to(self._device)
        out = codes.new_empty(height, width)
        self.run(codes, out)
        return cast("Plane", out.cpu().numpy())

    def run(self, codes: Tensor, out: Tensor) -> None:
        """Upscales `codes` [h, w] into `out` [H, W], both on the device and of the same dtype."""
        small, _ = self._network.cell
        margin = self._network.margin * small
        luma = _padded(codes, [-(-side // small) * small for side in codes.shape], margin).div_(self._peak)
        with torch.autocast(torch.device(self._device).type, self._dtype, enabled=self._dtype != torch.float32):
            restored = self._network(luma, self._strength)[0, 0, : out.shape[0], : out.shape[1]].float()
        out.copy_(restored.mul_(self._peak).add_(0.5).floor_().clamp_(0, self._peak))


class TorchLumaCorrection:
    """A `BackProjection` for one strength and bit depth.

    Args:
        network: network to run; it is copied.
        strength: crf.
        bit_depth: bit depth of the codes.
        device: torch device.
    """

    def __init__(self, network: BackProjection, strength: float, bit_depth: int, device: str) -> None:
        self._network = deepcopy(network).to(device).requires_grad_(requires_grad=False)
        self._device, self._peak = device, (1 << bit_depth) - 1
        self._strength = torch.tensor([strength], device=device)

    def run(self, hr: Tensor, lr: Tensor) -> None:
        """Corrects `lr` [h, w], which is `hr` [H, W] downscaled by the filter, in place; codes of the same dtype."""
        small, large = self._network.cell
        cells = [-(-side // small) for side in lr.shape]
        pictures = [
            _padded(codes, [n * side for n in cells], 0).div_(self._peak) for codes, side in ((hr, large), (lr, small))
        ]
        corrected = self._network(*pictures, self._strength, self._peak).detach()
        corrected = corrected[0, 0, : lr.shape[0], : lr.shape[1]]
        lr.copy_((corrected * self._peak + 0.5).floor().clamp(0, self._peak))


def _padded(codes: Tensor, size: list[int], margin: int) -> Tensor:
    """[1, 1, H, W] float32: codes up to this size and a margin around it; edge samples are repeated."""
    below, right = (side - there for side, there in zip(size, codes.shape, strict=True))
    padding = (margin, right + margin, margin, below + margin)
    return F.pad(codes[None, None].float(), padding, mode="replicate")
