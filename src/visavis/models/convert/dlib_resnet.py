"""dlib's face recognition ResNet (``dlib_face_recognition_resnet_model_v1.dat``) to ONNX, exactly.

The network is the ResNet-34 of He et al. ("Deep Residual Learning for Image Recognition", CVPR 2016) with 29 layers
and half the filters. Where a block has fewer channels, rows or columns than what is added to it, dlib takes the
missing ones for zero. Affine layers are folded into the convolution before them.

A file holds the nested layers' versions from the output inwards, then the layers themselves from the input outwards.
Which layers those are is nowhere in it but in the C++ type that dlib's authors saved (``dnn_face_recognition_ex.cpp``):
here `_plan`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.models.convert.dlib_format import DlibReader
from visavis.types import FloatArray

__all__ = ["dlib_resnet"]

_SIDE = 150
_MEAN = (122.782, 117.001, 104.298)  # what the card states too; dlib then divides by 256
_DIMENSION = 128
_OPSET = 17
_LEVELS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""From the input outwards: filters, residual blocks, and whether the first of them halves rows and columns."""

_COMPUTES, _MARKS = 2, 1  # versions of layers that compute, and of those that only name what another one takes


def dlib_resnet(data: bytes) -> bytes:
    """Convert the file to ONNX: ``image (n, 3, 150, 150)`` to ``embedding (n, 128)``, batch axis free.

    The image is RGB less dlib's means, divided by 256: what the card's ``input`` does.

    Raises
    ------
    InputError
        If the file is another, cut short, or not of dlib.
    """
    reader = DlibReader(data)
    plan = list(_plan())
    reader.expect(1)
    reader.expect("loss_metric_2")
    reader.floats(2)  # margin and threshold of the loss
    for layer in reversed(plan[1:]):
        reader.expect(_MARKS if layer.kind in ("tag", "skip") else _COMPUTES)
    reader.expect(3)  # the convolution on the input carries the input layer
    _read_input(reader)
    network = _Network()
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
    return network.to_onnx()


@dataclass(frozen=True)
class _Layer:
    """A layer of the plan; ``size`` is a number of filters or of a tag, ``stride`` that of a window."""

    kind: str
    size: int = 0
    window: int = 0
    stride: int = 1


def _plan() -> Iterator[_Layer]:
    """Yield the layers from the input outwards."""
    yield from (_Layer("con", 32, 7, 2), _Layer("affine"), _Layer("relu"), _Layer("max_pool", 0, 3, 2))
    for filters, blocks, halves in _LEVELS:
        for i in range(blocks):
            down = halves and i == 0
            yield _Layer("tag", 1)
            yield from (_Layer("con", filters, 3, 2 if down else 1), _Layer("affine"), _Layer("relu"))
            yield from (_Layer("con", filters, 3), _Layer("affine"))
            if down:
                yield from (_Layer("tag", 2), _Layer("skip", 1), _Layer("avg_pool", 0, 2, 2), _Layer("add_prev", 2))
            else:
                yield _Layer("add_prev", 1)
            yield _Layer("relu")
    yield from (_Layer("avg_pool"), _Layer("fc", _DIMENSION))


def _read_input(reader: DlibReader) -> None:
    reader.expect("input_rgb_image_sized")
    if not np.allclose(reader.floats(3), _MEAN, atol=1e-4):
        raise InputError("not dlib's face recognition network: it subtracts other means")
    reader.expect(_SIDE)
    reader.expect(_SIDE)


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


def _read_window(reader: DlibReader, layer: _Layer) -> None:
    window = [layer.window] * 2 + [layer.stride if layer.window else 1] * 2
    for wanted in window:
        reader.expect(wanted)


