"""Numbers of an update as bits: Rice codes, a parameter and a step for each group. ``docs/identity.md`` has the format.

A range coder with a distribution for each group would save 3 % (``benchmarks/bench_adapt.py --coders``); Rice codes
need no library, and a few lines in any other decoder.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import frexp
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vidscale.errors import ModelError

Codes = npt.NDArray[np.int32]

LARGEST = 1 << 15  # magnitude of a code

_STEP_BITS, _RICE_BITS = 8, 4
_MANTISSA_BITS, _LOWEST_EXPONENT = 3, -27
_LONGEST_QUOTIENT = 64


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


def quantised(values: npt.NDArray[Any], step: float) -> Group:
    """Numbers in steps of about ``step``, rounded to nearest and limited to what can be stored."""
    fraction, exponent = frexp(max(step, step_size(0)))  # step = fraction * 2^exponent, fraction 1/2 to below 1
    code = (exponent - 1 - _MANTISSA_BITS - _LOWEST_EXPONENT << _MANTISSA_BITS) + int((2 * fraction - 1) * 8)
    code = min(code, (1 << _STEP_BITS) - 1)
    codes = np.round(values.reshape(-1) / step_size(code)).clip(-LARGEST, LARGEST)
    return Group(code, codes.astype(np.int32))


def to_bytes(groups: Iterable[Group]) -> bytes:
    """The groups, one after the other, most significant bit first; the last byte is filled with zeros."""
    bits = "".join(word for group in groups for word in _words(group))
    return int(bits + "0" * (-len(bits) % 8) or "0", 2).to_bytes(-(-len(bits) // 8), "big")


def _words(group: Group) -> Iterator[str]:
    folded = [2 * code if code >= 0 else -2 * code - 1 for code in group.codes.tolist()]
    rice = min(range(1 << _RICE_BITS), key=lambda k: _length(folded, k))
    yield f"{group.step:0{_STEP_BITS}b}{rice:0{_RICE_BITS}b}"
    for number in folded:
        yield "1" * (number >> rice) + "0"
        if rice:
            yield f"{number & (1 << rice) - 1:0{rice}b}"


def _length(folded: Sequence[int], rice: int) -> float:
    """Bits of the codes; infinite if one is too long."""
    quotients = [number >> rice for number in folded]
    return float("inf") if max(quotients, default=0) > _LONGEST_QUOTIENT else sum(quotients) + len(folded) * (1 + rice)


def from_bytes(data: bytes, counts: Sequence[int]) -> list[Group]:
    """The groups that `to_bytes` wrote.

    Args:
        data: the bytes; nothing may follow the last group but the zeros that fill its byte.
        counts: numbers in each group.

    Raises:
        ModelError: not such bytes.
    """
    if len(data) * 8 < sum(counts):  # every code has a bit at least: nothing larger than the data is allocated
        raise ModelError(f"an update of {len(data)} bytes is too short for {sum(counts)} numbers")
    bits, at, groups = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}" if data else "", 0, []
    try:
        for count in counts:
            step = int(bits[at : at + _STEP_BITS], 2)
            rice = int(bits[at + _STEP_BITS : at + _STEP_BITS + _RICE_BITS], 2)
            at += _STEP_BITS + _RICE_BITS
            codes, at = _read(bits, at, count, rice)
            groups.append(Group(step, codes))
    except ValueError as error:
        raise ModelError("an update ends early, or has a number that is too large") from error
    if len(bits) - at >= 8 or "1" in bits[at:]:
        raise ModelError(f"an update has {len(bits) - at} bits too many")
    return groups


def _read(bits: str, at: int, count: int, rice: int) -> tuple[Codes, int]:
    """The codes of a group and where the next one begins; ValueError if they end early or are too large."""
    folded = np.empty(count, np.int64)
    for n in range(count):
        end = bits.index("0", at, at + _LONGEST_QUOTIENT + 1)
        rest = bits[end + 1 : end + 1 + rice]
        if len(rest) < rice:
            raise ValueError(f"{rice - len(rest)} bits are missing")
        folded[n] = (end - at << rice) + (int(rest, 2) if rice else 0)
        at = end + 1 + rice
    codes = np.where(folded & 1, -(folded + 1 >> 1), folded >> 1)
    if count and np.abs(codes).max() > LARGEST:
        raise ValueError(f"{np.abs(codes).max()} is too large")
    return codes.astype(np.int32), at
