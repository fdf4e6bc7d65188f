"""Pairs on a GPU: the whole path of a frame, on the CPU with Triton's kernels in their interpreter.

The CPU takes the GPU's place by `no_gpu_needed`; on a machine with a GPU the same tests run on it.
"""

import io
import json
import logging
import subprocess
import sys
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

pytest.importorskip("triton")

from material import ffmpeg, frame_samples
from test_back_projection import corrector

from vidscale import api
from vidscale.images.scaling import find_scaler
from vidscale.media.frames import Color, PixelFormat, YuvImage
from vidscale.media.geometry import Geometry
from vidscale.models.cards import find_pair_dir
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.gpu import frames as gpu_frames
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.models.networks.luma import Cell
from vidscale.models.pair_files import load_pair_dir, write_pair_dir
from vidscale.models.pairs import find_pair
from vidscale.models.updates import update_of
from vidscale.system import devices
from vidscale.system.threads import in_order
from vidscale.triton_kernels import _tiles_triton, polyphase_triton
from vidscale.triton_kernels.chain import Convolution


@pytest.fixture(autouse=True)
def no_gpu_needed(monkeypatch):
    """The CPU stands in for a GPU where there is none; the CPU path runs in float32, as exact as it can."""
    monkeypatch.setattr("vidscale.models.plane_pair.quickest", lambda chain: "float32")
    gpu_frames._frames_on.cache_clear()
    if not torch.cuda.is_available():
        monkeypatch.setattr(polyphase_triton, "_BLOCK_Y", 32)  # the interpreter takes as long for a small block
        monkeypatch.setattr(_tiles_triton, "BLOCK", 1024)
        monkeypatch.setattr(devices, "has_gpu", lambda: True)
        monkeypatch.setattr(devices, "gpu", lambda: torch.device("cpu"))


def picture(height, width, layout):
    """A photograph; chroma planes from its colours."""
    shift = layout.bit_depth - 8
    planes = [
        np.ascontiguousarray(data.astronaut()[40 : 40 + h, 180 : 180 + w, channel].astype(layout.dtype) << shift)
        for (h, w), channel in zip(layout.plane_shapes(height, width), (1, 0, 2), strict=False)
    ]
    return YuvImage(tuple(planes), layout, color=Color("tv", "bt709", chroma_location="left"))


def assert_close(got, want):
    """At most one code apart on 99.9 % of the samples."""
    assert [(plane.dtype, plane.shape) for plane in got] == [(plane.dtype, plane.shape) for plane in want]
    apart = np.concatenate([np.abs(a.astype(int) - b).ravel() for a, b in zip(got, want, strict=True)])
    assert np.mean(apart > 1) <= 0.001


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layout", "size"),
    [
        ("lanczos-x2", PixelFormat("420", 8), (48, 64)),
        ("lanczos-x1", PixelFormat("444", 8), (6, 8)),
        ("sharp-x1.5", PixelFormat("422", 10), (37, 51)),
        ("adaptive-x2", PixelFormat("420", 8), (48, 64)),
        ("adaptive-x1.5", PixelFormat("gray", 8), (37, 51)),
        ("restore-x1", PixelFormat("420", 8), (31, 20)),
    ],
    ids=str,
)
def test_pairs_scale_as_on_the_cpu(name, layout, size):
    assert_scales_as_on_the_cpu(name, layout, size)


@pytest.mark.slow
def test_twelve_bits_scale_as_on_the_cpu(tmp_path):
    upscaler = load_pair_dir(find_pair_dir("adaptive-x1.5")).upscaler
    write_pair_dir(tmp_path, "mine-x1.5", FixedPair("lanczos", Fraction(3, 2)), upscaler)
    assert_scales_as_on_the_cpu(str(tmp_path), PixelFormat("gray", 12), (37, 51))


