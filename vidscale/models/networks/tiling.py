"""Runs networks in overlapping tiles, for pictures that do not fit in memory at once."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.errors import ConfigError

log = logging.getLogger(__name__)

Run = Callable[[Tensor], Tensor]

_SMALLEST_TILE = 32
_BORDER = 8  # LR pixels


@dataclass(frozen=True, slots=True)
class TileRule:
    """Tiling limits of a network.

    Attributes:
        factor: output samples per input sample: 2 for an upscaler by 2, 1/2 for its downscaler.
        margin: input samples around a tile that its output depends on. With fewer, seams are visible; with these, tiled
            and whole results differ only by float rounding.
        multiple: input sides must be multiples of this.
        minimum: minimum input side.
        tile: side of a tile without its margin, chosen to need less than 8 GB.
    """

    factor: Fraction
    margin: int
    multiple: int = 1
    minimum: int = 1
    tile: int = 512

    def aligned(self, length: int) -> int:
        """The smallest valid side of at least `length`."""
        return _round_up(max(length, self.minimum), self.multiple)


def run_fitted(run: Run, image: Tensor, rule: TileRule) -> Tensor:
    """Runs a network on images of any size: pads right and bottom, and crops the result.

    The last column and row are replicated, because reflection fails if the padding exceeds the picture.

    Args:
        run: from [N, C, H, W] to [N, C', H * factor, W * factor], for sizes that `rule` allows.
        image: [N, C, H, W] float, H and W at least 1.
        rule: limits of `run`.

    Returns:
        [N, C', ceil(H * factor), ceil(W * factor)].

    Raises:
        ValueError: invalid image shape.
    """
    if image.ndim != 4 or 0 in image.shape:
        raise ValueError(f"images must be [N, C, H, W] and not empty: {image.shape = }")
    height, width = image.shape[2:]
    below, right = rule.aligned(height) - height, rule.aligned(width) - width
    if below or right:
        image = F.pad(image, (0, right, 0, below), mode="replicate")
    return run(image)[..., : ceil(height * rule.factor), : ceil(width * rule.factor)]


def run_surrounded(run: Run, image: Tensor, scale: int) -> Tensor:
    """Runs an upscaler on images with replicated borders, and crops the result.

    Networks that pad with zeros are up to 50 codes off in the corners of saturated pictures, and in tiny pictures.

    Args:
        run: from [N, C, h, w] to [N, C', h * scale, w * scale].
        image: [N, C, h, w] float.
        scale: of the upscaler.
    """
    padded = run(F.pad(image, [_BORDER] * 4, mode="replicate"))
    inside = slice(_BORDER * scale, -_BORDER * scale)
    return padded[..., inside, inside]


class RgbUpscaler(nn.Module):
    """Base of the RGB upscalers."""

    @property
    def tile_rule(self) -> TileRule:
        """Tiling limits."""
        raise NotImplementedError

    @torch.no_grad()
    def upscale(self, image: Tensor) -> Tensor:
        """Upscales images without tiling and without gradients; see `Tiled` for large ones.

        Args:
            image: [N, 3, h, w] float, RGB in [0, 1], any size.

        Returns:
            [N, 3, h * scale, w * scale] float32 in [0, 1].
        """
        return run_fitted(lambda padded: self(padded).clamp_(0, 1), image, self.tile_rule)


class Tiled:
    """Runs a network on pictures of any size in bounded memory.

         ┌───────────┬──────        Each tile is read with a margin of `rule.margin` samples, clipped at the
         │ ┌───────┐ │ ┌────        picture's edge, and only the tile itself is kept. At the edge the network
         │ │ tile  │ │ │ tile       pads as it would for the whole picture.
         │ └───────┘ │ └────
         │  margin   │              Overhead is (tile + 2 margin)^2 / tile^2: 1.6 for a margin of 68 and a tile of 512.

    If CUDA runs out of memory, the tile size is halved for this and all later pictures.

    Args:
        run: from [N, C, H, W] to [N, C', H * factor, W * factor], for sizes that `rule` allows.
        rule: limits of `run`.
        tile: side of a tile without its margin, in input samples, rounded up to a valid size; None takes the rule's.
    """

    def __init__(self, run: Run, rule: TileRule, *, tile: int | None = None) -> None:
        if tile is not None and tile < 1:
            raise ValueError(f"{tile = }: a tile needs at least one sample")
        self._run = run
        self._rule = rule
        self.tile = rule.aligned(tile or rule.tile)

    def __call__(self, image: Tensor) -> Tensor:
        """Runs the network.

        Args:
            image: [N, C, H, W] float, any size.

        Returns:
            [N, C', ceil(H * factor), ceil(W * factor)].

        Raises:
            ConfigError: CUDA runs out of memory even with the smallest tiles.
        """
        return run_fitted(self._run_tiles_that_fit, image, self._rule)

    def _run_tiles_that_fit(self, image: Tensor) -> Tensor:
        while True:
            try:
                return self._run_tiles(image)
            except torch.cuda.OutOfMemoryError:
                too_large = min(self.tile, max(image.shape[2:]))
            # Outside the handler, because the exception keeps the tensors alive.
            self.tile = self._smaller(too_large)
            torch.cuda.empty_cache()
            log.info("CUDA is out of memory with tiles of %d; trying %d", too_large, self.tile)

    def _smaller(self, tile: int) -> int:
        smaller = self._rule.aligned(tile // 2)
        if smaller >= tile or tile <= _SMALLEST_TILE:
            raise ConfigError(f"CUDA is out of memory even with tiles of {tile}x{tile}: use --device cpu")
        return smaller

    def _run_tiles(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        factor = self._rule.factor
        result: Tensor | None = None
        for top, bottom in self._cuts(height):
            for left, right in self._cuts(width):
                part = self._run_tile(image, (top, bottom), (left, right))
                if result is None:
                    sides = int(height * factor), int(width * factor)
                    result = part.new_empty((*part.shape[:2], *sides))
                rows = slice(int(top * factor), int(bottom * factor))
                result[:, :, rows, int(left * factor) : int(right * factor)] = part
        if result is None:
            raise ValueError(f"empty image: {image.shape = }")
        return result

    def _run_tile(self, image: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
        """Output of one tile, without its margin."""
        outer_rows, inner_rows = self._with_margin(rows, image.shape[2])
        outer_columns, inner_columns = self._with_margin(columns, image.shape[3])
        return self._run(image[:, :, outer_rows, outer_columns])[:, :, inner_rows, inner_columns]

    def _with_margin(self, span: tuple[int, int], length: int) -> tuple[slice, slice]:
        """Input span with margin, and the part of its output that belongs to the span."""
        margin = _round_up(self._rule.margin, self._rule.multiple)
        first, last = max(span[0] - margin, 0), min(span[1] + margin, length)
        own = (int((edge - first) * self._rule.factor) for edge in span)
        return slice(first, last), slice(*own)

    def _cuts(self, length: int) -> Iterator[tuple[int, int]]:
        """Spans of about equal length, at most a tile each, starting at multiples."""
        number = ceil(length / self.tile)
        step = _round_up(ceil(length / number), self._rule.multiple)
        for start in range(0, length, step):
            yield start, min(start + step, length)


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
