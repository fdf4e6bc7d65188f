"""The training loop, the same for every network."""

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from vidscale.errors import TrainingError
from vidscale.system.progress import Progress
from vidscale.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from vidscale.training.log import LogRow, TrainingLog
from vidscale.training.recipes import STRICT

LAST = "last.pt"
BEST = "best.pt"
LOG = "log.jsonl"

_MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How long and how fast is trained.

    Attributes:
        steps: updates of the weights.
        batch: examples per step.
        learning_rate: of Adam, the highest.
        second_beta, epsilon: of Adam: how slowly it forgets how large gradients were, and what is added to that. Where
            some gradients are tiny for long (taps and offsets of CAR), 0.99 and 1e-5 keep a sudden one from a leap.
        warmup_steps: over which the learning rate rises from 0; then it falls to 1 % along a cosine.
        ema: how much of the averaged weights stays each step, 0 to below 1; 0 keeps no average. The average is what is
            validated and kept.
        validate_every, log_every, checkpoint_every: steps.
        patience: validations without a gain after which training stops early; 0 never does.
        seed: of the first weights and of the choice of examples.
        precision: what convolutions run in; sums and weights are float32.
        device: "cpu" or "cuda".
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    steps: int = 10_000
    batch: int = 16
    learning_rate: float = 1e-3
    second_beta: float = 0.999
    epsilon: float = 1e-8
    warmup_steps: int = 100
    ema: float = 0.0
    validate_every: int = 500
    log_every: int = 25
    checkpoint_every: int = 100
    patience: int = 0
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validate_every", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if not (0 < self.learning_rate < 1 and 0 <= self.ema < 1 and min(self.warmup_steps, self.patience) >= 0):
            raise ValueError(f"out of range: {self.learning_rate = }, {self.ema = }, {self.warmup_steps = }")
        if not (0 <= self.second_beta < 1 and self.epsilon > 0):
            raise ValueError(f"out of range: {self.second_beta = }, {self.epsilon = }")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device cuda: torch finds no CUDA device")


@dataclass(frozen=True, slots=True)
class Losses:
    """What one step is judged by.

    Attributes:
        total: what is minimised, a scalar with a graph.
        parts: what the log shows, by name.
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Weights that learn at one rate.

    Attributes:
        weights: parameters.
        rate: their learning rate over that of the settings.
        delay: steps before they learn; then their rate rises from 0 over the warm-up.
        weight_decay: share of the weights that goes each step, over the learning rate (AdamW); 0 is plain Adam.
    """

    weights: list[nn.Parameter]
    rate: float = 1.0
    delay: int = 0
    weight_decay: float = 0.0


class Task(Protocol):
    """What is trained, and on what.

    Attributes:
        network: everything whose weights change.
    """

    @property
    def network(self) -> nn.Module: ...

    def groups(self) -> list[Group]:
        """What learns, and how fast."""

    def losses(self, examples: torch.Generator) -> Losses:
        """The losses of one step, on examples chosen with this generator and nothing else."""

    def validate(self) -> float:
        """How good the networks are on held-out material, dB; higher is better. They are in eval mode."""


@dataclass(frozen=True, slots=True)
class Trained:
    """How a training ended. The task's networks have their best weights then.

    Attributes:
        steps: that were made, those before a resumption included.
        best_step, best_db: when the validation was best, and how good.
        seconds: wall time, of all parts of a resumed training together.
    """

    steps: int
    best_step: int
    best_db: float
    seconds: float