@pytest.mark.slow
def test_back_projection_of_twelve_bits_is_as_good_as_of_eight():
    """It works on 16-bit samples on both sides, which cannot hold every code of twelve bits."""
    image = picture(37, 51, PixelFormat("gray", 12))
    got, want = (find_pair("adaptive-x1.5", None, device).downscale(image, 25)[0] for device in ("cuda", "cpu"))
    assert np.abs(got.astype(int) - want).max() < 16


def assert_scales_as_on_the_cpu(name, layout, size):
    on_gpu, on_cpu = (find_pair(name, None, device) for device in ("cuda", "cpu"))
    assert on_gpu.downscale_backend.device == on_gpu.upscale_backend.device == "cuda"
    image = picture(*size, layout)
    small = on_cpu.downscale(image, 25)
    assert_close(on_gpu.downscale(image, 25), small)
    geometry = Geometry(size[1], size[0], on_cpu.scale, small[0].shape[1], small[0].shape[0])
    coded = YuvImage(tuple(small), layout, color=image.color)
    assert_close(on_gpu.upscale(coded, geometry, 25), on_cpu.upscale(coded, geometry, 25))


@pytest.mark.slow
@pytest.mark.parametrize("triton_there", [True, False], ids=["triton", "torch"])
def test_back_projection_as_on_the_cpu(triton_there, tmp_path, monkeypatch):
    write_pair_dir(tmp_path, "mine-x2", corrector(Cell(1, 2)), CompactUpscaler(Cell(1, 2), width=8, depth=2))
    if not triton_there:
        monkeypatch.setattr("vidscale.models.gpu.networks.TRITON_AVAILABLE", False)
        monkeypatch.setattr("vidscale.models.gpu.scaling.TRITON_AVAILABLE", False)
    image = picture(48, 64, PixelFormat("420", 8))
    on_gpu, on_cpu = (find_pair(str(tmp_path), None, device) for device in ("cuda", "cpu"))
    small = on_cpu.downscale(image, 25)
    assert_close(on_gpu.downscale(image, 25), small)
    assert_close(on_gpu.downscale(image), on_cpu.downscale(image))
    assert np.mean(small[0] != on_cpu.downscale(image)[0]) > 0.3
    geometry = Geometry(64, 48, on_cpu.scale, 32, 24)
    coded = YuvImage(tuple(small), image.format, color=image.color)
    assert_close(on_gpu.upscale(coded, geometry, 25), on_cpu.upscale(coded, geometry, 25))


@pytest.mark.slow
@pytest.mark.parametrize("triton_there", [True, False], ids=["triton", "torch"])
def test_updates_are_used_as_on_the_cpu(triton_there, monkeypatch):
    if not triton_there:
        monkeypatch.setattr("vidscale.models.gpu.networks.TRITON_AVAILABLE", False)
        monkeypatch.setattr("vidscale.models.gpu.scaling.TRITON_AVAILABLE", False)
    on_gpu, on_cpu = (find_pair("restore-x1", None, device) for device in ("cuda", "cpu"))
    chain = on_cpu.chain(25)
    louder = [Convolution(weight * 1.1, bias + 0.02) for weight, bias in chain.convolutions]
    update = update_of(chain, replace(chain, convolutions=louder), "full", "float32", on_cpu.sha256).to_bytes()
    image, geometry = picture(24, 32, PixelFormat("420", 8)), Geometry(32, 24, on_cpu.scale, 32, 24)
    wanted = on_cpu.upscale(image, geometry, 25, update)
    assert np.mean(wanted[0] != on_cpu.upscale(image, geometry, 25)[0]) > 0.3
    assert_close(on_gpu.upscale(image, geometry, 25, update), wanted)


@pytest.mark.slow
def test_downscaler_follows_updates_as_on_the_cpu():
    on_gpu, on_cpu = (find_pair("adaptive-x2", None, device) for device in ("cuda", "cpu"))
    assert on_gpu.follows_updates
    chain = on_cpu.chain(25)
    louder = [Convolution(weight * 1.04, bias + 0.005) for weight, bias in chain.convolutions]
    update = update_of(chain, replace(chain, convolutions=louder), "full", "float32", on_cpu.sha256).to_bytes()
    image = picture(48, 64, PixelFormat("420", 8))
    wanted = on_cpu.downscale(image, 25, update)
    assert np.mean(wanted[0] != on_cpu.downscale(image, 25)[0]) > 0.3
    assert_close(on_gpu.downscale(image, 25, update), wanted)


