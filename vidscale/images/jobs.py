"""Folders of pictures made small, restored, or both and measured: one after the other, each for itself."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from math import ceil, nan
from pathlib import Path
from typing import Protocol, TypeVar

from vidscale.config import ImageSettings
from vidscale.errors import ConfigError, IdentityError, ModelError, VidscaleError
from vidscale.image_metrics import luma_psnr, luma_ssim
from vidscale.images.folder import Item, clashes, find_pictures
from vidscale.images.metadata import lost
from vidscale.images.origin import check_size, find_identity, with_identity, without_identity
from vidscale.images.picture import Picture, PictureFormat, decode_picture, encode_picture
from vidscale.images.scaling import Scaler, enlarge_picture, find_scaler, shrink_picture
from vidscale.media.identity import Identity
from vidscale.system.progress import Progress
from vidscale.system.workspace import check_folder, partial_files

T = TypeVar("T")

_DEFAULT_PAIR = "lanczos"


@dataclass(frozen=True, slots=True)
class Scaled:
    """A picture that was made small, restored, or both.

    Attributes:
        source: what was read.
        small, restored: what was written; None where nothing was.
        pair: that scaled it.
        width, height: of the full size, samples.
        small_width, small_height: of the small one.
        channels: 1 (gray) or 3 (RGB), transparency not counted.
        bit_depth: 8 or 16.
        source_bytes, bytes: sizes of the files: of what was read, and of what was made of it (small, after a round
            trip).
        seconds: wall time.
        psnr_y, ssim_y: dB and -1 to 1, of luma as papers measure it (`vidscale.image_metrics`), ceil(scale) samples
            shaved; None where nothing was compared, nan for a picture that is too small, inf for a perfect PSNR.
        notes: what a person should know, one line each.
    """

    source: Path
    small: Path | None
    restored: Path | None
    pair: str
    width: int
    height: int
    small_width: int
    small_height: int
    channels: int
    bit_depth: int
    source_bytes: int
    bytes: int
    seconds: float = 0.0
    psnr_y: float | None = None
    ssim_y: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """A picture that could not be scaled, and in one line why."""

    source: Path
    error: str


Result = Scaled | Failed


class FindScaler(Protocol):
    """`find_scaler` on the device of a job."""

    def __call__(self, name: str, scale: Fraction | None, sha256: str | None = None, /) -> Scaler: ...


def shrink_folder(
    paths: Sequence[Path], output: Path, settings: ImageSettings, progress: Progress | None = None
) -> Iterator[Result]:
    """Makes pictures small, one after the other as the results are taken; a failure does not stop the others.

    Args:
        paths: folders and files.
        output: folder; the results lie in it as the sources lie in theirs.
        settings: what to do.
        progress: told about every picture.

    Raises:
        VidscaleError: before the first picture, where none could be scaled: no pair, no pictures, no place to write to.
    """
    scaler = find_scaler(settings.pair or _DEFAULT_PAIR, settings.scale, settings.device)

    def work(item: Item) -> Scaled:
        data, source = _read(item)
        small, coded = _shrunk(source, scaler, settings)
        target = _write(coded, item.target(output, settings.format), item, settings)
        notes = (*source.notes, *small.notes, *_loss(settings.format, lost(data, coded)))
        return _scaled(item, scaler, source, small, data, coded, small_path=target, notes=notes)

    return _each(paths, output, work, "scaling down", progress)


def enlarge_folder(
    paths: Sequence[Path], output: Path, settings: ImageSettings, progress: Progress | None = None
) -> Iterator[Result]:
    """Restores small pictures to their sources' sizes, by what they say of themselves or by the settings.

    Arguments and errors as of `shrink_folder`.
    """

    @cache
    def find(name: str, scale: Fraction | None, sha256: str | None = None) -> Scaler:
        return find_scaler(name, scale, settings.device, sha256)

    if settings.pair is not None:
        find(settings.pair, settings.scale)  # one that is not there fails before the first picture

    def work(item: Item) -> Scaled:
        data, small = _read(item)
        scaler, height, width = _how_to_restore(small, settings, find)
        restored = enlarge_picture(small, scaler, height, width).with_xmp(without_identity(small.xmp))
        coded = encode_picture(restored, settings.format, quality=settings.quality)
        target = _write(coded, item.target(output, settings.format), item, settings)
        words = [word for word in lost(data, coded) if word != "XMP" or restored.xmp]
        notes = (*small.notes, *_loss(settings.format, words))
        return _scaled(item, scaler, restored, small, data, coded, restored_path=target, notes=notes)

    return _each(paths, output, work, "scaling up", progress)


def round_trip_folder(
    paths: Sequence[Path], output: Path | None, settings: ImageSettings, progress: Progress | None = None
) -> Iterator[Result]:
    """Makes pictures small, codes them in the chosen format, restores what that decodes to, and measures.

    Arguments and errors as of `shrink_folder`, but the output: small pictures go to ``small`` in it, restored ones to
    ``restored``, these always as PNG; None writes nothing.
    """
    scaler = find_scaler(settings.pair or _DEFAULT_PAIR, settings.scale, settings.device)

    def work(item: Item) -> Scaled:
        data, source = _read(item)
        small, coded = _shrunk(source, scaler, settings)
        restored = enlarge_picture(decode_picture(coded), scaler, source.height, source.width)
        result = _scaled(item, scaler, source, small, data, coded, notes=(*source.notes, *small.notes))
        psnr_y, ssim_y = _measured(restored, source, shave=ceil(scaler.scale))
        result = replace(result, psnr_y=psnr_y, ssim_y=ssim_y)
        if output is None:
            return result
        png = encode_picture(restored.with_xmp(source.xmp), "png")
        small_path = _write(coded, item.target(output / "small", settings.format), item, settings)
        restored_path = _write(png, item.target(output / "restored", "png"), item, settings)
        notes = (*result.notes, *_loss(settings.format, lost(data, coded)))
        return replace(result, small=small_path, restored=restored_path, notes=notes)

    return _each(paths, output, work, "round trip", progress)


def _each(
    paths: Sequence[Path],
    output: Path | None,
    work: Callable[[Item], Scaled],
    task: str,
    progress: Progress | None,
) -> Iterator[Result]:
    """The results as they are asked for; what can be refused before the first is refused now."""
    progress = progress or Progress()
    items = find_pictures(paths, apart_from=output, progress=progress)
    if output is not None:
        check_folder(output)
    return _results(items, work, task, progress)


def _results(items: Sequence[Item], work: Callable[[Item], Scaled], task: str, progress: Progress) -> Iterator[Result]:
    refused = clashes(items)
    progress.start(task, len(items), unit="pictures")
    for item in items:
        started = time.perf_counter()
        result = Failed(item.path, refused[item]) if item in refused else attempt(item, work)
        yield replace(result, seconds=time.perf_counter() - started) if isinstance(result, Scaled) else result
        progress.advance()


def attempt(item: Item, work: Callable[[Item], T]) -> T | Failed:
    """What the work gives for a picture, or in one line why it gives nothing."""
    try:
        return work(item)
    except VidscaleError as error:
        return Failed(item.path, str(error))
    except OSError as error:
        return Failed(item.path, error.strerror or str(error))
    except MemoryError:
        return Failed(item.path, "out of memory")


def _read(item: Item) -> tuple[bytes, Picture]:
    data = item.path.read_bytes()
    return data, decode_picture(data)


def _shrunk(source: Picture, scaler: Scaler, settings: ImageSettings) -> tuple[Picture, bytes]:
    """The small picture, which says how it is restored, and its file."""
    small = shrink_picture(source, scaler)
    identity = Identity(
        pair=scaler.name,
        sha256=scaler.sha256,
        scale=str(scaler.scale),
        width=source.width,
        height=source.height,
        coded_width=small.width,
        coded_height=small.height,
        codec=settings.format,
        time_base="1",  # a picture has no time
    )
    packet = with_identity(source.xmp, identity)
    if packet is None:
        small = replace(small, notes=("its XMP takes no identity: name --pair, --scale and --size to restore it",))
    else:
        small = small.with_xmp(packet)
    return small, encode_picture(small, settings.format, quality=settings.quality)


def _how_to_restore(small: Picture, settings: ImageSettings, find: FindScaler) -> tuple[Scaler, int, int]:
    """The scalers, height and width for a small picture."""
    identity = find_identity(small.xmp)
    if identity is None:
        if settings.pair is None:
            raise IdentityError("does not say how it was made; name its pair and scale with --pair and --scale")
        scaler = find(settings.pair, settings.scale)
        return scaler, *(settings.size or (int(small.height * scaler.scale), int(small.width * scaler.scale)))
    check_size(identity, small.height, small.width)
    scaler = _scaler_of(identity, settings, find)
    return scaler, *(settings.size or (identity.height, identity.width))


def _scaler_of(identity: Identity, settings: ImageSettings, find: FindScaler) -> Scaler:
    """The scaler that made a small picture; what the settings name must be that one."""
    scale = settings.scale or identity.scale_fraction
    if settings.pair is not None or settings.scale is not None:
        asked = find(settings.pair or identity.pair, scale)
        if asked.name != identity.pair:
            raise ConfigError(f"was made with {identity.pair}, not with {asked.name}; leave --pair and --scale out")
        if asked.sha256 == identity.sha256:
            return asked
    try:
        return find(identity.pair, scale, identity.sha256)
    except ModelError as error:
        raise ModelError(f"needs the pair {identity.pair!r}, which is not here: {error}") from error


def _write(coded: bytes, target: Path, item: Item, settings: ImageSettings) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with partial_files(target, source=item.path, overwrite=settings.overwrite) as workspace:
        workspace.result.write_bytes(coded)
    return target


def _measured(restored: Picture, source: Picture, shave: int) -> tuple[float, float]:
    """PSNR and SSIM of luma; nan where shaving leaves nothing."""
    if min(source.height, source.width) <= 2 * shave:
        return nan, nan
    sr, hr = restored.rgb(), source.rgb()
    return luma_psnr(sr, hr, shave=shave), luma_ssim(sr, hr, shave=shave)


def _loss(picture_format: PictureFormat, words: Sequence[str]) -> list[str]:
    return [f"not kept in {picture_format.upper()}: {', '.join(words)}"] if words else []


def _scaled(
    item: Item,
    scaler: Scaler,
    full: Picture,
    small: Picture,
    read: bytes,
    made: bytes,
    *,
    small_path: Path | None = None,
    restored_path: Path | None = None,
    notes: tuple[str, ...],
) -> Scaled:
    return Scaled(
        source=item.path,
        small=small_path,
        restored=restored_path,
        pair=scaler.name,
        width=full.width,
        height=full.height,
        small_width=small.width,
        small_height=small.height,
        channels=len(full.planes),
        bit_depth=full.bit_depth,
        source_bytes=len(read),
        bytes=len(made),
        notes=notes,
    )
