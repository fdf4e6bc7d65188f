"""Networks as a shader and as ONNX: what other programs compute with them, against the CPU's chain and torch."""

import json
import re
import sys
from fractions import Fraction
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from material import coded, make, pixels, restored
from players import enlarged, missing_vulkan, need, played
from robustness import content, documented, message, run_here
from skimage import data
from skimage.metrics import peak_signal_noise_ratio as psnr

from vidscale.errors import ModelError
from vidscale.models.cards import installed, read_card
from vidscale.models.chains import CHAINS, chain_of
from vidscale.models.weight_files import part, read_weights
from vidscale.players.glsl import glsl_shader
from vidscale.players.network import Network, network_of
from vidscale.players.onnx_model import onnx_model
from vidscale.triton_kernels.chain import ChainRunner

Codes = npt.NDArray[Any]

DIGESTS = Path(__file__).with_name("shader_digests.json")
FOLDERS = {name: folder for name, folder in installed().items() if "weights" in folder.parts}
PAIRS = [name for name, folder in FOLDERS.items() if read_card(folder).upscaler["network"] in CHAINS]
OF_EACH_SCALE = ["restore-x1", "adaptive-x1.5", "adaptive-x2", "adaptive-x3", "adaptive-x4"]


def network(name: str) -> Network:
    return network_of(FOLDERS[name])


def photograph(height: int, width: int, bit_depth: int = 8) -> Codes:
    luma = data.astronaut()[100 : 100 + height, 150 : 150 + width, 1]
    if bit_depth == 8:
        return np.ascontiguousarray(luma)
    ramp = np.arange(width) % 4  # the low bits
    return luma.astype(np.uint16) * 4 + ramp.astype(np.uint16)


def on_cpu(network: Network, luma: Codes, strength: float) -> Codes:
    height, width = (ceil(side * network.scale) for side in luma.shape)
    bit_depth = 8 if luma.dtype == np.uint8 else 10
    return ChainRunner(network.chain(strength), bit_depth, "float32")(luma, height, width)


def off_by_more_than_one(got: Codes, wanted: Codes) -> float:
    return float((np.abs(got.astype(int) - wanted.astype(int)) > 1).mean())


# The description.


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("strength", [0.0, 23.5, 63.0])
def test_description_is_the_chain_of_the_cpu(name: str, strength: float) -> None:
    card, arrays = read_weights(FOLDERS[name])
    wanted = chain_of(str(card.upscaler["network"]), part(arrays, "upscaler."), strength)
    got = network(name).chain(strength)
    assert (got.small, got.large, got.slope) == (wanted.small, wanted.large, wanted.slope)
    for ours, theirs in zip(got.convolutions, wanted.convolutions, strict=True):
        np.testing.assert_allclose(ours.weight, theirs.weight, atol=1e-6)
        np.testing.assert_allclose(ours.bias, theirs.bias, atol=1e-6)
    assert (got.linear is None) == (wanted.linear is None)
    if wanted.linear is not None and got.linear is not None:
        np.testing.assert_array_equal(got.linear, wanted.linear)


def test_pair_without_a_chain_is_refused() -> None:
    with pytest.raises(ModelError, match=r"progressive-x8 \(progressive\) cannot be exported: only compact, espcn can"):
        network("progressive-x8")


