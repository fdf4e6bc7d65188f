"""Finds pairs by the name that the user gave, or by the identity of a file."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from vidscale.errors import ConfigError, ModelError, UsageError
from vidscale.media.encoders import Effort, Encoder
from vidscale.media.geometry import scale_text
from vidscale.models.cards import installed, read_card, with_hash
from vidscale.models.chains import CHAINS
from vidscale.models.fixed_pair import FixedPair, families
from vidscale.models.pair import Pair, Tune
from vidscale.models.pair_name import PairName, tuned_for
from vidscale.system.devices import Device, resolve

if TYPE_CHECKING:
    from vidscale.media.identity import Identity

AUTO = "auto"

_LEARNED, _FALLBACK = "adaptive", "lanczos"


class _Named(Protocol):
    """A pair, or a scaler of pictures."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...


NamedT = TypeVar("NamedT", bound=_Named)


def find_pair(name: str | PairName, scale: Fraction | None, device: Device = "auto", sha256: str | None = None) -> Pair:
    """Finds a pair by name.

    Args:
        name: family ("lanczos", "car"), family with scale ("lanczos-x2"), or the folder of a pair with weights.
        scale: requested scale; None takes it from the name.
        device: "auto" is the CPU for fixed pairs, which is fast enough for any encoder, and a GPU if available for
            networks.
        sha256: required content hash of the weights; None accepts any.

    Raises:
        UsageError: the name and the scale disagree.
        ConfigError: the device is not available.
        ModelError: unknown pair, or other weights.
    """
    wanted = PairName.of(name)
    if folder := (with_hash(str(name), sha256) if sha256 else None) or _folder(wanted, scale):
        return _learned_pair(folder, scale, device, sha256)
    if wanted.family not in families():
        raise _unknown(wanted, scale)
    if sha256:
        raise ModelError(f"pair {str(wanted)!r} has no weights, but some were requested")
    if wanted.scale and scale and wanted.scale != scale:
        raise UsageError(_other_scale(str(wanted), wanted.scale, scale))
    resolved = wanted.scale or scale
    if resolved is None:
        raise UsageError(f"pair {str(wanted)!r} needs a scale")
    return FixedPair(wanted.family, resolved, device=resolve(device))


def with_effort(pair: Pair, effort: Effort) -> Pair:
    """The pair with a downscaler that works that hard; most have only one."""
    from vidscale.models.plane_pair import PlanePair

    return replace(pair, effort=effort) if isinstance(pair, PlanePair) and pair.effort != effort else pair


def default_effort(pair: Pair, encoder: Encoder, preset: str) -> Effort:
    """How hard the downscaler of a pair works unless told otherwise; on a GPU the network costs next to nothing."""
    if with_effort(pair, "patient").downscale_backend.device == "cuda":
        return "patient"
    return encoder.effort(preset, pair.scale)


def is_adaptable(pair: Pair) -> bool:
    """Whether the upscaler of a pair can have updates: luma networks, unless they are tuned for more than PSNR."""
    from vidscale.models.plane_pair import PlanePair

    return isinstance(pair, PlanePair) and tuned_for(pair.name) == "psnr"


def follows_updates(pair: Pair) -> bool:
    """Whether the downscaler of a pair can be told of an update of the upscaler, see `PlanePair.follows_updates`."""
    from vidscale.models.plane_pair import PlanePair

    return isinstance(pair, PlanePair) and pair.follows_updates


def takes_update(pair: Pair, update: bytes, strength: float) -> bool:
    """Whether an update of the upscaler, as stored in a stream, is one of this pair."""
    from vidscale.models.plane_pair import PlanePair

    if not isinstance(pair, PlanePair):
        return False
    try:
        pair.update_of(update, strength)
    except ModelError:
        return False
    return True


def identified_pair(
    identity: "Identity",
    find: Callable[[str, Fraction | None, str | None], NamedT],
    *,
    name: str | None,
    scale: Fraction | None,
    known: NamedT | None = None,
    file: str = "",
) -> NamedT:
    """The pair that made a small file, by its identity.

    Args:
        identity: identity of the file.
        find: finds a pair by name, scale and hash, as `find_pair`.
        name, scale: given by the user; None if not given. They may name the folder of a pair that is not installed, but
            it must be the pair of the identity.
        known: a candidate that is already loaded.
        file: path for messages; "" if the caller adds it.

    Raises:
        ConfigError: the user named another pair.
        ModelError: the pair is not installed, or only with other weights.
    """
    subject = f"{file} " if file else ""
    if name is not None or scale is not None:
        known = find(name or identity.pair, scale or identity.scale_fraction, None)
        if known.name != identity.pair:
            raise ConfigError(
                f"{subject}was made with {identity.pair}, not with {known.name}; leave --pair and --scale out"
            )
    if known is not None and known.sha256 == identity.sha256:
        return known
    try:
        return find(identity.pair, identity.scale_fraction, identity.sha256)
    except (ConfigError, ModelError) as error:
        if known is None:
            raise ModelError(f"{subject}needs pair {identity.pair!r}, which is not installed: {error}") from error
        raise ModelError(
            f"{subject}was made with other weights of {known.name!r} ({identity.sha256[:12]}…) than "
            f"{name or known.name} has ({known.sha256[:12]}…)"
        ) from error


