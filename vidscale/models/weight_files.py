"""Weight files, checked against the hash on the pair's card. Does not need torch."""

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
    """SHA-256 over the names, dtypes, shapes and bytes of the arrays, sorted by name, as lower-case hex.

    Independent of the file layout and of strides.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(json.dumps([name, array.dtype.name, list(arrays[name].shape)]).encode() + b"\n")
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def read_weights(folder: Path) -> tuple[PairCard, Arrays]:
    """Reads the card and weights of a pair.

    Raises:
        ModelError: no pair in the folder, or weights that are damaged or do not match the card.
    """
    card = read_card(folder)
    arrays = read_arrays(folder / WEIGHTS)
    if content_hash(arrays) != card.sha256:
        raise ModelError(f"{folder / WEIGHTS} is damaged: it does not match the card of {card.name}")
    return card, arrays


def read_arrays(path: Path) -> Arrays:
    """Reads all arrays of a safetensors file.

    Raises:
        ModelError: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError, TypeError) as error:  # TypeError: numpy has no bfloat16
        raise ModelError(f"{path} cannot be read: {error}") from error


def part(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> Arrays:
    """The arrays whose names start with a prefix, with the prefix removed."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def number_of(prefix: str, names: Iterable[str]) -> int:
    """Number of modules ``prefix.N``, at least 1: the highest N plus one."""
    found = (re.match(rf"{prefix}\.(\d+)\.", name) for name in names)
    return max((int(match[1]) for match in found if match), default=0) + 1
