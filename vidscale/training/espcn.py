"""Trains ESPCN on your own footage: luma downscaled by a fixed filter, no codec."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vidscale.errors import TrainingError
from vidscale.media.frames import PixelFormat, Plane, YuvImage
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.networks.espcn import ESPCN, SCALES
from vidscale.models.pair_files import write_pair_dir
from vidscale.system.progress import Progress
from vidscale.training.crops import turned
from vidscale.training.footage import Footage, Luma, find_films, split, whole
from vidscale.training.log import Section
from vidscale.training.loop import LoopSettings, Losses, ParameterGroup, Trained, train
from vidscale.training.recipes import STRICT, keep_recipe
from vidscale.triton_kernels.metrics import psnr
from vidscale.triton_kernels.polyphase import polyphase_resample

MIDDLE = 512  # frames are measured on a centre crop of at most this side, HR samples

_CENTRED = (Fraction(1, 2), Fraction(1, 2))
_PERFECT_DB = 100.0  # stands for infinity in means


@dataclass(frozen=True, slots=True, kw_only=True)
class EspcnRecipe:
    """Settings for training ESPCN.

    Attributes:
        licence, data: for the card; if empty, they name the footage.
        scale: 2, 3 or 4.
        down: downscaling filter: "lanczos", or "gaussian": a blur of 0.4 LR samples, then decimation.
        crop: side of the HR crops, a multiple of the scale.
        frames: frames read per step; each gives the same number of crops.
        held_out: fraction of each film, at its end, held out for validation.
        measured: frames to measure per footage, evenly spread; a centre crop of each, at most 512x512.
        loop: settings of the training loop. An epoch is the steps between two validations.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    licence: str = ""
    data: str = ""
    scale: int = 2
    down: Literal["lanczos", "gaussian"] = "lanczos"
    crop: int = 48
    frames: int = 4
    held_out: float = 0.1
    measured: int = 16
    loop: LoopSettings = field(default_factory=LoopSettings)

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ValueError(f"scale {self.scale}: ESPCN supports {', '.join(map(str, SCALES))}")
        if self.crop < self.scale or self.crop % self.scale:
            raise ValueError(f"crop {self.crop} is not a multiple of {self.scale}")
        if self.frames < 1 or self.loop.batch % self.frames:
            raise ValueError(f"loop.batch {self.loop.batch} is not a multiple of frames {self.frames}")
        if not 0 < self.held_out < 1 or self.measured < 1:
            raise ValueError(f"out of range: {self.held_out = }, {self.measured = }")

    @property
    def downscaler(self) -> FixedPair:
        """The downscaling filter."""
        return FixedPair(self.down, Fraction(self.scale))


@dataclass(frozen=True, slots=True)
class FilmScore:
    """Luma PSNR of a film by upscaler, dB, mean over frames; a perfect frame counts as 100 dB.

    Attributes:
        film: name; "" for all of the footage.
        familiar: other frames of the film were trained on.
        frames: number of frames measured.
        bilinear, bicubic: interpolation.
        espcn: the network.
    """

    film: str
    familiar: bool
    frames: int
    bilinear: float
    bicubic: float
    espcn: float


@dataclass(frozen=True, slots=True)
class TrainedEspcn:
    """Result of training ESPCN.

    Attributes:
        trained: see `vidscale.training.loop.Trained`.
        scores: familiar films first; the films of each footage are followed by their total.
    """

    trained: Trained
    scores: tuple[FilmScore, ...]


