"""Trains the downscaler of a pair for its upscaler, through the codec proxy."""

import platform
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from vidscale.errors import ModelError, TrainingError
from vidscale.models.cards import check_name, find_pair_dir
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.networks.back_projection import BackProjection
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.models.pair_files import load_pair_dir, write_pair_dir
from vidscale.system.progress import Progress
from vidscale.training.downscaler import DownscalerTask, Weights
from vidscale.training.loop import LoopSettings, Trained, train
from vidscale.training.material import Maker, Material, Sets, complete_sets
from vidscale.training.recipes import STRICT, keep_recipe
from vidscale.training.triples import Triples, TripleSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class BackProjectionSizes:
    """Sizes of `vidscale.models.networks.back_projection.BackProjection`.

    Attributes:
        width: channels.
        depth: convolutions, at least 2.
        reach: support of the linear filter in samples, odd.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    width: int = 12
    depth: int = 3
    reach: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DownscalerRecipe:
    """Settings for training the downscaler of a pair.

    Attributes:
        name: of the new pair: family and scale.
        licence, data: for the card.
        pair: name or folder of the pair whose upscaler restores the pictures.
        guide: name or folder of the pair whose upscaler's error is projected back; "" for the same. A smaller one is
            faster.
        start: folder of a pair whose downscaler the training starts from, with any guide; "" starts from the filter.
        beside: name or folder of a pair with a larger downscaler, which the new pair has too, for the effort "patient";
            the trained one is for "normal". "" for none.
        held_out_shots: triples in the validation set.
        triples: the training set, which includes the filter.
        network: sizes of the downscaler.
        weights: of the measures of quality.
        loop: settings of the training loop.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    name: str = "mine-x2"
    licence: str = "unknown"
    data: str = "unknown"
    pair: str = "adaptive-x2"
    guide: str = ""
    start: str = ""
    beside: str = ""
    held_out_shots: int = 48
    triples: TripleSettings = field(default_factory=TripleSettings)
    network: BackProjectionSizes = field(default_factory=BackProjectionSizes)
    weights: Weights = field(default_factory=Weights)
    loop: LoopSettings = field(default_factory=LoopSettings)

    def __post_init__(self) -> None:
        try:
            check_name(self.name)
        except ModelError as error:
            raise ValueError(str(error)) from None
        if self.held_out_shots < 1:
            raise ValueError(f"held_out_shots {self.held_out_shots} must be 1 or more")

    @property
    def held_out(self) -> TripleSettings:
        """The validation set: same settings, other pictures, other seed, no clips."""
        return replace(self.triples, chunks=1, shots=self.held_out_shots, clip_share=0, seed=self.triples.seed + 1)


def train_downscaler(
    recipe: DownscalerRecipe, material: Material, folder: Path, progress: Progress | None = None
) -> Trained:
    """Completes the sets, trains, and writes the pair to ``pair`` in the folder; resumes an interrupted run.

    Args:
        recipe: settings.
        material: training material.
        folder: training folder.
        progress: advances with every shot and step.

    Raises:
        VidscaleError: a file cannot be read or written, a pair does not fit, or the folder has different settings.
    """
    progress = progress or Progress()
    keep_recipe(recipe, folder)
    upscaler = _upscaler(recipe.pair)
    network = _network(recipe, _upscaler(recipe.guide or recipe.pair))
    network.sharpness = _sharpness(recipe.pair)
    sets = Sets(recipe.triples, recipe.held_out, ("triples", "held-out-triples"))
    triples, held_out = map(Triples, complete_sets(sets, material, _maker, progress))
    task = DownscalerTask(network, upscaler, recipe.loop, triples, held_out, recipe.weights)
    trained = train(task, recipe.loop, folder, progress)
    trained_one, larger = network.cpu().eval(), _downscaler_of(recipe.beside) if recipe.beside else None
    write_pair_dir(
        folder / "pair",
        recipe.name,
        larger or trained_one,
        upscaler.cpu(),
        quick_downscaler=trained_one if larger else None,
        licence=recipe.licence,
        data=recipe.data,
        training=_summary(recipe, trained),
        overwrite=True,
    )
    return trained


def _upscaler(name: str) -> CompactUpscaler:
    upscaler = load_pair_dir(find_pair_dir(name)).upscaler
    if not isinstance(upscaler, CompactUpscaler):
        raise TrainingError(f"{name}: only compact upscalers can guide a downscaler")
    return upscaler


def _sharpness(name: str) -> float:
    """Of the filter of a pair."""
    downscaler = load_pair_dir(find_pair_dir(name)).downscaler
    return downscaler.sharpness if isinstance(downscaler, FixedPair | BackProjection) else 0.0


def _network(recipe: DownscalerRecipe, guide: CompactUpscaler) -> BackProjection:
    torch.manual_seed(recipe.loop.seed)
    sizes = recipe.network
    try:
        network = BackProjection(guide, width=sizes.width, depth=sizes.depth, reach=sizes.reach)
    except ValueError as error:
        raise TrainingError(str(error)) from error
    if recipe.start:
        own = _own_weights(_downscaler_of(recipe.start))
        if _shapes(own) != _shapes(_own_weights(network)):
            raise TrainingError(f"{recipe.start}: its downscaler is not the one that the recipe describes")
        network.load_state_dict(network.state_dict() | own)
    return network


def _own_weights(network: BackProjection) -> dict[str, Tensor]:
    """Without those of the guide."""
    return {name: value for name, value in network.state_dict().items() if not name.startswith("guide.")}


def _shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in weights.items()}


def _downscaler_of(name: str) -> BackProjection:
    downscaler = load_pair_dir(find_pair_dir(name)).downscaler
    if not isinstance(downscaler, BackProjection):
        raise TrainingError(f"{name}: its downscaler has no network")
    return downscaler


def _maker(settings: TripleSettings, photos: Path, folder: Path, clips: Path | None) -> Maker:
    from vidscale.training.triple_maker import TripleMaker  # needs PyAV, which a training machine may lack

    return TripleMaker(settings, photos, folder, clips)


def _summary(recipe: DownscalerRecipe, trained: Trained) -> str:
    """How the pair was trained, for its card."""
    return (
        f"vidscale train downscaler for {recipe.pair}, seed {recipe.loop.seed}: {trained.steps} steps of "
        f"{recipe.loop.batch} triples in {trained.seconds / 60:.0f} min on {recipe.loop.device} "
        f"({platform.machine()}), torch {torch.__version__}; {trained.best_db:+.2f} dB over the filter at equal bits "
        "of the codec proxy"
    )
