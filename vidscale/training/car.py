"""Trains CAR: downscaler and upscaler jointly, with 8-bit rounding between them and no codec."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.image_metrics import luma_psnr
from vidscale.models.networks.car import MULTIPLE, ResamplerNet
from vidscale.models.networks.edsr import EDSR
from vidscale.models.pair_files import write_pair_dir
from vidscale.system.progress import Progress
from vidscale.training.crops import Crops, held_out_pictures
from vidscale.training.loop import LoopSettings, Losses, ParameterGroup, Trained, train
from vidscale.training.offset_losses import offset_distance, offset_variation
from vidscale.training.quantise import Quantiser, quantise
from vidscale.training.recipes import STRICT, keep_recipe

Down = Literal["car", "bicubic"]
Fidelity = Literal["l1", "l2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DownscalerSizes:
    """Sizes of `ResamplerNet`.

    Attributes:
        stem: channels at full size.
        body: channels at 1/2 and 1/4.
        trunk: channels at 1/8.
        heads: channels of the heads; None is the same as `trunk`.
        blocks: residual blocks.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    stem: int = 64
    body: int = 128
    trunk: int = 256
    heads: int | None = None
    blocks: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class UpscalerSizes:
    """Sizes of `vidscale.models.networks.edsr.EDSR`: residual blocks, channels, residual scaling."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    blocks: int = 32
    width: int = 256
    res_scale: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class CarRecipe:
    """Settings for training CAR; the defaults are the paper's.

    Attributes:
        scale: 2 or 4.
        down: "car" trains the downscaler and the upscaler jointly; "bicubic" trains only the upscaler, on pictures
            downscaled by bicubic interpolation (antialiased, a = -0.5), as the baseline for CAR.
        crop: side of the HR crops, a multiple of 8.
        quantiser: gradient of the rounding to 8 bits.
        fidelity: loss between restored picture and source: "l1" is the mean absolute error; "l2" is the mean squared
            error, whose gradient tells the downscaler more about where to change the small picture.
        downscaler_rate: learning rate of the downscaler relative to the upscaler's.
        downscaler_delay: steps during which only the upscaler learns, with the downscaler at its initial weights.
        distance, variation: weights of the offset losses relative to the fidelity loss.
        downscaler, upscaler: network sizes.
        loop: settings of the training loop.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    scale: int = 2
    down: Down = "car"
    crop: int = 96
    quantiser: Quantiser = "soft"
    fidelity: Fidelity = "l1"
    downscaler_rate: float = 1.0
    downscaler_delay: int = 0
    distance: float = 0.001
    variation: float = 0.005
    downscaler: DownscalerSizes = field(default_factory=DownscalerSizes)
    upscaler: UpscalerSizes = field(default_factory=UpscalerSizes)
    loop: LoopSettings = field(default_factory=LoopSettings)

    def __post_init__(self) -> None:
        if self.scale not in (2, 4):
            raise ValueError(f"scale {self.scale}: CAR supports 2 and 4")
        if self.downscaler_delay < 0:
            raise ValueError(f"downscaler_delay {self.downscaler_delay} is negative")
        if self.crop % MULTIPLE or self.crop < 2 * MULTIPLE:
            raise ValueError(f"crop {self.crop} is not a multiple of {MULTIPLE}, {2 * MULTIPLE} or more")
        with torch.device("meta"):
            self.networks()  # raises for invalid sizes

    def networks(self) -> tuple[EDSR, ResamplerNet | None]:
        """The upscaler, and the downscaler if it is trained, with initial weights.

        The upscaler's are drawn first, so that it starts the same for both values of `down`.

        Raises:
            ValueError: invalid sizes.
        """
        up, down = self.upscaler, self.downscaler
        upscaler = EDSR(self.scale, blocks=up.blocks, width=up.width, res_scale=up.res_scale)
        if self.down != "car":
            return upscaler, None
        return upscaler, ResamplerNet(
            self.scale, stem=down.stem, body=down.body, trunk=down.trunk, heads=down.heads, blocks=down.blocks
        )


