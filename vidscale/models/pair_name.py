"""Parses the names of pairs."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Self, get_args

from vidscale.errors import UsageError
from vidscale.media.geometry import parse_scale, scale_text
from vidscale.models.cards import CARD, read_card
from vidscale.models.pair import Tune

_NAME = re.compile(r"(?P<family>.+)-x(?P<scale>[0-9]+(\.[0-9]+)?([-/][0-9]+)?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PairName:
    """Name of a pair or of a family of pairs.

    Attributes:
        family: such as "adaptive", "adaptive-vmaf" or "lanczos".
        scale: None for a family.
        folder: the pair's folder, if it is named by its path.
    """

    family: str
    scale: Fraction | None = None
    folder: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses a family ("adaptive") or a family with its scale ("adaptive-x2", "adaptive-x1.5").

        Raises:
            UsageError: invalid scale.
        """
        match = _NAME.fullmatch(text)
        if match is None:
            return cls(text)
        try:
            return cls(match["family"], parse_scale(match["scale"].replace("-", "/")))
        except ValueError as error:
            raise UsageError(f"invalid pair {text!r}: {error}") from None

    @classmethod
    def of(cls, named: "str | PairName") -> "PairName":
        """Parses user input: as `parse`, or the path of a pair's folder.

        Raises:
            UsageError: invalid scale.
            ModelError: broken card.
        """
        if isinstance(named, PairName):
            return named
        folder = Path(named)
        if not (folder / CARD).is_file():
            return cls.parse(named)
        card = read_card(folder)
        match = _NAME.fullmatch(card.name)
        return cls(match["family"] if match else card.name, card.scale, folder)

    def __str__(self) -> str:
        if self.folder is not None:
            return str(self.folder)
        return self.family if self.scale is None else f"{self.family}-x{scale_text(self.scale)}"

    def with_scale(self, scale: Fraction | None) -> Self:
        """The name with this scale, unless it already has one."""
        return self if self.scale is not None else replace(self, scale=scale)

    def tuned(self, tune: Tune) -> Self:
        """The variant tuned for a metric: adaptive-x2 becomes adaptive-vmaf-x2 for vmaf, and is unchanged for psnr."""
        return self if tune == "psnr" else replace(self, family=f"{self.family}-{tune}")


def tuned_for(name: str) -> Tune:
    """Metric that a pair of this name is tuned for: adaptive-vmaf-x2 for vmaf. Any name does, as a card may have it."""
    match = _NAME.fullmatch(name)
    family = match["family"] if match else name
    return next((tune for tune in get_args(Tune) if family.endswith(f"-{tune}")), "psnr")
