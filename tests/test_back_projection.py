"""The downscaler by back-projection on the CPU, against the network in torch and against float64."""

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from vidscale.errors import ModelError
from vidscale.media.frames import PixelFormat, YuvImage
from vidscale.models.back_projection import back_projection_of
from vidscale.models.cards import find_pair_dir
from vidscale.models.networks.back_projection import BackProjection
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.models.networks.luma import Cell
from vidscale.models.pair_files import load_pair_dir, write_pair_dir
from vidscale.models.pairs import find_pair, with_effort
from vidscale.triton_kernels._lanes import PAIRS
from vidscale.triton_kernels.back_projection import BackProjectionRunner
from vidscale.triton_kernels.polyphase import polyphase_resample

GUIDES = ["adaptive-x2", "adaptive-x1.5", "restore-x1", "adaptive-x3", "adaptive-x4"]
HALF = Fraction(1, 2)
STRENGTH = 30.0


def shipped(name):
    return load_pair_dir(find_pair_dir(name)).upscaler


def guide_of(cell, **sizes):
    """An upscaler none of whose weights is where it starts."""
    network = CompactUpscaler(cell, **{"width": 8, "depth": 4} | sizes)
    for name, weights in network.named_parameters():
        if "linear" not in name or "strength" in name:
            weights.data.normal_(std=0.05)
    return network.eval()


def corrector(guide, seed=0, **sizes):
    """A downscaler with random weights whose correction is a few codes."""
    torch.manual_seed(seed)
    guide = guide_of(guide) if isinstance(guide, Cell) else guide
    network = BackProjection(guide, **sizes)
    for layer in (network.convs[-1], network.filter, *network.by_strength, network.filter_by_strength):
        layer.weight.data.normal_(std=0.03)
    for conv in network.convs:
        conv.bias.data.normal_(std=0.1)
    return network.eval()


def observed(network):
    """The same downscaler with a guide that has seen a photograph."""
    luma = torch.from_numpy(data.camera()[:384, :384] / 255).float()[None, None]
    network.guide.observe(luma, torch.tensor([STRENGTH]))
    return network


