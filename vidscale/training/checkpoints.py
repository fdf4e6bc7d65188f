"""Checkpoints: everything that a training needs to go on as if it had never stopped."""

import math
import pickle
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidscale.errors import TrainingError
from vidscale.training.files import replacing

# What torch and the checks behind it raise for a file that is cut off, or of something else.
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
    """Where a training stands.

    Attributes:
        step: updates made.
        seconds: wall time so far.
        best_step, best_db: of the best validation; 0 and -inf before the first.
    """

    step: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_db: float = -math.inf

    def after_step(self, seconds: float) -> "Checkpoint":
        """One more step is made."""
        return replace(self, step=self.step + 1, seconds=seconds)

    def after_validation(self, decibels: float) -> "Checkpoint":
        """A validation at this step gave so many dB."""
        return replace(self, best_step=self.step, best_db=decibels) if decibels > self.best_db else self


def save_checkpoint(
    path: Path,
    state: Checkpoint,
    network: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    average: nn.Module | None = None,
) -> None:
    """Writes a checkpoint under a temporary name, then renames it: whenever the power fails, one of the two is whole.

    Raises:
        TrainingError: it cannot be written.
    """
    content: dict[str, Any] = {"state": asdict(state), "network": network.state_dict()}
    content["optimizer"] = optimizer.state_dict() if optimizer else None
    content["average"] = average.state_dict() if average else None
    try:
        with replacing(path) as file:
            torch.save(content, file)
    except RuntimeError as error:  # torch reports a full disk as that
        raise TrainingError(f"cannot write {path}: {error}") from error


def load_checkpoint(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    average: nn.Module | None = None,
) -> Checkpoint | None:
    """Puts a checkpoint's content into the networks and the optimiser; None where there is no checkpoint.

    Raises:
        TrainingError: it cannot be read, or is that of another training.
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
