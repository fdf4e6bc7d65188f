"""`vidscale.models.precision`: the fastest precision on a processor is measured once and cached."""

import json

import numpy as np
import pytest

from vidscale.models import precision
from vidscale.system.workspace import cache_folder
from vidscale.triton_kernels.chain import Chain, Convolution

SECONDS = {"float32": 2.0, "int8": 1.0}


@pytest.fixture
def tried(monkeypatch, tmp_path):
    """What was timed, in order; times are those of `SECONDS`, on a processor that supports both."""
    found = []

    def seconds(_, option):
        found.append(option)
        return SECONDS[option]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "_seconds", seconds)
    monkeypatch.setattr(Chain, "precisions", property(lambda _: tuple(SECONDS)))
    return found


def chain(channels=4):
    layers = [
        Convolution(np.zeros((out, into, 3, 3), np.float32), np.zeros(out, np.float32))
        for into, out in ((1, channels), (channels, 4))
    ]
    return Chain(1, 2, layers, None, 0.1, None)


def test_the_quickest_is_tried_once(tried, monkeypatch):
    assert precision.quickest(chain()) == "int8"
    assert tried == ["float32", "int8"]
    monkeypatch.setitem(SECONDS, "int8", 9.0)
    assert precision.quickest(chain()) == "int8"
    assert len(tried) == 2
    assert precision.quickest(chain(channels=8)) == "float32"  # another network is tried for itself
    assert len(tried) == 4


@pytest.mark.parametrize("content", ["", "[]", '{"half', '{"%s": "int4"}'])
def test_what_was_remembered_wrongly_is_tried_again(tried, content):
    precision.quickest(chain())
    file = cache_folder() / "precisions.json"
    (key,) = json.loads(file.read_text())
    file.write_text(content.replace("%s", key))
    assert precision.quickest(chain()) == "int8"
    assert len(tried) == 4
    assert json.loads(file.read_text()) == {key: "int8"}


def test_a_folder_that_cannot_be_written_is_no_matter(tried, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert precision.quickest(chain()) == "int8"
    assert precision.quickest(chain()) == "int8"
    assert len(tried) == 4