def train(task: Task, settings: LoopSettings, folder: Path, progress: Progress | None = None) -> Trained:
    """Trains until the steps are made or nothing is gained any more; goes on where an earlier run of the folder ended.

    A run that was interrupted at any step and resumed ends with the same bits as one that was not, on the CPU: the
    examples of a step depend on the seed and on the step's number alone, and everything else is in the checkpoint.

    Args:
        task: what is trained.
        settings: how.
        folder: for ``last.pt``, ``best.pt`` and ``log.jsonl``; made where it is missing.
        progress: told about every step; when it raises to end the run, a checkpoint is written first.

    Raises:
        TrainingError: the loss is not finite; the folder cannot be written, or belongs to another training.
    """
    progress = progress or Progress()
    network = task.network.to(settings.device)
    optimizer = torch.optim.AdamW(
        [
            {"params": group.weights, "rate": group.rate, "delay": group.delay, "weight_decay": group.weight_decay}
            for group in task.groups()
        ],
        betas=(0.9, settings.second_beta),
        eps=settings.epsilon,
    )
    average = copy.deepcopy(network).requires_grad_(requires_grad=False) if settings.ema else None
    state = load_checkpoint(folder / LAST, network, optimizer, average) or Checkpoint()
    log = TrainingLog(folder / LOG, keep_until=state.step)
    progress.start("training", settings.steps - state.step, "steps")
    started = time.perf_counter() - state.seconds
    while state.step < settings.steps and not _is_stuck(state, settings):
        for group in optimizer.param_groups:
            group["lr"] = (
                learning_rate(state.step, settings) * group["rate"] * _risen(state.step, group["delay"], settings)
            )
        network.train()
        with torch.autocast(settings.device, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            losses = task.losses(_examples(settings.seed, state.step))
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(network.parameters(), _MAX_GRADIENT_NORM)
        if not torch.isfinite(norm):
            raise TrainingError(f"the loss is not finite any more at step {state.step}: a lower learning rate may help")
        optimizer.step()
        _follow(average, network, settings.ema)
        state = state.after_step(time.perf_counter() - started)

        if state.step % settings.log_every == 0 or state.step == settings.steps:
            parts = {name: float(part) for name, part in losses.parts.items()}
            log.add(LogRow(step=state.step, seconds=state.seconds, loss=float(losses.total.detach()), parts=parts))
        if state.step % settings.validate_every == 0 or state.step == settings.steps:
            decibels = _validated(task, average)
            log.add(LogRow(step=state.step, seconds=state.seconds, validation_db=decibels))
            state = state.after_validation(decibels)
            if state.best_step == state.step:
                save_checkpoint(folder / BEST, state, average or network)
        if state.step % settings.checkpoint_every == 0 or state.step == settings.steps:
            save_checkpoint(folder / LAST, state, network, optimizer, average)
        try:
            progress.advance()
        except BaseException:  # the run is to end, here between two steps
            save_checkpoint(folder / LAST, state, network, optimizer, average)
            raise
    load_checkpoint(folder / BEST, network)
    network.eval()
    return Trained(state.step, state.best_step, state.best_db, state.seconds)


def learning_rate(step: int, settings: LoopSettings) -> float:
    """Rises linearly over the warm-up, then falls to 1 % along half a cosine."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(settings.steps - settings.warmup_steps, 1)
    return settings.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def _risen(step: int, delay: int, settings: LoopSettings) -> float:
    """How much of its rate a group that starts late has, 0 to 1."""
    return min(max(step - delay, 0) / max(settings.warmup_steps, 1), 1.0) if delay else 1.0


def _examples(seed: int, step: int) -> torch.Generator:
    """Chooses the examples of one step; numbers that are near each other must not give choices that are alike."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 0x9E3779B97F4A7C15 % 2**63)


def _is_stuck(state: Checkpoint, settings: LoopSettings) -> bool:
    return bool(settings.patience) and state.step - state.best_step >= settings.patience * settings.validate_every


@torch.no_grad()
def _follow(average: nn.Module | None, network: nn.Module, ema: float) -> None:
    if average is None:
        return
    for mean, weights in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(weights, 1 - ema)
    for kept, buffer in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(buffer)


@torch.no_grad()
def _validated(task: Task, average: nn.Module | None) -> float:
    """The task's own validation, with the averaged weights where there are some."""
    network = task.network
    network.eval()
    if average is None:
        return task.validate()
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(average.state_dict())
    try:
        return task.validate()
    finally:
        network.load_state_dict(own)