def planes_of(path, pix_fmt="yuv420p", size=(48, 64)):
    """[frames, samples]: all planes of all frames of a file."""
    codes = np.frombuffer(ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", pix_fmt, "-"), np.uint8)
    return codes.reshape(-1, frame_samples(pix_fmt, *size))


@pytest.mark.slow
def test_encode_and_decode_as_on_the_cpu(make_clip, tmp_path):
    """x264 at crf 0 is lossless: the small files hold the small pictures as they are."""
    movie, small = make_clip(frames=3), {}
    for device in ("cuda", "cpu"):
        small[device] = tmp_path / f"{device}.mp4"
        settings = {
            "pair": "adaptive-x2",
            "scale": 2,
            "codec": "x264",
            "crf": 0,
            "preset": "ultrafast",
            "effort": "normal",
            "verdict": False,
        }
        encoded = api.encode(movie, small[device], device=device, **settings)
        assert [stage.device for stage in encoded.report.stages if stage.name.endswith("scale")] == [device, device]
    smaller = [planes_of(small[device], size=(24, 32)) for device in ("cuda", "cpu")]
    assert_close(*smaller)
    files = [api.decode(small["cpu"], tmp_path / f"{device}.mkv", device=device, lossless=True) for device in small]
    assert_close(*(planes_of(file) for file in files))
    raw = [tmp_path / f"{device}.y4m" for device in small]
    for file, device in zip(raw, small, strict=True):
        assert api.decode_y4m(small["cpu"], file, device=device) == 3
    assert np.array_equal(planes_of(raw[0]), planes_of(files[0]))


@pytest.mark.slow
def test_stages_as_on_the_cpu(make_clip):
    raw = ffmpeg("-i", make_clip(frames=2), "-f", "yuv4mpegpipe", "-")
    for direction in ("down", "up"):
        scaled = {}
        for device in ("cuda", "cpu"):
            sink = io.BytesIO()
            assert api.stage(direction, io.BufferedReader(io.BytesIO(raw)), sink, pair="bicubic-x2", device=device) == 2
            scaled[device] = np.frombuffer(sink.getvalue(), np.uint8)
        assert_close([scaled["cuda"]], [scaled["cpu"]])


@pytest.mark.slow
def test_pictures_as_on_the_cpu():
    rgb = tuple(picture(30, 44, PixelFormat("444", 8)).planes)
    on_gpu, on_cpu = (find_scaler("restore-x1", None, device) for device in ("cuda", "cpu"))
    assert_close(on_gpu.upscale(rgb, 30, 44), on_cpu.upscale(rgb, 30, 44))
    on_gpu, on_cpu = (find_scaler("lanczos", Fraction(3, 2), device) for device in ("cuda", "cpu"))
    assert_close(on_gpu.downscale(rgb), on_cpu.downscale(rgb))


@pytest.mark.slow
def test_comparison_as_on_the_cpu(make_clip, tmp_path):
    movie, points = make_clip(frames=2), {}
    for device in ("cuda", "cpu"):
        settings = {"preset": "ultrafast", "metrics": "psnr_y", "rates": "24,36", "pairs": "lanczos", "device": device}
        comparison = api.compare(movie, output=tmp_path / device, **settings)
        points[device] = [point for curve in comparison.curves for point in curve.points]
    assert [point.crf for point in points["cuda"]] == [point.crf for point in points["cpu"]]
    for got, want in zip(points["cuda"], points["cpu"], strict=True):
        assert got.metrics["psnr_y"] == pytest.approx(want.metrics["psnr_y"], abs=0.05)


def out_of_memory(*_):
    raise torch.cuda.OutOfMemoryError("CUDA out of memory")


def test_out_of_memory_in_the_middle_of_a_movie(make_clip, tmp_path, monkeypatch, caplog):
    """After the first frame nothing fits: the CPU does the others, which is said once."""
    from vidscale.models.gpu import scaling

    resample, count = scaling.resample, iter(range(100))
    monkeypatch.setattr(scaling, "resample", lambda *args: (out_of_memory if next(count) else resample)(*args))
    movie = make_clip(frames=4)
    settings = {"pair": "lanczos", "scale": 2, "codec": "x264", "crf": 0, "preset": "ultrafast", "report": False}
    with caplog.at_level(logging.WARNING):
        files = [
            api.encode(movie, tmp_path / f"{device}.mp4", device=device, **settings).path for device in ("cuda", "cpu")
        ]
    assert_close(*(planes_of(file, size=(24, 32)) for file in files))
    assert caplog.messages == ["the GPU is out of memory for pictures of 64x48: the CPU takes over"]
    assert next(count) == 2


def test_out_of_memory_takes_frames_out_of_flight(caplog):
    """A GPU with memory for two pictures: the third is tried again when another is finished."""
    running, most, lock, frames = [], [], threading.Lock(), gpu_frames.GpuFrames(torch.device("cpu"), in_flight=3)
    all_there = threading.Barrier(3)

    def work(source, target):
        with lock:
            running.append(source)
            crowded = len(running) > 2
            most.append(len(running))
        try:
            if len(most) <= 3:
                all_there.wait(timeout=30)
            if crowded:
                out_of_memory()
            target.data.copy_(source.data)
        finally:
            with lock:
                running.pop()

    planes = [np.full((4, 4), value, np.uint8) for value in range(8)]
    with caplog.at_level(logging.WARNING):
        got = list(in_order(lambda plane: frames.run([plane], [(4, 4)], work), planes, 3))
    assert all(np.array_equal(plane, want) for (plane,), want in zip(got, planes, strict=True))
    assert max(most[3:]) <= 2
    assert caplog.messages == ["the GPU is out of memory for pictures of 4x4: 2 in flight instead of 3"]


def test_a_picture_that_never_fits_is_refused_once(caplog):
    frames, tries = gpu_frames.GpuFrames(torch.device("cpu"), in_flight=3), []
    plane, small = np.zeros((4, 4), np.uint8), np.zeros((2, 2), np.uint8)

    def work(source, target):
        tries.append(source)
        if source.shapes == ((4, 4),):
            out_of_memory()

    with caplog.at_level(logging.WARNING):
        assert frames.run([plane], [(4, 4)], work) is None
        assert (len(tries), frames.run([plane], [(4, 4)], work), len(tries)) == (3, None, 3)
    assert frames.run([small], [(2, 2)], work) is not None
    assert [message.rpartition(": ")[2] for message in caplog.messages] == [
        "2 in flight instead of 3",
        "1 in flight instead of 2",
        "the CPU takes over",
    ]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the interpreter runs where there is no GPU")
def test_gpu_benchmark_smoke():
    """All implementations of all stages agree; none of the packages that a GPU machine lacks is needed."""
    script = Path(__file__).parents[1] / "benchmarks" / "bench_gpu.py"
    lacking = ("av", "pydantic", "numba", "safetensors", "scipy", "ffmpeg", "imageio_ffmpeg", "typer", "rich")
    bare = f"import runpy, sys; sys.modules |= dict.fromkeys({lacking}); sys.argv = [sys.argv[1], '--smoke']; "
    bare += f"sys.path.insert(0, {str(script.parent)!r}); runpy.run_path({str(script)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", bare, script.name], check=True, capture_output=True, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({row["stage"] for row in rows}) == 5
    assert {"triton", "torch"} <= {row["way"] for row in rows}


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_benchmark_without_a_gpu_errors():
    script = Path(__file__).parents[1] / "benchmarks" / "bench_gpu.py"
    done = subprocess.run([sys.executable, script], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "bench_gpu.py: torch finds no CUDA device\n")
