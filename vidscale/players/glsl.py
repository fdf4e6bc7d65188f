"""Writes a network as a user shader of mpv and libplacebo: one compute pass per layer.

A pass runs a thread per cell. It reads the texels of its neighbourhood once, computes all channels, and writes them
side by side into one texture (`Atlas`). Textures are larger than the picture by the margin that later layers need, so
that a feature beyond the edge is computed from repeated luma, as on the CPU, instead of repeated itself. The last pass
writes the luma of its HR samples.

The format is documented in mpv's manual under ``--glsl-shaders``; ``//!PARAM`` is libplacebo's.
"""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from vidscale.media.encoders import STRONGEST
from vidscale.media.geometry import scale_text
from vidscale.players.network import DEFAULT_STRENGTH, GROUP, Atlas, Layer, Network, Values, groups_of

THREADS = (16, 8)  # per workgroup: 128, which every implementation has

_LUMA = """\
float luma(ivec2 at) {
    vec2 inside = vec2(clamp(at, ivec2(0), ivec2(HOOKED_size + 0.5) - 1));
    return HOOKED_tex((inside + 0.5) * HOOKED_pt).x;
}
"""


def glsl_shader(network: Network, *, version: str, strength: float | None = None) -> str:
    """The text of the shader.

    Args:
        network: the network.
        version: of this program, for the description.
        strength: crf to fold into the weights; None makes it the parameter ``strength``, which the old ``vo=gpu`` of
            mpv does not know.
    """
    folded = strength is not None or not network.varies
    used = network.at(DEFAULT_STRENGTH if strength is None else strength) if folded else network
    at_crf = f", crf {strength:g}" if strength is not None and network.varies else ""
    title = f"vidscale {network.name} (x{scale_text(network.scale)}{at_crf}) {version}"
    parts = [f"// {title}: restores luma that was downscaled with this pair; other videos are only enlarged.\n"]
    if not folded:
        parts.append(_parameter())
    parts += [_pass(used, index, title) for index in range(len(used.layers))]
    return "\n".join(parts)


def _parameter() -> str:
    return "\n".join(
        [
            "//!PARAM strength",
            "//!DESC coding strength: crf on the scale of x264 and x265",
            "//!TYPE float",
            f"//!MINIMUM {_number(0.0)}",
            f"//!MAXIMUM {_number(float(STRONGEST))}",
            _number(DEFAULT_STRENGTH),
            "",
        ]
    )


def _pass(network: Network, index: int, title: str) -> str:
    layer = network.layers[index]
    last = index == len(network.layers) - 1
    head = [
        "//!HOOK LUMA",
        f"//!DESC {title}: layer {index + 1} of {len(network.layers)}",
        "//!BIND HOOKED",
        *([f"//!BIND {_texture(index - 1)}"] if index else []),
        *([] if last else [f"//!SAVE {_texture(index)}", f"//!COMPONENTS {GROUP}"]),
        *_size(network, index),
    ]
    edge = network.margin(-1)
    inputs = _from_texture(layer, _texture(index - 1)) if index else _from_luma(layer.weight, network.small, edge)
    body = [
        "void hook() {",
        "ivec2 cell = ivec2(gl_GlobalInvocationID.xy);",
        "vec4 x;",
        *_sums(layer),
        *inputs,
        *_after(layer, network, last=last),
        *(_store_samples(network) if last else _store_cells(layer)),
        "}",
        "",
    ]
    needs_luma = index == 0 or (last and network.linear is not None)
    return "\n".join(head) + "\n" + (_LUMA if needs_luma else "") + "\n".join(body)


def _texture(index: int) -> str:
    return f"VIDSCALE{index + 1}"


def _size(network: Network, index: int) -> Iterator[str]:
    """Size of the pass's texture, and of the part that a workgroup writes."""
    (columns, rows), layer = THREADS, network.layers[index]
    if index == len(network.layers) - 1:
        ratio = network.scale
        for axis, side in (("WIDTH", "w"), ("HEIGHT", "h")):
            yield f"//!{axis} HOOKED.{side} {_times(ratio)}"
        yield f"//!COMPUTE {columns * network.large} {rows * network.large} {columns} {rows}"
        return
    atlas = Atlas.of(layer.weight.shape[0])
    margin = 2 * network.margin(index)
    for axis, side, texels in (("WIDTH", "w", atlas.across), ("HEIGHT", "h", atlas.down)):
        # Cells, rounded up: half a cell too many is not read.
        cells = f"HOOKED.{side} {network.small - 1} + {network.small} /" if network.small > 1 else f"HOOKED.{side}"
        yield f"//!{axis} {cells} {margin} + {texels} *"
    yield f"//!COMPUTE {columns * atlas.across} {rows * atlas.down} {columns} {rows}"


