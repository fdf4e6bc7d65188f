"""Memory that torch has not initialised, filled so that what a kernel forgets to write shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch


@contextmanager
def poisoned_empty() -> Iterator[None]:
    """`torch.empty` gives NaN, or 77 for integers."""
    plain = torch.empty

    def poisoned(*args, **kwargs):  # type: ignore[no-untyped-def]
        out = plain(*args, **kwargs)
        return out.fill_(torch.nan if out.is_floating_point() else 77)

    with patch.object(torch, "empty", poisoned):
        yield
