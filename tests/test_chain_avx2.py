"""The instructions that processors with AVX2 and without VNNI run, on this machine if it has them."""

from dataclasses import replace
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
from skimage import data

from vidscale.models.pairs import find_pair
from vidscale.models.updates import update_of
from vidscale.triton_kernels._vectors import BYTE_PRODUCTS
from vidscale.triton_kernels.chain import ChainRunner, Convolution

AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2"}
SIZES = {
    "adaptive-x2": (201, 299),
    "adaptive-x1.5": (150, 223),
    "restore-x1": (101, 151),
    "adaptive-quality-x2": (199, 77),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not llvm.get_host_cpu_features().get("avx2"), reason="this processor has no AVX2"),
]


def source(name, bit_depth):
    scale = find_pair(name, None, "cpu").scale
    height, width = (int(-(-side // scale)) for side in SIZES[name])
    plane = np.ascontiguousarray(data.camera()[100 : 100 + height, 200 : 200 + width])
    return plane if bit_depth == 8 else (plane.astype(np.uint16) << 2) + plane % 4


def large(name, bit_depth):
    chain = find_pair(name, None, "cpu").chain(28)
    return ChainRunner(chain, bit_depth, "int8")(source(name, bit_depth), *SIZES[name])


def adapted(precision):
    """With an update: differences of a network whose weights have been moved."""
    pair = find_pair("adaptive-x2", None, "cpu")
    chain = pair.chain(28)
    random = np.random.default_rng(0)
    moved = [
        Convolution((weight + random.normal(0, 0.01, weight.shape)).astype(np.float32), bias)
        for weight, bias in chain.convolutions
    ]
    update = update_of(chain, replace(chain, convolutions=moved), "full", precision, pair.sha256).to_bytes()
    return pair.luma_upscaler(28, 8, update)(source("adaptive-x2", 8), *SIZES["adaptive-x2"])


RESTORE = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from test_chain_avx2 import BYTE_PRODUCTS, SIZES, adapted, large
assert not BYTE_PRODUCTS
for name in SIZES:
    for bit_depth in (8, 10):
        np.save(Path(sys.argv[2]) / f"{name}-{bit_depth}", large(name, bit_depth))
for precision in ("int8", "float32"):
    np.save(Path(sys.argv[2]) / precision, adapted(precision))
"""


@pytest.mark.skipif(not BYTE_PRODUCTS, reason="this processor has no VNNI")
def test_avx2_restores_as_vnni(with_numba, tmp_path):
    with_numba("avx2", AVX2, ["-c", RESTORE, str(Path(__file__).parent), str(tmp_path)])
    for name in SIZES:
        for bit_depth in (8, 10):
            assert np.array_equal(np.load(tmp_path / f"{name}-{bit_depth}.npy"), large(name, bit_depth)), name
    for precision in ("int8", "float32"):
        assert np.array_equal(np.load(tmp_path / f"{precision}.npy"), adapted(precision)), precision
    apart = np.abs(adapted("int8").astype(int) - adapted("float32"))
    assert (apart <= 1).mean() > 0.99


def test_avx2_passes_the_tests_of_int8(with_numba):
    tests = Path(__file__).parent / "test_chain.py"
    words = ["-m", "pytest", "-p", "no:cacheprovider", "-k", "flat or zeros or exact", str(tests)]
    said = with_numba("avx2", AVX2, words)
    assert "passed" in said
    assert "skipped" not in said
