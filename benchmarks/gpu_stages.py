"""Stages that `bench_gpu.py` measures, and the implementations of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from vidscale.media.frames import PixelFormat, Plane, YuvImage
from vidscale.media.geometry import Geometry
from vidscale.models.back_projection import back_projection_of
from vidscale.models.chains import compact_chain
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.gpu.frames import Work
from vidscale.models.gpu.scaling import resample
from vidscale.models.luma_torch import TorchLumaCorrection, TorchLumaUpscaler
from vidscale.models.networks.back_projection import BackProjection
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.models.networks.luma import Cell
from vidscale.models.resampling import Resampling
from vidscale.triton_kernels._tiles_triton import Tiling
from vidscale.triton_kernels.back_projection_triton import BackProjectionTriton
from vidscale.triton_kernels.chain_triton import ChainTriton
from vidscale.triton_kernels.plane_buffer import PlaneBuffer
from vidscale.triton_kernels.polyphase_ref import polyphase_ref

STRENGTH = 28.0
FORMAT = PixelFormat("420", 8)
REFERENCE = "torch"
_MOST_COMPILED = 1080  # rows; `torch.compile` takes longer than all measurements of a size
TILINGS = (Tiling(32, 64, 128), Tiling(24, 32, 128))


@dataclass(frozen=True)
class Stage:
    """Something that is done to every frame, 8-bit 4:2:0, scale 2.

    Attributes:
        name: of the stage and its network.
        size: (H, W) of the large picture.
        planes: the picture to scale.
        shapes: planes of the result.
        ways: implementations by name, among them `REFERENCE`; the first is the one in use.
    """

    name: str
    size: tuple[int, int]
    planes: tuple[Plane, ...]
    shapes: tuple[tuple[int, int], ...]
    ways: dict[str, Work]

    @property
    def uploaded(self) -> int:
        """Bytes."""
        return sum(plane.nbytes for plane in self.planes)

    @property
    def downloaded(self) -> int:
        """Bytes."""
        return sum(height * width for height, width in self.shapes)


def stages(device: torch.device, size: tuple[int, int], *, smoke: bool) -> Iterator[Stage]:
    """Stages for a large picture of (H, W). Args: smoke: networks are shallow, and `torch.compile` is left out."""
    depth = 3 if smoke else 8
    filters, scale = FixedPair("lanczos", Fraction(2)), Fraction(2)
    half = (size[0] // 2, size[1] // 2)
    large, small = (_noise(sides) for sides in (size, half))
    geometry = Geometry(size[1], size[0], scale, half[1], half[0])
    down = filters.downscaling(large)
    yield _stage("downscale, lanczos", size, large, down, _filtering(down))
    yield _stage("upscale, lanczos", size, small, up := filters.upscaling(small, geometry), _filtering(up))
    chroma = filters.upscaling(small, geometry, luma=False)
    for width in (8, 32):
        ways = _upscaling(device, _guide(width, depth), compiled=not smoke and size[0] <= _MOST_COMPILED)
        yield _stage(f"upscale, compact {width}x{depth}", size, small, chroma, _after(chroma, ways))
    yield _stage("downscale, back-projection", size, large, down, _after(down, _correcting(device, depth)))


def _stage(name: str, size: tuple[int, int], image: YuvImage, done: Resampling, ways: dict[str, Work]) -> Stage:
    return Stage(name, size, image.planes, done.sizes, ways)


def _noise(size: tuple[int, int]) -> YuvImage:
    """Smooth noise, so that networks see something like a picture."""
    rng = np.random.default_rng(0)
    planes = []
    for height, width in FORMAT.plane_shapes(*size):
        coarse = rng.integers(0, 200, (height // 8 + 1, width // 8 + 1)).repeat(8, 0).repeat(8, 1)[:height, :width]
        planes.append((coarse + rng.integers(0, 56, (height, width))).astype(np.uint8))
    return YuvImage(tuple(planes), FORMAT)


def _guide(width: int, depth: int) -> CompactUpscaler:
    """A network with random weights that changes a picture by some codes."""
    torch.manual_seed(0)
    network = CompactUpscaler(Cell(1, 2), width=width, depth=depth, reach=7)
    network.convs[-1].weight.data.normal_(std=0.02)  # type: ignore[operator]
    return network.eval()


def _arrays(network: torch.nn.Module) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def _filtering(resampling: Resampling) -> dict[str, Work]:
    def in_torch(source: PlaneBuffer, target: PlaneBuffer) -> None:
        for index, kind in enumerate(resampling.kinds):
            assert kind is not None
            siting, size = resampling.sitings[index], resampling.sizes[index]
            scaled = polyphase_ref(
                source.plane(index), step=resampling.step, siting=siting, size=size, kind=kind, bit_depth=8
            )
            target.plane(index).copy_(scaled)

    return {"triton": lambda source, target: resample(source, target, resampling, 8), REFERENCE: in_torch}


def _after(resampling: Resampling, ways: dict[str, Callable[..., Any]]) -> dict[str, Work]:
    """The ways for luma, each after the filters of all planes."""

    def both(run: Callable[..., Any]) -> Work:
        def work(source: PlaneBuffer, target: PlaneBuffer) -> None:
            resample(source, target, resampling, 8)
            run(source.plane(0), target.plane(0))

        return work

    return {name: both(run) for name, run in ways.items()}


def _upscaling(device: torch.device, network: CompactUpscaler, *, compiled: bool) -> dict[str, Callable[..., Any]]:
    chain = compact_chain(_arrays(network), STRENGTH)
    half = TorchLumaUpscaler(network, STRENGTH, 8, str(device), torch.float16)
    ways: dict[str, Callable[..., Any]] = {"triton": ChainTriton(chain, 8, device)}
    for tiling in TILINGS:
        name = f"triton, tiles of {tiling.height}x{tiling.width}, {tiling.block} cells at once"
        ways[name] = ChainTriton(chain, 8, device, tiling)
    ways[REFERENCE] = TorchLumaUpscaler(network, STRENGTH, 8, str(device), torch.float32).run
    ways["torch, float16"] = half.run
    if compiled:
        ways["torch.compile, float16"] = torch.compile(half.run)
    return ways


def _correcting(device: torch.device, depth: int) -> dict[str, Callable[..., Any]]:
    network = BackProjection(_guide(8, depth)).eval()
    network.filter.weight.data.normal_(std=0.02)
    fused = BackProjectionTriton(back_projection_of(_arrays(network), STRENGTH), 8, device)
    return {
        "triton": lambda hr, lr: fused(hr, lr.clone(), lr),
        REFERENCE: TorchLumaCorrection(network, STRENGTH, 8, str(device)).run,
    }
