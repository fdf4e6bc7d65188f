"""The zoo of pairs: their names, and what each does to the planes of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np

from vidscale.errors import ModelError, UsageError
from vidscale.media.frames import Color, PixelFormat, Plane
from vidscale.media.geometry import Geometry, parse_scale, scale_text
from vidscale.models.cards import CARD, installed, read_card, with_hash
from vidscale.models.chains import CHAINS
from vidscale.system.devices import Device, resolve
from vidscale.system.threads import core_count
from vidscale.triton_kernels.polyphase import implementation, polyphase_resample
from vidscale.triton_kernels.polyphase_filters import Kind, Name, Sharpened

# How each fixed pair shrinks and enlarges. Averaging over boxes, or by a Gaussian, has no counterpart that enlarges; of
# the fixed filters Lanczos restores its pictures best. "sharp" is for players that enlarge by bicubic interpolation.
_FIXED: dict[str, tuple[Kind, Name]] = {
    "lanczos": ("lanczos", "lanczos"),
    "bicubic": ("bicubic", "bicubic"),
    "area": ("area", "lanczos"),
    "gaussian": ("gaussian", "lanczos"),
    "sharp": (Sharpened("lanczos", 0.1), "bicubic"),
}

Tune = Literal["psnr", "vmaf"]
AUTO = "auto"

_LEARNED, _FALLBACK = "adaptive", "lanczos"


class Place(NamedTuple):
    """Where a scaler runs, and as what.

    Attributes:
        device: "cpu" or "cuda".
        implementation: such as "numba" or "torch float32".
    """

    device: str
    implementation: str


class Pair(Protocol):
    """What the stages ask of a pair.

    Attributes:
        name: family and scale, such as "lanczos-x2".
        sha256: content hash of the weights, "" for a pair without weights.
        scale: source sample spacing per small sample.
        folder: where its weights lie, None for a pair without weights.
        shrinks_on, enlarges_on: where its two halves run.
        at_once: frames to enlarge side by side, one a processor; 1 where a frame takes what there is.
    """

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def scale(self) -> Fraction: ...
    @property
    def folder(self) -> Path | None: ...
    @property
    def shrinks_on(self) -> Place: ...
    @property
    def enlarges_on(self) -> Place: ...
    @property
    def at_once(self) -> int: ...

    def shrink(self, planes: Sequence[Plane], pixel_format: PixelFormat, color: Color) -> list[Plane]:
        """Planes of the small picture at its true size, from planes of the source."""

    def enlarge(
        self, planes: Sequence[Plane], pixel_format: PixelFormat, color: Color, geometry: Geometry, strength: float
    ) -> list[Plane]:
        """Planes at the source's size, from decoded small planes at their true size.

        Args:
            planes: of the small picture.
            pixel_format, color: of both pictures.
            geometry: the source's size.
            strength: coding strength (crf) that the small picture went through.
        """

    def shrinking_time(self, height: int, width: int) -> float | None:
        """About how many seconds a frame of the source's size takes to shrink; None where that is no matter."""

    def enlarging_time(self, height: int, width: int) -> float | None:
        """About how many seconds a frame of the source's size takes to restore; None where that is no matter."""