class CarTask:
    """CAR as a task for `vidscale.training.loop.train`.

    Args:
        recipe: settings.
        crops: training crops.
        held_out: validation pictures, [3, H, W] float RGB in [0, 1] each.
    """

    def __init__(self, recipe: CarRecipe, crops: Crops, held_out: Sequence[Tensor]) -> None:
        self.recipe = recipe
        self._crops, self._held_out = crops, held_out
        torch.manual_seed(recipe.loop.seed)
        self.upscaler, self.downscaler = recipe.networks()
        self.network = nn.ModuleDict({"upscaler": self.upscaler})
        if self.downscaler is not None:
            self.network["downscaler"] = self.downscaler
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # fastest with oneDNN

    def groups(self) -> list[ParameterGroup]:
        groups = [ParameterGroup([weights for weights in self.upscaler.parameters() if weights.requires_grad])]
        if self.downscaler is not None:
            learning = [weights for weights in self.downscaler.parameters() if weights.requires_grad]
            groups.append(ParameterGroup(learning, self.recipe.downscaler_rate, self.recipe.downscaler_delay))
        return groups

    def losses(self, examples: torch.Generator) -> Losses:
        recipe = self.recipe
        hr = self._crops.batch(recipe.loop.batch, recipe.crop, examples).to(recipe.loop.device)
        if self.downscaler is None:
            fidelity = self._fidelity(self.upscaler(bicubic_codes(hr, recipe.scale)), hr)
            return Losses(fidelity, {recipe.fidelity: fidelity.detach()})
        sampling = self.downscaler(hr).activate()
        lr = quantise(sampling.resample(hr, recipe.scale), recipe.quantiser)
        fidelity = self._fidelity(self.upscaler(lr), hr)
        distance, variation = offset_distance(sampling), offset_variation(sampling)
        total = fidelity + recipe.distance * distance + recipe.variation * variation
        parts = {recipe.fidelity: fidelity, "offset distance": distance, "offset variation": variation}
        return Losses(total, {name: part.detach() for name, part in parts.items()})

    def _fidelity(self, restored: Tensor, hr: Tensor) -> Tensor:
        return F.l1_loss(restored, hr) if self.recipe.fidelity == "l1" else F.mse_loss(restored, hr)

    def validate(self) -> float:
        """Mean luma PSNR over the held-out pictures, dB."""
        scores = [self._score(picture) for picture in self._held_out]
        return sum(scores) / len(scores)

    def _score(self, picture: Tensor) -> float:
        scale = self.recipe.scale
        height, width = (length // MULTIPLE * MULTIPLE for length in picture.shape[1:])
        hr = picture[None, :, :height, :width].to(self.recipe.loop.device)
        if self.downscaler is None:
            lr = bicubic_codes(hr, scale)
        else:
            lr = quantise(self.downscaler.downscale(hr), "straight")
        return luma_psnr(quantise(self.upscaler.upscale(lr)[0], "straight"), hr[0], shave=scale)


def bicubic_codes(hr: Tensor, scale: int) -> Tensor:
    """Downscales by antialiased bicubic interpolation (a = -0.5) and rounds to 8 bits.

    Args:
        hr: [N, 3, H, W] float in [0, 1].
        scale: H and W must be multiples of it.

    Returns:
        [N, 3, H / scale, W / scale], codes / 255.
    """
    size = hr.shape[2] // scale, hr.shape[3] // scale
    return quantise(F.interpolate(hr, size=size, mode="bicubic", antialias=True), "straight")


def train_car(
    recipe: CarRecipe, crops: Path, validation: Sequence[Path], folder: Path, progress: Progress | None = None
) -> Trained:
    """Trains CAR, or resumes training; see `vidscale.training.loop.train`.

    Args:
        recipe: settings.
        crops: file from `vidscale.training.crops.pack_crops`.
        validation: pictures that are not among the crops.
        folder: training folder. If the downscaler is trained, the pair is written to ``pair`` in it.
        progress: advances with every step.

    Raises:
        TrainingError: a file cannot be read or written, or the folder has different settings.
    """
    keep_recipe(recipe, folder)
    task = CarTask(recipe, Crops(crops), held_out_pictures(validation))
    trained = train(task, recipe.loop, folder, progress)
    if task.downscaler is not None:
        write_pair_dir(
            folder / "pair",
            f"car-x{recipe.scale}",
            task.downscaler.cpu().eval(),
            task.upscaler.cpu().eval(),
            licence=f"same as the pictures in {crops.name}",
            data=f"{len(Crops(crops))} crops from {crops.name}",
            training=f"vidscale train car, {trained.steps} steps, seed {recipe.loop.seed}",
            overwrite=True,
        )
    return trained
