"""Filters and memory layout of the CPU version of fixed resampling, computed once per size and filter."""

from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vidscale.triton_kernels.polyphase_filters import Kind, filter_bank

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_LINE = 16  # float32 values in a cache line
_PAGE = 1024  # float32 values; addresses this far apart alias when the processor orders loads after stores (4 KiB)
_CLEAR = 128  # float32 values; a load this close behind an aliasing store waits for it


class Plan(NamedTuple):
    """The filters of both axes, and offsets into the one float32 array of `memory` values that is used as work memory.

    Output rows are computed two at a time. Taps are zero-padded: along y so that those of two rows fit, to a multiple
    of four; along x to an even number.

    Attributes:
        columns_first: filter along y before x.
        advance: source samples from one output sample to the next of the same phase.
        y_start: [phases] first source row.
        y_taps: [phases, support]; rows_read: source rows that two output rows read.
        x_start: first source column that any output needs; x_length: number of columns from there.
        x_first: [phases] first column of an output, relative to x_start; x_taps: [phases, support].
        line: offset of column 0 of a source row, which has its mirrored columns before and after it; line_pitch: from
            there to the second row.
        x_source: [phases, support] offset of the samples that a tap reads, in the row sorted by index modulo `advance`.
        sorted_row: offset of that row.
        parts: offset of the row filtered along x, all samples of the first phase before those of the second.
        last: offset of a finished row; last_pitch: from there to the second row.
        ring, ring_pitch: offset of `rows_read` rows filtered along x, and the distance between two of them.
        memory: total number of values.
    """

    columns_first: bool
    advance: int
    y_start: Ints
    y_taps: Floats
    rows_read: int
    x_start: int
    x_length: int
    x_first: Ints
    x_taps: Floats
    line: int
    line_pitch: int
    x_source: Ints
    sorted_row: int
    parts: int
    last: int
    last_pitch: int
    ring: int
    ring_pitch: int
    memory: int


@lru_cache(maxsize=128)
def plan(kind: Kind, step: Fraction, siting: tuple[Fraction, Fraction], size: tuple[int, int], width: int) -> Plan:
    """The plan for pictures `width` samples wide; the other arguments are those of `polyphase_resample`."""
    y_bank, x_bank = (filter_bank(kind, step, siting[axis], size[axis]) for axis in (0, 1))
    rows_read = _round_up(y_bank.support + int(np.diff(y_bank.start, append=y_bank.start[0] + y_bank.advance).max()), 4)
    x_taps = np.pad(x_bank.taps, ((0, 0), (0, x_bank.support % 2))).astype(np.float32)
    x_start = int(x_bank.start[0])
    x_first = x_bank.start - x_start
    column = x_first[:, None] + np.arange(x_taps.shape[1])
    x_length = int(column.max()) + 1 + (size[1] - 1) // x_bank.phases * x_bank.advance
    line = _round_up(max(-x_start, 0), _LINE)
    line_pitch = _round_up(line + max(width, x_start + x_length), _PAGE)
    sorted_row, pitch = 2 * line_pitch, -(-x_length // x_bank.advance)
    part = -(-size[1] // x_bank.phases)
    sorted_parts = [sorted_row + i * pitch for i in range(x_bank.advance)]
    parts = _apart(
        sorted_row + x_bank.advance * pitch, [place - i * part for place in sorted_parts for i in range(x_bank.phases)]
    )
    ring = _round_up(parts + x_bank.phases * part, _LINE)
    ring_pitch = _round_up(size[1], _PAGE) + 112
    ring_rows = [ring + i * ring_pitch for i in range(rows_read)]
    last = _apart(ring + rows_read * ring_pitch, sorted_parts if step > 1 else ring_rows)
    last_pitch = _round_up(size[1], _PAGE)
    return Plan(
        *(step > 1, x_bank.advance, y_bank.start.copy(), y_bank.taps.astype(np.float32), rows_read),
        *(x_start, x_length, x_first, x_taps),
        *(line, line_pitch, sorted_row + column % x_bank.advance * pitch + column // x_bank.advance, sorted_row),
        *(parts, last, last_pitch, ring, ring_pitch, last + 2 * last_pitch),
    )


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _apart(place: int, sources: list[int]) -> int:
    """An offset, `place` or above, to write to while reading from `sources` in lockstep.

    A load waits for a recent store whose address has the same low 12 bits (4K aliasing), which halves the speed.
    """
    places = range(_round_up(place, _LINE), _round_up(place, _LINE) + _PAGE, _LINE)
    return max(places, key=lambda at: min(_CLEAR, *((at - source) % _PAGE for source in sources)))
