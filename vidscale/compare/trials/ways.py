"""The ways that a comparison takes: which scalers, at which scales, before which encoders."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

from vidscale.compare.points import Way
from vidscale.compare.settings import CompareSettings
from vidscale.errors import ModelError, UsageError
from vidscale.media.encoders import CodecName
from vidscale.models.cards import CARD
from vidscale.models.pair import Pair
from vidscale.models.pair_name import PairName
from vidscale.models.pairs import choose_pair, find_pair
from vidscale.system.devices import Device

# ffmpeg's scale filter by name of its kernel. Exact rounding and full chroma, as everybody sets them who compares.
FFMPEG_FLAGS = {
    "ffmpeg-lanczos": "lanczos+accurate_rnd+full_chroma_int",
    "ffmpeg-bicubic": "bicubic+accurate_rnd+full_chroma_int",
}


@dataclass(frozen=True, slots=True)
class Scalers:
    """Who shrinks and who enlarges, by families, at which scale; both "" for the full size."""

    down: str
    up: str
    scale: Fraction

    def way(self, codec: CodecName, preset: str) -> Way:
        """The same before an encoder."""
        return Way(self.down, self.up, self.scale, codec, preset)


FULL = Scalers("", "", Fraction(1))


def scalers_of(settings: CompareSettings) -> tuple[list[Scalers], list[str]]:
    """The scalers that the settings name, the full size first; and a line for each pair and scale that is not here.

    A name with a scale of its own (``lanczos-x1.5``) takes that one in place of all others.

    Raises:
        ModelError: a pair that exists at none of the scales.
        UsageError: a pair that is named wrongly.
    """
    found, notes = [FULL], []
    for text in settings.pairs:
        missing: list[ModelError] = []
        here = []
        for scale in settings.scales:
            try:
                here.append(_scalers(text, scale, settings.device))
            except ModelError as error:
                missing.append(error)
        if not here:
            raise missing[0]
        notes += [f"left out: {error}" for error in missing]
        found += here
    return list(dict.fromkeys(found)), notes


def is_folder(family: str) -> bool:
    """Whether a pair is named by the folder that holds it."""
    return (Path(family) / CARD).is_file()


@cache
def pair_of(family: str, scale: Fraction, device: Device) -> Pair | None:
    """The pair behind a family; None for ffmpeg's scalers. The full size has a pair that does nothing.

    Each is loaded once, and threads share it: it is only read while it runs.
    """
    if family in FFMPEG_FLAGS:
        return None
    return find_pair(family or "lanczos", scale, device)


def _scalers(text: str, scale: Fraction, device: Device) -> Scalers:
    names = text.split(":")
    if len(names) > 2 or not all(names):
        raise UsageError(f"pair {text!r} is neither FAMILY nor FAMILY:FAMILY")
    named = {own for name in names if (own := _own_scale(name, device)) is not None}
    if len(named) > 1:
        raise UsageError(f"pair {text!r} names two scales")
    wanted = named.pop() if named else scale
    families = [str(choose_pair(_family(name), wanted, "psnr")) for name in names]
    pairs = [pair_of(family, wanted, device) for family in families]
    if wanted == 1 and not any(pair and pair.sha256 for pair in pairs):
        raise ModelError(f"{':'.join(dict.fromkeys(families))} at scale 1 is the full size")
    return Scalers(families[0], families[-1], wanted)


def _family(name: str) -> PairName:
    """Without its scale, unless it is a folder."""
    named = PairName.of(name)
    return named if named.folder else PairName(named.family)


def _own_scale(name: str, device: Device) -> Fraction | None:
    wanted = PairName.of(name)
    if wanted.scale is None:
        return None
    return wanted.scale if wanted.family in FFMPEG_FLAGS else find_pair(name, None, device).scale
