"""The candidates of a comparison: scalers and scales, from the settings."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

from vidscale.compare.points import Candidate, unadapted
from vidscale.compare.settings import CompareSettings
from vidscale.errors import ModelError, UsageError
from vidscale.media.encoders import CodecName
from vidscale.models.cards import CARD
from vidscale.models.pair import Pair
from vidscale.models.pair_name import PairName
from vidscale.models.pairs import choose_pair, find_pair, is_adaptable
from vidscale.system.devices import Device

# Flags of ffmpeg's scale filter: accurate rounding and full chroma interpolation, as is usual in comparisons.
FFMPEG_FLAGS = {
    "ffmpeg-lanczos": "lanczos+accurate_rnd+full_chroma_int",
    "ffmpeg-bicubic": "bicubic+accurate_rnd+full_chroma_int",
}


@dataclass(frozen=True, slots=True)
class Scalers:
    """Families of the downscaler and of the upscaler, and the scale; both "" for the full size."""

    down: str
    up: str
    scale: Fraction

    def candidate(self, codec: CodecName, preset: str) -> Candidate:
        """These scalers with an encoder."""
        return Candidate(self.down, self.up, self.scale, codec, preset)


FULL = Scalers("", "", Fraction(1))


def scalers_of(settings: CompareSettings) -> tuple[list[Scalers], list[str]]:
    """The scalers that the settings name, full size first; and a line for each pair that is missing at a scale.

    A name with its own scale (``lanczos-x1.5``) is used at that scale only.

    Raises:
        ModelError: a pair exists at none of the scales.
        UsageError: the name of a pair is malformed.
    """
    found, notes = [FULL], []
    for text in settings.pairs:
        missing: list[ModelError] = []
        available = []
        for scale in settings.scales:
            try:
                available.append(_scalers(text, scale, settings.device))
            except ModelError as error:
                missing.append(error)
        if not available:
            raise missing[0]
        notes += [f"skipped: {error}" for error in missing]
        found += available
    return list(dict.fromkeys(found)), notes


def is_folder(family: str) -> bool:
    """Whether a pair is named by its folder."""
    return (Path(family) / CARD).is_file()


@cache
def pair_of(family: str, scale: Fraction, device: Device) -> Pair | None:
    """The pair of a family; None for ffmpeg's scalers. For the full size it is a pair that changes nothing.

    Each pair is loaded once and shared by all threads; running it does not change it.
    """
    if family in FFMPEG_FLAGS:
        return None
    return find_pair(unadapted(family) or "lanczos", scale, device)


def _scalers(text: str, scale: Fraction, device: Device) -> Scalers:
    adapted = text[len(unadapted(text)) :]
    names = unadapted(text).split(":")
    if len(names) > 2 or not all(names):
        raise UsageError(f"pair {text!r} is neither FAMILY nor DOWN:UP")
    named = {own for name in names if (own := _own_scale(name, device)) is not None}
    if len(named) > 1:
        raise UsageError(f"pair {text!r} names two scales")
    wanted = named.pop() if named else scale
    families = [str(choose_pair(_family(name), wanted, "psnr")) for name in names]
    pairs = [pair_of(family, wanted, device) for family in families]
    if wanted == 1 and not any(pair and pair.sha256 for pair in pairs):
        raise ModelError(f"{':'.join(dict.fromkeys(families))} at scale 1 is the full size")
    if not adapted:
        return Scalers(families[0], families[-1], wanted)
    if pairs[0] is None or len(names) > 1 or not is_adaptable(pairs[0]):
        raise UsageError(f"pair {text!r}: only luma networks that are not tuned for VMAF adapt")
    return Scalers(f"{families[0]}{adapted}", f"{families[0]}{adapted}", wanted)


def _family(name: str) -> PairName:
    """Without its scale, unless it is a folder."""
    named = PairName.of(name)
    return named if named.folder else PairName(named.family)


def _own_scale(name: str, device: Device) -> Fraction | None:
    wanted = PairName.of(name)
    if wanted.scale is None:
        return None
    return wanted.scale if wanted.family in FFMPEG_FLAGS else find_pair(name, None, device).scale
