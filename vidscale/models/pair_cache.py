"""Caches pairs that are not installed, so that their videos can be restored on this machine without naming the pair."""

import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from vidscale.errors import ModelError
from vidscale.models.cards import CARD, cached, with_hash
from vidscale.models.pair import Pair
from vidscale.models.weight_files import WEIGHTS, read_weights

_LARGEST = 64 << 20  # bytes of weights; larger pairs are not cached


def remember(pair: Pair) -> None:
    """Copies a pair to the cache unless it is installed or cached; errors are ignored."""
    if pair.folder is None:
        return
    target, kept = cached(pair.sha256), with_hash(pair.name, pair.sha256)
    if kept == target != pair.folder and _is_damaged(target):
        shutil.rmtree(target, ignore_errors=True)
    elif kept is not None:
        return
    beside = target.with_name(f".{pair.sha256}.{secrets.token_hex(4)}")
    with suppress(OSError):
        if (pair.folder / WEIGHTS).stat().st_size > _LARGEST:
            return
        beside.mkdir(parents=True)
        for name in (WEIGHTS, CARD):
            shutil.copyfile(pair.folder / name, beside / name)
        beside.rename(target)
    shutil.rmtree(beside, ignore_errors=True)


def _is_damaged(folder: Path) -> bool:
    try:
        read_weights(folder)
    except ModelError:
        return True
    return False
