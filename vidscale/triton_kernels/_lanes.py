"""Convolutions over neighbouring cells as vector code: a lane is a cell, and sums of a few channels stay in registers.

`convolve` of `_vectors.py` holds channels in the lanes. With cells in the lanes, no lane is wasted if channels are few,
16-bit samples of two channels are multiplied at once, and a bit per lane says which activations are positive.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vidscale.triton_kernels._vectors import _features

_tools: Any = cgutils  # untyped

_I1, _I16, _I32, _I64, _F32 = ir.IntType(1), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_WIDE = {"avx512f", "avx512bw"} <= _features
_DOTS = ("avx512vnni" if _WIDE else "avxvnni") in _features

LANES = 16 if _WIDE else 8
VECTORS = 4 if _WIDE else 2  # of cells that are summed at once, `CHANNELS` of them
TAIL = 2  # vectors at the end of a row
CHANNELS = 4  # summed at once
PAIRS = _WIDE or "avx2" in _features  # whether int16 is available

NONE, LEAKY, SIGNED, GATED = range(4)  # activations

_ARGUMENTS = (
    "samples", "offsets", "at", "weights", "first", "bias", "shift", "channel",
    "out", "to", "group", "activation", "signs", "sign", "sign_group", "slope",
)  # fmt: skip


class _Element(NamedTuple):
    """How samples of a dtype are stored and summed.

    Attributes:
        kind: of samples, weights and results.
        taken: samples of neighbouring channels that a step takes.
        sum: type of a lane's sum.
    """

    kind: ir.Type
    taken: int
    sum: ir.Type


_ELEMENTS: dict[Any, _Element] = {types.int16: _Element(_I16, 2, _I32), types.float32: _Element(_F32, 1, _F32)}


class _Sums:
    """Generates code that sums `channels` channels of `vectors` vectors of cells."""

    def __init__(
        self, builder: ir.IRBuilder, size: tuple[int, int], element: _Element, values: Mapping[str, Any]
    ) -> None:
        self._builder, self._element, self._values = builder, element, values
        self._channels, self._vectors = size
        self._vector = ir.VectorType(element.kind, LANES * element.taken)
        self._sum = ir.VectorType(element.sum, LANES)
        self._apart = LANES * element.taken  # samples from one vector to the next

    def sums(self) -> list[list[ir.Value]]:
        """Of each channel, of each vector: bias plus the sum over the steps."""
        builder, values, element = self._builder, self._values, self._element
        places = [[_tools.alloca_once(builder, self._sum) for _ in range(self._vectors)] for _ in range(self._channels)]
        for channel, row in enumerate(places):
            bias = _spread(builder, self._number("bias", channel), LANES)
            for place in row:
                builder.store(bias, place)
        a_step = self._channels * element.taken
        samples = builder.gep(values["samples"].data, [values["at"]])
        weights = builder.gep(values["weights"].data, [values["first"]])
        with _tools.for_range(builder, values["offsets"].nitems, intp=_I64) as step:
            here = builder.gep(samples, [builder.load(builder.gep(values["offsets"].data, [step.index]))])
            these = builder.gep(weights, [builder.mul(step.index, _int(a_step))])
            taken = [self._load(builder.gep(here, [_int(v * self._apart)])) for v in range(self._vectors)]
            for channel, row in enumerate(places):
                weight = self._weight(builder.gep(these, [_int(channel * element.taken)]))
                for sample, place in zip(taken, row, strict=True):
                    builder.store(self._step(builder.load(place), sample, weight), place)
        return [[builder.load(place) for place in row] for row in places]

    def store(self, sums: list[list[ir.Value]]) -> None:
        """Emits the activation and the stores of all sums."""
        builder, one = self._builder, self._element.taken == 1
        whole = sums if one else [[self._shifted(y, channel) for y in row] for channel, row in enumerate(sums)]
        if self._channels == 1:
            self._store_line(whole[0])
            return
        groups = (
            whole
            if one
            else [
                [_paired(builder, *both) for both in zip(*rows, strict=True)]
                for rows in zip(whole[::2], whole[1::2], strict=True)
            ]
        )
        done = builder.append_basic_block("done")
        for activation in (NONE, LEAKY, SIGNED, GATED):
            this, other = builder.append_basic_block("this"), builder.append_basic_block("other")
            builder.cbranch(builder.icmp_signed("==", self._values["activation"], _int(activation)), this, other)
            builder.position_at_end(this)
            for number, row in enumerate(groups):
                for vector, y in enumerate(row):
                    self._store(self._activated(y, activation, number, vector), number, vector)
            builder.branch(done)
            builder.position_at_end(other)
        builder.branch(done)
        builder.position_at_end(done)

    def _store(self, y: ir.Value, number: int, vector: int) -> None:
        builder, values = self._builder, self._values
        group = builder.mul(values["group"], _int(number))
        at = builder.add(values["to"], builder.add(group, _int(vector * self._apart)))
        place = builder.gep(values["out"].data, [at])
        builder.store(y, builder.bitcast(place, y.type.as_pointer()), align=1)

    def _store_line(self, row: list[ir.Value]) -> None:
        """Of a single channel: one sample a cell."""
        builder, values = self._builder, self._values
        for vector, y in enumerate(row):
            small = y if self._element.taken == 1 else _clamped(builder, y)
            place = builder.gep(values["out"].data, [builder.add(values["to"], _int(vector * LANES))])
            builder.store(small, builder.bitcast(place, small.type.as_pointer()), align=1)

    def _activated(self, y: ir.Value, activation: int, number: int, vector: int) -> ir.Value:
        builder = self._builder
        if activation == NONE:
            return y
        small = self._sloped(y)
        if activation == LEAKY:
            return builder.select(_greater(builder, y, small), y, small)
        if activation == SIGNED:
            positive = _greater(builder, y, ir.Constant(y.type, None))
            bits = builder.bitcast(positive, ir.IntType(self._apart))
            builder.store(bits, self._signs(number, vector), align=1)
        else:
            flags = ir.VectorType(_I1, self._apart)
            positive = builder.bitcast(builder.load(self._signs(number, vector), align=1), flags)
        return builder.select(positive, y, small)

    def _signs(self, number: int, vector: int) -> ir.Value:
        builder, values = self._builder, self._values
        group = builder.mul(values["sign_group"], _int(number))
        at = builder.add(values["sign"], builder.add(group, _int(vector * self._apart // 8)))
        place = builder.gep(values["signs"].data, [at])
        return builder.bitcast(place, ir.IntType(self._apart).as_pointer())

    def _sloped(self, y: ir.Value) -> ir.Value:
        slope = _spread(self._builder, self._values["slope"], self._apart)
        if self._element.taken == 1:
            return self._builder.fmul(y, slope)
        return _call(self._builder, "avx512.pmul.hr.sw.512" if _WIDE else "avx2.pmul.hr.sw", y.type, [y, slope])

    def _shifted(self, y: ir.Value, channel: int) -> ir.Value:
        return self._builder.ashr(y, _spread(self._builder, self._number("shift", channel), LANES))

    def _number(self, name: str, channel: int) -> ir.Value:
        builder, values = self._builder, self._values
        at = builder.add(values["channel"], _int(channel))
        return builder.load(builder.gep(values[name].data, [at]))

    def _load(self, place: ir.Value) -> ir.Value:
        return self._builder.load(self._builder.bitcast(place, self._vector.as_pointer()), align=1)

    def _weight(self, place: ir.Value) -> ir.Value:
        builder = self._builder
        if self._element.taken == 1:
            return _spread(builder, builder.load(place), LANES)
        pair = builder.load(builder.bitcast(place, _I32.as_pointer()), align=1)
        return builder.bitcast(_spread(builder, pair, LANES), self._vector)

    def _step(self, total: ir.Value, samples: ir.Value, weight: ir.Value) -> ir.Value:
        builder = self._builder
        if self._element.taken == 1:
            return _call(builder, None, self._sum, [samples, weight, total])
        if _DOTS:
            name = f"avx512.vpdpwssd.{LANES * 32}"
            whole = [builder.bitcast(value, self._sum) for value in (samples, weight)]
            return _call(builder, name, self._sum, [total, *whole])
        name = "avx512.pmaddw.d.512" if _WIDE else "avx2.pmadd.wd"
        return builder.add(total, _call(builder, name, self._sum, [samples, weight]))


def _made(channels: int, vectors: int) -> Any:
    @intrinsic
    def sum_cells(
        typingctx: Any, samples: Any, offsets: Any, at: Any, weights: Any, first: Any, bias: Any, shift: Any,
        channel: Any, out: Any, to: Any, group: Any, activation: Any, signs: Any, sign: Any, sign_group: Any,
        slope: Any,
    ) -> tuple[Any, Any]:  # fmt: skip
        """Sum the channels of a block for neighbouring cells, `LANES` in each vector.

        ``sum[o, x] = bias[channel + o] + sum over steps s of samples[offsets[s] + at + x] * weights[first + s, o]``.
        With int16, x stands for two samples and s for two weights: those of two channels, a group. Results are shifted
        right and saturated to int16, or left as they are in float32.

        Args:
            typingctx: numba's.
            samples: flat int16 or float32.
            offsets: int64, by step.
            at: index of the first cell's samples, added to each offset.
            weights: flat, as `samples`: [steps, channels, 2] or [steps, channels].
            first: index of the first weight.
            bias: int32 or float32, by channel.
            shift: int32, by channel, for int16.
            channel: first channel of this block.
            out: flat, as `samples`.
            to: index of the first cell's results.
            group: results from one group of channels to the next. A single channel is written without its pair.
            activation: NONE; LEAKY; SIGNED: leaky, and `signs` gets a 1 for each positive result; GATED: multiplied by
                the slope where `signs` has a 0.
            signs: flat uint8, a bit per result.
            sign: index of the first cell's byte; its results start at bit 0.
            sign_group: bytes from one group to the next.
            slope: as `samples`, 1 / 32768 in int16.
        """
        element, n = _ELEMENTS[samples.dtype], types.int64
        arguments = (
            samples, offsets, n, weights, n, bias, shift, n, out, n, n, n, signs, n, n, samples.dtype,
        )  # fmt: skip

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            values = {
                name: context.make_array(kind)(context, builder, value=value)
                if isinstance(kind, types.Array)
                else value
                for name, kind, value in zip(_ARGUMENTS, signature.args, args, strict=True)
            }
            code = _Sums(builder, (channels, vectors), element, values)
            code.store(code.sums())
            return context.get_dummy_value()

        return types.void(*arguments), generate

    return sum_cells


sum_cells: Any = _made(CHANNELS, VECTORS)  # numba callers leave out the first argument
sum_cells_tail: Any = _made(CHANNELS, TAIL)
sum_cells_of_one: Any = _made(1, 2 * VECTORS)


def _paired(builder: ir.IRBuilder, even: ir.Value, odd: ir.Value) -> ir.Value:
    """Two vectors of int32, saturated to int16: the channels of each cell side by side."""
    kind = ir.VectorType(_I16, 2 * LANES)
    packed = _call(builder, "avx512.packssdw.512" if _WIDE else "avx2.packssdw", kind, [even, odd])
    order = [part + place for part in range(0, 2 * LANES, 8) for place in (0, 4, 1, 5, 2, 6, 3, 7)]  # 128 bits apart
    return builder.shuffle_vector(
        packed, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(_I32, 2 * LANES), order)
    )


def _clamped(builder: ir.IRBuilder, y: ir.Value) -> ir.Value:
    """int32 saturated to int16."""
    for sign, bound in (("<", 32767), (">", -32768)):
        limit = ir.Constant(y.type, [bound] * LANES)
        y = builder.select(builder.icmp_signed(sign, y, limit), y, limit)
    return builder.trunc(y, ir.VectorType(_I16, LANES))


def _greater(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    return builder.fcmp_ordered(">", a, b) if a.type.element == _F32 else builder.icmp_signed(">", a, b)


def _spread(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    vector = ir.VectorType(value.type, lanes)
    unknown = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(unknown, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, unknown, ir.Constant(ir.VectorType(_I32, lanes), None))


def _call(builder: ir.IRBuilder, name: str | None, kind: ir.Type, operands: Sequence[ir.Value]) -> ir.Value:
    """Call an x86 instruction, or a fused multiply-add if there is no name."""
    full = f"llvm.fma.v{LANES}f32" if name is None else f"llvm.x86.{name}"
    function = ir.FunctionType(kind, [value.type for value in operands])
    return builder.call(_tools.get_or_insert_function(builder.module, function, full), operands)


def _int(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)
