"""Fixed filters as the downscaler of a pair whose upscaler has learned what they leave."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

from vidscale.errors import ModelError
from vidscale.models.cards import PairCard, Sizes
from vidscale.models.pairs import FixedPair, families
from vidscale.triton_kernels.polyphase import SHARPNESS


@dataclass(frozen=True, slots=True)
class FilterDownscaler:
    """A family of fixed pairs, of which the downscaling half is used; no weights.

    Attributes:
        family: "lanczos", "bicubic", "area", "gaussian" or "sharp".
        scale: source sample spacing per small sample.
        sharpness: of the small luma, see `vidscale.triton_kernels.polyphase.Sharpened`.
    """

    family: str
    scale: Fraction
    sharpness: float = 0.0

    @classmethod
    def of(cls, card: PairCard) -> Self:
        """The one that a card tells.

        Raises:
            ModelError: it tells of none that is known, or of one that cannot be.
        """
        sizes = card.downscaler
        if sizes.get("family") not in families():
            raise ModelError(f"the pair {card.name!r} shrinks by a filter that this program does not know")
        sharpness, (least, most) = sizes.get("sharpness", 0), SHARPNESS
        if isinstance(sharpness, str) or not least <= sharpness <= most:
            raise ModelError(f"the pair {card.name!r} is sharpened by {sharpness}; {least} to {most} can be had")
        return cls(str(sizes["family"]), card.scale, float(sharpness))

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
