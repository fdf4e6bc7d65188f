"""The training loop shared by all networks."""

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
from vidscale.training.averaged import averaged
from vidscale.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from vidscale.training.log import LogRow, TrainingLog
from vidscale.training.recipes import STRICT

LAST = "last.pt"
BEST = "best.pt"
LOG = "log.jsonl"

_MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """Settings of the training loop.

    Attributes:
        steps: weight updates.
        batch: examples per step.
        learning_rate: peak learning rate of Adam.
        second_beta, epsilon: Adam's beta2 and epsilon. If some gradients stay tiny for long (taps and offsets of CAR),
            0.99 and 1e-5 prevent a sudden large one from causing a huge update.
        warmup_steps: steps of linear warm-up from 0; then the rate decays to 1 % along a cosine.
        ema: decay of the exponential moving average of the weights, 0 to below 1; 0 disables it. The average is what
            is validated and saved.
        validate_every, log_every, checkpoint_every: intervals in steps.
        patience: stop early after this many validations without improvement; 0 never stops early.
        seed: seed of the initial weights and the examples.
        precision: of the convolutions; sums and weights are float32.
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
    """Losses of one step.

    Attributes:
        total: the loss to minimise, a scalar with a graph.
        parts: components for the log, by name.
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters with a learning rate of their own.

    Attributes:
        weights: parameters.
        rate: learning rate relative to the one in the settings.
        delay: steps before they start to learn; then they have a warm-up of their own.
        weight_decay: of AdamW; 0 is plain Adam.
    """

    weights: list[nn.Parameter]
    rate: float = 1.0
    delay: int = 0
    weight_decay: float = 0.0


class Task(Protocol):
    """A network and its training data.

    Attributes:
        network: all weights that are trained.
    """

    @property
    def network(self) -> nn.Module: ...

    def groups(self) -> list[ParameterGroup]:
        """Parameter groups for the optimizer."""

    def losses(self, examples: torch.Generator) -> Losses:
        """The losses of one step; `examples` is the only source of randomness."""

    def validate(self) -> float:
        """Score on held-out data, dB; higher is better. Called in eval mode."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Result of training; the task's network has its best weights.

    Attributes:
        steps: updates in total, including those before a resume.
        best_step, best_db: step and score of the best validation.
        seconds: total wall time, including the time before a resume.
    """

    steps: int
    best_step: int
    best_db: float
    seconds: float


def train(task: Task, settings: LoopSettings, folder: Path, progress: Progress | None = None) -> Trained:
    """Trains for the given steps or until validation stops improving; resumes from the folder's last checkpoint.

    On the CPU an interrupted and resumed run gives bit-identical weights: the examples of a step depend only on the
    seed and the step number, and everything else is in the checkpoint.

    Args:
        task: network and data.
        settings: settings of the loop.
        folder: for ``last.pt``, ``best.pt`` and ``log.jsonl``; created if missing.
        progress: advances with every step; if it raises to stop the run, a checkpoint is written first.

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
            raise TrainingError(f"the loss is no longer finite at step {state.step}: try a lower learning_rate")
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
        except BaseException:  # interrupted: save the state between two steps
            save_checkpoint(folder / LAST, state, network, optimizer, average)
            raise
    load_checkpoint(folder / BEST, network)
    network.eval()
    return Trained(state.step, state.best_step, state.best_db, state.seconds)


def learning_rate(step: int, settings: LoopSettings) -> float:
    """Linear warm-up, then cosine decay to 1 %."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(settings.steps - settings.warmup_steps, 1)
    return settings.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def _risen(step: int, delay: int, settings: LoopSettings) -> float:
    """Warm-up factor of a group with a delay, 0 to 1."""
    return min(max(step - delay, 0) / max(settings.warmup_steps, 1), 1.0) if delay else 1.0


def _examples(seed: int, step: int) -> torch.Generator:
    """Random generator of one step; scrambles the seed, because nearby seeds can give correlated numbers."""
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
    """Validates, with the averaged weights if there are any."""
    network = task.network
    network.eval()
    if average is None:
        return task.validate()
    with averaged(network, average):
        return task.validate()
