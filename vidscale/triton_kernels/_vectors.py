"""Inner products over neighbouring pixels as vector code, which numba does not generate from loops by itself."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, codegen, config
from numba.extending import intrinsic

from vidscale.triton_kernels.chain_layout import LANES

_tools: Any = cgutils  # these three are untyped
_codegen: Any = codegen
_config: Any = config

_BYTE, _I32, _I64, _F32 = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
_WHOLE = ir.VectorType(_I32, LANES)
_FLOATS = ir.VectorType(_F32, LANES)
_COMMON_PITCHES = (4, 16, 32)  # in samples; addresses of these are compile-time constants


def _instructions() -> frozenset[str]:
    """The instruction sets that numba compiles for: this processor's, unless NUMBA_CPU_NAME and the like restrict them.

    LLVM aborts the process if the code uses any others.
    """
    told = _codegen.get_host_cpu_features() if _config.CPU_FEATURES is None else _config.CPU_FEATURES
    return frozenset(word[1:] for word in told.split(",") if word.startswith("+"))


_features = _instructions()
_WIDE = "avx512f" in _features

PIXELS = 24 if _WIDE else 6  # pixels that are summed in parallel: as many as fit into the registers
BYTE_PRODUCTS = not _features.isdisjoint({"avx512vnni", "avxvnni"})  # dot products of bytes
DOT_PRODUCTS = BYTE_PRODUCTS or "avx2" in _features  # of bytes, or of 16-bit integers

_ARGUMENTS = (
    "samples", "starts", "pitch", "weights", "first", "steps",
    "out", "to", "made", "added", "after", "channel", "bounds",
)  # fmt: skip

_Step = Callable[[ir.IRBuilder, ir.Value, ir.Value, ir.Value], ir.Value]


@intrinsic
def _convolve(
    typingctx: Any, samples: Any, starts: Any, pitch: Any, weights: Any, first: Any, steps: Any,
    out: Any, to: Any, made: Any, added: Any, after: Any, channel: Any, bounds: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """An unpadded convolution of `PIXELS` neighbouring pixels to `LANES` channels, its activation and its output.

    A pixel may stand for several neighbouring cells whose channels share the lanes.

    ``sum[p, o]`` is the sum over rows r and steps t of ``samples[starts[r] + p * pitch + t] * weights[...]``. With
    float32, a step is one sample. With bytes it is four samples (unsigned) and four weights (signed), for the byte dot
    products of AVX-512 VNNI and AVX-VNNI: `BYTE_PRODUCTS` must be true. With int16 it is two of each, for the dot
    products that AVX2 has too: `DOT_PRODUCTS` must be true. Then ``y = sum * gain + bias``, and
    ``max(y, slope * y) + zero + added[p * made + o]`` is clamped and written to ``out[to + p * made + o]``, truncated
    if `out` is an integer array.

    Args:
        typingctx: numba's.
        samples: flat float32, uint8 or int16, channels interleaved; up to 3 samples past the last are read.
        starts: [rows] int64, index of the first pixel's first sample in each row.
        pitch: samples from one pixel to the next.
        weights: flat float32 [rows, steps, LANES], int8 [rows, steps, LANES, 4] or int16 [rows, steps, LANES, 2],
            starting at `first`.
        first: index of the first weight.
        steps: number of steps per row.
        out: flat float32, uint8, int16 or uint16.
        to: index in `out` of the first pixel's first channel.
        made: channels from one pixel to the next in `out`.
        added: flat float32, indexed as `out`; or None.
        after: [3, channels] float32: gain, bias, zero.
        channel: first channel of this block.
        bounds: [3] float32: slope (0 to 1), minimum, maximum; 0 and 255 where `out` is bytes.
    """
    if samples.dtype not in _STEPS:
        return None, None
    number = types.int64
    arguments = (samples, starts, number, weights, number, number, out, number, number, added, after, number, bounds)
    step, taken, element = _STEPS[samples.dtype]

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        values = dict(zip(_ARGUMENTS, zip(signature.args, args, strict=True), strict=True))
        arrays = {
            name: context.make_array(kind)(context, builder, value=value)
            for name, (kind, value) in values.items()
            if isinstance(kind, types.Array)
        }
        numbers = {name: value for name, (_, value) in values.items()}
        block = _Block(builder, element, taken, step, arrays, numbers)
        done = builder.append_basic_block("done")
        for known in _COMMON_PITCHES:
            this, other = builder.append_basic_block(f"pitch{known}"), builder.append_basic_block("other")
            builder.cbranch(builder.icmp_signed("==", numbers["pitch"], _int(known)), this, other)
            builder.position_at_end(this)
            block.sum(partial(_times, known))
            builder.branch(done)
            builder.position_at_end(other)
        block.sum(lambda p: builder.mul(numbers["pitch"], _int(p)))
        builder.branch(done)
        builder.position_at_end(done)
        block.store()
        return context.get_dummy_value()

    return types.void(*arguments), generate


convolve: Any = _convolve  # numba callers leave out the first argument


class _Block:
    """Generates the code of `convolve`: sums stay in registers from the first sample until they are stored.

    Args:
        builder: positioned where the code goes.
        element: type of the sums.
        taken: samples per step.
        step: emits the multiply-add of one step.
        arrays, numbers: arguments of `convolve`.
    """

    def __init__(
        self,
        builder: ir.IRBuilder,
        element: ir.Type,
        taken: int,
        step: _Step,
        arrays: Mapping[str, Any],
        numbers: Mapping[str, ir.Value],
    ) -> None:
        self._builder, self._element, self._taken, self._step = builder, element, taken, step
        self._arrays, self._numbers = arrays, numbers
        self._vector = ir.VectorType(element, LANES)
        self._sums = [_tools.alloca_once(builder, self._vector) for _ in range(PIXELS)]

    def sum(self, offset: Callable[[int], ir.Value]) -> None:
        """Emits the sums. Args: offset: samples from the first pixel to pixel p, as a function of p."""
        builder, arrays, vector = self._builder, self._arrays, self._vector
        for place in self._sums:
            builder.store(ir.Constant(vector, None), place)
        steps, a_step = self._numbers["steps"], _int(LANES * self._taken)
        with _tools.for_range(builder, arrays["starts"].nitems, intp=_I64) as row:
            base = builder.gep(arrays["samples"].data, [builder.load(builder.gep(arrays["starts"].data, [row.index]))])
            at = builder.add(self._numbers["first"], builder.mul(builder.mul(row.index, steps), a_step))
            taps = builder.gep(arrays["weights"].data, [at])
            with _tools.for_range(builder, steps, intp=_I64) as step:
                weight = _load(builder, builder.gep(taps, [builder.mul(step.index, a_step)]), vector)
                here = builder.gep(base, [builder.mul(step.index, _int(self._taken))])
                for pixel, place in enumerate(self._sums):
                    sample = _load(builder, builder.gep(here, [offset(pixel)]), self._element)
                    many = _spread(builder, sample, vector)
                    builder.store(self._step(builder, builder.load(place), many, weight), place)

    def store(self) -> None:
        """Emits gain, bias, activation, clamp and store."""
        builder, to = self._builder, self._numbers["to"]
        gain, bias, zero = self._after()
        slope, low, high = (self._bound(n) for n in range(3))
        rising = gain, builder.fadd(bias, zero)
        falling = builder.fmul(gain, slope), _fma(builder, bias, slope, zero)
        out = builder.gep(self._arrays["out"].data, [to])
        added = builder.gep(self._arrays["added"].data, [to]) if "added" in self._arrays else None
        kept = out.type.pointee
        for pixel, place in enumerate(self._sums):
            total = builder.load(place)
            if self._element is not _F32:
                total = builder.sitofp(total, _FLOATS)
            y = _larger(builder, _fma(builder, total, *rising), _fma(builder, total, *falling))
            offset = [builder.mul(self._numbers["made"], _int(pixel))]
            if added is not None:
                y = builder.fadd(y, _load(builder, builder.gep(added, offset), _FLOATS))
            y = _larger(builder, y, low)
            if kept == _BYTE:
                y = _saturated(builder, builder.fptosi(y, _WHOLE))
            else:
                y = builder.select(builder.fcmp_ordered("<", y, high), y, high)
                if kept != _F32:
                    y = builder.trunc(builder.fptosi(y, _WHOLE), ir.VectorType(kept, LANES))
            builder.store(y, builder.bitcast(builder.gep(out, offset), y.type.as_pointer()), align=1)

    def _after(self) -> Iterator[ir.Value]:
        """Gain, bias and zero of this block's channels."""
        builder, after = self._builder, self._arrays["after"]
        channels = _tools.unpack_tuple(builder, after.shape, 2)[1]
        for row in range(3):
            at = builder.add(self._numbers["channel"], builder.mul(channels, _int(row)))
            yield _load(builder, builder.gep(after.data, [at]), _FLOATS)

    def _bound(self, n: int) -> ir.Value:
        builder = self._builder
        return _spread(builder, builder.load(builder.gep(self._arrays["bounds"].data, [_int(n)])), _FLOATS)


