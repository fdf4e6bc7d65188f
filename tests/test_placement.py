"""`--device auto`: GPU or CPU, measured once and remembered."""

import json
import logging

import pytest
import torch

from vidscale.models import placement, plane_pair
from vidscale.models.pairs import find_pair, with_effort
from vidscale.system import devices
from vidscale.system.workspace import cache_folder

SECONDS = {"cuda": 1.0, "cpu": 2.0}


@pytest.fixture
def tried(monkeypatch):
    """Where a trial ran, in order; times are those of `SECONDS`, on a machine with a GPU."""
    found = []

    def seconds(_, where, parallel):
        found.append(where)
        return SECONDS[where]

    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    monkeypatch.setattr(placement, "gpu_name", lambda: "some GPU")
    monkeypatch.setattr(placement, "_seconds", seconds)
    return found


def test_auto_is_the_faster_device_tried_once(tried, monkeypatch):
    assert find_pair("adaptive-x2", None).upscale_backend.device == "cuda"
    assert tried == ["cuda", "cpu"]
    monkeypatch.setitem(SECONDS, "cuda", 9.0)
    pair = find_pair("adaptive-x2", None)
    assert (pair.upscale_backend.device, len(tried)) == ("cuda", 2)
    other = find_pair("restore-x1", None)
    assert other.downscale_backend.device == "cpu"  # a filter is faster than any decoder
    assert other.upscale_backend.device == "cpu"
    assert sorted(json.loads((cache_folder() / "devices.json").read_text()).values()) == ["cpu", "cuda"]
    assert find_pair("restore-x1", None, "cuda").upscale_backend.device == "cuda"
    assert len(tried) == 4
    assert pair.downscale_backend.device == "cpu"  # a network of its own, tried on its own
    assert len(tried) == 6


def test_each_size_of_a_network_is_tried(tried):
    """These downscalers differ in their guides, which cards do not describe."""
    large, small = find_pair("adaptive-x2", None), find_pair("adaptive-vmaf-x2", None)
    assert large.card.downscaler["width"] == small.card.downscaler["width"]
    for pair, tries in ((large, 2), (small, 4), (with_effort(large, "normal"), 4)):
        assert pair.downscale_backend.device == "cuda"
        assert len(tried) == tries


def test_a_gpu_that_fails_is_not_used(tried, monkeypatch, caplog):
    def fails(*_):
        raise RuntimeError("Failed to find C compiler\nmore")

    monkeypatch.setattr(placement, "_seconds", fails)
    with caplog.at_level(logging.WARNING):
        assert find_pair("adaptive-x2", None).upscale_backend.device == "cpu"
    assert caplog.messages == ["the GPU cannot be used: Failed to find C compiler"]
    assert not (cache_folder() / "devices.json").exists()


@pytest.mark.slow
def test_auto_measures_both_devices(monkeypatch):
    """A real measurement, of Triton's interpreter if there is no GPU: it loses."""
    pytest.importorskip("triton")
    if not torch.cuda.is_available():
        monkeypatch.setattr(devices, "has_gpu", lambda: True)
        monkeypatch.setattr(devices, "gpu", lambda: torch.device("cpu"))
        monkeypatch.setattr(plane_pair, "_TRIAL_SIDE", 12)
        monkeypatch.setattr(plane_pair, "_SIDES_OF_TRIAL", 1)
        monkeypatch.setattr(placement, "_FRAMES", 2)
        monkeypatch.setattr(placement, "_TRIES", 1)
        assert find_pair("restore-x1", None).upscale_backend.device == "cpu"
    assert find_pair("restore-x1", None).upscale_backend.device in ("cpu", "cuda")
