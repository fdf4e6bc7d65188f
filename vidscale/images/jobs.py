"""Downscales, restores or round-trips folders of pictures, one picture at a time."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from math import ceil, nan
from pathlib import Path
from typing import Protocol, TypeVar

from vidscale.config import ImageSettings
from vidscale.errors import EncodeError, IdentityError, VidscaleError, reason_of
from vidscale.image_metrics import luma_psnr, luma_ssim
from vidscale.images.folder import Item, clashes, find_pictures
from vidscale.images.metadata import lost
from vidscale.images.origin import check_size, find_identity, with_identity, without_identity
from vidscale.images.picture import Picture, PictureFormat, decode_picture, encode_picture
from vidscale.images.scaling import Scaler, downscale_picture, find_scaler, upscale_picture
from vidscale.media.identity import Identity
from vidscale.models.pairs import identified_pair
from vidscale.system.progress import Progress
from vidscale.system.workspace import check_folder, partial_files

T = TypeVar("T")

_DEFAULT_PAIR = "lanczos"


@dataclass(frozen=True, slots=True)
class Scaled:
    """A picture that was downscaled, restored, or both.

    Attributes:
        source: file that was read.
        small, restored: files that were written; None if not written.
        pair: name of the pair used.
        width, height: full size, samples.
        small_width, small_height: small size, samples.
        channels: 1 (gray) or 3 (RGB), alpha not counted.
        bit_depth: 8 or 16.
        source_bytes: size of the file that was read.
        bytes: size of the output file; of the small one in a round trip.
        seconds: wall time.
        psnr_y, ssim_y: dB and -1 to 1, on luma as in papers (`vidscale.image_metrics`), ceil(scale) samples shaved off
            each edge; None if not measured, nan if the picture is too small, PSNR inf if perfect.
        notes: messages for the user, one line each.
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
    """A picture that could not be scaled, and a one-line error."""

    source: Path
    error: str


Result = Scaled | Failed


class FindScaler(Protocol):
    """`find_scaler` with the job's device."""

    def __call__(self, name: str, scale: Fraction | None, sha256: str | None = None, /) -> Scaler: ...


def downscale_folder(
    paths: Sequence[Path], output: Path, settings: ImageSettings, progress: Progress | None = None
) -> Iterator[Result]:
    """Downscales pictures. Lazy: one picture per result taken; a failed picture does not stop the job.

    Args:
        paths: folders and files.
        output: folder, with the same layout as the input folders.
        settings: pair, scale, format, device.
        progress: advances with every picture.

    Raises:
        VidscaleError: raised before the first picture: unknown pair, no pictures, output folder not writable.
    """
    scaler = find_scaler(settings.pair or _DEFAULT_PAIR, settings.scale, settings.device)

    def work(item: Item) -> Scaled:
        data, source = _read(item)
        small, coded = _downscaled(source, scaler, settings)
        target = _write(coded, item.target(output, settings.format), item, settings)
        notes = (*source.notes, *small.notes, *_loss(settings.format, lost(data, coded)))
        return _scaled(item, scaler, source, small, data, coded, small_path=target, notes=notes)

    return _each(paths, output, work, "downscaling", progress)


def upscale_folder(
    paths: Sequence[Path], output: Path, settings: ImageSettings, progress: Progress | None = None
) -> Iterator[Result]:
    """Restores small pictures to their source size, by their identity or by the settings.

    Arguments and errors as for `downscale_folder`.
    """

    @cache
    def find(name: str, scale: Fraction | None, sha256: str | None = None) -> Scaler:
        return find_scaler(name, scale, settings.device, sha256)

    if settings.pair is not None:
        find(settings.pair, settings.scale, None)  # an unknown pair fails before the first picture

    def work(item: Item) -> Scaled:
        data, small = _read(item)
        scaler, height, width, said = _how_to_restore(small, settings, find)
        restored = upscale_picture(small, scaler, height, width).with_xmp(without_identity(small.xmp))
        coded = encode_picture(restored, settings.format, quality=settings.quality)
        target = _write(coded, item.target(output, settings.format), item, settings)
        words = [word for word in lost(data, coded) if word != "XMP" or restored.xmp]
        notes = (*small.notes, *said, *_loss(settings.format, words))
        return _scaled(item, scaler, restored, small, data, coded, restored_path=target, notes=notes)

    return _each(paths, output, work, "upscaling", progress)


def round_trip_folder(
    paths: Sequence[Path], output: Path | None, settings: ImageSettings, progress: Progress | None = None
) -> Iterator[Result]:
    """Downscales pictures, encodes and decodes them in the chosen format, restores them and measures the loss.

    Arguments and errors as for `downscale_folder`, except for the output folder: small pictures go to ``small`` in it
    and restored ones, always PNG, to ``restored``; None writes nothing.
    """
    scaler = find_scaler(settings.pair or _DEFAULT_PAIR, settings.scale, settings.device)

    def work(item: Item) -> Scaled:
        data, source = _read(item)
        small, coded = _downscaled(source, scaler, settings)
        restored = upscale_picture(decode_picture(coded), scaler, source.height, source.width)
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
    """Lazy results; errors that concern the whole job are raised right away."""
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
    """Runs `work` on a picture; a failure becomes a `Failed` with a one-line error."""
    try:
        return work(item)
    except VidscaleError as error:
        return Failed(item.path, str(error))
    except OSError as error:
        return Failed(item.path, reason_of(error))
    except MemoryError:
        return Failed(item.path, "out of memory")


def _read(item: Item) -> tuple[bytes, Picture]:
    data = item.path.read_bytes()
    return data, decode_picture(data)


def _downscaled(source: Picture, scaler: Scaler, settings: ImageSettings) -> tuple[Picture, bytes]:
    """The small picture with its identity, and its encoded file."""
    small = downscale_picture(source, scaler)
    identity = Identity(
        pair=scaler.name,
        sha256=scaler.sha256,
        scale=str(scaler.scale),
        width=source.width,
        height=source.height,
        coded_width=small.width,
        coded_height=small.height,
        codec=settings.format,
        time_base="1",  # pictures have no timestamps
    )
    packet = with_identity(source.xmp, identity)
    if packet is None:
        small = replace(small, notes=("its XMP cannot hold an identity: restore it with --pair, --scale and --size",))
    else:
        small = small.with_xmp(packet)
    return small, encode_picture(small, settings.format, quality=settings.quality)


def _how_to_restore(
    small: Picture, settings: ImageSettings, find: FindScaler
) -> tuple[Scaler, int, int, tuple[str, ...]]:
    """Scaler, height and width that restore a small picture, and notes."""
    identity = find_identity(small.xmp)
    if identity is None:
        if settings.pair is None:
            raise IdentityError("has no identity; name its pair and scale with --pair and --scale")
        scaler = find(settings.pair, settings.scale, None)
        return scaler, *(settings.size or (int(small.height * scaler.scale), int(small.width * scaler.scale))), ()
    check_size(identity, small.height, small.width)
    size = settings.size or (identity.height, identity.width)
    if settings.pair is not None:
        other = find(settings.pair, settings.scale or identity.scale_fraction, None)
        if other.name != identity.pair and other.scale == identity.scale_fraction:
            return other, *size, (f"made with {identity.pair}, restored with {other.name}",)
    return identified_pair(identity, find, name=settings.pair, scale=settings.scale), *size, ()


def _write(coded: bytes, target: Path, item: Item, settings: ImageSettings) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EncodeError(f"cannot write {target}: {reason_of(error)}") from error
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
