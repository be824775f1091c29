"""TensorFlow's operators as ONNX's: a function each, which adds a node's operator to a graph.

Padding "SAME" is ONNX's SAME_UPPER. Known are the operators of the models that the packages carry.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from visavis.errors import InputError
from visavis.models.convert.nchw_graph import TO_NCHW, Array, NchwGraph

__all__ = ["ELEMENTWISE", "OPERATORS", "Attributes", "Node"]

Node = Mapping[str, Any]


class Attributes:
    """The attributes of a node, as plain values."""

    def __init__(self, node: Node) -> None:
        self._rows: Mapping[str, Any] = node.get("attr") or {}

    def ints(self, name: str, default: list[int] | None = None) -> list[int]:
        """Return a list of whole numbers."""
        if name not in self._rows and default is not None:
            return default
        return [int(value) for value in self._rows[name]["list"].get("i", [])]

    def flag(self, name: str) -> bool:
        """Return a truth value; False where it is not stated."""
        return bool(self._rows.get(name, {}).get("b", False))

    def text(self, name: str, default: str = "") -> str:
        """Return a text, which is stored as base64."""
        return _decoded(self._rows[name]["s"]) if name in self._rows else default

    def texts(self, name: str) -> list[str]:
        """Return a list of texts; none where it is not stated."""
        return [_decoded(value) for value in self._rows.get(name, {}).get("list", {}).get("s", [])]

    def window(self, name: str, default: list[int] | None = None) -> list[int]:
        """Return height and width of an attribute that has one number an axis of NHWC."""
        values = self.ints(name, default)
        if len(values) != 4 or values[0] != 1 or values[3] != 1 or not all(1 <= v <= 4096 for v in values):
            raise InputError(f"{name} {values} is not of height and width alone")
        return values[1:3]

    def padding(self) -> dict[str, str]:
        """Return ONNX's attribute for the padding of a node whose images are NHWC."""
        padding = self.text("padding")
        if padding not in ("SAME", "VALID"):
            raise InputError(f"padding {padding[:40]!r} is neither SAME nor VALID")
        if self.text("data_format", "NHWC") != "NHWC":
            raise InputError(f"data_format {self.text('data_format')[:40]!r} is not NHWC")
        return {"auto_pad": "SAME_UPPER" if padding == "SAME" else "VALID"}


def _decoded(value: str) -> str:
    return base64.b64decode(value, validate=True).decode("ascii")


Operator = Callable[[NchwGraph, Node, list[str], Attributes], None]


def _placeholder(graph: NchwGraph, node: Node, _: list[str], __: Attributes) -> None:
    sides = node["attr"]["shape"]["shape"]["dim"]
    graph.input(node["name"], [int(side["size"]) for side in sides])


def _convolution(graph: NchwGraph, node: Node, sources: list[str], attributes: Attributes) -> None:
    kernel = graph.constant(sources[1])
    if kernel.ndim != 4 or not kernel.size:
        raise InputError(f"a kernel of four axes is needed, not of shape {kernel.shape}")
    groups = 1
    if "Depthwise" in node["op"]:
        groups = kernel.shape[2]
        kernel = kernel.transpose(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])
    else:
        kernel = kernel.transpose(3, 2, 0, 1)
    dilations, padding = attributes.window("dilations", [1, 1, 1, 1]), attributes.padding()
    if max(dilations) > 1 and padding["auto_pad"] != "VALID":
        raise InputError("a dilated convolution with padding SAME is not known here")  # nor to ONNX Runtime
    shape = {"kernel_shape": list(kernel.shape[2:]), "strides": attributes.window("strides"), "dilations": dilations}
    _product(graph, node, sources, attributes, "Conv", kernel, 4, len(kernel), group=groups, **shape, **padding)


def _matrix_product(graph: NchwGraph, node: Node, sources: list[str], attributes: Attributes) -> None:
    kernel, turned = graph.constant(sources[1]), attributes.flag("transpose_b")
    if kernel.ndim != 2:
        raise InputError(f"a matrix of two axes is needed, not of shape {kernel.shape}")
    how = {"transA": int(attributes.flag("transpose_a")), "transB": int(turned)}
    _product(graph, node, sources, attributes, "Gemm", kernel, 2, kernel.shape[0 if turned else 1], **how)


def _product(
    graph: NchwGraph,
    node: Node,
    sources: list[str],
    attributes: Attributes,
    op: str,
    kernel: Array,
    rank: int,
    channels: int,
    **how: Any,
) -> None:
    """Add a product and what TensorFlow fused to it: a bias of ``channels`` numbers, an activation."""
    steps, rest = attributes.texts("fused_ops"), sources[2:]
    inputs = [graph.computed(sources[0], rank), graph.store(sources[1], kernel)]
    if steps[:1] == ["BiasAdd"]:
        bias = graph.constant(rest[0]).reshape(-1)
        if len(bias) != channels:
            raise InputError(f"a bias of {len(bias)} numbers does not fit {channels} channels")
        inputs.append(graph.store(rest[0], bias))
        steps, rest = steps[1:], rest[1:]
    if not steps:
        graph.compute(node["name"], op, inputs, rank, **how)
        return
    if len(steps) > 1 or steps[0] not in _ACTIVATIONS:
        raise InputError(f"the fused operators {', '.join(steps)[:80]!r} are not known here")
    product = node["name"] + "/product"
    graph.compute(product, op, inputs, rank, **how)
    _ACTIVATIONS[steps[0]](graph, {"name": node["name"], "op": steps[0]}, [product, *rest], attributes)


