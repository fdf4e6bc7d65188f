"""Convolutions over cells on the CPU, row by row, in int16 or float32."""

from numba import uint64 as u64

from vidscale.triton_kernels._lanes import (
    CHANNELS,
    LANES,
    TAIL,
    VECTORS,
    sum_cells,
    sum_cells_of_one,
    sum_cells_tail,
)
from vidscale.triton_kernels._numba import compiled
from vidscale.triton_kernels.lanes_layout import ALIGNED, Ints, Network, Samples, Stores


@compiled
def advance(network: Network, stores: Stores, newest: int, offsets: Ints) -> bool:
    """Compute one row of each layer that has all rows it needs. Rows come in order, from ``-margin[0]`` on.

    Args:
        network: its first layers read what is in the stores.
        stores: all rows of cells.
        newest: row of the first layer's result.
        offsets: room for the steps of any layer.

    Returns:
        Whether the last layer has a new row: ``newest - lag[-1]``.
    """
    for n in range(network.lag.size):
        row = newest - network.lag[n]
        if row < -network.margin[n]:
            return False
        compute_row(network, n, stores, row, offsets)
    return True


@compiled
def place(stores: Stores, store: int, row: int) -> int:
    """Index in the memory of a row's first cell inside the picture, first group."""
    slot = (row + stores.above) % stores.slots[store]
    index: int = stores.begin[store] + (slot * stores.groups[store] * stores.pitch + stores.left) * stores.taken
    return index


@compiled
def compute_row(network: Network, n: int, stores: Stores, row: int, offsets: Ints) -> None:
    """Compute a row of one layer."""
    taken, pitch = stores.taken, stores.pitch
    first, count = network.step[n], network.step[n + 1] - network.step[n]
    for s in range(count):
        k = first + s
        away = (network.group[k] * pitch + network.column[k]) * taken
        offsets[s] = place(stores, network.store[k], row + network.row[k]) + away
    begin = -network.margin[n] // ALIGNED * ALIGNED
    end = stores.columns + network.margin[n]
    to = place(stores, network.out[n], row)
    sign = ((network.signs[n] * (stores.rows + 2 * stores.above) + row + stores.above) * stores.sign_groups) * pitch
    sign = (sign + stores.left) * taken // 8
    channel, weight, group = network.channel[n], network.weight[n], pitch * taken
    if network.channel[n + 1] - channel == 1:
        for x in range(begin, end, 2 * VECTORS * LANES):
            sum_cells_of_one(
                stores.memory, offsets[:count], x * taken, network.weights, weight, network.bias, network.shift,
                channel, stores.memory, to + x, group, network.activation[n], stores.bits, 0, 0, network.slope,
            )  # fmt: skip
        return
    for block in range((network.channel[n + 1] - channel) // CHANNELS):
        groups = block * CHANNELS // taken
        _block(
            network, n, stores, offsets[:count], begin, end, weight + block * count * CHANNELS * taken,
            channel + block * CHANNELS, to + groups * group, sign + groups * group // 8,
        )  # fmt: skip


@compiled
def _block(
    network: Network, n: int, stores: Stores, offsets: Ints, begin: int, end: int, weight: int, channel: int, to: int,
    sign: int,
) -> None:  # fmt: skip
    """Compute a row of `CHANNELS` channels."""
    taken, group, x = stores.taken, stores.pitch * stores.taken, begin
    while x + (VECTORS - TAIL) * LANES < end:
        sum_cells(
            stores.memory, offsets, x * taken, network.weights, weight, network.bias, network.shift, channel,
            stores.memory, to + x * taken, group, network.activation[n], stores.bits, sign + x * taken // 8,
            group // 8, network.slope,
        )  # fmt: skip
        x += VECTORS * LANES
    while x < end:
        sum_cells_tail(
            stores.memory, offsets, x * taken, network.weights, weight, network.bias, network.shift, channel,
            stores.memory, to + x * taken, group, network.activation[n], stores.bits, sign + x * taken // 8,
            group // 8, network.slope,
        )  # fmt: skip
        x += TAIL * LANES


@compiled
def row_of_groups(stores: Stores, side: int) -> int:
    """Samples from one row of a cell's samples to the next, `side` samples in each; see `arrange`."""
    return -(-side // stores.taken) * stores.pitch * stores.taken


@compiled
def arrange(line: Samples, side: int, stores: Stores, at: int, count: int) -> None:
    """Write a row of samples as cells.

    A line of cells for each group of `taken` samples of a cell: those that are side by side. If cells have one sample
    and groups two, the second one is the next cell's.

    Args:
        line: samples, `side` to a cell and one more.
        side: samples in a row of a cell.
        stores: where to.
        at: index in the memory of the first cell.
        count: of cells.
    """
    cells, taken = stores.memory[at:], u64(stores.taken)
    if side == stores.taken:
        for i in range(u64(count * side)):
            cells[i] = line[i]
    elif side == 1:
        for i in range(u64(count)):
            cells[u64(2) * i] = line[i]
            cells[u64(2) * i + u64(1)] = line[i + u64(1)]
    elif side == 4 and stores.taken == 2:
        _divide(line, cells, cells[row_of_groups(stores, 2) :], count)
    else:
        for x in range(side):
            some, samples = cells[x // stores.taken * stores.pitch * stores.taken + x % stores.taken :], line[x:]
            for i in range(u64(count)):
                some[i * taken] = samples[i * u64(side)]


@compiled
def collect(stores: Stores, at: int, side: int, line: Samples) -> None:
    """Read a row of samples from cells; a network's result of one channel has no gaps. Arguments as for `arrange`."""
    step = 1 if side == 1 else stores.taken
    cells = stores.memory[at:]
    if side == step:
        for i in range(u64(stores.columns * side)):
            line[i] = cells[i]
        return
    if side == 4 and step == 2:
        _unite(cells, cells[row_of_groups(stores, 2) :], line, stores.columns)
        return
    for x in range(side):
        some, samples = cells[x // step * stores.pitch * step + x % step :], line[x:]
        for i in range(u64(stores.columns)):
            samples[i * u64(side)] = some[i * u64(step)]


@compiled
def _divide(line: Samples, first: Samples, second: Samples, count: int) -> None:
    """Two samples here, two there. With known steps, and in a function of its own, LLVM vectorises it; and `_unite`."""
    for i in range(u64(count)):
        j, k = u64(4) * i, u64(2) * i
        first[k], first[k + u64(1)] = line[j], line[j + u64(1)]
        second[k], second[k + u64(1)] = line[j + u64(2)], line[j + u64(3)]


@compiled
def _unite(first: Samples, second: Samples, line: Samples, count: int) -> None:
    for i in range(u64(count)):
        j, k = u64(4) * i, u64(2) * i
        line[j], line[j + u64(1)] = first[k], first[k + u64(1)]
        line[j + u64(2)], line[j + u64(3)] = second[k], second[k + u64(1)]
