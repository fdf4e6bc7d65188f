"""Pictures in the memory of the device that trains, cropped and turned there."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vidscale.errors import TrainingError
from vidscale.training.crops import read_rgb


class ResidentPictures:
    """Square pictures as one tensor, from which random crops are cut.

    Args:
        files: pictures of one size.
        device: where they are kept.

    Raises:
        TrainingError: a picture cannot be read, or the sizes differ.
    """

    def __init__(self, files: Sequence[Path], device: str) -> None:
        pictures = [read_rgb(file) for file in files]
        sizes = {picture.shape for picture in pictures}
        if len(sizes) != 1:
            raise TrainingError(f"pictures must be of one size, not {sorted(sizes)[:3]}")
        self._codes = torch.from_numpy(np.stack(pictures)).to(device)
        self._random = torch.Generator(device)

    def __len__(self) -> int:
        return len(self._codes)

    def seed(self, seed: int) -> None:
        """Restarts the random sequence."""
        self._random.manual_seed(seed)

    def batch(self, number: int, side: int) -> Tensor:
        """Random crops, randomly flipped and transposed.

        Returns:
            [number, 3, side, side] float32 RGB in [0, 1], channels last.
        """
        count, height, width, _ = self._codes.shape
        if side > min(height, width):
            raise TrainingError(f"cannot cut {side}x{side} crops from pictures of {width}x{height}")
        index, top, left = (self._whole(limit, number) for limit in (count, height - side + 1, width - side + 1))
        flip_rows, flip_columns, transpose = (self._whole(2, number).bool() for _ in range(3))
        line = torch.arange(side, device=self._codes.device)
        down, right = line[None, :, None], line[None, None, :]
        rows, columns = torch.where(transpose, right, down), torch.where(transpose, down, right)
        rows = top + torch.where(flip_rows, side - 1 - rows, rows)
        columns = left + torch.where(flip_columns, side - 1 - columns, columns)
        return (self._codes[index, rows, columns].float() / 255).permute(0, 3, 1, 2)

    def uniform(self, number: int) -> Tensor:
        """[number, 1, 1, 1] uniform in [0, 1)."""
        return torch.rand((number, 1, 1, 1), generator=self._random, device=self._codes.device)

    def _whole(self, limit: int, number: int) -> Tensor:
        return torch.randint(limit, (number, 1, 1), generator=self._random, device=self._codes.device)
