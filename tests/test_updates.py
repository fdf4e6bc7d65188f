"""`vidscale.models.updates` and `update_codes`: updates of a network as bytes, and what they make of it."""

from collections import defaultdict
from fractions import Fraction

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


def documented(data, counts):
    """The numbers of an update, read as docs/identity.md says: by exact fractions of a whole interval, without any
    renormalisation but that of the range's width."""
    value, low = Fraction(int.from_bytes(data, "big"), 256 ** len(data)), Fraction(0)
    unit, width = Fraction(1, 2**32), 2**32 - 1  # `width` is counted in units, which shrink

    def decision(probability):
        nonlocal low, width, unit
        bound = (width >> 16) * probability
        bit = int(value < low + bound * unit)
        if not bit:
            low += bound * unit
        width = bound if bit else width - bound
        while width < 2**24:
            width, unit = width * 256, unit / 256
        return bit

    def counted(context):
        seen, ones = context
        bit = decision(32768 * (2 * ones + 1) // (seen + 1))
        context[:] = [(seen + 1) // 2, (ones + bit) // 2] if seen == 255 else [seen + 1, ones + bit]
        return bit

    def plain(bits):
        return sum(decision(32768) << place for place in reversed(range(bits)))

    groups = []
    for count in counts:
        contexts, numbers, step = defaultdict(lambda: [0, 0]), [0, 0], plain(8)
        for _ in range(count):
            name, length = ("zero", sum(n != 0 for n in numbers[-2:])), 0
            while length < 15 and counted(contexts[name]):
                length += 1
                name = ("longer", length)
            magnitude = min(length, 1)
            sign = -1 if length and plain(1) else 1
            if length > 1:
                magnitude = 2 + counted(contexts["second", length])
                magnitude = (magnitude << length - 2) + plain(length - 2)
            numbers.append(sign * magnitude)
        groups.append((step, numbers[2:]))
    return groups, plain(8)


@given(st.lists(st.tuples(st.integers(0, 255), codes), max_size=3))
def test_codes_as_documented(groups):
    data = to_bytes([Group(step, np.array(some, np.int32)) for step, some in groups])
    assert not data.endswith(b"\0")
    assert documented(data, [len(some) for _, some in groups]) == (groups, 0xA6)


def test_small_numbers_cost_about_their_entropy():
    random = np.random.default_rng(0)
    for spread in (0.3, 1, 30):
        some = np.round(random.laplace(0, spread, 4000)).astype(np.int32)
        share = np.unique(some, return_counts=True)[1] / some.size
        entropy = -some.size * float((share * np.log2(share)).sum()) / 8
        assert len(to_bytes([Group(0, some)])) < 1.05 * entropy + 20


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
    large = Group(0, np.array([LARGEST, -LARGEST], np.int32))
    assert from_bytes(to_bytes([large]), [2])[0].codes.tolist() == [LARGEST, -LARGEST]
    with pytest.raises(ValueError, match="32768 steps are more"):
        to_bytes([Group(0, np.array([LARGEST + 1], np.int32))])


@pytest.mark.slow
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


@pytest.mark.slow
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