def _cut(parameters: FloatArray, *shapes: tuple[int, ...]) -> list[FloatArray]:
    """Cut a layer's parameters into views of these shapes."""
    sizes = [math.prod(shape) for shape in shapes]
    if parameters.size != sum(sizes):
        raise InputError(f"not dlib's face recognition network: a layer of {parameters.size} weights, not {sum(sizes)}")
    parts = np.split(parameters.reshape(-1), np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _convolution(reader: DlibReader, layer: _Layer, network: _Network) -> None:
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


def _affine(reader: DlibReader, _layer: _Layer, network: _Network) -> None:
    reader.expect("affine_")
    channels = network.last.channels
    parameters = reader.tensor()
    _expect_shapes(reader, (1, channels, 1, 1), (1, channels, 1, 1))
    reader.expect(0)  # one factor a channel
    factor, offset = _cut(parameters, (channels,), (channels,))
    network.fold(factor, offset)


def _relu(reader: DlibReader, _layer: _Layer, network: _Network) -> None:
    reader.expect("relu_")
    network.add("Relu", network.last)


def _pool(reader: DlibReader, layer: _Layer, network: _Network) -> None:
    reader.expect(f"{layer.kind}_2")
    _read_window(reader, layer)
    reader.expect(0)
    reader.expect(0)
    if layer.window:
        network.pool("MaxPool" if layer.kind == "max_pool" else "AveragePool", layer.window, layer.stride)
    else:
        network.add("GlobalAveragePool", _Value(network.last.name, network.last.channels, 1))


def _add(reader: DlibReader, layer: _Layer, network: _Network) -> None:
    reader.expect("add_prev_")
    network.add_padded(network.last, network.tags[layer.size])


def _fully_connected(reader: DlibReader, layer: _Layer, network: _Network) -> None:
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
            raise InputError(f"not dlib's face recognition network: weights of shape {shape}, not {wanted}")


_LAYERS: Mapping[str, Callable[[DlibReader, _Layer, _Network], None]] = {
    "con": _convolution,
    "affine": _affine,
    "relu": _relu,
    "max_pool": _pool,
    "avg_pool": _pool,
    "add_prev": _add,
    "fc": _fully_connected,
}


@dataclass(frozen=True)
class _Value:
    """A tensor of the graph: its name, channels, and rows, which are as many as columns."""

    name: str
    channels: int
    side: int


@dataclass
class _Network:
    """The ONNX graph as it grows, and what the tags name."""

    last: _Value = _Value("image", 3, _SIDE)
    tags: dict[int, _Value] = field(default_factory=dict)
    nodes: list[Any] = field(default_factory=list)
    weights: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def add(self, op: str, like: _Value, *inputs: str, **attributes: Any) -> None:
        """Append a node whose output has the sides of ``like``; without ``inputs`` it takes the last value."""
        from onnx import helper

        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs) or [self.last.name], [name], **attributes))
        self.last = _Value(name, like.channels, like.side)

    def constant(self, value: npt.NDArray[Any]) -> str:
        name = f"weights_{len(self.weights)}"
        self.weights[name] = value
        return name

    def convolve(self, filters: FloatArray, bias: FloatArray, stride: int, padding: int) -> None:
        names = (self.last.name, self.constant(filters), self.constant(bias))
        side = (self.last.side + 2 * padding - filters.shape[2]) // stride + 1
        value = _Value("", len(filters), side)
        self.add("Conv", value, *names, strides=[stride] * 2, pads=[padding] * 4)

    def fold(self, factor: FloatArray, offset: FloatArray) -> None:
        """Fold an affine layer into the convolution that was just added."""
        _, filters, bias = self.nodes[-1].input
        self.weights[filters] = self.weights[filters] * factor[:, None, None, None]
        self.weights[bias] = self.weights[bias] * factor + offset

    def pool(self, op: str, window: int, stride: int) -> None:
        value = _Value("", self.last.channels, (self.last.side - window) // stride + 1)
        self.add(op, value, kernel_shape=[window] * 2, strides=[stride] * 2)

    def add_padded(self, a: _Value, b: _Value) -> None:
        """Add two values, of which the smaller is filled up with zeros at the end of each axis."""
        whole = _Value("", max(a.channels, b.channels), max(a.side, b.side))
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
        self.add("Flatten", self.last)
        self.add("MatMul", _Value("", weights.shape[1], 1), self.last.name, self.constant(weights))

    def to_onnx(self) -> bytes:
        from onnx import TensorProto, helper, numpy_helper

        self.nodes[-1].output[0] = "embedding"
        shapes = {"image": ["n", 3, _SIDE, _SIDE], "embedding": ["n", self.last.channels]}
        taken, given = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
        weights = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in self.weights.items()]
        graph = helper.make_graph(self.nodes, "dlib_resnet", [taken], [given], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="visavis")
        model.ir_version = 8  # of that opset's time: newer ones are refused by older engines
        return bytes(model.SerializeToString())