def scale_named(name: str | PairName) -> Fraction | None:
    """The scale that a name implies: from its card, the name itself, or the only installed pair of the family.

    None otherwise.

    Raises:
        UsageError: the scale in the name is invalid.
        ModelError: a broken card.
    """
    wanted = PairName.of(name)
    if folder := _folder(wanted, None):
        return read_card(folder).scale
    of_family = [folder for pair, folder in _installed() if pair.family == wanted.family]
    if wanted.scale is None and len(of_family) == 1:
        return read_card(of_family[0]).scale
    return wanted.scale


def choose_pair(name: str | PairName, scale: Fraction, tune: Tune) -> PairName:
    """Resolves "auto" and the tuned variant of a pair.

    Args:
        name: name of a pair, or "auto": the learned pair for that scale if there is one, else Lanczos.
        scale: requested scale.
        tune: metric to tune for: "vmaf" turns adaptive-x2 into adaptive-vmaf-x2.

    Raises:
        UsageError: no pair is tuned for the metric.
    """
    wanted = PairName.of(name)
    is_auto = wanted == PairName(AUTO)
    if not is_auto and (tune == "psnr" or wanted.folder):
        return wanted
    tuned = (PairName(_LEARNED) if is_auto else wanted).tuned(tune)
    if _folder(tuned, scale):
        return tuned
    if tune == "psnr":
        return PairName(_FALLBACK)
    which = "pair" if is_auto else f"variant of {name!r}"
    suffix = f"-{tune}"
    others = sorted(
        f"--pair {other.family.removesuffix(suffix)}"
        for other, _ in _installed()
        if other.scale == scale and other.family.endswith(suffix)
    )
    remedy = f"; try {' or '.join(others)}" if others else ""
    raise UsageError(f"--tune {tune}: at scale {scale_text(scale)} no {which} is tuned for it yet{remedy}")


def _installed() -> list[tuple[PairName, Path]]:
    """All installed pairs with weights, and their folders."""
    found = []
    for name, folder in installed().items():
        try:
            found.append((PairName.parse(name), folder))
        except UsageError:  # invalid scale, such as "mine-x99": found by its full name only
            found.append((PairName(name), folder))
    return found


def _folder(name: PairName, scale: Fraction | None) -> Path | None:
    """The folder with the weights of a pair; None if there is none."""
    if name.folder is not None:
        return name.folder
    wanted = (name, name.with_scale(scale))
    return next((folder for pair, folder in reversed(_installed()) if pair in wanted), None)


def _learned_pair(folder: Path, scale: Fraction | None, device: Device, sha256: str | None) -> Pair:
    card = read_card(folder)
    if scale is not None and scale != card.scale:
        raise UsageError(_other_scale(card.name, card.scale, scale))
    if sha256 is not None and card.sha256 != sha256:
        raise ModelError(f"pair {card.name!r} in {folder} has other weights than requested")
    if card.upscaler.get("network") in CHAINS:  # luma networks; the others work in RGB
        from vidscale.models.plane_pair import PlanePair

        return PlanePair(card, folder, device)
    from vidscale.models.network_pair import NetworkPair

    return NetworkPair.load(folder, resolve(device, auto="cuda"))


def _unknown(name: PairName, scale: Fraction | None) -> ModelError:
    has_other_scales = any(pair.family == name.family for pair, _ in _installed())
    shown = str(name.with_scale(scale) if has_other_scales else name)
    hint = "; `vidscale models import-car` and `vidscale train car` make one" if name.family == "car" else ""
    return ModelError(f"unknown pair {shown!r}; choose from {', '.join([*families(), *installed()])}{hint}")


def _other_scale(name: str, made_for: Fraction, asked: Fraction) -> str:
    return f"pair {name!r} is made for scale {scale_text(made_for)}, not for {scale_text(asked)}"