def _times(ratio: Fraction) -> str:
    return f"{ratio.numerator} *" + (f" {ratio.denominator} /" if ratio.denominator > 1 else "")


def _sums(layer: Layer) -> Iterator[str]:
    """The accumulators, which start at the offset if that is a constant."""
    for group in range(groups_of(layer.weight.shape[0])):
        start = np.zeros(GROUP) if layer.varies else _padded(layer.offset[0])[group * GROUP : (group + 1) * GROUP]
        yield f"vec4 s{group} = {_vector(start)};"


def _from_luma(weight: Values, small: int, margin: int) -> Iterator[str]:
    """Convolves cells of luma. Args: margin: cells from the picture's edge to the first input of thread 0."""
    support, groups = weight.shape[2], groups_of(weight.shape[0])
    yield f"ivec2 from = (cell - {margin}) * {small};"
    for row in range(support):
        for column in range(support):
            for channel in range(small * small):
                across = column * small + channel % small
                down = row * small + channel // small
                yield f"x.x = luma(from + ivec2({across}, {down}));"
                taps = _padded(weight[:, channel, row, column])
                for group in range(groups):
                    yield f"s{group} += {_vector(taps[group * GROUP : (group + 1) * GROUP])} * x.x;"


def _from_texture(layer: Layer, texture: str) -> Iterator[str]:
    made, taken, support, _ = layer.weight.shape
    atlas = Atlas.of(taken)
    weight = np.zeros((groups_of(made) * GROUP, groups_of(taken) * GROUP, support, support))
    weight[:made, :taken] = layer.weight
    scale = f" * ivec2({atlas.across}, {atlas.down})" if (atlas.across, atlas.down) != (1, 1) else ""
    yield f"ivec2 from = cell{scale};"
    for row in range(support):
        for column in range(support):
            for group in range(groups_of(taken)):
                across, down = column * atlas.across + group % atlas.across, row * atlas.down + group // atlas.across
                yield f"x = texelFetch({texture}_raw, from + ivec2({across}, {down}), 0);"
                block = weight[:, group * GROUP : (group + 1) * GROUP, row, column]
                for out in range(groups_of(made)):
                    columns = block[out * GROUP : (out + 1) * GROUP].T.reshape(-1)
                    yield f"s{out} += mat4({','.join(map(_number, columns))}) * x;"


def _after(layer: Layer, network: Network, *, last: bool) -> Iterator[str]:
    """Gain and offset of the strength, then the activation, or the linear part."""
    if layer.varies:
        low, high = network.strengths
        yield f"float s = clamp(strength, {_number(low)}, {_number(high)}) / {_number(float(STRONGEST))};"
    for group in range(groups_of(layer.weight.shape[0])):
        if layer.varies:
            gain, offset = (_polynomial(values, group) for values in (layer.gain, layer.offset))
            yield f"s{group} = s{group} * ({gain}) + {offset};"
        if not last:
            yield f"s{group} = max(s{group}, s{group} * {_number(network.slope)});"
    if last and network.linear is not None:
        reach = network.linear.shape[2] // 2
        yield "{"
        yield from _from_luma(network.linear, network.small, reach)
        yield "}"


def _polynomial(values: Values, group: int) -> str:
    constant, first, second = (_vector(_padded(row)[group * GROUP : (group + 1) * GROUP]) for row in values)
    return f"{constant} + s * ({first} + s * {second})"


def _store_cells(layer: Layer) -> Iterator[str]:
    made = layer.weight.shape[0]
    atlas = Atlas.of(made)
    yield f"ivec2 to = cell * ivec2({atlas.across}, {atlas.down});"
    for group in range(groups_of(made)):
        yield f"imageStore(out_image, to + ivec2({group % atlas.across}, {group // atlas.across}), s{group});"


def _store_samples(network: Network) -> Iterator[str]:
    yield f"ivec2 to = cell * {network.large};"
    for channel in range(network.large**2):
        row, column = divmod(channel, network.large)
        value = f"clamp(s{channel // GROUP}.{'xyzw'[channel % GROUP]}, 0.0, 1.0)"
        yield f"imageStore(out_image, to + ivec2({column}, {row}), vec4({value}));"


def _padded(values: Values) -> Values:
    """With zeros up to whole groups."""
    return np.pad(values, (0, -values.size % GROUP))


def _vector(values: Values) -> str:
    return f"vec4({','.join(map(_number, values))})"


def _number(value: float) -> str:
    """Seven digits, as float32 has; the same text on every machine."""
    text = f"{value:.7g}"
    text = "0" if text == "-0" else text
    return text if "." in text or "e" in text else f"{text}.0"