@dataclass(frozen=True, slots=True)
class FixedPair:
    """A pair of fixed filters, each plane scaled in its own grid with chroma siting respected.

    Attributes:
        family: "lanczos", "bicubic", "area", "gaussian" or "sharp".
        scale: source sample spacing per small sample.
        device: where it runs, "cpu" or "cuda".
        sha256, folder: "" and None, there are no weights.
        sharpness: of the small luma, see `polyphase_filters.Sharpened`; 0 for that of the family.
    """

    family: str
    scale: Fraction
    device: str = "cpu"
    sha256: str = ""
    sharpness: float = 0.0
    folder: None = None

    @property
    def name(self) -> str:
        return f"{self.family}-x{scale_text(self.scale)}"

    @property
    def shrinks_on(self) -> Place:
        return Place(self.device, implementation(self.device))

    @property
    def enlarges_on(self) -> Place:
        return self.shrinks_on

    @property
    def at_once(self) -> int:
        return core_count() if self.device == "cpu" else 1

    def shrink(self, planes: Sequence[Plane], pixel_format: PixelFormat, color: Color) -> list[Plane]:
        luma, _ = _FIXED[self.family]
        kind = luma.name if isinstance(luma, Sharpened) else luma
        if self.sharpness:
            luma = Sharpened(kind, self.sharpness)
        elif self.scale == 1:  # a player shows it as it is
            luma = kind
        height, width = (-(-side // self.scale) for side in planes[0].shape)
        sizes = pixel_format.plane_shapes(int(height), int(width))
        return self._resample(planes, pixel_format, color, sizes, self.scale, [luma, kind, kind])

    def enlarge(
        self, planes: Sequence[Plane], pixel_format: PixelFormat, color: Color, geometry: Geometry, strength: float
    ) -> list[Plane]:
        _, kind = _FIXED[self.family]
        sizes = pixel_format.plane_shapes(geometry.height, geometry.width)
        return self._resample(planes, pixel_format, color, sizes, 1 / self.scale, [kind] * 3)

    def enlarge_chroma(
        self, planes: Sequence[Plane], pixel_format: PixelFormat, color: Color, geometry: Geometry
    ) -> list[Plane]:
        """`enlarge`, luma left out."""
        _, kind = _FIXED[self.family]
        sizes = pixel_format.plane_shapes(geometry.height, geometry.width)
        return self._resample(planes, pixel_format, color, sizes, 1 / self.scale, [None, kind, kind])

    def shrinking_time(self, height: int, width: int) -> None:
        return None

    def enlarging_time(self, height: int, width: int) -> None:
        return None

    def _resample(
        self,
        planes: Sequence[Plane],
        pixel_format: PixelFormat,
        color: Color,
        sizes: Sequence[tuple[int, int]],
        step: Fraction,
        kinds: Sequence[Kind | None],
    ) -> list[Plane]:
        """Each plane by its filter; those without one are left out."""
        work = zip(planes, pixel_format.siting(color.siting), sizes, kinds, strict=False)  # gray has one plane only
        depth = pixel_format.bit_depth
        return [
            plane
            if self.scale == 1 and not isinstance(kind, Sharpened)  # nothing to do, whatever the filter
            else _on_device(plane, self.device, step=step, siting=sited, size=size, kind=kind, depth=depth)
            for plane, sited, size, kind in work
            if kind is not None
        ]


def _on_device(
    plane: Plane,
    device: str,
    *,
    step: Fraction,
    siting: tuple[Fraction, Fraction],
    size: tuple[int, int],
    kind: Kind,
    depth: int,
) -> Plane:
    if device == "cpu":
        return polyphase_resample(plane, step=step, siting=siting, size=size, kind=kind, bit_depth=depth)
    import torch

    on_gpu = torch.from_numpy(np.ascontiguousarray(plane)).to(device)
    scaled = polyphase_resample(on_gpu, step=step, siting=siting, size=size, kind=kind, bit_depth=depth)
    return scaled.cpu().numpy()


def families() -> list[str]:
    """Names of the families of pairs."""
    return list(_FIXED)


def find_pair(name: str, scale: Fraction | None, device: Device = "auto", sha256: str | None = None) -> Pair:
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
    if folder := (with_hash(name, sha256) if sha256 else None) or _folder(name, scale):
        return _networks(folder, scale, device, sha256)
    family, _, suffix = name.partition("-x")
    if family not in _FIXED:
        there = installed()
        shown = _with_scale(name, scale) if any(pair.startswith(f"{name}-x") for pair in there) else name
        hint = "; `vidscale models import-car` and `vidscale train car` make one" if family == "car" else ""
        raise ModelError(f"there is no pair {shown!r}; there are {', '.join([*_FIXED, *there])}{hint}")
    if sha256:
        raise ModelError(f"the pair {name!r} has no weights, others were asked for")
    named = _scale_of(suffix, name) if suffix else None
    if named is not None and scale is not None and named != scale:
        raise UsageError(f"pair {name!r} is made for scale {scale_text(named)}, not for {scale_text(scale)}")
    resolved = named or scale
    if resolved is None:
        raise UsageError(f"pair {name!r} needs a scale")
    return FixedPair(family, resolved, device=resolve(device))


def scale_named(name: str) -> Fraction | None:
    """The scale that a pair has of itself, by its card or by its name, or a family with weights for one scale only.

    None for other families.

    Raises:
        ModelError: a name or a card with a scale that cannot be.
    """
    if folder := _folder(name, None):
        return read_card(folder).scale
    family = [folder for pair, folder in installed().items() if pair.rpartition("-x")[0] == name]
    if len(family) == 1:
        return read_card(family[0]).scale
    _, x, suffix = name.rpartition("-x")
    return _scale_of(suffix, name) if x and suffix[:1].isdigit() else None


def chosen(name: str, scale: Fraction, tune: Tune) -> str:
    """The name of the pair that a name stands for.

    Args:
        name: of a pair, or "auto": the learned pair of that scale where there is one, else Lanczos.
        scale: asked for.
        tune: the metric that a variant is wanted for: adaptive-x2 becomes adaptive-vmaf-x2.

    Raises:
        UsageError: a metric that no such pair is tuned for.
    """
    if name != AUTO and (tune == "psnr" or (Path(name) / CARD).is_file()):
        return name
    tuned = _tuned(_LEARNED if name == AUTO else name, tune)
    if _with_scale(tuned, scale) in installed():
        return tuned
    if tune == "psnr":
        return _FALLBACK
    which = "pair" if name == AUTO else f"variant of {name!r}"
    end = f"-{tune}-x{scale_text(scale)}"
    others = [f"--pair {other.removesuffix(end)}" for other in sorted(installed()) if other.endswith(end)]
    remedy = f"; {' and '.join(others)} can be had so" if others else ""
    raise UsageError(f"--tune {tune}: at scale {scale_text(scale)} no {which} is tuned for it yet{remedy}")


def _tuned(name: str, tune: Tune) -> str:
    family, x, suffix = name.partition("-x")
    return name if tune == "psnr" else f"{family}-{tune}{x}{suffix}"


def _with_scale(name: str, scale: Fraction | None) -> str:
    return name if scale is None or "-x" in name else f"{name}-x{scale_text(scale)}"


def _folder(name: str, scale: Fraction | None) -> Path | None:
    """Where the weights of that name lie; None where it is not a pair with weights."""
    if (Path(name) / CARD).is_file():
        return Path(name)
    there = installed()
    return there.get(name) or there.get(_with_scale(name, scale))


def _networks(folder: Path, scale: Fraction | None, device: Device, sha256: str | None) -> Pair:
    card = read_card(folder)
    if scale is not None and scale != card.scale:
        raise UsageError(f"pair {card.name!r} is made for scale {scale_text(card.scale)}, not for {scale_text(scale)}")
    if sha256 is not None and card.sha256 != sha256:
        raise ModelError(f"the pair {card.name!r} in {folder} has other weights than were asked for")
    if card.upscaler.get("network") in CHAINS:  # they restore luma alone; others are defined in RGB
        from vidscale.models.plane_pair import PlanePair

        return PlanePair(card, folder, device)
    from vidscale.models.network_pair import NetworkPair

    return NetworkPair.load(folder, resolve(device, auto="cuda"))


def _scale_of(suffix: str, name: str) -> Fraction:
    try:
        return parse_scale(suffix.replace("-", "/"))
    except ValueError as error:
        raise ModelError(f"there is no pair {name!r}: {error}") from None