def _max_pool(graph: NchwGraph, node: Node, sources: list[str], attributes: Attributes) -> None:
    window = {"kernel_shape": attributes.window("ksize"), "strides": attributes.window("strides")}
    if any(stride > side for stride, side in zip(window["strides"], window["kernel_shape"], strict=True)):
        raise InputError("a stride beyond the window is not known here")  # engines pad it in different ways
    graph.compute(node["name"], "MaxPool", [graph.computed(sources[0], 4)], 4, **window, **attributes.padding())


def _pad(graph: NchwGraph, node: Node, sources: list[str], _: Attributes) -> None:
    rank, pads = graph.rank(sources[0]), graph.constant(sources[1])
    if pads.shape != (rank, 2) or pads.min(initial=0) < 0 or pads.max(initial=0) > 4096:
        raise InputError(f"paddings of shape {pads.shape} do not fit {rank} axes")
    if rank == 4:
        pads = pads[list(TO_NCHW)]
    inputs = [graph.computed(sources[0]), graph.store(sources[1], pads.T.reshape(-1).astype(np.int64))]
    graph.compute(node["name"], "Pad", inputs, rank)


def _reshape(graph: NchwGraph, node: Node, sources: list[str], _: Attributes) -> None:
    shape = graph.constant(sources[1]).reshape(-1).astype(np.int64)
    rank = len(shape)
    if not 1 <= rank <= 8:
        raise InputError(f"a shape of {rank} axes is impossible")
    if shape[0] == 1:
        shape[0] = 0  # the batch axis stays free
    inputs = [graph.plain(sources[0]), graph.store(sources[1], shape)]
    if rank != 4:
        graph.compute(node["name"], "Reshape", inputs, rank)
        return
    graph.compute(node["name"], "Transpose", [graph.emit("Reshape", inputs, node["name"] + "/shaped")], 4, perm=TO_NCHW)


def _concat(graph: NchwGraph, node: Node, sources: list[str], _: Attributes) -> None:
    *parts, last = sources
    rank = graph.rank(parts[0])
    axis = graph.axis(parts[0], int(graph.constant(last).item()))
    graph.compute(node["name"], "Concat", [graph.computed(part, rank) for part in parts], rank, axis=axis)


def _reduction(op: str) -> Operator:
    def reduce(graph: NchwGraph, node: Node, sources: list[str], attributes: Attributes) -> None:
        rank, keep = graph.rank(sources[0]), attributes.flag("keep_dims")
        axes = sorted({graph.axis(sources[0], int(axis)) for axis in graph.constant(sources[1]).reshape(-1)})
        if not axes:
            raise InputError("a reduction over no axis")
        if not keep and rank == 4 and 1 not in axes and axes not in ([2, 3], [0, 2, 3]):
            raise InputError("only a reduction over height and width, or over channels, is known here")
        left = rank if keep else rank - len(axes)
        graph.compute(node["name"], op, [graph.computed(sources[0])], left, axes=axes, keepdims=int(keep))

    return reduce


def _elementwise(op: str) -> Operator:
    def join(graph: NchwGraph, node: Node, sources: list[str], _: Attributes) -> None:
        if all(source in graph.constants for source in sources):
            raise InputError("it has constants alone, which is not known here")
        rank = max(graph.rank(source) for source in sources)
        graph.compute(node["name"], op, [graph.operand(source, rank) for source in sources], rank)

    return join


def _softmax(graph: NchwGraph, node: Node, sources: list[str], _: Attributes) -> None:
    axis = graph.axis(sources[0], -1)
    graph.compute(node["name"], "Softmax", [graph.computed(sources[0])], graph.rank(sources[0]), axis=axis)


def _relu6(graph: NchwGraph, node: Node, sources: list[str], _: Attributes) -> None:
    bounds = [graph.store(f"{node['name']}/{bound}", np.float32(bound)) for bound in (0, 6)]
    graph.compute(node["name"], "Clip", [graph.computed(sources[0]), *bounds], graph.rank(sources[0]))


def _const(graph: NchwGraph, node: Node, _: list[str], __: Attributes) -> None:
    graph.weight(node["name"])


def _identity(graph: NchwGraph, node: Node, sources: list[str], _: Attributes) -> None:
    graph.alias(node["name"], sources[0])


ELEMENTWISE: dict[str, tuple[str, Callable[..., Any]]] = {
    "Add": ("Add", np.add),
    "AddV2": ("Add", np.add),
    "BiasAdd": ("Add", np.add),
    "Sub": ("Sub", np.subtract),
    "Mul": ("Mul", np.multiply),
    "Minimum": ("Min", np.minimum),
    "Maximum": ("Max", np.maximum),
}
_ACTIVATIONS: dict[str, Operator] = {
    "Relu": _elementwise("Relu"),
    "Relu6": _relu6,
    "Prelu": _elementwise("PRelu"),
    "Sigmoid": _elementwise("Sigmoid"),
}
OPERATORS: dict[str, Operator] = {
    "Const": _const,
    "Placeholder": _placeholder,
    "Identity": _identity,
    **{op: _elementwise(onnx_op) for op, (onnx_op, _) in ELEMENTWISE.items()},
    **_ACTIVATIONS,
    "Conv2D": _convolution,
    "_FusedConv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "FusedDepthwiseConv2dNative": _convolution,
    "MatMul": _matrix_product,
    "_FusedMatMul": _matrix_product,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Reshape": _reshape,
    "ConcatV2": _concat,
    "Mean": _reduction("ReduceMean"),
    "Max": _reduction("ReduceMax"),
    "Softmax": _softmax,
}
