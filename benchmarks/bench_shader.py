"""Work of the shaders, and their time in ffmpeg's libplacebo.

    python benchmarks/bench_shader.py [--pairs adaptive-x2] [--size 320x180] [--frames 12] [-o FILE.jsonl]

A row per shader: ``multiplications``, ``texel_reads`` and ``texel_bytes`` (reads and writes of float16 textures) per
HR sample, ``passes``, ``bytes`` of text, ``ms`` per picture of that small size, ``processor_ms`` on the CPU, and
``to_fsrcnnx_8``: the processor time over that of a network of FSRCNNX's shape (8-0-4-1), written by the same writer
with random weights; FSRCNNX-16's shape is the second reference. A time is the difference between two runs, so that
compiling and starting do not count, each the least of several. Without a GPU, Mesa's software renderer does the work on
the CPU, where only the ratio means something; with one, ``ms`` does.
"""

import argparse
import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import origin

from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.models.cards import find_pair_dir
from vidscale.players.glsl import glsl_shader
from vidscale.players.network import Layer, Network, groups_of, network_of

_STRENGTH = 28.0
_TEXEL = 8  # bytes of four float16
_ROUNDS = 3
_REFERENCE = "FSRCNNX-8's shape"


def main() -> None:
    """Runs the benchmark and prints its rows; appends them to a file when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", default="adaptive-x2,restore-x1,adaptive-x1.5,adaptive-x3,adaptive-x4")
    parser.add_argument("--size", default="320x180", help="of the small picture")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    networks = {_REFERENCE: fsrcnnx(8), "FSRCNNX-16's shape": fsrcnnx(16)}
    networks |= {name: network_of(find_pair_dir(name)) for name in options.pairs.split(",")}
    times = {name: _milliseconds(network, options.size, options.frames) for name, network in networks.items()}
    for name, network in networks.items():
        row = {"benchmark": "shader", "shader": name, "scale": str(network.scale), **work(network)}
        wall, processor = times[name]
        row |= {"small_size": options.size, "ms": round(wall, 2), "processor_ms": round(processor, 2)}
        row |= {"to_fsrcnnx_8": round(processor / times[_REFERENCE][1], 2), **origin()}
        print(json.dumps(row))
        if options.output:
            with options.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def fsrcnnx(width: int) -> Network:
    """A network of the layers of FSRCNNX-`width`-0-4-1 at scale 2, with random weights."""
    shapes = [(1, width, 5), *[(width, width, 3)] * 4, (width, width, 1), (width, 4, 3)]
    random = np.random.default_rng(0)
    layers = []
    for taken, made, support in shapes:
        weight = random.normal(0, (taken * support**2) ** -0.5, (made, taken, support, support))
        gain = np.zeros((3, made))
        gain[0] = 1
        layers.append(Layer(weight, gain, np.zeros((3, made))))
    return Network("reference-x2", 1, 2, layers, None, 0.1, (0.0, 51.0))


def work(network: Network) -> dict[str, Any]:
    """Multiplications, reads and traffic per HR sample, passes and length of the shader."""
    reads = written = multiplications = 0
    for index, layer in enumerate(network.layers):
        made, taken, support, _ = layer.weight.shape
        multiplications += layer.weight.size
        reads += support**2 * (groups_of(taken) if index else taken)
        written += groups_of(made) if index < len(network.layers) - 1 else 0
    stored = written  # read at least once by the next pass; neighbours come from the cache
    if network.linear is not None:
        multiplications += network.linear.size
        reads += network.linear[0].size
    samples = network.large**2
    return {
        "multiplications": round(multiplications / samples, 1),
        "texel_reads": round(reads / samples, 1),
        "texel_bytes": round((written + stored) * _TEXEL / samples, 1),
        "passes": len(network.layers),
        "bytes": len(_shader(network)),
    }


def _shader(network: Network) -> str:
    return glsl_shader(network, version="benchmark", strength=_STRENGTH)


def _milliseconds(network: Network, size: str, frames: int) -> tuple[float, float]:
    """Wall and processor time of a picture in the shader, without those of libplacebo itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shader.glsl"
        path.write_text(_shader(network), encoding="utf-8")
        options = f":custom_shader_path={path}", ""
        with_shader, without = (_per_picture(network, size, frames, option) for option in options)
    return with_shader[0] - without[0], with_shader[1] - without[1]


def _per_picture(network: Network, size: str, frames: int, option: str) -> tuple[float, float]:
    width, height = (int(int(side) * network.scale) for side in size.split("x"))
    filters = f"format=yuv420p,libplacebo=w={width}:h={height}:format=yuv420p:dithering=none{option}"
    few, many = (
        np.min([_seconds(size, filters, number) for _ in range(_ROUNDS)], axis=0) for number in (2, 2 + frames)
    )
    wall, processor = 1000 * (many - few) / frames
    return float(wall), float(processor)


def _seconds(size: str, filters: str, frames: int) -> tuple[float, float]:
    vulkan = ["-init_hw_device", "vulkan=vk:0", "-filter_hw_device", "vk"]
    source = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r=25"]
    words = [*vulkan, *source, "-vf", filters, "-frames:v", str(frames), "-f", "null", "-"]
    start, used = time.perf_counter(), _processor_seconds()
    subprocess.run([find_ffmpeg(None).path, "-v", "error", *words], check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - start, _processor_seconds() - used


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
