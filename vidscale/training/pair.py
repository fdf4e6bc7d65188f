"""Training of a pair through the real codec: a filter makes pictures small, a network learns to restore them."""

import logging
import platform
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import ClassVar

import torch

from vidscale.errors import ModelError, TrainingError
from vidscale.models.cards import check_name
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.pair_files import write_pair_dir
from vidscale.system.progress import Progress
from vidscale.system.threads import core_count
from vidscale.training.coded_pieces import CHUNKS, CodedPieces, CodedSettings
from vidscale.training.loop import LoopSettings, Trained, train
from vidscale.training.recipes import STRICT, keep_recipe
from vidscale.training.upscaler import VALIDATED, CompactSizes, UpscalerTask

logger = logging.getLogger(__name__)

_CODED, _HELD_OUT = "coded", "held-out"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRecipe:
    """A training of a pair.

    Attributes:
        name: of the pair, family and scale.
        licence, data: for the card.
        held_out_chunks: of the set that is validated on.
        coded: the set of coded pieces, and with it the downscaler.
        network: sizes of the upscaler.
        loop: how long and how fast.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    name: str = "mine-x2"
    licence: str = "unknown"
    data: str = "unknown"
    held_out_chunks: int = 2
    coded: CodedSettings = field(default_factory=CodedSettings)
    network: CompactSizes = field(default_factory=CompactSizes)
    loop: LoopSettings = field(default_factory=LoopSettings)

    def __post_init__(self) -> None:
        try:
            check_name(self.name)
            FixedPair(self.coded.family, self.coded.ratio, sharpness=self.coded.sharpness)
        except ModelError as error:
            raise ValueError(str(error)) from None
        if self.held_out_chunks < 1:
            raise ValueError(f"held_out_chunks {self.held_out_chunks}: 1 or more")
        network = self.network.network()
        if network.scale != self.coded.ratio:
            raise ValueError(f"pieces are of scale {self.coded.ratio}, the network is for {network.scale}")
        around = 2 * network.margin * network.cell.small  # what is restored
        least = ceil(around / (1 - VALIDATED))  # for that to hold what is measured
        if self.coded.side < least:
            raise ValueError(f"side {self.coded.side}: pieces for this network have sides of {least} or more")

    @property
    def held_out(self) -> CodedSettings:
        """The set that is validated on: made alike, of other pictures, by other dice."""
        return replace(self.coded, chunks=self.held_out_chunks, seed=self.coded.seed + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a pair is trained on.

    Attributes:
        photos: folder of photographs; None where the sets are made already.
        validation: folder of other photographs; None likewise.
        clips: folder of movies to train on as well.
        coded: folder for the sets, which trainings of other networks can share.
    """

    photos: Path | None
    validation: Path | None
    clips: Path | None
    coded: Path


def train_pair(recipe: PairRecipe, material: Material, folder: Path, progress: Progress | None = None) -> Trained:
    """Makes the sets that are missing, trains, and writes the pair to ``pair`` in the folder; goes on where it stopped.

    Args:
        recipe: what and how.
        material: to train on.
        folder: of this training.
        progress: told about every shot and every step.

    Raises:
        VidscaleError: something cannot be read, coded or written; the folder holds another training.
    """
    progress = progress or Progress()
    keep_recipe(recipe, folder)
    make_sets(recipe, material, progress)
    pieces, held_out = CodedPieces(material.coded / _CODED), CodedPieces(material.coded / _HELD_OUT)
    task = UpscalerTask(recipe.network, recipe.loop, pieces, held_out)
    trained = train(task, recipe.loop, folder, progress)
    gain = trained.best_db - task.validate_lanczos()
    coded = recipe.coded
    write_pair_dir(
        folder / "pair",
        recipe.name,
        FixedPair(coded.family, coded.ratio, sharpness=coded.sharpness),
        task.finish(),
        licence=recipe.licence,
        data=recipe.data,
        training=_told(recipe, trained, gain),
        overwrite=True,
    )
    return trained


def make_sets(recipe: PairRecipe, material: Material, progress: Progress) -> None:
    """Makes the chunks of both sets that are missing.

    Raises:
        VidscaleError: a picture or movie cannot be read, ffmpeg fails, a folder cannot be written or holds other sets.
    """
    wanted = (
        (recipe.coded, material.photos, "--photos", material.clips, _CODED),
        (recipe.held_out, material.validation, "--validation", None, _HELD_OUT),
    )
    makers = []
    for settings, photos, option, clips, name in wanted:
        folder = material.coded / name
        keep_recipe(settings, folder, CHUNKS)
        if not settings.missing(folder):
            if clips:
                logger.warning("%s is complete: clips are not read", folder)
            continue
        if photos is None:
            raise TrainingError(f"{folder} is not complete; photographs are needed to make the rest ({option})")
        from vidscale.training.coded_maker import Maker  # needs PyAV and ffmpeg, which a machine that only trains lacks

        makers.append(Maker(settings, photos, folder, clips))
    for maker in makers:
        maker.make(progress, jobs=core_count())


def _told(recipe: PairRecipe, trained: Trained, gain: float) -> str:
    """How it was trained, for the card."""
    return (
        f"vidscale train pair, seed {recipe.loop.seed}: {trained.steps} steps of {recipe.loop.batch} coded pieces in "
        f"{trained.seconds / 60:.0f} min on {recipe.loop.device} ({platform.machine()}), torch {torch.__version__}; "
        f"held-out pieces {gain:+.2f} dB over Lanczos interpolation"
    )
