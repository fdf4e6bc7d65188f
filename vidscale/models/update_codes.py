"""Numbers of an update as bits: an adaptive binary range coder, and a step for each group. ``docs/identity.md`` has the
format.

Most differences are a few steps, many are zero: a number costs one to three bits. Rice codes, which cost a bit at
least, took 8 % more where few numbers are zero, and a library's range coder would be a dependency of every decoder.
"""

from collections.abc import Iterable, Sequence
from math import frexp
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vidscale.errors import ModelError

Codes = npt.NDArray[np.int32]

LARGEST = (1 << 15) - 1  # magnitude of a code

_STEP_BITS = 8
_MANTISSA_BITS, _LOWEST_EXPONENT = 3, -27
_LENGTHS = LARGEST.bit_length()  # of a magnitude in bits, at most
_BEFORE = 3  # contexts of a first decision: how many of the two numbers before are not zero
_SECOND = _BEFORE + _LENGTHS  # first context for the second bit of a magnitude
_CONTEXTS = _SECOND + _LENGTHS + 1
_WHOLE, _LEAST = 1 << 32, 1 << 24  # of the range
_MEMORY = 255  # decisions that a context counts before its counts are halved; so none is less probable than 1 / 512
_END, _END_BITS = 0xA6, 8  # what follows the last group
_NUMBERS_IN_A_BIT = 512  # at most


class Group(NamedTuple):
    """Numbers with a common step.

    Attributes:
        step: code of the step, 0 to 255; see `step_size`.
        codes: [n] int32, in steps, at most `LARGEST` in magnitude.
    """

    step: int
    codes: Codes

    @property
    def values(self) -> npt.NDArray[Any]:
        """[n] float64."""
        return self.codes * step_size(self.step)


def step_size(step: int) -> float:
    """Size of a step: 8 to 15, times 2^-27 to 2^4, so that it is exact on every machine."""
    mantissa = (1 << _MANTISSA_BITS) + (step & (1 << _MANTISSA_BITS) - 1)
    return float(mantissa * 2.0 ** ((step >> _MANTISSA_BITS) + _LOWEST_EXPONENT))


def step_code(step: float) -> int:
    """Code of the largest step that is no larger than ``step``, or of the smallest or largest of all."""
    fraction, exponent = frexp(max(step, step_size(0)))  # step = fraction * 2^exponent, fraction 1/2 to below 1
    code = (exponent - 1 - _MANTISSA_BITS - _LOWEST_EXPONENT << _MANTISSA_BITS) + int((2 * fraction - 1) * 8)
    return min(code, (1 << _STEP_BITS) - 1)


def quantised(values: npt.NDArray[Any], step: float) -> Group:
    """Numbers in steps of about ``step``, rounded to nearest and limited to what can be stored."""
    code = step_code(step)
    codes = np.round(values.reshape(-1) / step_size(code)).clip(-LARGEST, LARGEST)
    return Group(code, codes.astype(np.int32))


