"""Two rows of a convolution at once by Winograd's minimal filtering, as vector code for AVX2."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vidscale.triton_kernels._vectors import _fma, _larger, _load, _pair_step, _spread
from vidscale.triton_kernels.chain_layout import NARROW

_tools: Any = cgutils  # untyped

NARROW_PIXELS = 12  # pixels that are summed in parallel: AVX2 has 16 registers
ROWS = 4  # transformed rows for two rows of the output

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_SUMS, _FLOATS = ir.VectorType(_I32, NARROW), ir.VectorType(ir.FloatType(), NARROW)
_TAKEN = 2  # samples per step
_COMMON_PITCHES = (8, 16, 32)  # in samples; addresses of these are compile-time constants
_ARGUMENTS = (
    "samples", "at", "line", "pitch", "weights", "first", "steps",
    "out", "to", "apart", "made", "added", "after", "channel", "bounds",
)  # fmt: skip


@intrinsic
def _convolve_two_rows(
    typingctx: Any, samples: Any, at: Any, line: Any, pitch: Any, weights: Any, first: Any, steps: Any,
    out: Any, to: Any, apart: Any, made: Any, added: Any, after: Any, channel: Any, bounds: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """`convolve` of `NARROW_PIXELS` pixels in two rows to `NARROW` channels, from transformed rows and weights.

    With ``m[r]`` the sums of row r as in `convolve`, those of the two output rows are ``m[0] + m[1] + m[2]`` and ``m[0]
    - m[1] + m[3]``. See `chain_winograd.py`.

    Args:
        typingctx: numba's.
        samples: flat int16, `ROWS` rows, channels interleaved; one sample past the last is read.
        at: index of the first pixel's first sample in the first row.
        line: samples from one row to the next.
        weights: flat int16 [ROWS, steps, NARROW, 2], starting at `first`.
        apart: distance of the second row's output from the first's, in `out` and `added`.
        pitch, first, steps, out, to, made, added, after, channel, bounds: see `convolve`.
    """
    number = types.int64
    arguments = (
        samples, number, number, number, weights, number, number,
        out, number, number, number, added, after, number, bounds,
    )  # fmt: skip

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        values = dict(zip(_ARGUMENTS, zip(signature.args, args, strict=True), strict=True))
        arrays = {
            name: context.make_array(kind)(context, builder, value=value)
            for name, (kind, value) in values.items()
            if isinstance(kind, types.Array)
        }
        _TwoRows(builder, arrays, {name: value for name, (_, value) in values.items()}).emit()
        return context.get_dummy_value()

    return types.void(*arguments), generate


convolve_two_rows: Any = _convolve_two_rows  # numba callers leave out the first argument


class _TwoRows:
    """Generates the code of `convolve_two_rows`.

    The sums of a transformed row stay in registers. Between rows they are in memory, two for each pixel: no more than
    `NARROW_PIXELS` fit into the registers.
    """

    def __init__(self, builder: ir.IRBuilder, arrays: dict[str, Any], numbers: dict[str, ir.Value]) -> None:
        self._builder, self._arrays, self._numbers = builder, arrays, numbers
        self._sums = [_tools.alloca_once(builder, _SUMS) for _ in range(NARROW_PIXELS)]
        self._kept = _tools.alloca_once(builder, ir.ArrayType(ir.ArrayType(_SUMS, NARROW_PIXELS), 2))

    def emit(self) -> None:
        builder, pitch = self._builder, self._numbers["pitch"]
        builder.store(ir.Constant(self._kept.type.pointee, None), self._kept)
        done = builder.append_basic_block("done")
        for known in _COMMON_PITCHES:
            this, other = builder.append_basic_block(f"pitch{known}"), builder.append_basic_block("other")
            builder.cbranch(builder.icmp_signed("==", pitch, _int(known)), this, other)
            builder.position_at_end(this)
            self._sum([_int(known * pixel) for pixel in range(NARROW_PIXELS)])
            builder.branch(done)
            builder.position_at_end(other)
        self._sum([builder.mul(pitch, _int(pixel)) for pixel in range(NARROW_PIXELS)])
        builder.branch(done)
        builder.position_at_end(done)
        self._store()

    def _sum(self, offsets: list[ir.Value]) -> None:
        """Emits the sums. Args: offsets: samples from the first pixel to each."""
        builder = self._builder
        with _loop(builder, _int(ROWS)) as row:
            places = [self._place(builder.and_(row, _int(1)), _int(pixel)) for pixel in range(NARROW_PIXELS)]
            for place, total in zip(places, self._sums, strict=True):
                builder.store(builder.load(place), total)
            self._add_row(row, offsets)
            for place, total in zip(places, self._sums, strict=True):
                builder.store(builder.load(total), place)
            with builder.if_then(builder.icmp_signed("==", row, _int(1))), _loop(builder, _int(NARROW_PIXELS)) as pixel:
                upper, lower = (self._place(_int(n), pixel) for n in range(2))
                a, b = builder.load(upper), builder.load(lower)
                builder.store(builder.add(a, b), upper)
                builder.store(builder.sub(a, b), lower)

    def _place(self, row: ir.Value, pixel: ir.Value) -> ir.Value:
        return self._builder.gep(self._kept, [_int(0), row, pixel])

    def _add_row(self, row: ir.Value, offsets: list[ir.Value]) -> None:
        builder, arrays, numbers = self._builder, self._arrays, self._numbers
        base = builder.gep(arrays["samples"].data, [builder.add(numbers["at"], builder.mul(row, numbers["line"]))])
        a_step = _int(NARROW * _TAKEN)
        begin = builder.add(numbers["first"], builder.mul(builder.mul(row, numbers["steps"]), a_step))
        taps = builder.gep(arrays["weights"].data, [begin])
        with _loop(builder, numbers["steps"]) as step:
            weight = _load(builder, builder.gep(taps, [builder.mul(step, a_step)]), _SUMS)
            here = builder.gep(base, [builder.mul(step, _int(_TAKEN))])
            for offset, total in zip(offsets, self._sums, strict=True):
                sample = _spread(builder, _load(builder, builder.gep(here, [offset]), _I32), _SUMS)
                builder.store(_pair_step(builder, builder.load(total), sample, weight), total)

    def _store(self) -> None:
        """Emits gain, bias, activation, clamp and store, as those of `convolve`."""
        builder, arrays, numbers = self._builder, self._arrays, self._numbers
        gain, bias, zero = (self._after(n) for n in range(3))
        slope, low, high = (self._bound(n) for n in range(3))
        rising = gain, builder.fadd(bias, zero)
        falling = builder.fmul(gain, slope), _fma(builder, bias, slope, zero)
        with _loop(builder, _int(2)) as row, _loop(builder, _int(NARROW_PIXELS)) as pixel:
            at = builder.add(numbers["to"], builder.mul(row, numbers["apart"]))
            at = builder.add(at, builder.mul(pixel, numbers["made"]))
            total = builder.sitofp(builder.load(self._place(row, pixel)), _FLOATS)
            y = _larger(builder, _fma(builder, total, *rising), _fma(builder, total, *falling))
            if "added" in arrays:
                y = builder.fadd(y, _load(builder, builder.gep(arrays["added"].data, [at]), _FLOATS))
            y = _larger(builder, y, low)
            y = builder.select(builder.fcmp_ordered("<", y, high), y, high)
            out = builder.gep(arrays["out"].data, [at])
            codes = builder.trunc(builder.fptosi(y, _SUMS), ir.VectorType(out.type.pointee, NARROW))
            builder.store(codes, builder.bitcast(out, codes.type.as_pointer()), align=1)

    def _after(self, row: int) -> ir.Value:
        builder, after = self._builder, self._arrays["after"]
        channels = _tools.unpack_tuple(builder, after.shape, 2)[1]
        at = builder.add(self._numbers["channel"], builder.mul(channels, _int(row)))
        return _load(builder, builder.gep(after.data, [at]), _FLOATS)

    def _bound(self, n: int) -> ir.Value:
        builder = self._builder
        return _spread(builder, builder.load(builder.gep(self._arrays["bounds"].data, [_int(n)])), _FLOATS)


@contextmanager
def _loop(builder: ir.IRBuilder, count: ir.Value) -> Iterator[ir.Value]:
    """A loop over 0 to count - 1, at least once, that LLVM must not unroll: it would run out of registers."""
    before, body = builder.block, builder.append_basic_block("loop")
    builder.branch(body)
    builder.position_at_end(body)
    index = builder.phi(_I64)
    index.add_incoming(_int(0), before)
    yield index
    following, after = builder.add(index, _int(1)), builder.append_basic_block("after")
    index.add_incoming(following, builder.block)
    again = builder.cbranch(builder.icmp_signed("<", following, count), body, after)
    again.set_metadata("llvm.loop", _not_unrolled(builder.module))
    builder.position_at_end(after)


def _not_unrolled(module: ir.Module) -> ir.MDValue:
    """Metadata of one loop: LLVM tells loops apart by a first operand that is the node itself."""
    option = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    loop = ir.MDValue(module, [option], name=str(len(module.metadata)))
    loop.operands = (loop, option)
    return loop


def _int(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)
