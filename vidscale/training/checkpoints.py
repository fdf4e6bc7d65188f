"""Checkpoints: the full state needed to resume training as if it had never stopped."""

import math
import pickle
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidscale.errors import TrainingError
from vidscale.training.files import replacing

# What torch and the code below raise for a truncated or unrelated file.
_DAMAGED = (
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.PickleError,
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Progress of a training run.

    Attributes:
        step: updates so far.
        seconds: wall time so far.
        best_step, best_db: step and score of the best validation; 0 and -inf before the first.
    """

    step: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_db: float = -math.inf

    def after_step(self, seconds: float) -> "Checkpoint":
        """The state after another step."""
        return replace(self, step=self.step + 1, seconds=seconds)

    def after_validation(self, decibels: float) -> "Checkpoint":
        """The state after a validation at this step."""
        return replace(self, best_step=self.step, best_db=decibels) if decibels > self.best_db else self


def save_checkpoint(
    path: Path,
    state: Checkpoint,
    network: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    average: nn.Module | None = None,
) -> None:
    """Writes a checkpoint under a temporary name, then renames it, so that a crash leaves the old or the new one whole.

    Raises:
        TrainingError: the file cannot be written.
    """
    content: dict[str, Any] = {"state": asdict(state), "network": network.state_dict()}
    content["optimizer"] = optimizer.state_dict() if optimizer else None
    content["average"] = average.state_dict() if average else None
    try:
        with replacing(path) as file:
            torch.save(content, file)
    except RuntimeError as error:  # how torch reports a full disk
        raise TrainingError(f"cannot write {path}: {error}") from error


def load_checkpoint(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    average: nn.Module | None = None,
) -> Checkpoint | None:
    """Loads a checkpoint into the networks and the optimizer.

    Returns:
        its state; None if the file does not exist.

    Raises:
        TrainingError: it cannot be read, or belongs to another training.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(content["network"])
        if optimizer is not None:
            optimizer.load_state_dict(content["optimizer"])
        if average is not None:
            average.load_state_dict(content["average"])
        return Checkpoint(**content["state"])
    except _DAMAGED as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(f"{path} is damaged or belongs to another training ({reason})") from error
