"""Trainings for still pictures: ESPCN, EDSR, and CAR with an error-fed downscaler beside its baseline."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.image_metrics import luma_psnr
from vidscale.models.networks.edsr import EDSR
from vidscale.models.networks.error_fed import ErrorFedDownscaler, bicubic, luma
from vidscale.models.networks.espcn import ESPCN
from vidscale.training.quantise import quantise
from vidscale.training.resident import ResidentPictures

Kind = Literal["espcn", "edsr", "bicubic", "car"]

_SQUARED_FROM = 0.8  # of the time; the absolute error learns faster, the squared error is what PSNR measures
_SQUARED_WEIGHT = 20.0  # makes both about as large
_RGB_WEIGHT = 0.5  # of the error in RGB, beside that in luma
_NEAR = 10**-3.6  # squared difference between the LR crop and the bicubic one that costs nothing: 36 dB
_FAR_WEIGHT = 50.0
_RECENT = 64  # batches that replays draw from
_VARIED = 0.25  # fraction of ESPCN's examples with a random contrast and brightness


@dataclass(frozen=True, slots=True, kw_only=True)
class StillRecipe:
    """What to train on pictures.

    Attributes:
        kind: "espcn" on bicubic LR luma; "edsr" and "bicubic" on bicubic LR; "car" with its own downscaler.
        scale: HR over LR.
        blocks, width: of the upscaler; unused by ESPCN.
        repeats, refinements: of the downscaler; unused by the others.
        replays: steps of the upscaler alone after each step of both, on recent LR crops. A step of both takes several
            times as long, because the downscaler runs the upscaler.
        batch, crop: HR crops per step and their side, a multiple of the scale.
        learning_rate: peak.
    """

    kind: Kind
    scale: int
    blocks: int = 16
    width: int = 48
    repeats: int = 2
    refinements: int = 1
    replays: int = 0
    batch: int = 32
    crop: int = 128
    learning_rate: float = 4e-4


RECIPES = {
    "espcn-x2": StillRecipe(kind="espcn", scale=2, batch=128, crop=96, learning_rate=1e-3),
    "espcn-x3": StillRecipe(kind="espcn", scale=3, batch=128, crop=144, learning_rate=1e-3),
    "espcn-x4": StillRecipe(kind="espcn", scale=4, batch=128, crop=192, learning_rate=1e-3),
    "edsr-x2": StillRecipe(kind="edsr", scale=2, width=64),
    "bicubic-x2": StillRecipe(kind="bicubic", scale=2),
    "car-x2": StillRecipe(kind="car", scale=2),
    "bicubic-x4": StillRecipe(kind="bicubic", scale=4, crop=192),
    "car-x4": StillRecipe(kind="car", scale=4, crop=192),
}


class StillTask:
    """A still recipe as a task for `vidscale.training.timed.train_for`.

    Args:
        recipe: settings.
        pictures: training pictures; None only to measure.
        held_out: validation pictures, [3, H, W] float RGB in [0, 1] each.
        device: "cpu" or "cuda".
        seed: of the initial weights and the examples.
    """

    def __init__(
        self,
        recipe: StillRecipe,
        pictures: ResidentPictures | None,
        held_out: Sequence[Tensor],
        device: str,
        seed: int = 0,
    ) -> None:
        self.recipe, self._given = recipe, pictures
        self.held_out = [_whole(picture, recipe.scale)[None].to(device) for picture in held_out]
        torch.manual_seed(seed)
        if pictures is not None:
            pictures.seed(seed)
        self.downscaler: ErrorFedDownscaler | None = None
        self.upscaler: nn.Module
        if recipe.kind == "espcn":
            self.upscaler = ESPCN(recipe.scale)
        else:  # the upscaler's weights are drawn first: it starts equal for "car" and "bicubic"
            self.upscaler = EDSR(recipe.scale, blocks=recipe.blocks, width=recipe.width)
            if recipe.kind == "car":
                self.downscaler = ErrorFedDownscaler(
                    recipe.scale, repeats=recipe.repeats, refinements=recipe.refinements
                )
        self.network = nn.ModuleDict({"upscaler": self.upscaler})
        if self.downscaler is not None:
            self.network["downscaler"] = self.downscaler
        self._recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=_RECENT)
        self._replays_left = 0

    @property
    def _pictures(self) -> ResidentPictures:
        if self._given is None:
            raise ValueError("a task without pictures does not train")
        return self._given

    def loss(self, done: float) -> Tensor:
        recipe = self.recipe
        if isinstance(self.upscaler, ESPCN):
            return self._espcn_loss(done)
        if self._replays_left:
            self._replays_left -= 1
            codes, hr = self._replayed()
            return _fidelity(self.upscaler(codes), hr, done)
        hr = self._pictures.batch(recipe.batch, recipe.crop)
        if self.downscaler is None:
            return _fidelity(self.upscaler(_codes(bicubic(hr, recipe.scale))), hr, done)
        lr = self.downscaler(hr, self.upscaler)
        apart = F.mse_loss(lr, bicubic(hr, recipe.scale), reduction="none").mean((1, 2, 3))
        far = F.relu(apart - _NEAR).mean()
        codes = _codes(lr)
        if recipe.replays:
            self._recent.append((codes.detach(), hr))
            self._replays_left = recipe.replays
        return _fidelity(self.upscaler(codes), hr, done) + _FAR_WEIGHT * far

    def _replayed(self) -> tuple[Tensor, Tensor]:
        """Crops of recent batches, LR and HR, drawn one by one."""
        number = self.recipe.batch
        batches = (self._pictures.uniform(number) * len(self._recent)).long().flatten().tolist()
        places = (self._pictures.uniform(number) * number).long().flatten().tolist()
        drawn = [
            [images[place] for images in self._recent[batch]] for batch, place in zip(batches, places, strict=True)
        ]
        codes, hr = (torch.stack(crops) for crops in zip(*drawn, strict=True))
        return codes, hr

    def _espcn_loss(self, done: float) -> Tensor:
        recipe, margin = self.recipe, self._margin
        image = self._pictures.batch(recipe.batch, recipe.crop + 2 * margin * recipe.scale)
        hr = self._planes(image)
        lr = _codes(bicubic(hr, recipe.scale))
        with torch.autocast(hr.device.type, enabled=False):
            difference = self.upscaler(lr) - _inner(hr, margin * recipe.scale)
        return _mean_error(difference, done)

    def _planes(self, image: Tensor) -> Tensor:
        """Half luma, half a channel of RGB, because pictures are scaled channel by channel; rounded to 8 bits.

        Some are made darker or flatter, so that dark pictures are seen too.
        """
        number = self.recipe.batch
        channel = (self._pictures.uniform(number) * 6).long().clamp(max=5)  # 3 and above are luma
        planes = torch.cat([image, luma(image)], dim=1)
        places = channel.clamp(max=3).expand(-1, 1, *image.shape[2:])
        plane = planes.gather(1, places)
        varied = (self._pictures.uniform(number) < _VARIED).float()
        gain = 1 - 0.8 * varied * self._pictures.uniform(number)
        offset = (1 - gain) * F.relu(2 * self._pictures.uniform(number) - 1)
        return _codes(plane * gain + offset)

    @property
    def _margin(self) -> int:
        return self.upscaler.margin if isinstance(self.upscaler, ESPCN) else 0

    def validate(self) -> dict[str, float]:
        """Mean luma PSNR of the restored pictures, and the mean and lowest PSNR of LR against bicubic LR, dB."""
        scale = self.recipe.scale
        restored, near = [], []
        for hr in self.held_out:
            lr = self.downscale(hr)
            restored.append(luma_psnr(self.upscale(lr)[0], hr[0], shave=scale))
            mse = float(F.mse_loss(lr, _codes(bicubic(hr, scale))))
            near.append(-10 * math.log10(mse) if mse else math.inf)
        scores = {"psnr_y": sum(restored) / len(restored)}
        return (
            scores if self.downscaler is None else scores | {"lr_psnr": sum(near) / len(near), "lr_lowest": min(near)}
        )

    @torch.no_grad()
    def downscale(self, hr: Tensor) -> Tensor:
        """The small picture, rounded to 8 bits, of [1, 3, H, W] with whole LR pixels."""
        scale = self.recipe.scale
        return _codes(bicubic(hr, scale) if self.downscaler is None else self.downscaler(hr, self.upscaler))

    @torch.no_grad()
    def upscale(self, lr: Tensor) -> Tensor:
        """The restored picture, rounded to 8 bits."""
        if isinstance(self.upscaler, ESPCN):
            padded = F.pad(lr, [self._margin] * 4, mode="replicate").transpose(0, 1)
            return _codes(self.upscaler(padded).transpose(0, 1))
        return _codes(self.upscaler(lr))


def _fidelity(sr: Tensor, hr: Tensor, done: float) -> Tensor:
    difference = sr.float() - hr
    return _mean_error(luma(difference), done) + _RGB_WEIGHT * _mean_error(difference, done)


def _mean_error(difference: Tensor, done: float) -> Tensor:
    if done < _SQUARED_FROM:
        return difference.abs().mean()
    return _SQUARED_WEIGHT * difference.square().mean()


def _codes(image: Tensor) -> Tensor:
    return quantise(image, "straight")


def _inner(image: Tensor, edge: int) -> Tensor:
    return image[..., edge : image.shape[-2] - edge, edge : image.shape[-1] - edge]


def _whole(picture: Tensor, scale: int) -> Tensor:
    height, width = (side // scale * scale for side in picture.shape[1:])
    return picture[:, :height, :width]
