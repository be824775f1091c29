"""Graph models of TensorFlow.js to ONNX: ``model.json`` holds TensorFlow's GraphDef, ``.bin`` files the weights.

TensorFlow keeps images as NHWC, ONNX as NCHW. Here every computed tensor of four axes is NCHW, every other one is as
it was, and axes and constants are turned where they are used; a transpose is written only where four axes become
fewer. Padding "SAME" is ONNX's SAME_UPPER. The operators: https://www.tensorflow.org/api_docs/python/tf/raw_ops
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.models.convert.tfjs_weights import parse_json, read_weights

__all__ = ["graph_model"]

Array = npt.NDArray[Any]
Node = Mapping[str, Any]

_OPSET = 17
_IR_VERSION = 8
_MOST_NODES = 20_000
_NCHW = (0, 2, 3, 1)  # where axis k of NHWC lies in NCHW
_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def graph_model(data: bytes, companions: Mapping[str, bytes] | None = None) -> bytes:
    """Return the ONNX file of a graph model: NCHW, float32, batch axis free.

    Parameters
    ----------
    data
        ``model.json``.
    companions
        Its binary files, by name.

    Returns
    -------
    A model whose input and outputs have the names of the graph's signature, without ``:0``.

    Raises
    ------
    InputError
        If it is not a graph model, files are missing or of another size, or it has an operator that is not known
        here; the message names that and its node.
    """
    model = parse_json(data)
    topology = model.get("modelTopology") if isinstance(model, dict) else None
    if not isinstance(topology, dict) or not isinstance(topology.get("node"), list) or "weightsManifest" not in model:
        raise InputError("not a TensorFlow.js graph model: it has no modelTopology.node and weightsManifest")
    weights = read_weights(model["weightsManifest"], companions or {})
    nodes = _by_name(topology["node"])
    graph = _Graph(weights)
    for node in _in_order(nodes):
        try:
            graph.add(node)
        except InputError as error:
            raise InputError(f"node {node['name'][:80]!r} ({str(node['op'])[:40]}): {error}") from None
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            told = f"{type(error).__name__}: {error}"[:120]
            raise InputError(f"node {node['name'][:80]!r} ({str(node['op'])[:40]}) is malformed: {told}") from None
    return graph.finish(_outputs(model, nodes))


def _by_name(nodes: list[Any]) -> dict[str, Node]:
    if len(nodes) > _MOST_NODES:
        raise InputError(f"more than {_MOST_NODES} nodes: not a model for here")
    named: dict[str, Node] = {}
    for node in nodes:
        if not isinstance(node, dict) or not all(isinstance(node.get(key), str) for key in ("name", "op")):
            raise InputError("not a TensorFlow.js graph model: a node has no name or op")
        if node["name"] in named:
            raise InputError(f"two nodes are called {node['name'][:80]!r}")
        named[node["name"]] = node
    return named


def _sources(node: Node) -> list[str]:
    """Return the names of the nodes that a node reads."""
    names = node.get("input") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"node {node['name'][:80]!r} misstates its inputs")
    return [name.removesuffix(":0") for name in names if not name.startswith("^")]  # "^" only orders them


def _in_order(nodes: Mapping[str, Node]) -> list[Node]:
    """Return the nodes so that each comes after those it reads."""
    readers: dict[str, list[str]] = {name: [] for name in nodes}
    waiting: dict[str, int] = {}
    for name, node in nodes.items():
        sources = _sources(node)
        for source in sources:
            if source not in nodes:
                raise InputError(f"node {name[:80]!r} ({node['op'][:40]}) reads {source[:80]!r}, which does not exist")
            readers[source].append(name)
        waiting[name] = len(sources)
    ready = [name for name, count in waiting.items() if not count]
    for name in ready:  # grows as it goes
        for reader in readers[name]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    if len(ready) != len(nodes):
        raise InputError("the graph has a cycle: not a model that can be converted")
    return [nodes[name] for name in ready]


def _outputs(model: Mapping[str, Any], nodes: Mapping[str, Node]) -> dict[str, str]:
    """Return the names of the outputs, by node: those of the signature, else what nobody reads."""
    signature = model.get("signature") or (model.get("userDefinedMetadata") or {}).get("signature") or {}
    outputs = signature.get("outputs") if isinstance(signature, dict) else None
    if isinstance(outputs, dict) and outputs:
        try:
            named = {row["name"].removesuffix(":0"): name.removesuffix(":0") for name, row in outputs.items()}
        except (KeyError, TypeError, AttributeError):
            raise InputError("the signature misstates the model's outputs") from None
        for name in named:
            if name not in nodes:
                raise InputError(f"the signature names an output {name[:80]!r}, which is no node")
        return named
    read = {source for node in nodes.values() for source in _sources(node)}
    return {name: name for name, node in nodes.items() if name not in read and node["op"] != "Const"}


class _Attributes:
    """The attributes of a node, as plain values."""

    def __init__(self, node: Node) -> None:
        self._rows: Mapping[str, Any] = node.get("attr") or {}

    def ints(self, name: str, default: list[int] | None = None) -> list[int]:
        if name not in self._rows and default is not None:
            return default
        return [int(value) for value in self._rows[name]["list"].get("i", [])]

    def flag(self, name: str) -> bool:
        return bool(self._rows.get(name, {}).get("b", False))

    def text(self, name: str, default: str = "") -> str:
        return _decoded(self._rows[name]["s"]) if name in self._rows else default

    def texts(self, name: str) -> list[str]:
        return [_decoded(value) for value in self._rows.get(name, {}).get("list", {}).get("s", [])]

    def window(self, name: str, default: list[int] | None = None) -> list[int]:
        """Return height and width of an attribute that has one number an axis of NHWC."""
        values = self.ints(name, default)
        if len(values) != 4 or values[0] != 1 or values[3] != 1 or not all(1 <= v <= 4096 for v in values):
            raise InputError(f"{name} {values} is not of height and width alone")
        return values[1:3]

    def padding(self) -> dict[str, str]:
        padding = self.text("padding")
        if padding not in ("SAME", "VALID"):
            raise InputError(f"padding {padding[:40]!r} is neither SAME nor VALID")
        if self.text("data_format", "NHWC") != "NHWC":
            raise InputError(f"data_format {self.text('data_format')[:40]!r} is not NHWC")
        return {"auto_pad": "SAME_UPPER" if padding == "SAME" else "VALID"}


def _decoded(value: str) -> str:
    return base64.b64decode(value, validate=True).decode("ascii")


class _Graph:
    """The ONNX graph as it grows, node by node."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        from onnx import helper, numpy_helper

        self._make, self._tensor = helper, numpy_helper
        self._weights = weights
        self._nodes: list[Any] = []
        self._initializers: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._constants: dict[str, Array] = {}
        self._ranks: dict[str, int] = {}  # of computed tensors
        self._names: dict[str, str] = {}  # of TensorFlow's nodes in the ONNX graph
        # A graph may use a weight many times: what that may add to the file is bounded.
        self._room = 2 * sum(values.nbytes for values in weights.values()) + (1 << 20)

    def add(self, node: Node) -> None:
        """Add what a node of TensorFlow computes; its inputs have been added before."""
        op, name, sources = node["op"], node["name"], _sources(node)
        if op not in _OPERATORS:
            raise InputError(f"an operator that is not known here; known are {', '.join(sorted(_OPERATORS))}")
        if op in _ELEMENTWISE and all(source in self._constants for source in sources):
            values = [self._constants[source] for source in sources]
            self._take_room(4 * np.broadcast(*values).size)
            self._constants[name] = np.asarray(_ELEMENTWISE[op][1](*values))
            return
        _OPERATORS[op](self, node, sources, _Attributes(node))

    def finish(self, outputs: Mapping[str, str]) -> bytes:
        """Return the file with the given outputs: names of TensorFlow's nodes to names in ONNX."""
        import onnx

        if len(self._inputs) != 1:
            raise InputError(f"a graph with one input is needed, not {len(self._inputs)}")
        if not outputs:
            raise InputError("the graph has no output")
        ends = []
        for node, name in outputs.items():
            if node in self._constants:
                raise InputError(f"the output {name[:80]!r} does not depend on the input")
            self._nodes.append(self._make.make_node("Identity", [self.plain(node)], [name]))
            sides = ["n"] + [None] * (self._ranks[node] - 1)
            ends.append(self._make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sides))
        graph = self._make.make_graph(self._nodes, "tfjs", self._inputs, ends, list(self._initializers.values()))
        opset = [self._make.make_opsetid("", _OPSET)]
        model = self._make.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION, producer_name="visavis")
        try:
            onnx.checker.check_model(model)
            model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
            told = str(error).strip().splitlines() or ["no reason given"]
            raise InputError(f"the weights and operators do not fit together: {told[0][:200]}") from None
        del model.graph.value_info[:]
        file: bytes = model.SerializeToString(deterministic=True)
        return file

    # What operators are made of

    def input(self, name: str, shape: list[int]) -> None:
        from onnx import TensorProto

        if len(shape) != 4:
            raise InputError(f"an image input has four axes, not {len(shape)}")
        height, width, channels = (side if 0 < side <= 4096 else None for side in shape[1:])
        info = self._make.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, height or "h", width or "w"])
        self._inputs.append(info)
        self._names[name], self._ranks[name] = name, 4

    def weight(self, name: str) -> None:
        if name not in self._weights:
            raise InputError("the weight manifest has no such weight")
        self._constants[name] = self._weights[name]

    def alias(self, name: str, source: str) -> None:
        if source in self._constants:
            self._constants[name] = self._constants[source]
        else:
            self._names[name], self._ranks[name] = self._names[source], self._ranks[source]

    def compute(self, name: str, op: str, inputs: list[str], rank: int, **attributes: Any) -> None:
        """Add an ONNX operator over tensors of the ONNX graph, as TensorFlow's node ``name``."""
        self._names[name], self._ranks[name] = self.emit(op, inputs, name, **attributes), rank

    def emit(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add an ONNX operator and return the name of its output, which no input or output of the model has."""
        self._nodes.append(self._make.make_node(op, inputs, ["/" + output], name=output, **attributes))
        return "/" + output

    def rank(self, source: str) -> int:
        return self._ranks[source] if source in self._ranks else self._constants[source].ndim

    def computed(self, source: str, rank: int | None = None) -> str:
        """Return the ONNX name of a computed tensor, which must have ``rank`` axes where that is given."""
        if source not in self._names:
            raise InputError(f"{source[:80]!r} is a constant, where a computed tensor is needed")
        if rank not in (None, self._ranks[source]):
            raise InputError(f"{source[:80]!r} has {self._ranks[source]} axes, where {rank} are needed")
        return self._names[source]

    def constant(self, source: str) -> Array:
        if source not in self._constants:
            raise InputError(f"{source[:80]!r} is computed, where a constant is needed")
        return self._constants[source]

    def store(self, name: str, values: Array) -> str:
        """Keep a constant in the ONNX graph and return its name."""
        self._take_room(values.nbytes)
        while name in self._initializers:
            name += "'"
        self._initializers[name] = self._tensor.from_array(np.ascontiguousarray(values), name)
        return name

    def operand(self, source: str, rank: int) -> str:
        """Return the ONNX name of what is broadcast against a tensor of ``rank`` axes."""
        if source in self._names:
            if self._ranks[source] != rank and rank == 4 and self._ranks[source] > 0:
                raise InputError(f"{source[:80]!r} has {self._ranks[source]} axes, where 4 are needed")
            return self._names[source]
        values = self._constants[source]
        if values.ndim > rank:
            raise InputError(f"the constant {source[:80]!r} has more axes than what it is joined to")
        if rank == 4 and values.ndim:
            values = values.reshape((1,) * (4 - values.ndim) + values.shape).transpose(_TO_NCHW)
        return self.store(source, values)

    def axis(self, source: str, axis: int) -> int:
        """Return where an axis of TensorFlow's tensor lies in the ONNX graph's."""
        rank = self.rank(source)
        if not -rank <= axis < rank:
            raise InputError(f"there is no axis {axis} of {rank}")
        return _NCHW[axis % 4] if rank == 4 else axis % rank

    def plain(self, source: str) -> str:
        """Return the ONNX name of a computed tensor with its axes in TensorFlow's order."""
        name = self.computed(source)
        return name if self._ranks[source] != 4 else self.emit("Transpose", [name], source + "/nhwc", perm=_TO_NHWC)

    def _take_room(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise InputError("its constants grow beyond twice the size of its weights: not a model for here")


Operator = Callable[[_Graph, Node, list[str], _Attributes], None]


def _placeholder(graph: _Graph, node: Node, _: list[str], __: _Attributes) -> None:
    sides = node["attr"]["shape"]["shape"]["dim"]
    graph.input(node["name"], [int(side["size"]) for side in sides])


def _convolution(graph: _Graph, node: Node, sources: list[str], attributes: _Attributes) -> None:
    kernel = graph.constant(sources[1])
    if kernel.ndim != 4 or not kernel.size:
        raise InputError(f"a kernel of four axes is needed, not of shape {kernel.shape}")
    groups = 1
    if "Depthwise" in node["op"]:
        groups = kernel.shape[2]
        kernel = kernel.transpose(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])
    else:
        kernel = kernel.transpose(3, 2, 0, 1)
    inputs = [graph.computed(sources[0], 4), graph.store(sources[1], kernel)]
    _fused(
        graph,
        node,
        sources,
        attributes,
        lambda name, bias: graph.compute(
            name,
            "Conv",
            inputs + ([] if bias is None else [graph.store(sources[2], bias)]),
            4,
            group=groups,
            kernel_shape=list(kernel.shape[2:]),
            strides=attributes.window("strides"),
            dilations=attributes.window("dilations", [1, 1, 1, 1]),
            **attributes.padding(),
        ),
    )


def _matrix_product(graph: _Graph, node: Node, sources: list[str], attributes: _Attributes) -> None:
    inputs = [graph.computed(sources[0], 2), graph.store(sources[1], graph.constant(sources[1]))]
    turned = {"transA": int(attributes.flag("transpose_a")), "transB": int(attributes.flag("transpose_b"))}
    _fused(
        graph,
        node,
        sources,
        attributes,
        lambda name, bias: graph.compute(
            name, "Gemm", inputs + ([] if bias is None else [graph.store(sources[2], bias)]), 2, **turned
        ),
    )


def _fused(
    graph: _Graph,
    node: Node,
    sources: list[str],
    attributes: _Attributes,
    compute: Callable[[str, Array | None], None],
) -> None:
    """Add a product and what TensorFlow fused to it: a bias, an activation."""
    steps = attributes.texts("fused_ops")
    bias, rest = None, sources[2:]
    if steps[:1] == ["BiasAdd"]:
        bias, steps, rest = graph.constant(rest[0]).reshape(-1), steps[1:], rest[1:]
    if not steps:
        compute(node["name"], bias)
        return
    name = node["name"] + "/product"
    compute(name, bias)
    if len(steps) > 1 or steps[0] not in _ACTIVATIONS:
        raise InputError(f"the fused operators {', '.join(steps)[:80]!r} are not known here")
    _ACTIVATIONS[steps[0]](graph, {"name": node["name"], "op": steps[0]}, [name, *rest], attributes)


def _max_pool(graph: _Graph, node: Node, sources: list[str], attributes: _Attributes) -> None:
    window = {"kernel_shape": attributes.window("ksize"), "strides": attributes.window("strides")}
    graph.compute(node["name"], "MaxPool", [graph.computed(sources[0], 4)], 4, **window, **attributes.padding())


def _pad(graph: _Graph, node: Node, sources: list[str], _: _Attributes) -> None:
    rank, pads = graph.rank(sources[0]), graph.constant(sources[1])
    if pads.shape != (rank, 2) or pads.min(initial=0) < 0 or pads.max(initial=0) > 4096:
        raise InputError(f"paddings of shape {pads.shape} do not fit {rank} axes")
    if rank == 4:
        pads = pads[list(_TO_NCHW)]
    inputs = [graph.computed(sources[0]), graph.store(sources[1], pads.T.reshape(-1).astype(np.int64))]
    graph.compute(node["name"], "Pad", inputs, rank)


def _reshape(graph: _Graph, node: Node, sources: list[str], _: _Attributes) -> None:
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
    graph.compute(node["name"], "Transpose", [graph.emit("Reshape", inputs, node["name"] + "/nhwc")], 4, perm=_TO_NCHW)


def _concat(graph: _Graph, node: Node, sources: list[str], _: _Attributes) -> None:
    *parts, last = sources
    rank = graph.rank(parts[0])
    axis = graph.axis(parts[0], int(graph.constant(last).item()))
    graph.compute(node["name"], "Concat", [graph.computed(part, rank) for part in parts], rank, axis=axis)


def _reduction(op: str) -> Operator:
    def reduce(graph: _Graph, node: Node, sources: list[str], attributes: _Attributes) -> None:
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
    def join(graph: _Graph, node: Node, sources: list[str], _: _Attributes) -> None:
        rank = max(graph.rank(source) for source in sources)
        graph.compute(node["name"], op, [graph.operand(source, rank) for source in sources], rank)

    return join


def _softmax(graph: _Graph, node: Node, sources: list[str], _: _Attributes) -> None:
    axis = graph.axis(sources[0], -1)
    graph.compute(node["name"], "Softmax", [graph.computed(sources[0])], graph.rank(sources[0]), axis=axis)


def _relu6(graph: _Graph, node: Node, sources: list[str], _: _Attributes) -> None:
    bounds = [graph.store(f"{node['name']}/{bound}", np.float32(bound)) for bound in (0, 6)]
    graph.compute(node["name"], "Clip", [graph.computed(sources[0]), *bounds], graph.rank(sources[0]))


def _const(graph: _Graph, node: Node, _: list[str], __: _Attributes) -> None:
    graph.weight(node["name"])


def _identity(graph: _Graph, node: Node, sources: list[str], _: _Attributes) -> None:
    graph.alias(node["name"], sources[0])


_ELEMENTWISE: dict[str, tuple[str, Callable[..., Any]]] = {
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
_OPERATORS: dict[str, Operator] = {
    "Const": _const,
    "Placeholder": _placeholder,
    "Identity": _identity,
    **{op: _elementwise(onnx_op) for op, (onnx_op, _) in _ELEMENTWISE.items()},
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
