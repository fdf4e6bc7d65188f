"""Luma upscalers in torch, on any device: whole planes of codes in and out."""

from copy import deepcopy
from typing import cast

import numpy as np
import torch
from torch import nn

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

    def __call__(self, hr: Plane, lr: Plane) -> Plane:
        """Corrects `lr` [h, w], which is `hr` [H, W] downscaled by the filter; same dtype."""
        small, large = self._network.cell
        cells = [-(-side // small) for side in lr.shape]
        pictures = [
            np.pad(plane, [(0, n * side - there) for n, there in zip(cells, plane.shape, strict=True)], mode="edge")
            for plane, side in ((hr, large), (lr, small))
        ]
        luma = [
            torch.from_numpy(codes.astype(np.float32)).to(self._device)[None, None] / self._peak for codes in pictures
        ]
        corrected = self._network(*luma, self._strength)[0, 0, : lr.shape[0], : lr.shape[1]].detach()
        whole = (corrected * self._peak + 0.5).floor().clamp(0, self._peak)
        return np.asarray(whole.to(torch.int32).cpu().numpy().astype(lr.dtype))
