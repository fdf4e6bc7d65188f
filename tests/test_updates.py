"""`vidscale.models.updates` and `update_codes`: updates of a network as bytes, and what they make of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidscale.errors import ModelError
from vidscale.models.pairs import find_pair, takes_update
from vidscale.models.update_codes import LARGEST, Group, from_bytes, quantised, step_size, to_bytes
from vidscale.models.updates import Update, update_of, updated
from vidscale.triton_kernels.chain import Chain, Convolution

SHA = "0123456789abcdef" * 4
codes = st.lists(st.integers(-300, 300), max_size=40)


def moved(chain, size=0.02, seed=0):
    """A chain whose numbers have been moved at random."""
    random = np.random.default_rng(seed)
    noise = lambda array: (array + random.normal(0, size, array.shape)).astype(np.float32)  # noqa: E731
    convolutions = [Convolution(noise(weight), noise(bias)) for weight, bias in chain.convolutions]
    ranges = None if chain.ranges is None else [noise(known) for known in chain.ranges]
    linear = None if chain.linear is None else noise(chain.linear)
    return Chain(chain.small, chain.large, convolutions, linear, chain.slope, ranges)


@given(st.lists(st.tuples(st.integers(0, 255), codes), max_size=5))
def test_codes_round_trip(groups):
    groups = [Group(step, np.array(some, np.int32)) for step, some in groups]
    found = from_bytes(to_bytes(groups), [group.codes.size for group in groups])
    for (step, some), (known, expected) in zip(found, groups, strict=True):
        assert step == known
        assert np.array_equal(some, expected)


def test_rice_codes_as_documented():
    """Step 3, then 0, -1 and 2 with the parameter 0 as 0, 10 and 11110, with 1 as 00, 01 and 1100."""
    group = Group(3, np.array([0, -1, 2], np.int32))
    assert to_bytes([group]) == bytes([0b00000011, 0b0000_0_10_1, 0b1110_0000])
    read = from_bytes(bytes([0b00000011, 0b0001_00_01, 0b1100_0000]), [3])
    assert read[0].codes.tolist() == [0, -1, 2]


def test_steps_are_sums_of_few_powers_of_two():
    assert step_size(0) == 8 * 2.0**-27
    assert step_size(255) == 15 * 2.0**4
    assert [step_size(n + 1) / step_size(n) for n in (0, 7)] == [9 / 8, 16 / 15]


@given(st.floats(1e-6, 100))
def test_a_step_is_the_wanted_one_or_an_eighth_less(step):
    assert 8 / 9 * step < step_size(quantised(np.zeros(1), step).step) <= step


def test_codes_errors():
    data = to_bytes([Group(9, np.arange(-20, 20, dtype=np.int32))])
    for broken in (data[:-1], data + b"\0", data + b"\1", b"\xff" * 40, b""):
        with pytest.raises(ModelError, match="an update"):
            from_bytes(broken, [40])
    with pytest.raises(ModelError, match="too short"):
        from_bytes(b"\0" * 100, [10**12])
    large = Group(0, np.array([LARGEST], np.int32))
    assert from_bytes(to_bytes([large]), [1])[0].codes.tolist() == [LARGEST]
    with pytest.raises(ModelError, match="too large"):
        from_bytes(to_bytes([Group(0, np.array([LARGEST + 1], np.int32))]), [1])


@pytest.mark.parametrize("name", ["adaptive-x2", "adaptive-x1.5", "adaptive-x3", "restore-x1", "espcn-x2"])
@pytest.mark.parametrize("kind", ["light", "full"])
def test_an_update_makes_nearly_the_adapted_network(name, kind):
    pair = find_pair(name, None, "cpu")
    chain = pair.chain(28)
    adapted = moved(chain) if kind == "full" else regained(chain)
    precision = "float32" if chain.ranges is None else "int8"
    data = update_of(chain, adapted, kind, precision, pair.sha256).to_bytes()
    found = updated(chain, Update.from_bytes(data, chain, pair.sha256))
    part = 0.06 if kind == "light" else 0.4  # of the differences' spread, as quantised: coarse for all weights
    for ours, theirs, start in zip(found.convolutions, adapted.convolutions, chain.convolutions, strict=True):
        assert rms(ours.weight - theirs.weight) <= part * rms(theirs.weight - start.weight)
        assert rms(ours.bias - theirs.bias) <= 0.1 * rms(theirs.bias - start.bias)
    if chain.ranges is not None:
        for ours, theirs, start in zip(found.ranges, adapted.ranges, chain.ranges, strict=True):
            assert (abs(ours - theirs) <= (start[1] - start[0]) / 32 + 1e-5).all()
    assert takes_update(pair, data, 28)


def regained(chain):
    """A chain with a gain for each channel, and other biases."""
    random = np.random.default_rng(1)
    convolutions = []
    for weight, bias in chain.convolutions:
        gain = 1 + random.normal(0, 0.05, bias.size)
        more = random.normal(0, 0.05, bias.size)
        convolutions.append(
            Convolution((weight * gain[:, None, None, None]).astype(np.float32), (bias + more).astype(np.float32))
        )
    return Chain(chain.small, chain.large, convolutions, chain.linear, chain.slope, chain.ranges)


def rms(values):
    return float(np.sqrt(np.square(values, dtype=np.float64).mean())) + 1e-9


def test_update_errors():
    pair = find_pair("adaptive-x2", None, "cpu")
    chain = pair.chain(28)
    data = update_of(chain, moved(chain), "full", "int8", pair.sha256).to_bytes()
    assert len(data) < 1800
    with pytest.raises(ModelError, match="another pair"):
        Update.from_bytes(data, chain, SHA)
    for flags in (0, 3, data[0] | 8, data[0] | 128):
        with pytest.raises(ModelError, match="unknown kind"):
            Update.from_bytes(bytes([flags]) + data[1:], chain, pair.sha256)
    for broken in (b"", data[:4], data[:200], data + b"\0" * (1 << 16)):
        with pytest.raises(ModelError, match="an update"):
            Update.from_bytes(broken, chain, pair.sha256)
    for other in ("adaptive-vmaf-x2", "adaptive-x3", "lanczos-x2"):
        assert not takes_update(find_pair(other, None, "cpu"), data, 28)


def test_random_updates_are_read_or_refused():
    """500 changed ones: none takes long, none is read as anything but finite numbers."""
    pair = find_pair("adaptive-x2", None, "cpu")
    chain = pair.chain(28)
    data = update_of(chain, moved(chain), "full", "int8", pair.sha256).to_bytes()
    random = np.random.default_rng(0)
    for _ in range(500):
        changed = bytearray(data)
        for _ in range(random.integers(1, 4)):
            changed[random.integers(5, len(changed))] = random.integers(256)
        try:
            found = updated(chain, Update.from_bytes(bytes(changed), chain, pair.sha256))
        except ModelError:
            continue
        assert all(np.isfinite(layer.weight).all() for layer in found.convolutions)