class EspcnTask:
    """ESPCN as a task for `vidscale.training.loop.train`.

    Args:
        recipe: settings.
        footage: training frames.
        held_out: validation frames.
    """

    def __init__(self, recipe: EspcnRecipe, footage: Footage, held_out: Footage) -> None:
        self.recipe = recipe
        torch.manual_seed(recipe.loop.seed)
        self.network = ESPCN(recipe.scale)
        self._small_side = recipe.crop // recipe.scale + 2 * self.network.margin
        footage.check_sides(self._small_side * recipe.scale)
        self._footage, self._downscale = footage, recipe.downscaler.downscale
        self._held_out = [
            self.pair(_middle(held_out[index], recipe.scale)) for index in held_out.evenly(recipe.measured)
        ]

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.network.parameters()))]

    def losses(self, examples: torch.Generator) -> Losses:
        recipe = self.recipe
        chosen = torch.randint(0, len(self._footage), (recipe.frames,), generator=examples).tolist()
        each = recipe.loop.batch // recipe.frames
        crops = [crop for index in chosen for crop in self.examples(self._footage[index], each, examples)]
        lr, hr = (torch.stack(part)[:, None].to(recipe.loop.device) for part in zip(*crops, strict=True))
        mse = F.mse_loss(self.network(lr), hr)
        return Losses(mse)

    def validate(self) -> float:
        """Mean luma PSNR of the held-out frames, dB."""
        scores = [frame_psnr(self.restored(lr, hr), hr) for lr, hr in self._held_out]
        return sum(scores) / len(scores)

    def pair(self, hr: Luma) -> tuple[Luma, Luma]:
        """A frame downscaled, and the frame itself."""
        small = self._downscale(YuvImage((hr.codes,), PixelFormat("gray", hr.bit_depth)))[0]
        return Luma(small, hr.bit_depth), hr

    def restored(self, lr: Luma, hr: Luma) -> Luma:
        """The small frame upscaled to the size of `hr`, as in `vidscale decode`."""
        from vidscale.models.luma_torch import TorchLumaUpscaler

        upscale = TorchLumaUpscaler(self.network, 0, lr.bit_depth, self.recipe.loop.device, torch.float32)
        return Luma(upscale(lr.codes, *hr.codes.shape), lr.bit_depth)

    def examples(self, frame: Luma, number: int, choice: torch.Generator) -> list[tuple[Tensor, Tensor]]:
        """Random crops of a frame, randomly flipped and transposed.

        Args:
            frame: frame at full size.
            number: number of crops.
            choice: source of randomness.

        Returns:
            pairs of LR [h, h], including the network's margin, and HR [crop, crop]; floats, code / peak.
        """
        (lr, _), (hr, bit_depth) = self.pair(frame)
        scale, side, margin = self.recipe.scale, self._small_side, self.network.margin
        room = [length // scale - side + 1 for length in hr.shape]
        if min(room) < 1:
            raise TrainingError(f"a frame of {hr.shape[1]}x{hr.shape[0]} is too small for crops of {self.recipe.crop}")
        tops, lefts, turns = (torch.randint(0, limit, (number,), generator=choice).tolist() for limit in (*room, 8))
        peak = (1 << bit_depth) - 1
        crops = []
        for top, left, turn in zip(tops, lefts, turns, strict=True):
            inner = _square(hr, (top + margin) * scale, (left + margin) * scale, self.recipe.crop)
            crops.append((_turned(_square(lr, top, left, side), turn, peak), _turned(inner, turn, peak)))
        return crops


def frame_psnr(dist: Luma, ref: Luma) -> float:
    """Luma PSNR of a frame, dB, at most 100."""
    mse = np.square(dist.codes.astype(np.float64) - ref.codes).mean()
    return min(psnr(float(mse), ref.bit_depth), _PERFECT_DB)


def _middle(frame: Luma, scale: int) -> Luma:
    height, width = (min(MIDDLE, side) // scale * scale for side in frame.codes.shape)
    top, left = (frame.codes.shape[0] - height) // 2, (frame.codes.shape[1] - width) // 2
    return frame._replace(codes=frame.codes[top : top + height, left : left + width])


def _turned(part: Plane, turn: int, peak: int) -> Tensor:
    """Floats in [0, 1]."""
    return torch.from_numpy(turned(part, turn).astype(np.float32) / np.float32(peak))


def _square(plane: Plane, top: int, left: int, side: int) -> Plane:
    return plane[top : top + side, left : left + side]


def _measured(task: EspcnTask, footage: Footage, progress: Progress, *, familiar: bool) -> list[FilmScore]:
    """A score per film measured, then one for all of them."""
    films: dict[int, list[tuple[float, float, float]]] = {}
    chosen = footage.evenly(task.recipe.measured)
    progress.start("measuring familiar footage" if familiar else "measuring unfamiliar footage", len(chosen))
    for index in chosen:
        lr, hr = task.pair(_middle(footage[index], task.recipe.scale))
        ways = (_bilinear(lr, hr), _bicubic(lr, hr, task.recipe.scale), task.restored(lr, hr))
        bilinear, bicubic, espcn = (frame_psnr(way, hr) for way in ways)
        films.setdefault(footage.place(index), []).append((bilinear, bicubic, espcn))
        progress.advance()
    named = [(footage.parts[place].film.name, frames) for place, frames in films.items()]
    named.append(("", [frame for _, frames in named for frame in frames]))
    return [FilmScore(name, familiar, len(frames), *np.mean(frames, axis=0).tolist()) for name, frames in named]


def _bilinear(lr: Luma, hr: Luma) -> Luma:
    codes = torch.from_numpy(lr.codes.astype(np.float32))[None, None]
    upscaled = F.interpolate(codes, hr.codes.shape, mode="bilinear").numpy()[0, 0]
    return Luma((upscaled + 0.5).astype(lr.codes.dtype), lr.bit_depth)


def _bicubic(lr: Luma, hr: Luma, scale: int) -> Luma:
    codes = polyphase_resample(
        lr.codes,
        step=Fraction(1, scale),
        siting=_CENTRED,
        size=(hr.codes.shape[0], hr.codes.shape[1]),
        kind="bicubic",
        bit_depth=lr.bit_depth,
    )
    return Luma(codes, lr.bit_depth)


def train_espcn(
    recipe: EspcnRecipe, footage: Path, unfamiliar: Path, folder: Path, progress: Progress | None = None
) -> TrainedEspcn:
    """Trains ESPCN, or resumes training, and measures the result; see `vidscale.training.loop.train`.

    Args:
        recipe: settings.
        footage: folder of films to train on.
        unfamiliar: folder of other films, for measuring only.
        folder: training folder; the pair is written to ``pair`` in it.
        progress: advances with every step.

    Raises:
        TrainingError: a file cannot be read or written, or the folder has different settings.
    """
    progress = progress or Progress()
    learned, held_out = split(find_films(footage), recipe.held_out)
    others = whole(find_films(unfamiliar))
    others.check_sides(recipe.scale)
    keep_recipe(recipe, folder)
    task = EspcnTask(recipe, learned, held_out)
    trained = train(task, recipe.loop, folder, progress)
    scores = _measured(task, held_out, progress, familiar=True)
    scores += _measured(task, others, progress, familiar=False)
    write_pair_dir(
        folder / "pair",
        f"espcn-x{recipe.scale}",
        recipe.downscaler,
        task.network.cpu().eval(),
        licence=recipe.licence or f"same as the footage in {footage.name}",
        data=recipe.data or f"{len(learned)} frames of {len(learned.parts)} films in {footage.name}",
        training=f"vidscale train espcn, {trained.steps} steps, seed {recipe.loop.seed}",
        overwrite=True,
    )
    return TrainedEspcn(trained, tuple(scores))


def section(scores: Sequence[FilmScore]) -> Section:
    """The scores as a table."""
    from vidscale.web.page import Table

    rows = tuple(
        (
            score.film or ("all familiar" if score.familiar else "all unfamiliar"),
            str(score.frames),
            *(f"{value:.2f}" for value in (score.bilinear, score.bicubic, score.espcn)),
            f"{score.espcn - score.bicubic:+.2f}",
        )
        for score in scores
    )
    head = ("Footage", "Frames", "Bilinear", "Bicubic", "ESPCN", "Over bicubic")
    hint = (
        f"Luma PSNR in dB, mean over frames, measured on a centre crop of at most {MIDDLE}x{MIDDLE}. Familiar: other "
        "frames of the training films. Unfamiliar: films not used for training."
    )
    return Section("Familiar and unfamiliar footage", hint, Table(head, rows))
