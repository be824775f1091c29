"""Layers of dlib's networks to an ONNX graph.

A file holds the nested layers' versions from the output inwards, then the layers themselves from the input outwards,
each with what training left in it. Which layers those are is nowhere in it but in the C++ type that was saved: that
is the plan a caller gives. Affine layers are folded into the convolution before them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.models.convert.dlib_format import DlibReader
from visavis.types import FloatArray

__all__ = ["MEAN", "Layer", "Network", "Value", "read_mean", "read_network", "read_versions"]

MEAN = (122.782, 117.001, 104.298)
"""What dlib subtracts from red, green and blue, before it divides by 256: the cards state it too."""

_OPSET = 17
_COMPUTES, _MARKS = 2, 1  # versions of layers that compute, and of those that only name what another one takes
_CARRIES_INPUT = 3  # that of the first layer


@dataclass(frozen=True)
class Layer:
    """A layer of the plan; ``size`` is a number of filters or of a tag, ``stride`` that of a window."""

    kind: str
    size: int = 0
    window: int = 0
    stride: int = 1


def read_versions(reader: DlibReader, plan: Sequence[Layer]) -> None:
    """Read the versions of the layers, from the output inwards; the input follows."""
    for layer in reversed(plan[1:]):
        reader.expect(_MARKS if layer.kind in ("tag", "skip") else _COMPUTES)
    reader.expect(_CARRIES_INPUT)


def read_mean(reader: DlibReader) -> None:
    """Read the means that the input subtracts."""
    if not np.allclose(reader.floats(3), MEAN, atol=1e-4):
        raise InputError("not that network of dlib: it subtracts other means")


def read_network(reader: DlibReader, plan: Sequence[Layer], network: Network) -> None:
    """Read the layers of a plan into a graph, and the end of the file."""
    for layer in plan:
        if layer.kind == "tag":
            network.tags[layer.size] = network.last
        elif layer.kind == "skip":
            network.last = network.tags[layer.size]
        else:
            _LAYERS[layer.kind](reader, layer, network)
            _read_state(reader)
            if layer is plan[0]:
                reader.expect(1)  # images a sample
    reader.end()


def _read_state(reader: DlibReader) -> None:
    """Read what training left in a layer and is of no use here: three flags, and gradients and outputs."""
    for _ in range(3):
        reader.boolean()
    for _ in range(3):
        reader.tensor()


def _read_alias(reader: DlibReader) -> tuple[int, ...]:
    """Read the shape of a view of a layer's parameters."""
    reader.expect(1)
    return tuple(reader.count(0) for _ in range(4))


def _read_window(reader: DlibReader, layer: Layer) -> None:
    window = [layer.window] * 2 + [layer.stride if layer.window else 1] * 2
    for wanted in window:
        reader.expect(wanted)


