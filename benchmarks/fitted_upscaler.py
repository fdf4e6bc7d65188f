"""An upscaler that can be fitted in seconds: linear filters per class of local structure, as in RAISR.

A change to the downscaler can only be judged with an upscaler that was fitted to it. This one replaces a network that
would take many minutes to train. Classes depend on local detail, gradient strength and direction, which a small network
sees as well.
"""

from collections.abc import Iterable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Filters = npt.NDArray[np.float32]

_REACH = 3
_SIDE = 2 * _REACH + 1
_TAPS = _SIDE * _SIDE
_CELL = 4
_DETAILS = np.array([0.6, 1.5, 3.5, 6.0, 9.0])
_STEEP = np.array([15.0, 100.0, 500.0])
_LOOKS = (len(_DETAILS) + 1) * (len(_STEEP) + 1) * 3
_SHARE = 0.4  # of the places that are fitted to
_PRIOR, _LEAST = 1e-3, 50.0  # how much each look holds to what fits all, relative and absolute


def fit(pairs: Iterable[tuple[Codes, Codes]]) -> Filters:
    """Filters by least squares.

    Args:
        pairs: decoded luma [h, w] and original luma [2 * h, 2 * w].

    Returns:
        [looks, 4, taps]: for each look the four samples that a small one becomes, rows first.
    """
    products = np.zeros((_LOOKS, _TAPS, _TAPS))
    targets = np.zeros((_LOOKS, _TAPS, 4))
    rng = np.random.default_rng(0)
    for small, large in pairs:
        chosen = np.flatnonzero(rng.random(small.size) < _SHARE)
        centre = small.reshape(-1, 1)[chosen].astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(_padded(small), (_SIDE, _SIDE)).reshape(-1, _TAPS)[chosen]
        wanted = np.stack([large[y::2, x::2].reshape(-1) for y in (0, 1) for x in (0, 1)], 1)[chosen]
        looks = _looks(_padded(small)).reshape(-1)[chosen]
        for look in np.unique(looks):
            here = looks == look
            inputs = windows[here] - centre[here]
            products[look] += inputs.T @ inputs
            targets[look] += inputs.T @ (wanted[here] - centre[here])
    common = _solved(products.sum(0), targets.sum(0), np.zeros((_TAPS, 4)), 1e-6, 0.0)
    filters = np.stack([_solved(p, t, common, _PRIOR, _LEAST) for p, t in zip(products, targets, strict=True)])
    filters[:, _TAPS // 2] += 1 - filters.sum(1)
    return np.ascontiguousarray(filters.transpose(0, 2, 1), np.float32)


def upscale(small: Codes, filters: Filters) -> Codes:
    """Luma [2 * h, 2 * w] of decoded luma [h, w]."""
    out = np.empty((2 * small.shape[0], 2 * small.shape[1]), np.uint8)
    padded = _padded(small)
    _apply(padded, _looks(padded), filters, out)
    return out


def _solved(products: Any, targets: Any, prior: Any, share: float, least: float) -> Any:
    weight = share * np.trace(products) / _TAPS + least
    return np.linalg.solve(products + weight * np.eye(_TAPS), targets + weight * prior)


def _padded(small: Codes) -> Floats:
    return np.pad(small.astype(np.float32), _REACH, mode="symmetric")


def _looks(padded: Floats) -> npt.NDArray[np.int64]:
    """The look of each sample [h, w]."""
    inner = slice(_REACH, -_REACH)
    sides = padded[:, :-2] + padded[:, 2:]
    ends = padded[:-2] + padded[2:]
    h, w = padded[inner, inner].shape
    near = slice(_REACH - 1, _REACH - 1 + w)
    rows = slice(_REACH - 1, _REACH - 1 + h)
    difference = np.abs(padded[inner, inner] - (sides[inner, near] + ends[rows, inner]) / 4)
    detail = _means(_cells(difference), 1)
    detail = np.repeat(np.repeat(detail, _CELL, 0), _CELL, 1)[:h, :w]
    across = _means((padded[1:-1, 2:] - padded[1:-1, :-2]) ** 2, 1)[_REACH - 1 : 1 - _REACH, _REACH - 1 : 1 - _REACH]
    down = _means((padded[2:, 1:-1] - padded[:-2, 1:-1]) ** 2, 1)[_REACH - 1 : 1 - _REACH, _REACH - 1 : 1 - _REACH]
    axis = np.where(across > 2 * down, 0, np.where(down > 2 * across, 1, 2))
    steep = np.digitize((across + down) / 2, _STEEP)
    return (np.digitize(detail, _DETAILS) * (len(_STEEP) + 1) + steep) * 3 + axis


def _cells(plane: Floats) -> Floats:
    h, w = (-(-side // _CELL) * _CELL for side in plane.shape)
    full = np.pad(plane, ((0, h - plane.shape[0]), (0, w - plane.shape[1])), mode="edge")
    return np.asarray(full.reshape(h // _CELL, _CELL, w // _CELL, _CELL).mean((1, 3)), np.float32)


def _means(plane: Floats, reach: int) -> Floats:
    padded = np.pad(plane, reach, mode="edge")
    side = 2 * reach + 1
    total = sum(padded[y : y + plane.shape[0], x : x + plane.shape[1]] for y in range(side) for x in range(side))
    return np.asarray(total / side**2, np.float32)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _apply(padded: Floats, looks: npt.NDArray[np.int64], filters: Filters, out: Codes) -> None:
    for y in range(looks.shape[0]):
        for x in range(looks.shape[1]):
            taps = filters[looks[y, x]]
            for part in range(4):
                total = np.float32(0.5)
                for j in range(_SIDE):
                    for i in range(_SIDE):
                        total += taps[part, j * _SIDE + i] * padded[y + j, x + i]
                out[2 * y + part // 2, 2 * x + part % 2] = np.uint8(min(max(total, np.float32(0)), np.float32(255)))
