"""Crops of photographs packed into one file, memory-mapped so that it need not fit in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vidscale.errors import TrainingError
from vidscale.system.progress import Progress
from vidscale.training.files import replacing

Codes = npt.NDArray[np.uint8]
SampleT = TypeVar("SampleT", bound=np.generic)

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


def find_pictures(folder: Path) -> list[Path]:
    """Pictures in a folder, searched recursively, sorted by name.

    Raises:
        TrainingError: no pictures.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not found:
        raise TrainingError(f"no pictures in {folder} ({', '.join(PICTURES)})")
    return found


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture, from its header only.

    Raises:
        TrainingError: it cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error


def read_rgb(path: Path) -> Codes:
    """A picture as [H, W, 3] uint8 RGB.

    Raises:
        TrainingError: it cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error


def pack_crops(
    pictures: Sequence[Path], path: Path, *, side: int, count: int, seed: int = 0, progress: Progress | None = None
) -> int:
    """Packs random crops of pictures into one ``.npy`` file: [count, 3, side, side] uint8.

    The number of crops per picture is proportional to the square root of its area, so that large pictures do not
    dominate. Pictures smaller than a crop are skipped.

    Args:
        pictures: picture files.
        path: file to write.
        side: side of a crop, samples.
        count: number of crops.
        seed: random seed.
        progress: advances with every picture.

    Returns:
        number of pictures that were large enough.

    Raises:
        TrainingError: a picture cannot be read, none is large enough, or the file cannot be written.
    """
    progress = progress or Progress()
    rng = np.random.default_rng(seed)
    large = [(picture, size) for picture in pictures if min(size := picture_size(picture)) >= side]
    if not large:
        raise TrainingError(f"no picture is at least {side}x{side}")
    weights = np.sqrt([height * width for _, (height, width) in large])
    shares = rng.multinomial(count, weights / weights.sum())
    progress.start("packing", len(large), "pictures")
    with replacing(path) as packed:
        head = {"descr": "|u1", "fortran_order": False, "shape": (count, 3, side, side)}
        np.lib.format.write_array_header_1_0(packed, head)
        for share, (picture, (height, width)) in zip(shares, large, strict=True):
            image = read_rgb(picture)
            for _ in range(share):
                top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
                packed.write(image[top : top + side, left : left + side].transpose(2, 0, 1).tobytes())
            progress.advance()
    return len(large)


def mapped(path: Path) -> npt.NDArray[Any]:
    """Memory-maps a ``.npy`` file.

    Raises:
        TrainingError: not such a file, or it cannot be read.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error


class Records:
    """The records of several ``.npy`` files, memory-mapped and numbered from 0.

    Args:
        paths: the files, in order.

    Attributes:
        files: their arrays.

    Raises:
        TrainingError: see `mapped`.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.files = [mapped(path) for path in paths]
        self._ends = np.cumsum([len(file) for file in self.files])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.files else 0

    def __getitem__(self, index: int) -> Any:
        number = int(np.searchsorted(self._ends, index, side="right"))
        file = self.files[number]
        return file[index - int(self._ends[number]) + len(file)]


class Crops:
    """Packed crops, from which random smaller crops are cut.

    Args:
        path: file from `pack_crops`.

    Raises:
        TrainingError: not such a file.
    """

    def __init__(self, path: Path) -> None:
        self._packed: Codes = mapped(path)
        if self._packed.ndim != 4 or self._packed.shape[1] != 3 or self._packed.dtype != np.uint8:
            raise TrainingError(f"{path} is not a file of packed crops")

    def __len__(self) -> int:
        return len(self._packed)

    @property
    def side(self) -> int:
        """Side of a packed crop, samples."""
        return int(self._packed.shape[-1])

    def batch(self, number: int, side: int, examples: torch.Generator) -> Tensor:
        """Random crops, randomly flipped and transposed.

        Args:
            number: number of crops.
            side: side of each, at most that of the packed crops.
            examples: source of randomness.

        Returns:
            [number, 3, side, side] float32 RGB in [0, 1].
        """
        room = self.side - side + 1
        if room < 1:
            raise TrainingError(f"cannot cut {side}x{side} crops from packed crops of {self.side}x{self.side}")
        index, top, left, turn = (
            torch.randint(0, limit, (number,), generator=examples).tolist() for limit in (len(self), room, room, 8)
        )
        parts = [self._part(*place, side) for place in zip(index, top, left, turn, strict=True)]
        return torch.from_numpy(np.stack(parts)).float() / 255

    def _part(self, index: int, top: int, left: int, turn: int, side: int) -> Codes:
        return turned(self._packed[index, :, top : top + side, left : left + side], turn)


def turned(part: npt.NDArray[SampleT], turn: int) -> npt.NDArray[SampleT]:
    """A square crop [..., side, side] in one of its eight orientations, 0 to 7."""
    if turn & 1:
        part = part[..., ::-1, :]
    if turn & 2:
        part = part[..., ::-1]
    return part.swapaxes(-1, -2) if turn & 4 else part


def held_out_pictures(files: Sequence[Path], *, side: int | None = None) -> list[Tensor]:
    """Reads the validation pictures.

    Args:
        files: picture files.
        side: crops the centre of larger pictures to this side; None keeps whole pictures.

    Returns:
        [3, H, W] float RGB in [0, 1] each.

    Raises:
        TrainingError: a picture cannot be read.
    """
    pictures = []
    for file in files:
        codes = read_rgb(file)
        height, width = (min(side or length, length) for length in codes.shape[:2])
        top, left = (codes.shape[0] - height) // 2, (codes.shape[1] - width) // 2
        middle = codes[top : top + height, left : left + width]
        pictures.append(torch.from_numpy(middle.copy()).permute(2, 0, 1).float() / 255)
    return pictures
