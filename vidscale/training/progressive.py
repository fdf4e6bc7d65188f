"""Trains the progressive upscaler: each stage separately, then the chain end to end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vidscale.image_metrics import luma_psnr
from vidscale.media.frames import PixelFormat, YuvImage
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.networks.progressive import OriginalStage, ProgressiveUpscaler, ResidualStage, StageKind
from vidscale.models.pair_files import write_pair_dir
from vidscale.system.progress import Progress
from vidscale.training.crops import Crops, held_out_pictures
from vidscale.training.loop import LoopSettings, Losses, ParameterGroup, Trained, train
from vidscale.training.quantise import quantise
from vidscale.training.recipes import STRICT, keep_recipe

CHAIN = "chain"

_DOWN = "lanczos"
_GRAY = PixelFormat("gray", 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressiveRecipe:
    """Settings for training the progressive upscaler.

    Attributes:
        licence, data: for the card; if empty, they name the crops.
        stages: scale of each stage, in order; a single stage skips the end-to-end training.
        kind: "residual", or "original": batch normalisation, no interpolation, always by 2.
        width, blocks: size of residual stages.
        crop: side of the chain's HR crops, a multiple of its scale.
        stage_crop: side of a stage's LR crops, limited by `crop`.
        measured: held-out pictures are measured on a centre crop of this side.
        weight_decay: of AdamW.
        stage_loop: training loop of each stage.
        chain_loop: training loop of the chain.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    licence: str = ""
    data: str = ""
    stages: tuple[int, ...] = (2, 2, 2)
    kind: StageKind = "residual"
    width: int = 24
    blocks: int = 3
    crop: int = 128
    stage_crop: int = 32
    measured: int = 512
    weight_decay: float = 0.01
    stage_loop: LoopSettings = field(default_factory=LoopSettings)
    chain_loop: LoopSettings = field(default_factory=LoopSettings)

    def __post_init__(self) -> None:
        if not self.stages or min(self.stages) < 2 or self.scale > 8:
            raise ValueError(f"stages {self.stages}: each must upscale by 2 or more, all together by at most 8")
        if self.kind == "original" and set(self.stages) != {2}:
            raise ValueError(f"stages {self.stages}: original stages upscale by 2")
        multiple = self.scale * (4 if self.kind == "original" else 1)
        if self.crop < multiple or self.crop % multiple:
            raise ValueError(f"crop {self.crop} is not a multiple of {multiple}")
        if self.width < 1 or self.blocks < 1:
            raise ValueError(f"out of range: width {self.width}, blocks {self.blocks}")
        if self.measured < 8 * self.scale or self.stage_crop < 4 or self.stage_crop % 4 or self.weight_decay < 0:
            raise ValueError(f"out of range: {self.measured = }, {self.stage_crop = }, {self.weight_decay = }")

    @property
    def scale(self) -> int:
        """Scale of the chain."""
        return prod(self.stages)

    def stage(self, index: int) -> ProgressiveUpscaler:
        """A stage with initial weights."""
        if self.kind == "original":
            return ProgressiveUpscaler([OriginalStage()])
        return ProgressiveUpscaler([ResidualStage(self.stages[index], width=self.width, blocks=self.blocks)])


@dataclass(frozen=True, slots=True)
class ProgressiveScores:
    """Mean luma PSNR of the held-out pictures at the full scale, dB.

    Attributes:
        bilinear_db, bicubic_db: interpolation.
        chained_db: the separately trained stages, chained.
        fine_tuned_db: the chain trained end to end; None for a single stage.
    """

    bilinear_db: float
    bicubic_db: float
    chained_db: float
    fine_tuned_db: float | None


@dataclass(frozen=True, slots=True)
class TrainedProgressive:
    """Result of training the progressive upscaler.

    Attributes:
        parts: ``stage-1`` and so on, each measured on ground truth at its own scale, and ``chain``.
        scores: scores at the full scale.
    """

    parts: dict[str, Trained]
    scores: ProgressiveScores