class _Coder:
    """What writing and reading have in common: decisions, each by a context that counts how often it was 1.

    The probability is the estimate of Krichevsky and Trofimov, in 1 / 2^16.
    """

    def __init__(self) -> None:
        self._range = _WHOLE - 1
        self.forget()

    def forget(self) -> None:
        """A group begins without any knowledge of the others."""
        self._seen, self._ones = [0] * _CONTEXTS, [0] * _CONTEXTS

    def decide(self, context: int, bit: int) -> int:
        """Writes a decision, or reads one; returns it."""
        seen, ones = self._seen[context], self._ones[context]
        bit = self._narrow((self._range >> 16) * ((2 * ones + 1 << 15) // (seen + 1)), bit)
        seen, ones = seen + 1, ones + bit
        if seen > _MEMORY:
            seen, ones = seen >> 1, ones >> 1
        self._seen[context], self._ones[context] = seen, ones
        return bit

    def bits(self, number: int, count: int) -> int:
        """Writes a number of ``count`` bits, each of which is as often 1 as 0, or reads one; returns it."""
        found = 0
        for place in reversed(range(count)):
            found = 2 * found + self._narrow((self._range >> 16) << 15, number >> place & 1)
        return found

    def _narrow(self, bound: int, bit: int) -> int:
        raise NotImplementedError


class _Writer(_Coder):
    """`_low` grows without limit, so that a carry needs no care."""

    def __init__(self) -> None:
        super().__init__()
        self._low, self._size = 0, 4

    def _narrow(self, bound: int, bit: int) -> int:
        if bit:
            self._range = bound
        else:
            self._low += bound
            self._range -= bound
        while self._range < _LEAST:
            self._range <<= 8
            self._low <<= 8
            self._size += 1
        return bit

    def finish(self) -> bytes:
        """The bytes that stand for the decisions."""
        return _shortest(self._low, self._range, self._size)


class _Reader(_Coder):
    """After the end of the data there are zeros."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data, self._at, self._code = data, 4, int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def _narrow(self, bound: int, _: int) -> int:
        if bit := int(self._code < bound):
            self._range = bound
        else:
            self._code -= bound
            self._range -= bound
        while self._range < _LEAST:
            self._range <<= 8
            self._code = self._code << 8 | (self._data[self._at] if self._at < len(self._data) else 0)
            self._at += 1
        return bit

    def is_finished(self) -> bool:
        """Whether a `_Writer` that took the decisions so far would have written these bytes."""
        low = int.from_bytes(self._data[: self._at].ljust(self._at, b"\0"), "big") - self._code
        return _shortest(low, self._range, self._at) == self._data


def _shortest(low: int, width: int, size: int) -> bytes:
    """The number from ``low`` to below ``low + width`` with the most zeros at its end; whole zero bytes are left out.

    Args:
        low, width: of the range.
        size: bytes of a number.
    """
    zeros = max(n for n in range(8 * size + 1) if -(-low >> n) << n < low + width)
    return (-(-low >> zeros) << zeros).to_bytes(size, "big").rstrip(b"\0")


def to_bytes(groups: Iterable[Group]) -> bytes:
    """The groups, one after the other.

    Raises:
        ValueError: a number larger than `LARGEST`.
    """
    coder = _Writer()
    for group in groups:
        if group.codes.size and (most := np.abs(group.codes).max()) > LARGEST:
            raise ValueError(f"{most} steps are more than {LARGEST}")
        coder.bits(group.step, _STEP_BITS)
        _code(coder, group.codes.tolist())
    coder.bits(_END, _END_BITS)
    return coder.finish()


def from_bytes(data: bytes, counts: Sequence[int]) -> list[Group]:
    """The groups that `to_bytes` wrote.

    Args:
        data: the bytes.
        counts: numbers in each group.

    Raises:
        ModelError: not such bytes.
    """
    if sum(counts) > _NUMBERS_IN_A_BIT * 8 * (len(data) + 4):  # so that little is allocated for little data
        raise ModelError(f"an update of {len(data)} bytes is too short for {sum(counts)} numbers")
    coder, groups = _Reader(data), []
    for count in counts:
        step = coder.bits(0, _STEP_BITS)
        groups.append(Group(step, np.array(_code(coder, [0] * count), np.int32)))
    if coder.bits(0, _END_BITS) != _END or not coder.is_finished():
        raise ModelError(f"an update of {len(data)} bytes does not end as it should")
    return groups


def _code(coder: _Coder, numbers: list[int]) -> list[int]:
    """Writes the numbers of a group, or reads as many; returns them.

    Of each: the length of its magnitude in bits, a decision for each bit; its sign; the bits after the first one.
    """
    coder.forget()
    found, before = [], (0, 0)
    for number in numbers:
        magnitude, length = abs(number), 0
        wanted, context = magnitude.bit_length(), before[0] + before[1]
        while length < _LENGTHS and coder.decide(context, int(wanted > length)):
            context = _BEFORE + length
            length += 1
        value = min(length, 1)
        if value:
            is_negative = coder.bits(int(number < 0), 1)
            if length > 1:
                value = 2 + coder.decide(_SECOND + length, magnitude >> max(length - 2, 0) & 1)
                low = coder.bits(magnitude & (1 << length - 2) - 1, length - 2)
                value = (value << length - 2) + low
            value = -value if is_negative else value
        before = before[1], int(value != 0)
        found.append(value)
    return found
