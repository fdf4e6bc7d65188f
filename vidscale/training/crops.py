"""Pieces of photographs in one file: read by mapping, so that it need not fit in memory, and easy to carry along."""

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
    """Pictures in a folder and below it, sorted by name.

    Raises:
        TrainingError: there is none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not found:
        raise TrainingError(f"{folder} holds no pictures ({', '.join(PICTURES)})")
    return found


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture, from its head alone.

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
    """Cuts pieces out of pictures and writes them into one file, ``.npy``: [count, 3, side, side] uint8.

    Each picture gives pieces in proportion to the root of its area, so that large ones do not drown the others; places
    are random. Pictures smaller than a piece are left out.

    Args:
        pictures: files.
        path: to write.
        side: of a piece, samples.
        count: of pieces.
        seed: of the places.
        progress: told about every picture.

    Returns:
        how many pictures were large enough.

    Raises:
        TrainingError: a picture cannot be read, none is large enough, the file cannot be written.
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
    """A file of numpy's, ``.npy``, mapped rather than read.

    Raises:
        TrainingError: it is none, or cannot be read.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error


class Crops:
    """Packed pieces, of which random parts are taken.

    Args:
        path: written by `pack_crops`.

    Raises:
        TrainingError: not such a file.
    """

    def __init__(self, path: Path) -> None:
        self._pieces: Codes = mapped(path)
        if self._pieces.ndim != 4 or self._pieces.shape[1] != 3 or self._pieces.dtype != np.uint8:
            raise TrainingError(f"{path} holds no packed crops")

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def side(self) -> int:
        """Of a piece, samples."""
        return int(self._pieces.shape[-1])

    def batch(self, number: int, side: int, examples: torch.Generator) -> Tensor:
        """Random parts of random pieces, mirrored and turned at random.

        Args:
            number: how many.
            side: of each, at most that of the pieces.
            examples: makes every choice.

        Returns:
            [number, 3, side, side] float32 RGB in [0, 1].
        """
        room = self.side - side + 1
        if room < 1:
            raise TrainingError(f"crops of {side}x{side} cannot be taken from pieces of {self.side}x{self.side}")
        index, top, left, turn = (
            torch.randint(0, limit, (number,), generator=examples).tolist() for limit in (len(self), room, room, 8)
        )
        parts = [self._part(*place, side) for place in zip(index, top, left, turn, strict=True)]
        return torch.from_numpy(np.stack(parts)).float() / 255

    def _part(self, index: int, top: int, left: int, turn: int, side: int) -> Codes:
        return turned(self._pieces[index, :, top : top + side, left : left + side], turn)


def turned(part: npt.NDArray[SampleT], turn: int) -> npt.NDArray[SampleT]:
    """A square part [..., side, side] mirrored and turned, in one of eight ways, 0 to 7."""
    if turn & 1:
        part = part[..., ::-1, :]
    if turn & 2:
        part = part[..., ::-1]
    return part.swapaxes(-1, -2) if turn & 4 else part


def held_out_pictures(files: Sequence[Path], *, side: int | None = None) -> list[Tensor]:
    """Pictures to validate on.

    Args:
        files: pictures.
        side: only a square of this size out of the middle of each, where it is larger; None for all of it.

    Returns:
        [3, H, W] float RGB in [0, 1] each.

    Raises:
        TrainingError: one cannot be read.
    """
    pictures = []
    for file in files:
        codes = read_rgb(file)
        height, width = (min(side or length, length) for length in codes.shape[:2])
        top, left = (codes.shape[0] - height) // 2, (codes.shape[1] - width) // 2
        middle = codes[top : top + height, left : left + width]
        pictures.append(torch.from_numpy(middle.copy()).permute(2, 0, 1).float() / 255)
    return pictures
