"""Ways with an adapted upscaler: with ``--adapt`` the most promising are probed, each part adapted like a movie."""

from collections.abc import Sequence
from fractions import Fraction
from math import log

from vidscale.config import EncodeSettings
from vidscale.per_title.decision import WayEstimate
from vidscale.per_title.evidence import Evidence
from vidscale.per_title.probes import Request
from vidscale.per_title.ways import adapted_way

_MOST = 2  # ways: each probe trains once for each shot of each part, about 6 s of processor time
_NEAR = log(1.12)  # of the fewest bits: no clip gains more by adaptation (docs/adapt.md)


def adapted_requests(settings: EncodeSettings, evidence: Evidence) -> list[Request]:
    """What to probe of the adapted ways: those at the scales that need the fewest bits without adaptation.

    The pair at a scale may be another one than was probed: adaptation is for pairs that are not tuned for VMAF.

    Args:
        settings: of the encode.
        evidence: of the ways without adaptation.
    """
    if settings.adapt == "off" or not settings.chooses_scale:
        return []
    found: dict[Fraction, tuple[float, float]] = {}
    for way in evidence.probes:
        ratio = evidence.log_ratio(way)
        if ratio < found.get(way.scale, (ratio + 1, 0.0))[0]:
            found[way.scale] = ratio, evidence.crf(way)
    ranked = sorted((ratio, scale, crf) for scale, (ratio, crf) in found.items())
    near = [(adapted_way(settings, scale), crf) for ratio, scale, crf in ranked if ratio - ranked[0][0] <= _NEAR]
    return [(way, crf) for way, crf in near if way is not None][:_MOST]


def unadapted_note(settings: EncodeSettings, ways: Sequence[WayEstimate], chosen: WayEstimate) -> tuple[str, ...]:
    """Why nothing will be adapted in spite of ``--adapt``; empty if something will, or if the scale was not chosen."""
    if settings.adapt == "off" or not settings.chooses_scale or chosen.way.is_adapted:
        return ()
    adapted = [one for one in ways if one.way.is_adapted]
    if not adapted:
        return ("nothing is adapted: none of the best ways has a pair that --adapt works on",)
    best = min(adapted, key=lambda one: one.bits.bits)
    more = (1 + best.bits.bits) / (1 + chosen.bits.bits) - 1
    return (f"nothing is adapted: {best.way.scaling} needs {100 * more:+.1f} % bits against {chosen.way.scaling}",)
