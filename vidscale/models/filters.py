"""Fixed filters as the downscaler of a pair whose upscaler has learned what they leave."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from vidscale.models.cards import Sizes


@dataclass(frozen=True, slots=True)
class FilterDownscaler:
    """A family of fixed pairs, of which the downscaling half is used; no weights.

    Attributes:
        family: "lanczos", "bicubic" or "area".
        scale: source sample spacing per small sample.
        sharpness: of the small luma, see `vidscale.triton_kernels.polyphase.Sharpened`.
    """

    family: str
    scale: Fraction
    sharpness: float = 0.0

    @property
    def sizes(self) -> Sizes:
        """For the card."""
        return {"network": "filter", "family": self.family, "sharpness": self.sharpness}

    def state_dict(self) -> Mapping[str, Any]:
        return {}

    def parameters(self) -> Iterator[Any]:
        return iter(())