def small(hr, scale, bit_depth=8):
    """Scaled down with Lanczos."""
    size = tuple(-(-side // scale) for side in hr.shape)
    return polyphase_resample(hr, step=scale, siting=(HALF, HALF), size=size, kind="lanczos", bit_depth=bit_depth)


def material(scale, size=(100, 150), bit_depth=8, picture=None):
    """A photograph and the same scaled down."""
    picture = data.camera() if picture is None else picture
    luma = picture if picture.ndim == 2 else picture[..., 1]
    hr = luma[: size[0], : size[1]].astype(np.uint16)
    hr = (hr << (bit_depth - 8)) + hr % (1 << (bit_depth - 8))
    hr = hr.astype(np.uint8 if bit_depth == 8 else np.uint16)
    return hr, small(hr, scale, bit_depth)


def on_cpu(network, bit_depth=8, strength=STRENGTH, precision="float32"):
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return BackProjectionRunner(back_projection_of(weights, strength), bit_depth, precision)


def whole_cells(plane, side, count, peak):
    """[1, 1, H, W] float64, edge samples repeated up to whole cells."""
    padding = [(0, cells * side - there) for cells, there in zip(count, plane.shape, strict=True)]
    return torch.from_numpy(np.pad(plane.astype(np.float64), padding, mode="edge"))[None, None] / peak


def reference(network, hr, lr, bit_depth=8, strength=STRENGTH):
    """Codes in float64 before they are rounded, e and g in codes."""
    peak = (1 << bit_depth) - 1
    count = [-(-side // network.cell.small) for side in lr.shape]
    large, small = whole_cells(hr, network.cell.large, count, peak), whole_cells(lr, network.cell.small, count, peak)
    network.double()
    condition = torch.tensor([strength], dtype=torch.float64)
    with torch.no_grad():
        error, projected = network.back_project(large, small, condition, peak)
        corrected = network.correct(small, error, projected, condition)
    network.float()
    wanted = corrected[0, 0, : lr.shape[0], : lr.shape[1]].numpy() * peak
    return wanted, error[0, 0].numpy() * peak, projected[0, 0].numpy() * peak


def rounded(codes, bit_depth=8):
    return np.floor(codes.clip(0, (1 << bit_depth) - 1) + 0.5).astype(int)


@pytest.mark.slow
@pytest.mark.parametrize("name", GUIDES)
@pytest.mark.parametrize("bit_depth", [8, 10])
def test_shipped_guides_correct_as_in_torch(name, bit_depth):
    network = corrector(shipped(name))
    hr, lr = material(network.scale, [int(side * network.scale) for side in (90, 120)], bit_depth)
    wanted = rounded(reference(network, hr, lr, bit_depth)[0], bit_depth)
    got = on_cpu(network, bit_depth)(hr, lr)
    assert (got.dtype, got.shape) == (lr.dtype, lr.shape)
    assert np.mean(lr != wanted) > 0.5
    assert np.mean(got != wanted) < 0.001


@pytest.mark.slow
@pytest.mark.parametrize("cell", [Cell(1, 1), Cell(2, 2), Cell(1, 2), Cell(2, 4), Cell(2, 3), Cell(1, 3)], ids=str)
@pytest.mark.parametrize("size", [(37, 53), (1, 1), (5, 400), (120, 3)], ids=str)
def test_any_size_corrects_as_in_torch(cell, size):
    network = corrector(cell)
    hr, lr = material(network.scale, size)
    wanted = rounded(reference(network, hr, lr)[0])
    got = on_cpu(network)(hr, lr)
    assert np.abs(got - wanted).max() <= 1
    assert np.sum(got != wanted) <= 0.001 * wanted.size


@pytest.mark.parametrize(
    "sizes", [{"width": 1, "depth": 2, "reach": 1}, {"width": 20, "depth": 4, "reach": 7}], ids=str
)
@pytest.mark.slow
def test_any_correction_is_as_in_torch(sizes):
    network = corrector(Cell(1, 2), **sizes)
    hr, lr = material(network.scale)
    wanted = rounded(reference(network, hr, lr)[0])
    assert np.mean(on_cpu(network)(hr, lr) != wanted) < 0.001


@pytest.mark.parametrize("sizes", [{"width": 3, "first": 5, "reach": 1}, {"width": 20, "depth": 3}], ids=str)
@pytest.mark.parametrize("cell", [Cell(1, 2), Cell(2, 3)], ids=str)
def test_gradient_is_that_of_autograd(cell, sizes):
    torch.manual_seed(1)
    network = corrector(guide_of(cell, **sizes))
    hr, lr = material(network.scale, (90, 144))
    _, error, projected = reference(network, hr, lr)
    got = on_cpu(network).project(hr, lr)
    assert np.mean(got.errors != np.round(error)) < 0.001
    # An error that rounds differently changes its surroundings.
    close = np.abs(got.gradient - projected) < 1e-4
    assert close.mean() > 0.99
    assert np.abs(got.gradient - projected).max() < 1


needs_pairs = pytest.mark.skipif(not PAIRS, reason="this processor has no AVX2")


@pytest.mark.slow
@needs_pairs
@pytest.mark.parametrize("name", GUIDES)
@pytest.mark.parametrize("photograph", [data.camera, data.coffee], ids=["camera", "coffee"])
def test_integers_are_as_good_on_photographs(name, photograph):
    network = corrector(shipped(name))
    hr, lr = material(network.scale, (384, 384), picture=photograph())
    want, _, projected = reference(network, hr, lr)
    run = on_cpu(network, precision="int16")
    got = run(hr, lr)
    assert (got.dtype, got.shape) == (lr.dtype, lr.shape)
    assert peak_signal_noise_ratio(rounded(want), got, data_range=255) > 55
    assert np.mean(got - want) == pytest.approx(0, abs=0.1)
    assert np.corrcoef(run.project(hr, lr).gradient.ravel(), projected.ravel())[0, 1] > 0.998


@pytest.mark.slow
@needs_pairs
@pytest.mark.parametrize("bit_depth", [9, 10, 12, 15, 16])
@pytest.mark.parametrize("cell", [Cell(1, 2), Cell(2, 3)], ids=str)
def test_integers_are_as_good_at_any_bit_depth(bit_depth, cell):
    network = observed(corrector(cell))
    hr, lr = material(network.scale, (120, 180), bit_depth)
    want, error, _ = reference(network, hr, lr, bit_depth)
    run = on_cpu(network, bit_depth, precision="int16")
    assert peak_signal_noise_ratio(rounded(want, bit_depth), run(hr, lr), data_range=(1 << bit_depth) - 1) > 55
    assert np.abs(run.project(hr, lr).errors - error).mean() < (1 << bit_depth) / 255 / 10


@pytest.mark.slow
@needs_pairs
@pytest.mark.parametrize("cell", [Cell(1, 1), Cell(2, 2), Cell(1, 2), Cell(2, 4), Cell(2, 3), Cell(1, 3)], ids=str)
@pytest.mark.parametrize("size", [(37, 53), (1, 1), (5, 400), (120, 3)], ids=str)
def test_integers_are_as_good_at_any_size(cell, size):
    network = observed(corrector(cell))
    hr, lr = material(network.scale, size)
    want = rounded(reference(network, hr, lr)[0])
    got = on_cpu(network, precision="int16")(hr, lr)
    assert np.abs(got - want).max() <= 1
    assert np.mean(got != want) < 0.1


@pytest.mark.slow
@needs_pairs
@pytest.mark.parametrize("name", ["adaptive-x2", "adaptive-x1.5"])
def test_pictures_that_no_camera_takes_do_not_overflow(name):
    network = corrector(shipped(name))
    random = np.random.default_rng(0)
    tiles = random.integers(0, 2, (12, 18)).astype(np.uint8) * 255
    for hr in (random.integers(0, 2, (96, 144)).astype(np.uint8) * 255, np.kron(tiles, np.ones((8, 8), np.uint8))):
        lr = small(hr, network.scale)
        want = rounded(reference(network, hr, lr)[0])
        assert peak_signal_noise_ratio(want, on_cpu(network, precision="int16")(hr, lr), data_range=255) > 30


@pytest.mark.slow
def test_pictures_in_parallel_and_of_other_sizes_are_the_same():
    network = corrector(shipped("adaptive-x2"))
    pairs = [material(network.scale, size) for size in ((100, 150), (64, 64), (100, 150), (31, 90))]
    for precision in ("float32", "int16") if PAIRS else ("float32",):
        alone = [on_cpu(network, precision=precision)(*pair) for pair in pairs]
        run = on_cpu(network, precision=precision)
        with ThreadPoolExecutor(3) as threads:
            together = list(threads.map(run, *zip(*pairs * 4, strict=True)))
        assert all(map(np.array_equal, alone * 4, together))


def in_numbers(pair, precision):
    """How often each code is in the corrected picture, and some of the gradient."""
    run = on_cpu(corrector(shipped("adaptive-x2")), precision=precision)
    return [*np.unique(run(*pair), return_counts=True)[1], *run.project(*pair).gradient[::7, ::7].ravel()]


ELSEWHERE = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import test_back_projection as test
from vidscale.triton_kernels._lanes import LANES
pair = [np.load(file) for file in sys.argv[2:4]]
for precision in sys.argv[4:]:
    print(LANES, *test.in_numbers(pair, precision))
"""


AVX2 = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+lzcnt"


@pytest.mark.slow
@pytest.mark.parametrize(("processor", "features", "precisions"), [
    pytest.param("haswell", AVX2, ["int16", "float32"], marks=needs_pairs),
    ("generic", "+sse2", ["float32"]),
], ids=["haswell", "generic"])  # fmt: skip
def test_other_processors_make_the_same_picture(processor, features, precisions, with_numba, tmp_path):
    """Those with AVX2 alone and those without, played here by what numba compiles for."""
    pair = material(2)
    files = [str(tmp_path / name) for name in ("hr.npy", "lr.npy")]
    for file, plane in zip(files, pair, strict=True):
        np.save(file, plane)
    told = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": features}
    said = with_numba(processor, told, ["-c", ELSEWHERE, str(Path(__file__).parent), *files, *precisions])
    for precision, line in zip(precisions, said.splitlines(), strict=True):
        lanes, *numbers = line.split()
        assert lanes == "8"
        got, want = np.array(numbers, float), in_numbers(pair, precision)
        assert np.array_equal(got, np.array(want, float)) if precision == "int16" else np.allclose(got, want, atol=0.5)


def test_normal_and_patient_are_two_networks(tmp_path):
    networks = {"normal": observed(corrector(Cell(2, 4), seed=1)), "patient": observed(corrector(Cell(1, 2), seed=2))}
    both = {"downscaler": networks["patient"], "quick_downscaler": networks["normal"]}
    write_pair_dir(tmp_path / "two", "two-x2", upscaler=guide_of(Cell(1, 2)), **both)
    pair = find_pair(str(tmp_path / "two"), Fraction(2), "cpu")
    hr, lr = material(2)
    wanted = {effort: reference(network, hr, lr)[0] for effort, network in networks.items()}
    assert np.abs(wanted["normal"] - wanted["patient"]).mean() > 2
    for effort, codes in wanted.items():
        found = with_effort(pair, effort).downscale(YuvImage((hr,), PixelFormat("gray", 8)), STRENGTH)[0]
        assert np.abs(found - codes).mean() < 0.5


def test_strength_changes_the_correction():
    network = corrector(shipped("adaptive-x2"))
    hr, lr = material(network.scale)
    made = {strength: on_cpu(network, strength=strength)(hr, lr) for strength in (20, 40)}
    assert not np.array_equal(made[20], made[40])
    for strength, plane in made.items():
        assert np.mean(plane != rounded(reference(network, hr, lr, strength=strength)[0])) < 0.001


def test_untrained_it_corrects_nothing():
    network = BackProjection(shipped("adaptive-x2"))
    hr, lr = material(network.scale)
    assert np.array_equal(on_cpu(network)(hr, lr), lr)


def test_planes_that_do_not_fit_errors():
    run = on_cpu(corrector(Cell(1, 2)))
    with pytest.raises(ValueError, match=r"hr\.shape = \(10, 10\) uint8 and lr\.shape = \(5, 6\) uint8"):
        run(np.zeros((10, 10), np.uint8), np.zeros((5, 6), np.uint8))
    with pytest.raises(ValueError, match="uint16"):
        run(np.zeros((10, 10), np.uint8), np.zeros((5, 5), np.uint16))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda w: w.pop("guide.ranges"), "missing ranges"),
        (lambda w: w.pop("filter.weight"), r"missing filter\.weight"),
        (lambda w: w["convs.1.weight"].fill(np.nan), r"not finite: convs\.1\.weight"),
        (lambda w: w.update({"convs.0.weight": w["convs.0.weight"][:, 1:]}), "7"),
        (lambda w: w.update({"convs.1.weight": w["convs.1.weight"][:, 1:]}), r"convolution 1 is \[12, 11, 3, 3\]"),
        (lambda w: w.update({"filter.weight": w["filter.weight"][..., 1:]}), "the filter is"),
        (lambda w: w.update({"filter.weight": w["filter.weight"][..., 1:, 1:]}), "even"),
        (lambda w: w.update({"filter.weight": np.ones(())}), ""),
    ],
)
def test_weights_that_do_not_fit_are_named(harm, words):
    weights = {name: tensor.numpy().copy() for name, tensor in corrector(Cell(1, 2)).state_dict().items()}
    harm(weights)
    with pytest.raises(ModelError, match=f"^weights do not fit: .*{words}"):
        back_projection_of(weights, STRENGTH)