# The shader.


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_EACH_SCALE)
def test_shader_restores_as_the_cpu_does(name: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    need(pytestconfig, missing_vulkan())
    luma = photograph(38, 54) if name == "adaptive-x1.5" else photograph(37, 51)
    wanted = on_cpu(network(name), luma, 28)
    got = enlarged(glsl_shader(network(name), version="1", strength=28), luma, *wanted.shape, tmp_path)
    assert off_by_more_than_one(got, wanted) <= 0.001


@pytest.mark.slow
@pytest.mark.parametrize("name", ["restore-x1", "adaptive-x1.5", "adaptive-x2"])
def test_shader_restores_ten_bits(name: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """libplacebo keeps textures in float16, half a code of ten bits."""
    need(pytestconfig, missing_vulkan())
    luma = photograph(46, 62, 10)
    wanted = on_cpu(network(name), luma, 17)
    got = enlarged(glsl_shader(network(name), version="1", strength=17), luma, *wanted.shape, tmp_path)
    assert off_by_more_than_one(got, wanted) <= 0.001


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adaptive-x2"])
def test_strength_is_a_parameter_of_the_shader(name: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    need(pytestconfig, missing_vulkan())
    luma = photograph(32, 48)
    shader = glsl_shader(network(name), version="1")
    for strength in (8, 45):
        wanted = on_cpu(network(name), luma, strength)
        told = shader.replace("\n28.0\n", f"\n{strength}.0\n")  # the default: the filter has no option for it
        got = enlarged(told, luma, *wanted.shape, tmp_path)
        assert off_by_more_than_one(got, wanted) <= 0.001


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "size"), [("2", (190, 134)), ("3/2", (189, 135)), ("3", (191, 133))])
def test_shader_on_a_small_file_is_where_decode_is(
    scale: str, size: tuple[int, int], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """No half-pixel shift, and the loss against float32 at most 0.02 dB."""
    need(pytestconfig, missing_vulkan())
    width, height = size
    photo = data.astronaut()[: 2 * height : 2, 100 : 100 + 2 * width : 2]
    source = make(
        tmp_path / "source.mkv", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-i", "-", "-vf",
        "lutrgb=r=40+val*0.7:g=40+val*0.7:b=40+val*0.7,scale=out_color_matrix=bt709,format=yuv420p,"
        "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709", "-c:v", "ffv1",
        data=photo.tobytes(),
    )  # fmt: skip
    small = coded(source, tmp_path / "small.mp4", scale=scale, crf=24, pair="adaptive")
    name = f"adaptive-x{float(Fraction(scale)):g}"
    shader = glsl_shader(network(name), version="1", strength=24)
    big = restored(small, tmp_path / "big.mkv", lossless=True)
    original, wanted = (
        pixels(path, "yuv420p", (height, width))[0, : height * width].reshape(height, width) for path in (source, big)
    )
    coded_width, coded_height = (-(-ceil(side / Fraction(scale)) // 2) * 2 for side in size)
    sides = int(coded_height * Fraction(scale)), int(coded_width * Fraction(scale))
    got = played(shader, small, *sides, tmp_path)[:height, :width]
    inner = (slice(0, height - 12), slice(0, width - 12))  # padding is coded, decode repeats the edge instead
    assert off_by_more_than_one(got[inner], wanted[inner]) <= 0.001
    assert psnr(original[inner], got[inner]) > psnr(original[inner], wanted[inner]) - 0.02
    for axis in (0, 1):
        slope = np.gradient(wanted.astype(float), axis=axis)[inner]
        difference = got[inner].astype(float) - wanted[inner]
        assert abs((difference * slope).sum() / (slope**2).sum()) < 0.01  # samples


@pytest.mark.parametrize("name", PAIRS)
def test_shader_says_what_it_is_and_is_always_on(name: str) -> None:
    text = glsl_shader(network(name), version="1.2.3")
    assert text == glsl_shader(network(name), version="1.2.3")
    layers = len(network(name).layers)
    assert text.count("//!HOOK LUMA") == text.count("//!COMPUTE ") == layers
    assert len(re.findall(rf"//!DESC vidscale {re.escape(name)} \(x[\d.]+\) 1\.2\.3: layer", text)) == layers
    assert "//!WHEN" not in text
    assert ("//!PARAM strength" in text) == network(name).varies
    assert "//!PARAM" not in glsl_shader(network(name), version="1.2.3", strength=30)


@pytest.mark.parametrize("name", PAIRS)
def test_shader_is_the_same_text_as_ever(name: str) -> None:
    """The stored digests are of shaders without a version, as this code and these weights wrote them at first."""
    known = json.loads(DIGESTS.read_text())
    digest = sha256(glsl_shader(network(name), version="").encode()).hexdigest()
    renew = f'if that is intended, put "{name}": "{digest}" into {DIGESTS.name} and name the change in CHANGELOG.md'
    assert known.get(name) == digest, f"the shader of {name} is another text than before: {renew}"


# ONNX.


@pytest.mark.parametrize("name", PAIRS)
def test_onnx_restores_as_torch_does(name: str) -> None:
    import onnxruntime
    import torch
    from torch.nn import functional as F

    from vidscale.models.pair_files import load_pair_dir

    upscaler: Any = load_pair_dir(FOLDERS[name]).upscaler
    session = onnxruntime.InferenceSession(onnx_model(network(name), version="1"), providers=["CPUExecutionProvider"])
    for height, width in ((20, 34), (48, 18)):
        luma = np.stack([photograph(height, width), photograph(width, height).T])[:, None].astype(np.float32) / 255
        strengths = np.array([12, 40], np.float32)
        given = {"luma": luma} | ({"strength": strengths} if network(name).varies else {})
        (got,) = session.run(None, given)
        margin = [upscaler.margin * network(name).small] * 4
        with torch.no_grad():
            padded = F.pad(torch.from_numpy(luma), margin, mode="replicate")
            wanted = upscaler(padded, torch.from_numpy(strengths)).clamp(0, 1).numpy()
        np.testing.assert_allclose(got, wanted, atol=2e-5)


def test_onnx_holds_the_strength_if_told() -> None:
    import onnxruntime

    model = onnx_model(network("adaptive-x2"), version="1", strength=31)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == ["luma"]
    luma = photograph(40, 56)
    (got,) = session.run(None, {"luma": luma[None, None].astype(np.float32) / 255})
    wanted = on_cpu(network("adaptive-x2"), luma, 31)
    assert off_by_more_than_one(np.floor(got[0, 0] * 255 + 0.5), wanted) == 0
    assert model == onnx_model(network("adaptive-x2"), version="1", strength=31)


# The command.


@pytest.mark.parametrize("kind", ["glsl", "onnx"])
def test_export_writes_a_file(kind: str, tmp_path: Path) -> None:
    target = tmp_path / f"x2.{kind}"
    run = run_here("models", "export", "adaptive-x2", "--to", kind, "-o", target, "--crf", "28", "--json")
    assert run.code == 0, run.stderr
    record = json.loads(run.stdout)
    assert set(record) == documented("converted") | {"event"}
    assert (record["event"], record["output"], record["format"]) == ("converted", str(target), kind)
    assert target.stat().st_size > 10_000
    again = run_here("models", "export", "adaptive-x2", "--to", kind, "-o", target)
    assert again.code == 1
    assert "exists; -y replaces it" in again.stderr


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["adaptive-x2", "--to", "pdf"], 2, "--to pdf: not one of folder, glsl, onnx"),
        (["adaptive-x2", "--to", "glsl", "--crf", "52"], 2, "--crf 52: outside 0 to 51"),
        (["adaptive-x2", "--crf", "20"], 2, "--crf 20: only with --to glsl or onnx"),
        (["progressive-x8", "--to", "onnx"], 1, "the upscaler of progressive-x8 (progressive) cannot be exported"),
    ],
)
def test_export_errors(words: list[str], code: int, line: str, tmp_path: Path) -> None:
    run = run_here("models", "export", *words, "-o", tmp_path / "out")
    assert run.code == code
    assert line in run.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["glsl", "onnx"])
def test_file_name_needs_its_format(kind: str, tmp_path: Path) -> None:
    """Without --to, the pair's folder would have the name of a shader."""
    run = run_here("models", "export", "adaptive-x2", "-o", tmp_path / f"x.{kind}")
    assert message(run, code=2) == f"{tmp_path}/x.{kind} would be a folder; --to {kind} writes a file"
    assert content(tmp_path) == {}


def test_export_without_onnx_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "onnx"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)  # what makes `import onnx` fail
    run = run_here("models", "export", "adaptive-x2", "--to", "onnx", "-o", tmp_path / "out")
    assert (run.code, run.stderr) == (1, "vidscale: --to onnx needs the package onnx: pip install 'vidscale[onnx]'\n")