def _cut(parameters: FloatArray, *shapes: tuple[int, ...]) -> list[FloatArray]:
    """Cut a layer's parameters into views of these shapes."""
    sizes = [math.prod(shape) for shape in shapes]
    if parameters.size != sum(sizes):
        raise InputError(f"not that network of dlib: a layer of {parameters.size} weights, not {sum(sizes)}")
    parts = np.split(parameters.reshape(-1), np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _convolution(reader: DlibReader, layer: Layer, network: Network) -> None:
    reader.expect("con_4")
    parameters = reader.tensor()
    reader.expect(layer.size)
    _read_window(reader, layer)
    padding = 0 if layer.stride > 1 else layer.window // 2
    reader.expect(padding)
    reader.expect(padding)
    filters = (layer.size, network.last.channels, layer.window, layer.window)
    _expect_shapes(reader, filters, (1, layer.size, 1, 1))
    reader.floats(4)  # how fast it learns
    weights, bias = _cut(parameters, filters, (layer.size,))
    network.convolve(weights, bias, layer.stride, padding)


def _affine(reader: DlibReader, _layer: Layer, network: Network) -> None:
    """Read a factor and an offset a channel, or the batch normalization that they come to once training is over."""
    kind = reader.expect("affine_", "bn_con2")
    channels = network.last.channels
    parameters = reader.tensor()
    _expect_shapes(reader, (1, channels, 1, 1), (1, channels, 1, 1))
    factor, offset = _cut(parameters, (channels,), (channels,))
    if kind == "affine_":
        reader.expect(0)  # one factor a channel
    else:
        _, _, means, variances = (reader.tensor().reshape(-1) for _ in range(4))  # of the last batch, and of all
        reader.integers(2)  # how many batches there were, and how many count
        *_, epsilon = reader.floats(5)
        if means.shape != (channels,) or variances.shape != (channels,) or not (variances + epsilon > 0).all():
            raise InputError("not that network of dlib: a layer's statistics don't fit its channels")
        with np.errstate(over="ignore", invalid="ignore"):
            factor = np.asarray(factor / np.sqrt(variances + epsilon), np.float32)
            offset = offset - factor * means
    network.fold(factor, offset)


def _relu(reader: DlibReader, _layer: Layer, network: Network) -> None:
    reader.expect("relu_")
    network.add("Relu", network.last)


def _pool(reader: DlibReader, layer: Layer, network: Network) -> None:
    reader.expect(f"{layer.kind}_2")
    _read_window(reader, layer)
    reader.expect(0)
    reader.expect(0)
    if layer.window:
        network.pool("MaxPool" if layer.kind == "max_pool" else "AveragePool", layer.window, layer.stride)
    else:
        network.add("GlobalAveragePool", Value(network.last.name, network.last.channels, 1))


def _add(reader: DlibReader, layer: Layer, network: Network) -> None:
    reader.expect("add_prev_")
    network.add_padded(network.last, network.tags[layer.size])


def _fully_connected(reader: DlibReader, layer: Layer, network: Network) -> None:
    reader.expect("fc_2")
    inputs = network.last.channels
    reader.expect(layer.size)
    reader.expect(inputs)
    parameters = reader.tensor()
    _expect_shapes(reader, (inputs, layer.size, 1, 1), (0, 0, 0, 0))
    reader.expect(1)  # no bias
    reader.floats(4)
    (weights,) = _cut(parameters, (inputs, layer.size))
    network.multiply(weights)


def _expect_shapes(reader: DlibReader, *shapes: tuple[int, ...]) -> None:
    for wanted in shapes:
        shape = _read_alias(reader)
        if shape != wanted:
            raise InputError(f"not that network of dlib: weights of shape {shape}, not {wanted}")


_LAYERS: Mapping[str, Callable[[DlibReader, Layer, Network], None]] = {
    "con": _convolution,
    "affine": _affine,
    "relu": _relu,
    "max_pool": _pool,
    "avg_pool": _pool,
    "add_prev": _add,
    "fc": _fully_connected,
}


@dataclass(frozen=True)
class Value:
    """A tensor of the graph: its name, channels, and rows, which are as many as columns; 0 where any number fits."""

    name: str
    channels: int
    side: int


@dataclass
class Network:
    """The ONNX graph as it grows, and what the tags name."""

    last: Value
    tags: dict[int, Value] = field(default_factory=dict)
    nodes: list[Any] = field(default_factory=list)
    weights: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def add(self, op: str, like: Value, *inputs: str, **attributes: Any) -> None:
        """Append a node whose output has the sides of ``like``; without ``inputs`` it takes the last value."""
        from onnx import helper

        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs) or [self.last.name], [name], **attributes))
        self.last = Value(name, like.channels, like.side)

    def constant(self, value: npt.NDArray[Any]) -> str:
        """Keep weights, and return the name a node takes them by."""
        name = f"weights_{len(self.weights)}"
        self.weights[name] = value
        return name

    def convolve(self, filters: FloatArray, bias: FloatArray, stride: int, padding: int) -> None:
        """Append a convolution with filters ``(outputs, inputs, rows, columns)``."""
        names = (self.last.name, self.constant(filters), self.constant(bias))
        side = self.last.side and (self.last.side + 2 * padding - filters.shape[2]) // stride + 1
        value = Value("", len(filters), side)
        self.add("Conv", value, *names, strides=[stride] * 2, pads=[padding] * 4)

    def fold(self, factor: FloatArray, offset: FloatArray) -> None:
        """Fold an affine layer into the convolution that was just added."""
        _, filters, bias = self.nodes[-1].input
        with np.errstate(over="ignore", invalid="ignore"):
            folded = {
                filters: self.weights[filters] * factor[:, None, None, None],
                bias: self.weights[bias] * factor + offset,
            }
        if not all(np.isfinite(value).all() for value in folded.values()):
            raise InputError("not that network of dlib: its weights are too large")
        self.weights |= folded

    def pool(self, op: str, window: int, stride: int) -> None:
        """Append a pooling layer, without padding."""
        value = Value("", self.last.channels, (self.last.side - window) // stride + 1)
        self.add(op, value, kernel_shape=[window] * 2, strides=[stride] * 2)

    def add_padded(self, a: Value, b: Value) -> None:
        """Add two values, of which the smaller is filled up with zeros at the end of each axis."""
        whole = Value("", max(a.channels, b.channels), max(a.side, b.side))
        names = []
        for value in (a, b):
            missing = (0, whole.channels - value.channels, whole.side - value.side, whole.side - value.side)
            if any(missing):
                pads = self.constant(np.array([0, 0, 0, 0, *missing], np.int64))
                self.add("Pad", whole, value.name, pads)
                names.append(self.last.name)
            else:
                names.append(value.name)
        self.add("Add", whole, *names)

    def multiply(self, weights: FloatArray) -> None:
        """Append a product with a matrix ``(inputs, outputs)``."""
        self.add("Flatten", self.last)
        self.add("MatMul", Value("", weights.shape[1], 1), self.last.name, self.constant(weights))

    def to_onnx(self, name: str, image: Sequence[int | str], output: Sequence[int | str]) -> bytes:
        """Return the ONNX file: a network from ``image`` to one output, of these shapes; letters are free axes."""
        from onnx import TensorProto, helper, numpy_helper

        self.nodes[-1].output[0] = name
        taken, given = (
            helper.make_tensor_value_info(tensor, TensorProto.FLOAT, list(shape))
            for tensor, shape in (("image", image), (name, output))
        )
        weights = [numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in self.weights.items()]
        graph = helper.make_graph(self.nodes, "dlib", [taken], [given], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="visavis")
        model.ir_version = 8  # of that opset's time: newer ones are refused by older engines
        return bytes(model.SerializeToString())
