"""Fixed filters as the downscaler of a pair whose upscaler has learned what they leave."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import nan
from typing import Any, Self

from vidscale.errors import ModelError
from vidscale.models.cards import PairCard, Sizes
from vidscale.models.pairs import FixedPair, families
from vidscale.triton_kernels.polyphase_filters import SHARPNESS


@dataclass(frozen=True, slots=True)
class FilterDownscaler:
    """A family of fixed pairs, of which the downscaling half is used; no weights.

    Attributes:
        family: "lanczos", "bicubic", "area", "gaussian" or "sharp".
        scale: source sample spacing per small sample.
        sharpness: of the small luma, see `polyphase_filters.Sharpened`.

    Raises:
        ModelError: there is no such filter.
    """

    family: str
    scale: Fraction
    sharpness: float = 0.0

    def __post_init__(self) -> None:
        least, most = SHARPNESS
        if self.family not in families():
            raise ModelError(f"{self.family!r} is no filter that this program knows ({', '.join(families())})")
        if not least <= self.sharpness <= most:
            raise ModelError(f"a filter sharpened by {self.sharpness}; {least} to {most} can be had")

    @classmethod
    def of(cls, card: PairCard) -> Self:
        """The one that a card tells.

        Raises:
            ModelError: it tells of none that is known, or of one that cannot be.
        """
        said = card.downscaler.get("sharpness", 0)
        sharpness = nan if isinstance(said, str) else float(said)
        try:
            return cls(str(card.downscaler.get("family")), card.scale, sharpness)
        except ModelError as error:
            raise ModelError(f"the pair {card.name!r}: {error}") from error

    @property
    def pair(self) -> FixedPair:
        """What shrinks planes."""
        return FixedPair(self.family, self.scale, sharpness=self.sharpness)

    @property
    def sizes(self) -> Sizes:
        """For the card."""
        return {"network": "filter", "family": self.family, "sharpness": self.sharpness}

    def state_dict(self) -> Mapping[str, Any]:
        return {}

    def parameters(self) -> Iterator[Any]:
        return iter(())
