"""Finding a pair: from what the user named, or what a file names, to the scalers themselves."""

from fractions import Fraction
from pathlib import Path

from vidscale.errors import ModelError, UsageError
from vidscale.media.geometry import scale_text
from vidscale.models.cards import installed, read_card, with_hash
from vidscale.models.chains import CHAINS
from vidscale.models.fixed_pair import FixedPair, families
from vidscale.models.pair import Pair, Tune
from vidscale.models.pair_name import PairName
from vidscale.system.devices import Device, resolve

AUTO = "auto"

_LEARNED, _FALLBACK = "adaptive", "lanczos"


def find_pair(name: str | PairName, scale: Fraction | None, device: Device = "auto", sha256: str | None = None) -> Pair:
    """The pair of that name.

    Args:
        name: a family ("lanczos", "car"), a family with its scale ("lanczos-x2"), or the folder of a pair with weights.
        scale: the scale asked for; None takes it from the name.
        device: where it shall run; "auto" is the CPU for fixed pairs, which keep up with any encoder there, and the GPU
            for networks, where there is one.
        sha256: of the weights that it must have; None takes what is there.

    Raises:
        UsageError: the name and the scale disagree.
        ConfigError: the device is not there.
        ModelError: no such pair, or with other weights.
    """
    wanted = PairName.of(name)
    if folder := (with_hash(str(name), sha256) if sha256 else None) or _folder(wanted, scale):
        return _learned_pair(folder, scale, device, sha256)
    if wanted.family not in families():
        raise _unknown(wanted, scale)
    if sha256:
        raise ModelError(f"the pair {str(wanted)!r} has no weights, others were asked for")
    if wanted.scale and scale and wanted.scale != scale:
        raise UsageError(_other_scale(str(wanted), wanted.scale, scale))
    resolved = wanted.scale or scale
    if resolved is None:
        raise UsageError(f"pair {str(wanted)!r} needs a scale")
    return FixedPair(wanted.family, resolved, device=resolve(device))


def scale_named(name: str | PairName) -> Fraction | None:
    """The scale that a name implies: that of its card, or of the name itself, or of the only pair of the family.

    None for other families.

    Raises:
        UsageError: a name with a scale that no pair can have.
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
    """The pair that a name stands for at a scale.

    Args:
        name: of a pair, or "auto": the learned pair of that scale where there is one, else Lanczos.
        scale: asked for.
        tune: the metric that a variant is tuned for: adaptive-x2 becomes adaptive-vmaf-x2.

    Raises:
        UsageError: there is no such pair that is tuned for the metric.
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
    """All pairs with weights, each with its folder."""
    found = []
    for name, folder in installed().items():
        try:
            found.append((PairName.parse(name), folder))
        except UsageError:  # a folder with a name such as "mine-x99" is found by its whole name only
            found.append((PairName(name), folder))
    return found


def _folder(name: PairName, scale: Fraction | None) -> Path | None:
    """The folder with the weights of a pair; None where it has none."""
    if name.folder is not None:
        return name.folder
    wanted = (name, name.with_scale(scale))
    return next((folder for pair, folder in reversed(_installed()) if pair in wanted), None)


def _learned_pair(folder: Path, scale: Fraction | None, device: Device, sha256: str | None) -> Pair:
    card = read_card(folder)
    if scale is not None and scale != card.scale:
        raise UsageError(_other_scale(card.name, card.scale, scale))
    if sha256 is not None and card.sha256 != sha256:
        raise ModelError(f"the pair {card.name!r} in {folder} has other weights than were asked for")
    if card.upscaler.get("network") in CHAINS:  # they restore luma alone; others are defined in RGB
        from vidscale.models.plane_pair import PlanePair

        return PlanePair(card, folder, device)
    from vidscale.models.network_pair import NetworkPair

    return NetworkPair.load(folder, resolve(device, auto="cuda"))


def _unknown(name: PairName, scale: Fraction | None) -> ModelError:
    has_other_scales = any(pair.family == name.family for pair, _ in _installed())
    shown = str(name.with_scale(scale) if has_other_scales else name)
    hint = "; `vidscale models import-car` and `vidscale train car` make one" if name.family == "car" else ""
    return ModelError(f"there is no pair {shown!r}; there are {', '.join([*families(), *installed()])}{hint}")


def _other_scale(name: str, made_for: Fraction, asked: Fraction) -> str:
    return f"pair {name!r} is made for scale {scale_text(made_for)}, not for {scale_text(asked)}"
