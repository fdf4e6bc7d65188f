"""The ways to encode a movie that are considered: at full size, filtered at full size, and downscaled."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from vidscale.compare.points import ADAPTED, LIGHTLY, Candidate
from vidscale.config import AUTO, EncodeSettings
from vidscale.errors import ConfigError, ModelError, UsageError
from vidscale.jobs.measured_encode import PLAYERS_FILTER
from vidscale.media.encoders import ENCODERS, Effort
from vidscale.media.frames import VideoInfo
from vidscale.models.pair import Tune
from vidscale.models.pair_name import PairName
from vidscale.models.pairs import choose_pair, default_effort, find_pair, is_adaptable, scale_named
from vidscale.quality import VMAF_METRICS, Metric

SCALES = (Fraction(1), Fraction(3, 2), Fraction(2), Fraction(3), Fraction(4))
_LEAST_SIDE = 32  # luma samples of a coded picture; smaller ones are mostly headers
_AT_FULL_SIZE = PairName("restore")


def full_size(settings: EncodeSettings) -> Candidate:
    """The source, encoded as it is."""
    return Candidate("", "", Fraction(1), settings.codec, settings.resolved_preset)


def ways_of(settings: EncodeSettings, video: VideoInfo, judge: Metric) -> list[Candidate]:
    """The ways to consider, the full size first; one way alone if the settings name its scale.

    Args:
        settings: of the encode.
        video: the source.
        judge: the metric by which ways are compared; pairs that are tuned for it are taken.

    Raises:
        ModelError, UsageError: the named pair does not exist at any scale.
    """
    if not settings.chooses_scale:
        return [named_way(settings)]
    tuned = judge in VMAF_METRICS and settings.client == "vidscale"  # pairs for VMAF downscale more softly
    tune: Tune = settings.tune or ("vmaf" if tuned else "psnr")
    scaled = [_way(settings, family, scale) for scale in SCALES for family in _families(settings, scale, tune, video)]
    if not scaled and settings.pair != AUTO:
        raise ModelError(f"pair {settings.pair!r} is installed at none of the scales 1.5, 2, 3 and 4")
    return [full_size(settings), *scaled]


def adapted_way(settings: EncodeSettings, scale: Fraction) -> Candidate | None:
    """The way at a scale whose upscaler ``adapt`` trains; None if the pairs that are considered have none."""
    if settings.adapt == "off" or settings.client == "any" or settings.tune == "vmaf":
        return None
    try:
        name = choose_pair(_wanted(settings, scale), scale, "psnr")
        pair = find_pair(name, scale, settings.device)
    except (ModelError, UsageError):
        return None
    suffix = LIGHTLY if settings.adapt == "light" else ADAPTED  # "best" begins as "full"
    return _way(settings, f"{_family(name)}{suffix}", scale) if is_adaptable(pair) else None


def named_way(settings: EncodeSettings) -> Candidate:
    """The way that explicit settings name, as `plan_encode` resolves it."""
    scale = Fraction(settings.scale or scale_named(settings.pair) or 2)
    family = choose_pair(settings.pair, scale, settings.tune or "psnr")
    if scale == 1 and not find_pair(family, scale, settings.device).sha256:
        return full_size(settings)
    return _way(settings, _family(family), scale)


def settings_for(way: Candidate, settings: EncodeSettings, crf: float) -> EncodeSettings:
    """The settings that encode one way; where the scale was chosen, the upscaler is adapted if the way says so."""
    left_out = dict.fromkeys(("tune", "target", "target_percentile", "max_size", "max_bitrate"))
    chosen: dict[str, Any] = {"scale": way.scale, "pair": "lanczos" if way.is_full else way.pair, "crf": crf}
    if settings.chooses_scale:
        chosen["adapt"] = settings.adapt if way.is_adapted else "off"
        if way.scale > 1 and settings.shared_effort != _default_effort(way, settings):  # as it was probed
            chosen["effort"] = settings.shared_effort
    return settings.model_copy(update=chosen | left_out | {"best_effort": False, "verify": None})


def _default_effort(way: Candidate, settings: EncodeSettings) -> Effort:
    pair = find_pair(way.pair, way.scale, settings.device)
    return default_effort(pair, ENCODERS[way.codec], way.preset)


def _way(settings: EncodeSettings, family: str, scale: Fraction) -> Candidate:
    up = family if settings.client == "vidscale" else PLAYERS_FILTER
    return Candidate(family, up, scale, settings.codec, settings.resolved_preset)


def _families(settings: EncodeSettings, scale: Fraction, tune: Tune, video: VideoInfo) -> Iterator[str]:
    """The family of the pair at a scale; none if there is none, or the picture gets too small."""
    if not _fits(settings, scale, video) or (scale == 1 and settings.client == "any"):
        return
    wanted = _wanted(settings, scale)
    for variant in dict.fromkeys((tune, "psnr")):  # not every pair has a variant for VMAF
        try:
            name = choose_pair(wanted, scale, variant)
            pair = find_pair(name, scale, settings.device)
        except (ModelError, UsageError):
            continue
        if scale > 1 or pair.sha256:
            yield _family(name)
        return


def _wanted(settings: EncodeSettings, scale: Fraction) -> PairName:
    return _AT_FULL_SIZE if scale == 1 and settings.pair == AUTO else PairName.of(settings.pair)


def _family(name: PairName) -> str:
    return str(name if name.folder else PairName(name.family))


def _fits(settings: EncodeSettings, scale: Fraction, video: VideoInfo) -> bool:
    """Whether the encoder codes pictures of this size without padding them to its smallest."""
    encoder = ENCODERS[settings.codec]
    height, width = -(-video.height // scale), -(-video.width // scale)
    try:
        encoder.check(video.format, int(height), int(width))
    except ConfigError:
        return False
    return scale == 1 or (
        min(height, width) >= _LEAST_SIDE and height >= encoder.min_height and width >= encoder.min_width
    )
