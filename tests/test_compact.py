"""The compact upscaler: as a network, on whole frames, and as the upscaler of a pair."""

import shutil
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from material import FFMPEG
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from vidscale import api
from vidscale.config import DecodeSettings
from vidscale.errors import ModelError
from vidscale.images.scaling import find_scaler
from vidscale.jobs.restore import open_small
from vidscale.media.frames import Color, PixelFormat, YuvImage
from vidscale.media.geometry import Geometry
from vidscale.models.cards import find_pair_dir, read_card
from vidscale.models.chains import chain_of
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.luma_torch import TorchLumaUpscaler
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.models.networks.luma import Cell
from vidscale.models.pair_cache import remember
from vidscale.models.pair_files import load_pair_dir, write_pair_dir
from vidscale.models.pairs import find_pair
from vidscale.system.workspace import cache_folder
from vidscale.triton_kernels._vectors import DOT_PRODUCTS
from vidscale.triton_kernels.chain import ChainRunner
from vidscale.triton_kernels.polyphase import polyphase_resample

CELLS = [Cell(1, 1), Cell(2, 2), Cell(1, 2), Cell(2, 4), Cell(2, 3), Cell(1, 3), Cell(1, 4)]
HALF = Fraction(1, 2)
BY_TWO = Cell(2, 4)


def trained(cell=BY_TWO, seed=0, **sizes):
    """A network with no weight at its initial value."""
    torch.manual_seed(seed)
    network = CompactUpscaler(cell, **{"width": 8, "depth": 3, "strengths": (18, 40)} | sizes)
    for name, weights in network.named_parameters():
        if "linear" not in name or "strength" in name:
            weights.data.normal_(std=0.05)
    return network.eval()


def pair_folder(folder, network, sharpness=0.0, name=None):
    write_pair_dir(
        folder,
        name or f"mine-x{network.scale}".replace("/", "-"),
        FixedPair("lanczos", network.scale, sharpness=sharpness),
        network,
    )
    return folder


def on_cpu(network, strength, bit_depth, precision="float32"):
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return ChainRunner(chain_of("compact", weights, strength), bit_depth, precision)


