"""`convolve` of `_vectors.py` with activations whose derivative is kept, and with the derivative instead of them."""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from vidscale.triton_kernels._vectors import Block, generator
from vidscale.triton_kernels.chain_layout import LANES

_I64 = ir.IntType(64)
_BITS, _FLAGS = ir.IntType(LANES), ir.VectorType(ir.IntType(1), LANES)
_ARGUMENTS = (
    "samples", "starts", "pitch", "weights", "first", "steps",
    "out", "to", "made", "signs", "sign", "after", "channel", "bounds",
)  # fmt: skip


class _WithSigns(Block):
    """One bit a lane, for `LANES` lanes at `signs[sign + pixel * made / 8]`."""

    def _place(self, pixel: int) -> ir.Value:
        builder = self._builder
        bytes_apart = builder.ashr(self._numbers["made"], ir.Constant(_I64, 3))
        at = builder.add(self._numbers["sign"], builder.mul(bytes_apart, ir.Constant(_I64, pixel)))
        return builder.bitcast(builder.gep(self._arrays["signs"].data, [at]), _BITS.as_pointer())


class _Signed(_WithSigns):
    def _activated(self, rising: ir.Value, falling: ir.Value, pixel: int) -> ir.Value:
        builder = self._builder
        positive = builder.fcmp_ordered(">", rising, falling)
        builder.store(builder.bitcast(positive, _BITS), self._place(pixel), align=1)
        return builder.select(positive, rising, falling)


class _Gated(_WithSigns):
    def _activated(self, rising: ir.Value, falling: ir.Value, pixel: int) -> ir.Value:
        builder = self._builder
        positive = builder.bitcast(builder.load(self._place(pixel), align=1), _FLAGS)
        return builder.select(positive, rising, falling)


@intrinsic
def _convolve_signed(
    typingctx: Any, samples: Any, starts: Any, pitch: Any, weights: Any, first: Any, steps: Any,
    out: Any, to: Any, made: Any, signs: Any, sign: Any, after: Any, channel: Any, bounds: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """`convolve` without `added`, which also writes the sign of each sum after gain and bias: bit 1 for positive.

    Args:
        typingctx: numba's.
        samples, starts, pitch, weights, first, steps, out, to, made, after, channel, bounds: as for `convolve`; `made`
            is a multiple of 8, the slope less than 1.
        signs: flat uint8, a bit per channel.
        sign: index in `signs` of the first pixel's first channel.
    """
    return _signature(samples, starts, weights, out, signs, after, bounds), generator(_Signed, _ARGUMENTS)


@intrinsic
def _convolve_gated(
    typingctx: Any, samples: Any, starts: Any, pitch: Any, weights: Any, first: Any, steps: Any,
    out: Any, to: Any, made: Any, signs: Any, sign: Any, after: Any, channel: Any, bounds: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """`convolve` whose output is multiplied by the slope where bits of `signs` are 0, whatever its own sign.

    Arguments as for `convolve_signed`; `signs` is read.
    """
    return _signature(samples, starts, weights, out, signs, after, bounds), generator(_Gated, _ARGUMENTS)


def _signature(samples: Any, starts: Any, weights: Any, out: Any, signs: Any, after: Any, bounds: Any) -> Any:
    n = types.int64
    return types.void(samples, starts, n, weights, n, n, out, n, n, signs, n, after, n, bounds)


convolve_signed: Any = _convolve_signed  # numba callers leave out the first argument
convolve_gated: Any = _convolve_gated
