"""A training loop that ends at a given time, for devices lent by the minute."""

import copy
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from vidscale.errors import TrainingError
from vidscale.training.files import replacing

WEIGHTS = "weights.safetensors"
LOG = "log.jsonl"

_EMA = 0.999
_MAX_GRADIENT_NORM = 1.0
_WARMUP_STEPS = 200  # at least, because the first steps take long
_WAIT_EVERY = 20  # steps between two waits for the device, so that queued work does not outlast the time


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedSettings:
    """Settings of the loop.

    Attributes:
        seconds: wall time, validations included.
        learning_rate: peak rate of Adam; it rises over `warmup` of the time, then decays to 0 along a cosine.
        warmup: fraction of the time.
        validate_every, log_every: seconds.
        device: "cpu" or "cuda".
        bfloat16: precision of the convolutions in training; validation is in float32.
    """

    seconds: float
    learning_rate: float = 4e-4
    warmup: float = 0.02
    validate_every: float = 60.0
    log_every: float = 30.0
    device: str = "cpu"
    bfloat16: bool = True


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


def train_for(task: TimedTask, settings: TimedSettings, folder: Path, name: str) -> dict[str, float]:
    """Trains until the time is over, and keeps the average of the weights that validated best.

    Args:
        task: network and data.
        settings: settings.
        folder: for ``weights.safetensors`` (of the best validation so far) and ``log.jsonl``.
        name: for the lines printed.

    Returns:
        the best validation's scores, and ``step``, ``seconds``, ``steps``.

    Raises:
        TrainingError: the loss is not finite, or a file cannot be written.
    """
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    network = task.network.to(settings.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99), fused=settings.device == "cuda")
    average = copy.deepcopy(network)
    best, step, spent, loss = {"psnr_y": -math.inf}, 0, 0.0, torch.zeros(())
    logged = validated = last_validation = 0.0

    def say(row: dict[str, float]) -> None:
        row = {"step": step, "seconds": round(spent, 1)} | row
        with (folder / LOG).open("a") as log:
            log.write(json.dumps(row) + "\n")
        sys.stdout.write(f"{name}: " + ", ".join(f"{key} {value:.6g}" for key, value in row.items()) + "\n")
        sys.stdout.flush()

    def validate() -> float:
        nonlocal best
        begun = time.perf_counter()
        own = network.state_dict()
        own = {key: value.clone() for key, value in own.items()}
        network.load_state_dict(average.state_dict())
        network.eval()
        scores = task.validate()
        if scores["psnr_y"] > best["psnr_y"]:
            best = scores | {"step": step}
            save_weights(folder / WEIGHTS, network)
        network.load_state_dict(own)
        took = time.perf_counter() - begun
        say(scores | {"validation_seconds": round(took, 1)})
        return took

    while (spent := time.perf_counter() - started) < settings.seconds - 1.5 * last_validation or step == 0:
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
            raise TrainingError(f"{name}: the loss is {value} at step {step}: try a lower learning rate")
        if spent - logged >= settings.log_every:
            logged = spent
            say({"loss": float(loss.detach()), "rate": optimizer.param_groups[0]["lr"]})
        if spent - validated >= settings.validate_every:
            validated, last_validation = spent, validate()
    spent = time.perf_counter() - started
    validate()
    result = best | {"seconds": round(time.perf_counter() - started, 1), "steps": step}
    say({f"best_{key}": value for key, value in result.items()})
    return result


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
