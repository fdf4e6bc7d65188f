"""Trains a pair through the real codec: a filter downscales, a network learns to restore."""

import platform
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import ClassVar

import torch

from vidscale.errors import ModelError, TrainingError
from vidscale.models.cards import check_name, find_pair_dir
from vidscale.models.fixed_pair import FixedPair, families
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.models.pair_files import Downscaler, load_pair_dir, write_pair_dir
from vidscale.system.progress import Progress
from vidscale.training.coded_crops import CodedCrops, CodedSettings
from vidscale.training.loop import LoopSettings, Trained, train
from vidscale.training.material import Maker, Material, Sets, complete_sets
from vidscale.training.recipes import STRICT, keep_recipe
from vidscale.training.upscaler import VALIDATED, CompactSizes, UpscalerTask


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRecipe:
    """Settings for training a pair.

    Attributes:
        name: of the pair: family and scale.
        licence, data: for the card.
        start: name or folder of a pair whose upscaler the training starts from; "" for Lanczos interpolation.
        held_out_chunks: chunks in the validation set.
        coded: the set of coded crops, which includes the downscaler.
        network: sizes of the upscaler.
        loop: settings of the training loop.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    name: str = "mine-x2"
    licence: str = "unknown"
    data: str = "unknown"
    start: str = ""
    held_out_chunks: int = 2
    coded: CodedSettings = field(default_factory=CodedSettings)
    network: CompactSizes = field(default_factory=CompactSizes)
    loop: LoopSettings = field(default_factory=LoopSettings)

    def __post_init__(self) -> None:
        try:
            check_name(self.name)
            for family in filter(None, (self.coded.family, self.coded.also)):
                if not _is_learned(family):
                    FixedPair(family, self.coded.ratio, sharpness=self.coded.sharpness)
        except ModelError as error:
            raise ValueError(str(error)) from None
        if self.held_out_chunks < 1:
            raise ValueError(f"held_out_chunks {self.held_out_chunks} must be 1 or more")
        if self.start and self.network.expansion:
            raise ValueError(f"start {self.start}: a trained network has no expansion, set it to 0")
        network = self.network.network()
        if network.scale != self.coded.ratio:
            raise ValueError(f"the crops have scale {self.coded.ratio}, the network has {network.scale}")
        around = 2 * network.margin * network.cell.small  # lost at the edges
        least = ceil(around / (1 - VALIDATED))  # the rest must contain the validated centre
        if self.coded.side < least:
            raise ValueError(f"side {self.coded.side}: this network needs crops of {least} or more")

    @property
    def held_out(self) -> CodedSettings:
        """The validation set: same settings, other pictures, other seed."""
        return replace(self.coded, chunks=self.held_out_chunks, seed=self.coded.seed + 1)


def train_pair(recipe: PairRecipe, material: Material, folder: Path, progress: Progress | None = None) -> Trained:
    """Completes the sets, trains, and writes the pair to ``pair`` in the folder; resumes an interrupted run.

    Args:
        recipe: settings.
        material: training material.
        folder: training folder.
        progress: advances with every shot and step.

    Raises:
        VidscaleError: a file cannot be read, encoded or written, or the folder has different settings.
    """
    progress = progress or Progress()
    keep_recipe(recipe, folder)
    sets = Sets(recipe.coded, recipe.held_out, ("coded", "held-out"))
    crops, held_out = map(CodedCrops, complete_sets(sets, material, _maker, progress))
    task = UpscalerTask(recipe.network, recipe.loop, crops, held_out, start=_start(recipe))
    trained = train(task, recipe.loop, folder, progress)
    gain = trained.best_db - task.validate_lanczos()
    write_pair_dir(
        folder / "pair",
        recipe.name,
        _downscaler(recipe.coded),
        task.finish(),
        licence=recipe.licence,
        data=recipe.data,
        training=_summary(recipe, trained, gain),
        overwrite=True,
    )
    return trained


def _is_learned(family: str) -> bool:
    """Whether it is a pair with weights; otherwise it is a filter, or unknown."""
    if family in families():
        return False
    try:
        find_pair_dir(family)
    except ModelError:
        return False
    return True


def _downscaler(coded: CodedSettings) -> Downscaler:
    if coded.family in families():
        return FixedPair(coded.family, coded.ratio, sharpness=coded.sharpness)
    return load_pair_dir(find_pair_dir(coded.family)).downscaler


def _start(recipe: PairRecipe) -> CompactUpscaler | None:
    if not recipe.start:
        return None
    upscaler = load_pair_dir(find_pair_dir(recipe.start)).upscaler
    if not isinstance(upscaler, CompactUpscaler) or upscaler.sizes != recipe.network.network().sizes:
        raise TrainingError(f"{recipe.start}: its upscaler is not the one that the recipe describes")
    return upscaler


def _maker(settings: CodedSettings, photos: Path, folder: Path, clips: Path | None) -> Maker:
    from vidscale.training import coded_maker  # needs PyAV and ffmpeg, which a training machine may lack

    return coded_maker.Maker(settings, photos, folder, clips)


def _summary(recipe: PairRecipe, trained: Trained, gain: float) -> str:
    """How the pair was trained, for its card."""
    return (
        f"vidscale train pair, seed {recipe.loop.seed}: {trained.steps} steps with batches of {recipe.loop.batch} "
        f"coded crops in {trained.seconds / 60:.0f} min on {recipe.loop.device} ({platform.machine()}), torch "
        f"{torch.__version__}; {gain:+.2f} dB over Lanczos interpolation on held-out crops"
    )
