"""Training of CAR: downscaler and upscaler together, with 8-bit codes between them and no codec."""

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
from vidscale.training.loop import Group, LoopSettings, Losses, Trained, train
from vidscale.training.offset_losses import offset_distance, offset_variation
from vidscale.training.quantise import Quantiser, quantise
from vidscale.training.recipes import STRICT, keep_recipe

Down = Literal["car", "bicubic"]
Fidelity = Literal["l1", "l2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DownscalerSizes:
    """Of `ResamplerNet`: channels at full size, at 1/2 and 1/4, at 1/8, behind that; blocks.

    `heads` None means as many as `trunk`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    stem: int = 64
    body: int = 128
    trunk: int = 256
    heads: int | None = None
    blocks: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class UpscalerSizes:
    """Of `vidscale.models.networks.edsr.EDSR`: residual blocks, channels, weight of what a block adds."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    blocks: int = 32
    width: int = 256
    res_scale: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class CarRecipe:
    """A training of CAR, by default the paper's.

    Attributes:
        scale: 2 or 4.
        down: "car" trains the downscaler with the upscaler; "bicubic" trains the upscaler alone, on pictures made small
            by bicubic interpolation (antialiased, a = -0.5): what CAR is measured against.
        crop: side of the HR examples, a multiple of 8.
        quantiser: how gradients pass the rounding to codes.
        fidelity: how the restored picture is compared with the source: "l1" is the mean difference; "l2" is the mean
            squared one, whose gradient says more about where the small picture should change.
        downscaler_rate: learning rate of the downscaler over that of the upscaler.
        downscaler_delay: steps in which the upscaler learns alone, on what the downscaler starts as.
        distance, variation: weights of the offset losses beside that.
        downscaler, upscaler: sizes of the networks.
        loop: how long and how fast.
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
            raise ValueError(f"scale {self.scale}: CAR is made for 2 and 4")
        if self.downscaler_delay < 0:
            raise ValueError(f"downscaler_delay {self.downscaler_delay} is negative")
        if self.crop % MULTIPLE or self.crop < 2 * MULTIPLE:
            raise ValueError(f"crop {self.crop} is not a multiple of {MULTIPLE} from {2 * MULTIPLE} on")
        with torch.device("meta"):
            self.networks()  # say what does not fit

    def networks(self) -> tuple[EDSR, ResamplerNet | None]:
        """The upscaler, and the downscaler where it is trained, with first weights; those of the upscaler are drawn
        first, so that both ways to shrink start with the same.

        Raises:
            ValueError: there are none of these sizes.
        """
        up, down = self.upscaler, self.downscaler
        upscaler = EDSR(self.scale, blocks=up.blocks, width=up.width, res_scale=up.res_scale)
        if self.down != "car":
            return upscaler, None
        return upscaler, ResamplerNet(
            self.scale, stem=down.stem, body=down.body, trunk=down.trunk, heads=down.heads, blocks=down.blocks
        )


class CarTask:
    """What `vidscale.training.loop.train` needs to know of CAR.

    Args:
        recipe: what is trained.
        crops: to train on.
        held_out: pictures to validate on, [3, H, W] float RGB in [0, 1] each.
    """

    def __init__(self, recipe: CarRecipe, crops: Crops, held_out: Sequence[Tensor]) -> None:
        self.recipe = recipe
        self._crops, self._held_out = crops, held_out
        torch.manual_seed(recipe.loop.seed)
        self.upscaler, self.downscaler = recipe.networks()
        self.network = nn.ModuleDict({"upscaler": self.upscaler})
        if self.downscaler is not None:
            self.network["downscaler"] = self.downscaler
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # what oneDNN is fastest with

    def groups(self) -> list[Group]:
        groups = [Group([weights for weights in self.upscaler.parameters() if weights.requires_grad])]
        if self.downscaler is not None:
            learning = [weights for weights in self.downscaler.parameters() if weights.requires_grad]
            groups.append(Group(learning, self.recipe.downscaler_rate, self.recipe.downscaler_delay))
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
    """The picture made small by antialiased bicubic interpolation (a = -0.5), rounded to 8 bits.

    Args:
        hr: [N, 3, H, W] float in [0, 1].
        scale: H and W are multiples of it.

    Returns:
        [N, 3, H / scale, W / scale], codes / 255.
    """
    size = hr.shape[2] // scale, hr.shape[3] // scale
    return quantise(F.interpolate(hr, size=size, mode="bicubic", antialias=True), "straight")


def train_car(
    recipe: CarRecipe, crops: Path, validation: Sequence[Path], folder: Path, progress: Progress | None = None
) -> Trained:
    """Trains, or goes on with a training; see `vidscale.training.loop.train`.

    Args:
        recipe: what and how.
        crops: file of `vidscale.training.crops.pack_crops`.
        validation: pictures that are not among the crops.
        folder: of this training. Where a downscaler is trained the pair is written to ``pair`` in it.
        progress: told about every step.

    Raises:
        TrainingError: something cannot be read or written, or the folder holds another training.
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
            licence=f"that of the pictures in {crops.name}",
            data=f"{len(Crops(crops))} crops of {crops.name}",
            training=f"vidscale train car, {trained.steps} steps, seed {recipe.loop.seed}",
            overwrite=True,
        )
    return trained