def whole(network, plane, strength, size):
    """The reference for a whole frame: one pass in float64, with repeated edges."""
    small, large = network.cell
    margin = network.margin * small
    padding = [
        (margin, -(-side // large) * small + margin - there) for side, there in zip(size, plane.shape, strict=True)
    ]
    luma = torch.from_numpy(np.pad(plane.astype(np.float64), padding, mode="edge"))[None, None] / 255
    restored = network.double()(luma, torch.tensor([strength], dtype=torch.float64))[0, 0].detach().numpy() * 255
    network.float()
    return np.floor(np.clip(restored, 0, 255) + 0.5).clip(max=255)[: size[0], : size[1]]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_untrained_it_interpolates_as_lanczos_does(cell):
    scale = Fraction(cell.large, cell.small)
    side = 24
    small = data.camera()[100 : 100 + side, 200 : 200 + side].copy()
    size = (int(side * scale),) * 2
    want = polyphase_resample(small, step=1 / scale, siting=(HALF, HALF), size=size, kind="lanczos", bit_depth=8)
    got = on_cpu(CompactUpscaler(cell, width=8, depth=4, reach=7 if cell.small == 1 else 5), 28, 8)(small, *size)
    inner = slice(4 * cell.large, -4 * cell.large or None)
    assert np.abs(got[inner, inner].astype(int) - want[inner, inner]).max() <= 1


@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("size", [(37, 51), (96, 400), (1, 1), (8, 1200)], ids=str)
def test_chain_on_the_cpu_is_the_network(cell, size):
    network = trained(cell)
    scale = Fraction(cell.large, cell.small)
    shape = [-(-side // scale) for side in size]
    plane = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    want = whole(network, plane, 30.0, size)
    got = on_cpu(network, 30.0, 8)(plane, *size)
    assert got.shape == size
    assert np.abs(got - want).max() <= 1
    assert np.mean(got != want) < 0.001
    other = TorchLumaUpscaler(network, 30.0, 8, "cpu", torch.float32)(plane, *size)
    assert np.mean(other != want) < 0.001


@pytest.mark.parametrize("width", [1, 2, 5, 12, 16, 17, 40])
@pytest.mark.parametrize(("first", "reach", "size"), [(5, 7, (38, 420)), (3, 1, (9, 1201))], ids=str)
def test_any_number_of_channels_is_the_network(width, first, reach, size):
    """Fewer channels than lanes, as many, and more: neighbouring cells share lanes where possible."""
    network = trained(Cell(1, 2), width=width, first=first, reach=reach)
    plane = np.random.default_rng(1).integers(0, 256, [-(-side // 2) for side in size], dtype=np.uint8)
    want = whole(network, plane, 25.0, size)
    got = on_cpu(network, 25.0, 8)(plane, *size)
    assert np.abs(got - want).max() <= 1
    assert np.mean(got != want) < 0.001


def test_bfloat16_is_the_same_picture(tmp_path):
    """The GPU's precision, here on the CPU: trained weights, nearly all samples within one code."""
    network = load_pair_dir(find_pair_dir("adaptive-quality-x2")).upscaler
    plane = np.ascontiguousarray(data.camera()[::2, ::2])
    exact = on_cpu(network, 28, 8)(plane, 512, 512).astype(int)
    coarse = TorchLumaUpscaler(network, 28, 8, "cpu", torch.bfloat16)(plane, 512, 512)
    assert np.mean(np.abs(coarse - exact) <= 1) > 0.99


@pytest.mark.slow
def test_ten_bits_are_the_same_picture():
    network = trained()
    plane = np.random.default_rng(2).integers(16, 236, (40, 40), dtype=np.uint8)
    ten = on_cpu(network, 25, 10)((plane * 1023.0 / 255).round().astype(np.uint16), 80, 80)
    eight = on_cpu(network, 25, 8)(plane, 80, 80)
    assert ten.dtype == np.uint16
    assert np.abs(ten * (255 / 1023) - eight).max() < 1.01


def test_strength_changes_the_result_inside_the_range_it_was_trained_for():
    network, plane = trained(), np.random.default_rng(3).integers(0, 256, (20, 20), dtype=np.uint8)
    at = {strength: on_cpu(network, strength, 8)(plane, 40, 40) for strength in (0, 18, 30, 40, 51)}
    assert np.array_equal(at[0], at[18])
    assert np.array_equal(at[40], at[51])
    assert not np.array_equal(at[18], at[30])
    assert not np.array_equal(at[30], at[40])


@pytest.mark.skipif(not DOT_PRODUCTS, reason="this processor has no dot products of bytes")
@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("bit_depth", [8, pytest.param(10, marks=pytest.mark.slow)])
def test_bytes_are_the_same_picture(cell, bit_depth):
    """int8, on pictures like those its ranges were recorded on: nearly all samples within one 8-bit code."""
    network = trained(cell, width=16, depth=4)
    small = data.camera()[:120, :200] if cell.small == cell.large else data.camera()[100:220, 200:400]
    luma = torch.from_numpy(small / 255).float()[None, None]
    network.observe(luma[..., : 120 // cell.small * cell.small, : 200 // cell.small * cell.small], torch.tensor([30.0]))
    codes = small if bit_depth == 8 else (small.astype(np.uint16) << 2) + small % 4
    size = [int(side * Fraction(cell.large, cell.small)) - 1 for side in codes.shape]
    exact, coarse = (on_cpu(network, 30, bit_depth, kind)(codes, *size).astype(int) for kind in ("float32", "int8"))
    assert np.mean(np.abs(coarse - exact) <= 1 << bit_depth - 8) > 0.99
    assert np.mean(coarse - exact) / (1 << bit_depth - 8) == pytest.approx(0, abs=0.2)


NARROW = """
import sys
import llvmlite.binding as llvm
import numpy as np
asked = llvm.get_host_cpu_features
has = asked()
dots = has.get("avx512vnni") and has.get("avx512vl") or has.get("avxvnni")
llvm.get_host_cpu_features = lambda: llvm.FeatureMap({"avxvnni": dots})
import vidscale.triton_kernels._vectors
llvm.get_host_cpu_features = asked
from vidscale.models.pairs import find_pair
from vidscale.triton_kernels.chain import ChainRunner
chain, plane = find_pair("adaptive-x2", None, "cpu").chain(28), np.load(sys.argv[1])
for precision in chain.precisions:
    np.save(sys.argv[1] + precision, ChainRunner(chain, 8, precision)(plane, 200, 300))
"""


@pytest.mark.slow
def test_processors_with_half_as_wide_vectors_make_the_same_picture(tmp_path, with_numba):
    """AVX2 and AVX-VNNI, simulated by disabling features: fewer pixels at once, two dot products instead of one."""
    plane = np.ascontiguousarray(data.camera()[100:200, 200:350])
    np.save(tmp_path / "plane.npy", plane)
    with_numba("narrow", {}, ["-c", NARROW, str(tmp_path / "plane.npy")])
    chain = find_pair("adaptive-x2", None, "cpu").chain(28)
    for precision in chain.precisions:
        narrow = np.load(tmp_path / f"plane.npy{precision}.npy")
        assert np.array_equal(narrow, ChainRunner(chain, 8, precision)(plane, 200, 300))


GENERIC = """
import sys
import numpy as np
from vidscale.models.pairs import find_pair
pair = find_pair("adaptive-x2", None, "cpu")
print(pair.upscale_backend.implementation)
np.save(sys.argv[2], pair.luma_upscaler(28, 8, b"")(np.load(sys.argv[1]), 200, 300))
"""


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["NUMBA_CPU_NAME=generic", "NUMBA_ENABLE_AVX=0"])
def test_code_for_any_processor_is_made_when_numba_is_set_to(tmp_path, variable, with_numba):
    """For machines that share a cache; LLVM would abort at an instruction that it must not use."""
    plane = np.ascontiguousarray(data.camera()[100:200, 200:350])
    np.save(tmp_path / "plane.npy", plane)
    words = ["-c", GENERIC, str(tmp_path / "plane.npy"), str(tmp_path / "large.npy")]
    assert with_numba(variable, dict([variable.split("=")]), words) == "numba float32\n"
    here = ChainRunner(find_pair("adaptive-x2", None, "cpu").chain(28), 8, "float32")(plane, 200, 300)
    difference = np.abs(np.load(tmp_path / "large.npy").astype(int) - here)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.001


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda w: w.pop("ranges"), "missing ranges"),
        (lambda w: w.pop("convs.1.bias"), r"missing convs\.1\.bias"),
        (lambda w: w["convs.1.weight"].fill(np.nan), r"not finite: convs\.1\.weight"),
        (
            lambda w: w.update({"convs.1.weight": w["convs.1.weight"][:, :-1]}),
            r"convolution 1 is \[8, 7, 3, 3\], not \[8, 8",
        ),
        (lambda w: w.update({"ranges": np.ones((2, 2, 3))}), r"ranges of"),
        (lambda w: w.update({"ranges": np.ones(())}), ""),
        (lambda w: w.update({"strengths": np.ones((2, 3))}), ""),
        (lambda w: w.update({"convs.1.bias": np.ones((8, 1))}), "the bias of convolution 1 is"),
        (lambda w: w.update({"linear.weight": w["linear.weight"][:, :1]}), "not"),
    ],
)
def test_weights_that_do_not_fit_are_named_on_the_cpu_too(harm, words):
    """Nothing checks them later: compiled code would read out of bounds."""
    weights = {name: tensor.numpy().copy() for name, tensor in trained().state_dict().items()}
    harm(weights)
    with pytest.raises(ModelError, match=f"^weights do not fit: .*{words}"):
        chain_of("compact", weights, 28)


def test_bytes_need_ranges():
    network = trained()
    with pytest.raises(ValueError, match="int8"):
        on_cpu(network, 30, 8, "int8")


def test_weights_come_back_from_a_folder_whatever_the_sizes(tmp_path):
    for number, cell in enumerate(CELLS):
        network = trained(cell, width=6 + number, depth=2 + number % 3)
        folder = pair_folder(tmp_path / str(number), network, sharpness=-0.25)
        loaded = load_pair_dir(folder)
        assert loaded.upscaler.sizes == network.sizes
        assert loaded.downscaler == FixedPair("lanczos", network.scale, sharpness=-0.25)
        assert all(
            torch.equal(a, b)
            for a, b in zip(loaded.upscaler.state_dict().values(), network.state_dict().values(), strict=True)
        )
    state = trained().state_dict()
    del state["convs.1.weight"]
    with pytest.raises(ModelError, match=r"weights do not fit: missing convs\.1\.weight"):
        CompactUpscaler.from_state_dict(state)


@pytest.mark.parametrize(
    ("chroma", "depth"), [("420", 8), pytest.param("444", 10, marks=pytest.mark.slow), ("gray", 8), ("422", 8)]
)
@pytest.mark.parametrize("scale", [Cell(2, 4), Cell(2, 3), Cell(1, 1)], ids=str)
def test_pair_scales_luma_by_the_network_and_chroma_by_the_filter(tmp_path, chroma, depth, scale):
    network = trained(scale)
    pair = find_pair(str(pair_folder(tmp_path / "pair", network)), None, "cpu")
    fixed = find_pair("lanczos", network.scale)
    layout, color = PixelFormat(chroma, depth), Color("tv", "bt709", "bt709", "bt709", "left")
    rng = np.random.default_rng(7)
    planes = [rng.integers(0, 256, shape).astype(layout.dtype) for shape in layout.plane_shapes(50, 70)]
    small = pair.downscale(YuvImage(tuple(planes), layout, color=color))
    assert all(map(np.array_equal, small, fixed.downscale(YuvImage(tuple(planes), layout, color=color))))
    geometry = Geometry(70, 50, network.scale, small[0].shape[1], small[0].shape[0])
    large = pair.upscale(YuvImage(tuple(small), layout, color=color), geometry, 30.0)
    other = fixed.upscale(YuvImage(tuple(small), layout, color=color), geometry, 30.0)
    assert [plane.shape for plane in large] == list(layout.plane_shapes(50, 70))
    assert np.array_equal(large[0], on_cpu(network, 30.0, depth)(small[0], 50, 70))
    assert all(map(np.array_equal, large[1:], other[1:]))


def test_softened_downscaler_softens_luma_alone(tmp_path):
    pair = find_pair(str(pair_folder(tmp_path / "pair", trained(), sharpness=-0.4)), None, "cpu")
    layout, color = PixelFormat("420", 8), Color("tv", "bt709", "bt709", "bt709", "left")
    picture = data.camera()[:128, :128]
    planes = [picture, picture[:64, :64].copy(), picture[64:, 64:].copy()]
    image = YuvImage(tuple(planes), layout, color=color)
    soft, plain = pair.downscale(image), find_pair("lanczos", Fraction(2)).downscale(image)
    assert np.abs(np.diff(soft[0].astype(int))).sum() < 0.95 * np.abs(np.diff(plain[0].astype(int))).sum()
    assert soft[0].mean() == pytest.approx(plain[0].mean(), abs=0.1)
    assert np.array_equal(soft[1], plain[1])
    assert np.array_equal(soft[2], plain[2])


def test_card_for_another_scale_is_refused(tmp_path):
    """The hash covers the weights only; they would produce a picture of the wrong size."""
    folder = pair_folder(tmp_path / "pair", trained())
    card = folder / "card.json"
    card.write_text(card.read_text().replace('"scale": "2"', '"scale": "3"'))
    pair = find_pair(str(folder), None, "cpu")
    layout, geometry = PixelFormat("gray", 8), Geometry(60, 60, Fraction(3), 20, 20)
    with pytest.raises(ModelError, match=r"pair: the network has scale 2, the card 3$"):
        pair.upscale(YuvImage((np.zeros((20, 20), np.uint8),), layout), geometry, 28.0)


def test_pictures_go_through_it_too(tmp_path):
    scaler = find_scaler(str(pair_folder(tmp_path / "pair", CompactUpscaler(Cell(2, 4)))), None, "cpu")
    picture = data.astronaut()[:101, :77]
    planes = [np.ascontiguousarray(picture[..., channel]) for channel in range(3)]
    restored = scaler.upscale(scaler.downscale(planes), 101, 77)
    assert [plane.shape for plane in restored] == [(101, 77)] * 3
    assert peak_signal_noise_ratio(picture, np.stack(restored, axis=-1)) > 25


@pytest.mark.slow
@pytest.mark.parametrize("scale", [Cell(2, 4), Cell(2, 3), Cell(2, 2)], ids=str)
def test_movie_goes_there_and_back_by_a_folder(make_clip, tmp_path, scale):
    movie, small = make_clip(frames=4, size="102x70"), tmp_path / "small.mp4"
    pair = pair_folder(tmp_path / "pair", trained(scale))
    ratio = str(Fraction(scale.large, scale.small))
    encoded = api.encode(movie, small, pair=str(pair), scale=ratio, crf=20, preset="ultrafast", verdict=False)
    stages = {stage.name: stage for stage in encoded.report.stages}
    assert (stages["downscale"].implementation, stages["upscale"].implementation) == ("numba", "numba float32")
    api.decode(small, tmp_path / "back.mkv", lossless=True)  # by the copy in the cache
    rows = api.measure(movie, tmp_path / "back.mkv").rows
    assert [row.mse for row in rows] == [row.mse for row in encoded.report.rows]


def test_copy_in_the_cache_is_found_by_hash_and_damage_is_refused_until_it_is_made_anew(make_clip, tmp_path):
    small = tmp_path / "small.mp4"
    api.encode(
        make_clip(frames=2, size="64x48"), small, pair=str(pair_folder(tmp_path / "pair", trained())), report=False
    )
    (copy,) = (cache_folder() / "pairs").iterdir()
    assert copy.name == read_card(copy).sha256
    weights = copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\x40")
    with pytest.raises(ModelError, match="is damaged: it does not match the card"):
        api.decode(small, tmp_path / "back.mkv", lossless=True)
    remember(find_pair(str(tmp_path / "pair"), None, "cpu"))  # as the next encode does
    api.decode(small, tmp_path / "back.mkv", lossless=True)
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    shutil.rmtree(copy)
    with pytest.raises(ModelError, match="needs pair 'mine-x2', which is not installed"):
        api.decode(small, tmp_path / "other.mkv", lossless=True)


@pytest.mark.slow
def test_encode_without_report_opens_no_weights_and_no_torch(make_clip, tmp_path):
    """A filter downscales; importing torch alone takes seconds."""
    pair = pair_folder(tmp_path / "pair", trained())
    program = (
        "import sys; from vidscale import api; "
        "api.encode(sys.argv[1], sys.argv[2], pair=sys.argv[3], scale=2, report=False); "
        "assert 'torch' not in sys.modules"
    )
    movie = make_clip(frames=2, size="64x48")
    command = [sys.executable, "-c", program, str(movie), str(tmp_path / "small.mp4"), str(pair)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("codec", "crf", "strength"), [("x264", 30, 30), ("x265", 51, 51), ("svtav1", 42, 34)])
def test_small_file_says_how_hard_it_was_coded_on_one_scale(make_clip, tmp_path, codec, crf, strength):
    small = tmp_path / "small.mp4"
    api.encode(make_clip(frames=2, size="128x128"), small, scale=2, codec=codec, crf=crf, report=False)
    assert open_small(small, ffmpeg=FFMPEG, settings=DecodeSettings()).strength == strength
