"""Writes a network as ONNX: luma and coding strength in, luma out, any size."""

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from vidscale.media.encoders import STRONGEST
from vidscale.media.geometry import scale_text
from vidscale.players.network import Layer, Network, Values

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

OPSET = 17  # of ONNX 1.12 (2022): onnxruntime 1.12, DirectML and TensorRT 8.5 and later have all of it


def onnx_model(network: Network, *, version: str, strength: float | None = None) -> bytes:
    """The serialised model.

    Inputs are ``luma`` [N, 1, h, w] float32, code / peak, whole cells (h and w even at scale 3/2), and ``strength`` [N]
    float32, crf, unless it is folded in. The output is ``restored`` [N, 1, H, W] float32 in 0 to 1.

    Args:
        network: the network.
        version: of this program, for the description.
        strength: crf to fold into the weights; None leaves it an input.

    Raises:
        ImportError: the package onnx is not installed.
    """
    folded = strength is not None or not network.varies
    used = network.at(strength) if strength is not None else network
    return _Writer(used, folded=folded).model(version)


class _Writer:
    """Collects nodes and weights."""

    def __init__(self, network: Network, *, folded: bool) -> None:
        self._network = network
        self._folded = folded
        self._nodes: list[NodeProto] = []
        self._weights: list[TensorProto] = []

    def model(self, version: str) -> bytes:
        from onnx import TensorProto, checker, helper

        network, ratio = self._network, self._network.scale
        x = self._cells()
        powers = None if self._folded else self._powers()
        last = len(network.layers) - 1
        result = x
        for index, layer in enumerate(network.layers):
            result = self._layer(result, layer, index, powers)
            if index < last:
                result = self._node("LeakyRelu", result, alpha=network.slope)
        if network.linear is not None:
            result = self._node("Add", result, self._linear(x))
        if network.large > 1:
            result = self._node("DepthToSpace", result, blocksize=network.large, mode="DCR")
        self._node("Clip", result, self._weight("zero", 0.0), self._weight("one", 1.0), output="restored")
        inputs = [helper.make_tensor_value_info("luma", TensorProto.FLOAT, ["batch", 1, "height", "width"])]
        if not self._folded:
            inputs.append(helper.make_tensor_value_info("strength", TensorProto.FLOAT, ["batch"]))
        sides = [_side(side, ratio) for side in ("height", "width")]
        output = helper.make_tensor_value_info("restored", TensorProto.FLOAT, ["batch", 1, *sides])
        graph = helper.make_graph(self._nodes, network.name, inputs, [output], self._weights)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="vidscale",
            producer_version=version,
            doc_string=f"vidscale {network.name}, luma x{scale_text(ratio)}",
        )
        model.ir_version = 8  # what came with opset 17: older runtimes refuse a newer one
        checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    def _cells(self) -> str:
        """Cells with the margin that the convolutions use up, from repeated luma."""
        margin = self._network.margin(-1) * self._network.small
        pads = self._weight("pads", [0, 0, margin, margin, 0, 0, margin, margin], np.int64)
        padded = self._node("Pad", "luma", pads, mode="edge")
        return padded if self._network.small == 1 else self._node("SpaceToDepth", padded, blocksize=self._network.small)

    def _powers(self) -> str:
        """[N, 3]: 1, s and s²."""
        low, high = (self._weight(name, value) for name, value in zip("ab", self._network.strengths, strict=True))
        clamped = self._node("Clip", "strength", low, high)
        s = self._node("Div", clamped, self._weight("strongest", float(STRONGEST)))
        column = self._node("Unsqueeze", s, self._weight("axis", [1], np.int64))
        exponents = self._weight("exponents", [[0.0, 1.0, 2.0]])
        return self._node("Pow", column, exponents)

    def _layer(self, x: str, layer: Layer, index: int, powers: str | None) -> str:
        weight = self._weight(f"weight{index}", layer.weight)
        if powers is None:
            return self._node("Conv", x, weight, self._weight(f"bias{index}", layer.offset[0]))
        raw = self._node("Conv", x, weight)
        gain, offset = (self._per_channel(powers, values, f"{name}{index}") for name, values in _lines(layer))
        return self._node("Add", self._node("Mul", raw, gain), offset)

    def _per_channel(self, powers: str, values: Values, name: str) -> str:
        """[N, out, 1, 1]."""
        line = self._node("MatMul", powers, self._weight(name, values))
        return self._node("Unsqueeze", line, self._weight(f"{name}axes", [2, 3], np.int64))

    def _linear(self, x: str) -> str:
        """The linear part of the cells without the margin that it does not need."""
        assert self._network.linear is not None
        margin = self._network.margin(-1) - self._network.linear.shape[2] // 2
        if margin:
            from_, to = ([sign * margin] * 2 for sign in (1, -1))
            edges = [self._weight(f"edge{n}", edge, np.int64) for n, edge in enumerate((from_, to, [2, 3]))]
            x = self._node("Slice", x, *edges)
        return self._node("Conv", x, self._weight("linear", self._network.linear))

    def _weight(self, name: str, values: Any, dtype: type = np.float32) -> str:
        from onnx import numpy_helper

        self._weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def _node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = output or f"{kind.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name


def _lines(layer: Layer) -> tuple[tuple[str, Values], tuple[str, Values]]:
    return ("gain", layer.gain), ("offset", layer.offset)


def _side(side: str, ratio: Fraction) -> str:
    """Name of the dimension of the output."""
    return f"{side}*{ratio}"
