"""A network run over pictures that do not fit in memory at once: in tiles that overlap."""

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


@dataclass(frozen=True, slots=True)
class TileRule:
    """How a network may be run in tiles.

    Attributes:
        factor: output samples per input sample: 2 for an upscaler by 2, 1/2 for its downscaler.
        margin: input samples around a tile that its result depends on. With fewer, tiles show; with these, a result
            differs from that of the whole picture by the rounding of floats alone.
        multiple: sides of the input must be a multiple of this.
        minimum: shortest side of the input.
        tile: side of a tile, without its margin, that needs less than 8 GB.
    """

    factor: Fraction
    margin: int
    multiple: int = 1
    minimum: int = 1
    tile: int = 512

    def aligned(self, length: int) -> int:
        """The shortest side that the network takes, from `length` on."""
        return _round_up(max(length, self.minimum), self.multiple)


def run_fitted(run: Run, image: Tensor, rule: TileRule) -> Tensor:
    """Runs a network over images of any size: padded at the right and at the bottom, the result cropped.

    The padding repeats the last column and row: mirroring would need pictures larger than itself.

    Args:
        run: from [N, C, H, W] to [N, C', H * factor, W * factor], for sizes that `rule` allows.
        image: [N, C, H, W] float, H and W at least 1.
        rule: what `run` needs.

    Returns:
        [N, C', ceil(H * factor), ceil(W * factor)].

    Raises:
        ValueError: not such an image.
    """
    if image.ndim != 4 or 0 in image.shape:
        raise ValueError(f"no pictures [N, C, H, W]: {image.shape = }")
    height, width = image.shape[2:]
    below, right = rule.aligned(height) - height, rule.aligned(width) - width
    if below or right:
        image = F.pad(image, (0, right, 0, below), mode="replicate")
    return run(image)[..., : ceil(height * rule.factor), : ceil(width * rule.factor)]


class RgbUpscaler(nn.Module):
    """A network that enlarges RGB, where `tile_rule` says how it may be run."""

    @property
    def tile_rule(self) -> TileRule:
        """How it may be run in tiles."""
        raise NotImplementedError

    @torch.no_grad()
    def upscale(self, image: Tensor) -> Tensor:
        """Enlarges images in one piece, clamped to [0, 1]; without gradients. `Tiled` for large ones.

        Args:
            image: [N, 3, h, w] float, RGB in [0, 1], any size.

        Returns:
            [N, 3, h * scale, w * scale] float32 in [0, 1].
        """
        return run_fitted(lambda padded: self(padded).clamp_(0, 1), image, self.tile_rule)


class Tiled:
    """A network that takes pictures of any size in bounded memory.

         ┌───────────┬──────        Each tile is read with `rule.margin` samples around it, as far as the
         │ ┌───────┐ │ ┌────        picture goes, and only its own samples are kept. At the picture's edge
         │ │ tile  │ │ │ tile       the network pads as it would for the whole.
         │ └───────┘ │ └────
         │  margin   │              Work grows with (tile + 2 margin)^2 / tile^2: 1.6 with 68 around 512.

    When CUDA runs out of memory the tile is halved, for this picture and those to come.

    Args:
        run: from [N, C, H, W] to [N, C', H * factor, W * factor], for sizes that `rule` allows.
        rule: what `run` needs.
        tile: side of a tile without its margin, in input samples, rounded up to what `rule` allows; None takes the
            rule's.
    """

    def __init__(self, run: Run, rule: TileRule, *, tile: int | None = None) -> None:
        if tile is not None and tile < 1:
            raise ValueError(f"{tile = }: a tile has at least one sample")
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
            ConfigError: CUDA has too little memory even for small tiles.
        """
        return run_fitted(self._run_tiles_that_fit, image, self._rule)

    def _run_tiles_that_fit(self, image: Tensor) -> Tensor:
        while True:
            try:
                return self._run_tiles(image)
            except torch.cuda.OutOfMemoryError:
                too_large = min(self.tile, max(image.shape[2:]))
            # Outside the handler: the exception holds on to the tensors that filled the memory.
            self.tile = self._smaller(too_large)
            torch.cuda.empty_cache()
            log.info("CUDA is out of memory with tiles of %d: trying %d", too_large, self.tile)

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
            raise ValueError(f"no pictures: {image.shape = }")
        return result

    def _run_tile(self, image: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
        """The result for one tile, without its margin."""
        outer_rows, inner_rows = self._with_margin(rows, image.shape[2])
        outer_columns, inner_columns = self._with_margin(columns, image.shape[3])
        return self._run(image[:, :, outer_rows, outer_columns])[:, :, inner_rows, inner_columns]

    def _with_margin(self, span: tuple[int, int], length: int) -> tuple[slice, slice]:
        """What to read for a span of input samples, and which of the result's samples are the span's own."""
        margin = _round_up(self._rule.margin, self._rule.multiple)
        first, last = max(span[0] - margin, 0), min(span[1] + margin, length)
        own = (int((edge - first) * self._rule.factor) for edge in span)
        return slice(first, last), slice(*own)

    def _cuts(self, length: int) -> Iterator[tuple[int, int]]:
        """Spans of about equal length, none longer than the tile, each starting at a multiple."""
        number = ceil(length / self.tile)
        step = _round_up(ceil(length / number), self._rule.multiple)
        for start in range(0, length, step):
            yield start, min(start + step, length)


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
