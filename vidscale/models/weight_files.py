"""Weights as files: arrays with a card beside them, whose hash says whether they belong together. Needs no torch."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.errors import ModelError
from vidscale.models.cards import PairCard, read_card

WEIGHTS = "weights.safetensors"

Arrays = dict[str, npt.NDArray[Any]]


def content_hash(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of arrays in the order of their names, as lower-case hex.

    It does not depend on the file that holds them, nor on strides.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(json.dumps([name, array.dtype.name, list(arrays[name].shape)]).encode() + b"\n")
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def read_weights(folder: Path) -> tuple[PairCard, Arrays]:
    """Card and weights of a pair.

    Raises:
        ModelError: no pair there, weights that are damaged or not those of the card.
    """
    card = read_card(folder)
    arrays = read_arrays(folder / WEIGHTS)
    if content_hash(arrays) != card.sha256:
        raise ModelError(f"{folder / WEIGHTS} is damaged: it does not match the card of {card.name}")
    return card, arrays


def read_arrays(path: Path) -> Arrays:
    """All arrays of a safetensors file.

    Raises:
        ModelError: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError, TypeError) as error:  # the last is numpy's, which has no bfloat16
        raise ModelError(f"{path} cannot be read: {error}") from error


def part(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> Arrays:
    """Those whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def number_of(prefix: str, names: Iterable[str]) -> int:
    """How many modules ``prefix.N`` there are, at least 1: one more than the highest number."""
    found = (re.match(rf"{prefix}\.(\d+)\.", name) for name in names)
    return max((int(match[1]) for match in found if match), default=0) + 1
