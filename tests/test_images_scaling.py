"""`vidscale.images.scaling` and `methods`: filters against Pillow and torch, networks against direct calls."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from skimage import data
from torch.nn import functional as F

from vidscale.config import BenchSettings
from vidscale.errors import ModelError, UsageError
from vidscale.images.methods import InterpolationScaler, find_methods
from vidscale.images.picture import Picture
from vidscale.images.scaling import RgbScaler, downscale_picture, find_scaler, upscale_picture
from vidscale.models.cards import user_folder
from vidscale.models.networks.car import ResamplerNet
from vidscale.models.networks.edsr import EDSR
from vidscale.models.pair_files import load_pair_dir, write_pair_dir

Codes = npt.NDArray[np.uint8]
SCALES = [Fraction(2), Fraction(4), Fraction(3, 2)]
PHOTOGRAPH = np.ascontiguousarray(data.astronaut()[:120, :144])


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def car() -> Path:
    torch.manual_seed(0)
    networks = ResamplerNet(2, stem=4, body=4, trunk=4, blocks=1), EDSR(2, blocks=1, width=4)
    write_pair_dir(user_folder() / "car-x2", "car-x2", *networks)
    return user_folder() / "car-x2"


def picture(codes: Codes, alpha: Codes | None = None) -> Picture:
    return Picture(tuple(np.ascontiguousarray(plane) for plane in np.moveaxis(np.atleast_3d(codes), 2, 0)), alpha)


def codes_of(one: Picture) -> npt.NDArray[np.int64]:
    return np.stack(one.planes, axis=2).astype(np.int64)


# Fixed filters. Edges are mirrored by numpy in front of libraries that do something else at edges.


def mirrored(plane: npt.NDArray[np.float64], factor: Fraction) -> tuple[npt.NDArray[np.float64], int]:
    """The plane with mirrored borders, and the width of these borders once scaled."""
    margin = 12 * factor.denominator
    return np.pad(plane, margin, mode="symmetric"), int(margin * factor)


def by_torch(codes: Codes, factor: Fraction, mode: str, *, clamp: bool) -> npt.NDArray[np.float64]:
    """MATLAB's imresize: antialiased, a = -1/2, mirrored edges; with clamp also between the two axes."""
    planes = []
    for plane in np.moveaxis(codes, 2, 0).astype(np.float64):
        values, margin = mirrored(plane, factor)
        height, width = values.shape
        tall = [int(height * factor), width] if factor < 1 else [height, int(width * factor)]
        tensor = torch.from_numpy(values)[None, None]
        for size in (tall, [int(height * factor), int(width * factor)]):
            tensor = F.interpolate(tensor, size, mode=mode, antialias=True)
            tensor = tensor.clamp(0, 255) if clamp else tensor
        planes.append(tensor[0, 0, margin:-margin, margin:-margin].clamp(0, 255).numpy())
    return np.stack(planes, axis=2)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_interpolation_is_antialiased_as_in_torch(scale: Fraction, mode: str) -> None:
    scaler = find_scaler("bicubic", scale) if mode == "bicubic" else InterpolationScaler("bilinear", scale)
    small = scaler.downscale(picture(PHOTOGRAPH).planes)
    truth = by_torch(PHOTOGRAPH, 1 / scale, mode, clamp=True)
    assert np.abs(np.stack(small, axis=2) - truth).max() <= 0.501
    restored = scaler.upscale(small, *PHOTOGRAPH.shape[:2])
    truth = by_torch(np.stack(small, axis=2), scale, mode, clamp=True)
    assert np.abs(np.stack(restored, axis=2) - truth).max() <= 0.501


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("kind", ["bilinear", "bicubic", "lanczos"])
def test_filters_are_those_of_pillow(scale: int, kind: str) -> None:
    # Pillow does not clamp between the axes: a few samples at hard edges differ, by filters that overshoot.
    bilinear = InterpolationScaler("bilinear", Fraction(scale))
    scaler = bilinear if kind == "bilinear" else find_scaler(kind, Fraction(scale))
    small = scaler.downscale(picture(PHOTOGRAPH).planes)
    resample = Image.Resampling[kind.upper()]
    for plane, full in zip(small, np.moveaxis(PHOTOGRAPH, 2, 0), strict=True):
        values, margin = mirrored(full.astype(np.float32), Fraction(1, scale))
        size = [side // scale for side in reversed(values.shape)]
        truth = np.asarray(Image.fromarray(values).resize(size, resample))[margin:-margin, margin:-margin]
        equal = (np.abs(plane - truth.clip(0, 255)) <= 0.51).mean()
        assert equal == 1 if kind == "bilinear" else equal > 0.98


@pytest.mark.parametrize("scale", [2, 4])
def test_bicubic_scores_as_that_of_papers(scale: int) -> None:
    """MATLAB's imresize of doubles clamps only at the end, which does not change the second decimal of PSNR."""
    scaler = find_scaler("bicubic", Fraction(scale))
    ours = np.stack(scaler.upscale(scaler.downscale(picture(PHOTOGRAPH).planes), *PHOTOGRAPH.shape[:2]), axis=2)
    small = np.rint(by_torch(PHOTOGRAPH, Fraction(1, scale), "bicubic", clamp=False)).astype(np.uint8)
    theirs = np.rint(by_torch(small, Fraction(scale), "bicubic", clamp=False))
    mse = [float(((one.astype(np.float64) - PHOTOGRAPH) ** 2).mean()) for one in (ours, theirs)]
    assert abs(10 * np.log10(mse[0] / mse[1])) < 0.01


@pytest.mark.parametrize("scale", [2, 4])
def test_nearest_is_that_of_pillow(scale: int) -> None:
    scaler = InterpolationScaler("nearest-exact", Fraction(scale))
    height, width = PHOTOGRAPH.shape[:2]
    small = np.stack(scaler.downscale(picture(PHOTOGRAPH).planes), axis=2)
    truth = Image.fromarray(PHOTOGRAPH).resize((width // scale, height // scale), Image.Resampling.NEAREST)
    assert np.array_equal(small, np.asarray(truth))
    restored = np.stack(scaler.upscale(picture(small).planes, height, width), axis=2)
    assert np.array_equal(restored, np.asarray(truth.resize((width, height), Image.Resampling.NEAREST)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lanczos", "bicubic", "area", "car"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (61, 87), (16, 17)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_size_and_depth_goes_down_and_up(
    car: Path, name: str, shape: tuple[int, int], dtype: npt.DTypeLike
) -> None:
    scaler = find_scaler(name, Fraction(2))
    codes = PHOTOGRAPH[: shape[0], : shape[1]].astype(dtype) * (257 if dtype is np.uint16 else 1)
    for source in (picture(codes), picture(codes[..., 0])):
        small = downscale_picture(source, scaler)
        assert (small.height, small.width) == (-(-shape[0] // 2), -(-shape[1] // 2))
        restored = upscale_picture(small, scaler, *shape)
        assert codes_of(restored).shape == codes_of(source).shape
        assert {plane.dtype for plane in (*small.planes, *restored.planes)} == {np.dtype(dtype)}


# Networks.


def test_network_does_what_its_networks_do(car: Path) -> None:
    pair = load_pair_dir(car)
    scaler = find_scaler("car", Fraction(2))
    assert isinstance(scaler, RgbScaler)
    assert (scaler.name, scaler.sha256, scaler.scale) == ("car-x2", pair.card.sha256, 2)
    image = torch.from_numpy(np.moveaxis(PHOTOGRAPH, 2, 0).copy()).float()[None] / 255
    small = downscale_picture(picture(PHOTOGRAPH), scaler)
    expected = pair.downscaler.downscale(image, out_dtype=torch.uint8)[0].numpy()
    assert np.array_equal(np.stack(small.planes), expected)
    restored = codes_of(upscale_picture(small, scaler, 120, 144))
    expected = pair.upscaler.upscale(torch.from_numpy(expected).float()[None] / 255)[0].numpy() * 255
    assert np.abs(np.moveaxis(restored, 2, 0) - expected).max() <= 0.501


def test_sixteen_bits_keep_their_precision(car: Path) -> None:
    scaler = find_scaler("car", Fraction(2))
    fine = picture((PHOTOGRAPH.astype(np.uint16) * 257) ^ 0x55)
    small = downscale_picture(fine, scaler)
    assert len(np.unique(small.planes[0])) > 1000
    coarse = downscale_picture(picture(PHOTOGRAPH), scaler)
    assert np.abs(codes_of(small) / 257 - codes_of(coarse)).max() <= 1.5


def test_gray_is_the_luma_of_three_equal_channels(car: Path) -> None:
    scaler = find_scaler("car", Fraction(2))
    gray, rgb = picture(PHOTOGRAPH[..., 1]), picture(np.repeat(PHOTOGRAPH[..., 1:2], 3, axis=2))
    small, small_rgb = downscale_picture(gray, scaler), downscale_picture(rgb, scaler)
    assert all(np.array_equal(small.planes[0], plane) for plane in small_rgb.planes)
    restored, restored_rgb = upscale_picture(small, scaler, 120, 144), upscale_picture(small_rgb, scaler, 120, 144)
    assert np.abs(codes_of(restored)[..., 0] - codes_of(restored_rgb).mean(2)).max() <= 1


def test_transparency_is_scaled_beside_the_colours(car: Path) -> None:
    alpha = np.ascontiguousarray(PHOTOGRAPH[..., 2])
    for name in ("bicubic", "car"):
        scaler = find_scaler(name, Fraction(2))
        small = downscale_picture(picture(PHOTOGRAPH, alpha), scaler)
        assert np.array_equal(codes_of(small), codes_of(downscale_picture(picture(PHOTOGRAPH), scaler)))
        lanczos = find_scaler("lanczos", Fraction(2))
        assert np.array_equal(small.alpha, lanczos.downscale([alpha])[0])
        restored = upscale_picture(small, scaler, 120, 144)
        assert np.array_equal(restored.alpha, lanczos.upscale([small.alpha], 120, 144)[0])


# Finding.


def test_pairs_are_found_by_family_name_and_folder(car: Path, tmp_path: Path) -> None:
    for name, scale in [
        ("car", None),
        ("car", Fraction(2)),
        ("car-x2", None),
        (str(car), None),
        (str(car), Fraction(2)),
    ]:
        assert find_scaler(name, scale).name == "car-x2"
    assert find_scaler("lanczos", None).name == "lanczos-x2"
    assert find_scaler("area-x3", None).name == "area-x3"


def test_find_scaler_errors(car: Path) -> None:
    for name, scale, error, message in [
        (
            "other",
            None,
            ModelError,
            r"^unknown pair 'other'; choose from lanczos, bicubic, area, gaussian, sharp, car-x2$",
        ),
        (
            "car",
            Fraction(4),
            ModelError,
            r"^unknown pair 'car-x4'; choose from lanczos, .*, car-x2; .*train car",
        ),
        ("car-x2", Fraction(4), UsageError, r"^pair 'car-x2' is made for scale 2, not for 4$"),
        ("lanczos-x2", Fraction(3), UsageError, r"^pair 'lanczos-x2' is made for scale 2, not for 3$"),
    ]:
        with pytest.raises(error, match=message):
            find_scaler(name, scale)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    networks = ResamplerNet(2, stem=2, body=2, trunk=2, blocks=1), EDSR(2, blocks=1, width=2)
    with torch.no_grad():
        networks[1].tail.bias[0] = torch.nan
    write_pair_dir(user_folder() / "bad-x2", "bad-x2", *networks)
    with pytest.raises(ModelError, match=r"not finite: tail\.bias"):
        find_scaler("bad", None)


def test_sizes_that_cannot_be_restored_are_refused() -> None:
    scaler = find_scaler("lanczos", Fraction(2))
    small = downscale_picture(picture(PHOTOGRAPH), scaler)
    assert upscale_picture(small, scaler, 119, 143).width == 143
    with pytest.raises(UsageError, match=r"^cannot restore 72x60 to 145x120 at scale 2$"):
        upscale_picture(small, scaler, 120, 145)


def test_methods_are_those_of_the_scale(car: Path) -> None:
    fixed = ["Nearest", "Bilinear", "Bicubic", "Lanczos", "Area down, Lanczos up"]
    names = [method.name for method in find_methods(BenchSettings.resolve({}))]
    assert names == [*fixed, "car-x2"]
    assert [method.name for method in find_methods(BenchSettings.resolve({"scale": "4"}))] == fixed
    assert [method.name for method in find_methods(BenchSettings.resolve({"pairs": "none"}))] == fixed
    named = BenchSettings.resolve({"pairs": f"{car},lanczos"})
    assert [method.name for method in find_methods(named)] == [*fixed, "car-x2", "lanczos-x2"]
    with pytest.raises(ModelError, match=r"^unknown pair 'other'"):
        find_methods(BenchSettings.resolve({"pairs": "other"}))


def test_damaged_installed_pair_is_left_out(car: Path) -> None:
    (car / "weights.safetensors").write_bytes(b"")
    assert len(find_methods(BenchSettings.resolve({}))) == 5