def _times(pitch: int, pixel: int) -> ir.Constant:
    return _int(pitch * pixel)


def _int(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


def _larger(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _saturated(builder: ir.IRBuilder, y: ir.Value) -> ir.Value:
    """Non-negative int32 saturated to bytes: one AVX-512 instruction."""
    most = ir.Constant(_WHOLE, [255] * LANES)
    return builder.trunc(builder.select(builder.icmp_unsigned("<", y, most), y, most), ir.VectorType(_BYTE, LANES))


def _fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    kind = ir.FunctionType(a.type, [a.type] * 3)
    name = f"llvm.fma.v{a.type.count}f32"
    return builder.call(_tools.get_or_insert_function(builder.module, kind, name), [a, b, c])


def _load(builder: ir.IRBuilder, place: ir.Value, kind: ir.Type) -> ir.Value:
    return builder.load(builder.bitcast(place, kind.as_pointer()), align=1)


def _spread(builder: ir.IRBuilder, value: ir.Value, vector: ir.VectorType) -> ir.Value:
    unknown, zero = ir.Constant(vector, ir.Undefined), ir.Constant(_I32, 0)
    one = builder.insert_element(unknown, value, zero)
    return builder.shuffle_vector(one, unknown, ir.Constant(ir.VectorType(_I32, vector.count), None))


def _float_step(builder: ir.IRBuilder, total: ir.Value, samples: ir.Value, weights: ir.Value) -> ir.Value:
    return _fma(builder, samples, weights, total)


def _dot_step(name: str, builder: ir.IRBuilder, total: ir.Value, samples: ir.Value, weights: ir.Value) -> ir.Value:
    """total + the dot product in each lane, by one 512-bit instruction or two 256-bit ones."""
    vector = total.type
    if vector.count == LANES and "avx512vnni" not in _features:
        return _by_halves(partial(_dot_step, name), builder, total, samples, weights)
    kind = ir.FunctionType(vector, [vector] * 3)
    full_name = f"llvm.x86.avx512.{name}.{32 * vector.count}"
    return builder.call(_tools.get_or_insert_function(builder.module, kind, full_name), [total, samples, weights])


def _pair_step(builder: ir.IRBuilder, total: ir.Value, samples: ir.Value, weights: ir.Value) -> ir.Value:
    """total + the dot product of two int16 in each lane; `LANES` or half as many."""
    if BYTE_PRODUCTS:
        return _dot_step("vpdpwssd", builder, total, samples, weights)
    vector = total.type
    if vector.count == LANES and "avx512bw" not in _features:
        return _by_halves(_pair_step, builder, total, samples, weights)
    pairs = ir.VectorType(ir.IntType(16), 2 * vector.count)
    name = "llvm.x86.avx512.pmaddw.d.512" if vector.count == LANES else "llvm.x86.avx2.pmadd.wd"
    dot = _tools.get_or_insert_function(builder.module, ir.FunctionType(vector, [pairs] * 2), name)
    return builder.add(total, builder.call(dot, [builder.bitcast(value, pairs) for value in (samples, weights)]))


def _by_halves(step: _Step, builder: ir.IRBuilder, *operands: ir.Value) -> ir.Value:
    unknown = ir.Constant(_WHOLE, ir.Undefined)
    halves = []
    for begin in (0, LANES // 2):
        part = ir.Constant(ir.VectorType(_I32, LANES // 2), list(range(begin, begin + LANES // 2)))
        halves.append(step(builder, *(builder.shuffle_vector(value, unknown, part) for value in operands)))
    return builder.shuffle_vector(*halves, ir.Constant(_WHOLE, list(range(LANES))))


# By sample type: how a step is added, how many samples it takes, and the type of the sums.
_STEPS: dict[Any, tuple[_Step, int, ir.Type]] = {
    types.float32: (_float_step, 1, _F32),
    types.uint8: (partial(_dot_step, "vpdpbusd"), 4, _I32),
    types.int16: (_pair_step, 2, _I32),
}
