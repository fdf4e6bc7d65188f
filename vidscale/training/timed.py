"""A training loop that ends at a given time, for devices lent by the minute."""

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from vidscale.errors import TrainingError
from vidscale.training.averaged import averaged
from vidscale.training.files import replacing

WEIGHTS = "weights.safetensors"
LOG = "log.jsonl"

Row = dict[str, float]

_EMA = 0.999
_MAX_GRADIENT_NORM = 1.0
_WARMUP_STEPS = 200  # at least, because the first steps take long
_WAIT_EVERY = 20  # steps between two waits for the device, so that queued work does not outlast the time


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedSettings:
    """Settings of the loop.

    Attributes:
        seconds: time by `clock`, validations included.
        learning_rate: peak rate of Adam; it rises over `warmup` of the time, then decays to 0 along a cosine.
        warmup: fraction of the time.
        validate_every, log_every: seconds.
        device: "cpu" or "cuda".
        bfloat16: precision of the convolutions in training; validation is in float32.
        clock: seconds since any moment; `time.process_time` gives equal work on a busy processor.
    """

    seconds: float
    learning_rate: float = 4e-4
    warmup: float = 0.02
    validate_every: float = 60.0
    log_every: float = 30.0
    device: str = "cpu"
    bfloat16: bool = True
    clock: Callable[[], float] = time.perf_counter


class TimedTask(Protocol):
    """What is trained.

    Attributes:
        network: all weights.
    """

    @property
    def network(self) -> nn.Module: ...

    def loss(self, done: float) -> Tensor:
        """The loss of one step on a new batch; `done` is the fraction of the time that is over."""

    def validate(self) -> dict[str, float]:
        """Scores on held-out pictures by name; ``psnr_y`` in dB decides which weights are kept."""


def train_for(
    task: TimedTask, settings: TimedSettings, folder: Path, logged: Callable[[Row], None] = lambda row: None
) -> Row:
    """Trains until the time is over, and keeps the average of the weights that validated best.

    Args:
        task: network and data.
        settings: settings.
        folder: for ``weights.safetensors`` (of the best validation so far) and ``log.jsonl``.
        logged: called with each row of the log.

    Returns:
        the best validation's scores, and ``step``, ``seconds``, ``steps``.

    Raises:
        TrainingError: the loss is not finite, or a file cannot be written.
    """
    log = _Log(folder, logged, settings.clock)
    network = task.network.to(settings.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99), fused=settings.device == "cuda")
    average = copy.deepcopy(network)
    step, best = 0, {"psnr_y": -math.inf}
    logged_at = validated_at = validation_s = 0.0
    while (spent := log.seconds()) < settings.seconds - 1.5 * validation_s or step == 0:
        done = spent / settings.seconds
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _rate(done, settings.warmup, step)
        network.train()
        with torch.autocast(settings.device, torch.bfloat16, enabled=settings.bfloat16):
            loss = task.loss(done)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), _MAX_GRADIENT_NORM)
        optimizer.step()
        _follow(average, network, step)
        step += 1
        if step % _WAIT_EVERY == 0 and not math.isfinite(value := float(loss.detach())):
            raise TrainingError(f"the loss is {value} at step {step}: try a lower learning rate")
        if spent - logged_at >= settings.log_every:
            logged_at = spent
            log.add(step, {"loss": float(loss.detach()), "rate": optimizer.param_groups[0]["lr"]})
        if spent - validated_at >= settings.validate_every:
            validated_at = spent
            best, validation_s = _validated(task, average, best, step, log)
    best, _ = _validated(task, average, best, step, log)
    result = best | {"seconds": round(log.seconds(), 1), "steps": step}
    log.add(step, {f"best_{key}": value for key, value in result.items()})
    return result


class _Log:
    """Rows with the time since the start."""

    def __init__(self, folder: Path, logged: Callable[[Row], None], clock: Callable[[], float]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._logged = folder, logged
        self._clock, self._started = clock, clock()

    def seconds(self) -> float:
        return self._clock() - self._started

    def add(self, step: int, row: Row) -> None:
        row = {"step": step, "seconds": round(self.seconds(), 1)} | row
        with (self.folder / LOG).open("a") as file:
            file.write(json.dumps(row) + "\n")
        self._logged(row)


def _validated(task: TimedTask, average: nn.Module, best: Row, step: int, log: _Log) -> tuple[Row, float]:
    """Validates the averaged weights; returns the best scores so far, and how many seconds that took."""
    begun = log.seconds()
    task.network.eval()
    with averaged(task.network, average):
        scores = task.validate()
    if scores["psnr_y"] > best["psnr_y"]:
        best = scores | {"step": step}
        save_weights(log.folder / WEIGHTS, average)
    took = log.seconds() - begun
    log.add(step, scores | {"validation_seconds": round(took, 1)})
    return best, took


def save_weights(path: Path, network: nn.Module) -> None:
    """Writes the weights as float32 safetensors."""
    from safetensors.torch import save

    state = {key: value.detach().float().cpu().contiguous() for key, value in network.state_dict().items()}
    with replacing(path) as file:
        file.write(save(state))


def _rate(done: float, warmup: float, step: int) -> float:
    risen = min(done / warmup, (step + 1) / _WARMUP_STEPS, 1.0)
    decayed = (1 + math.cos(math.pi * min(max(done - warmup, 0) / (1 - warmup), 1))) / 2
    return risen * decayed


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, step: int) -> None:
    """The moving average; over fewer steps at the beginning."""
    kept = min(_EMA, (1 + step) / (10 + step))
    means: list[Tensor] = list(average.parameters())
    weights: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(means, weights, 1 - kept)