class ProgressiveTask:
    """A stage, or the chain, as a task for `vidscale.training.loop.train`.

    Args:
        network: network to train.
        behind: scale of the later stages, by which the ground truth is downscaled.
        crop: side of the crops before that.
        loop: settings of the loop.
        weight_decay: of AdamW.
        crops: training crops.
        held_out: validation pictures, [3, H, W] float RGB in [0, 1] each, sides multiples of the scale.
    """

    def __init__(
        self,
        network: ProgressiveUpscaler,
        behind: int,
        crop: int,
        loop: LoopSettings,
        weight_decay: float,
        crops: Crops,
        held_out: Sequence[Tensor],
    ) -> None:
        self.network = network
        self._behind, self._crop, self._loop, self._weight_decay = behind, crop, loop, weight_decay
        self._crops = crops
        self._held_out = [self._example(picture[None]) for picture in held_out]

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.network.parameters()), weight_decay=self._weight_decay)]

    def losses(self, examples: torch.Generator) -> Losses:
        lr, hr = self._example(self._crops.batch(self._loop.batch, self._crop, examples))
        mse = F.mse_loss(self.network(lr.to(self._loop.device)), hr.to(self._loop.device))
        return Losses(mse)

    def validate(self) -> float:
        """Mean luma PSNR over the held-out pictures, dB."""
        device = self._loop.device
        return _mean_psnr(
            [(self.network.upscale(lr.to(device)), hr.to(device)) for lr, hr in self._held_out], self.network.scale
        )

    def _example(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return downscaled(image, self._behind * self.network.scale), downscaled(image, self._behind)


def downscaled(images: Tensor, scale: int) -> Tensor:
    """Downscales pictures by Lanczos, channel by channel, to 8-bit codes, as the pair does.

    Args:
        images: [N, 3, H, W] float in [0, 1] on the CPU.
        scale: H and W must be multiples of it.

    Returns:
        [N, 3, H / scale, W / scale], codes / 255.
    """
    codes = (images * 255).round().to(torch.uint8).numpy()
    downscale = FixedPair(_DOWN, Fraction(scale)).downscale
    small = [downscale(YuvImage((plane,), _GRAY))[0] for image in codes for plane in image]
    sides = images.shape[2] // scale, images.shape[3] // scale
    return torch.from_numpy(np.stack(small)).reshape(*images.shape[:2], *sides).float() / 255


def _mean_psnr(pairs: Sequence[tuple[Tensor, Tensor]], scale: int) -> float:
    """Mean luma PSNR of (restored, source) pictures [1, 3, H, W], rounded to 8 bits."""
    scores = [luma_psnr(quantise(sr, "straight")[0], hr[0], shave=scale) for sr, hr in pairs]
    return sum(scores) / len(scores)


def _interpolated_psnr(pictures: Sequence[Tensor], scale: int, mode: str) -> float:
    """Mean luma PSNR of antialiased interpolation, which has a = -0.5 for cubic."""
    pairs = [(downscaled(picture[None], scale), picture[None]) for picture in pictures]
    return _mean_psnr(
        [(F.interpolate(lr, scale_factor=float(scale), mode=mode, antialias=True), hr) for lr, hr in pairs], scale
    )


def train_progressive(
    recipe: ProgressiveRecipe, crops: Path, validation: Sequence[Path], folder: Path, progress: Progress | None = None
) -> TrainedProgressive:
    """Trains the progressive upscaler, or resumes training; see `vidscale.training.loop.train`.

    Args:
        recipe: settings.
        crops: file from `vidscale.training.crops.pack_crops`.
        validation: pictures that are not among the crops.
        folder: training folder, with ``stage-1`` and so on, ``chain``, and the pair in ``pair``.
        progress: advances with every step.

    Raises:
        TrainingError: a file cannot be read or written, or the folder has different settings.
    """
    keep_recipe(recipe, folder)
    scale, material = recipe.scale, Crops(crops)
    pictures = [_whole_multiple(picture, scale) for picture in held_out_pictures(validation, side=recipe.measured)]

    def task(network: ProgressiveUpscaler, behind: int, crop: int, loop: LoopSettings) -> ProgressiveTask:
        return ProgressiveTask(network, behind, crop, loop, recipe.weight_decay, material, pictures)

    torch.manual_seed(recipe.stage_loop.seed)
    networks = [recipe.stage(index) for index in range(len(recipe.stages))]
    parts: dict[str, Trained] = {}
    for index, network in enumerate(networks):
        behind = prod(recipe.stages[index + 1 :])
        crop = min(recipe.crop, recipe.stage_crop * network.scale * behind)
        stage = task(network, behind, crop, recipe.stage_loop)
        name = f"stage-{index + 1}"
        parts[name] = train(stage, recipe.stage_loop, folder / name, progress)
    chain = ProgressiveUpscaler([network.chain[0] for network in networks]).to(recipe.chain_loop.device).eval()
    whole = task(chain, 1, recipe.crop, recipe.chain_loop)
    chained = whole.validate()
    tuned = None
    if len(networks) > 1:
        parts[CHAIN] = train(whole, recipe.chain_loop, folder / CHAIN, progress)
        tuned = parts[CHAIN].best_db
    steps = sum(part.steps for part in parts.values())
    bilinear, bicubic = (_interpolated_psnr(pictures, scale, mode) for mode in ("bilinear", "bicubic"))
    write_pair_dir(
        folder / "pair",
        f"progressive-x{scale}",
        FixedPair(_DOWN, Fraction(scale)),
        chain.cpu().eval(),
        licence=recipe.licence or f"same as the pictures in {crops.name}",
        data=recipe.data or f"{len(material)} crops from {crops.name}",
        training=f"vidscale train progressive, {steps} steps, seed {recipe.stage_loop.seed}",
        overwrite=True,
    )
    return TrainedProgressive(parts, ProgressiveScores(bilinear, bicubic, chained, tuned))


def _whole_multiple(picture: Tensor, scale: int) -> Tensor:
    height, width = (side // scale * scale for side in picture.shape[1:])
    return picture[:, :height, :width]
