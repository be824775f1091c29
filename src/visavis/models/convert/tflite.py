"""TensorFlow Lite files to ONNX: image networks of convolutions in float32.

A file is a flatbuffer: tables whose fields are found through an offset table, so a reader jumps and never parses
(https://flatbuffers.dev/internals/). Fields and operator numbers are those of TensorFlow's ``schema.fbs``. Images are
NHWC there and NCHW here; the batch axis becomes free. TensorFlow writes a PReLU as ``relu(x) + c * (x - |x|)``, which
becomes one PReLU again: five passes over every feature map less.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError

__all__ = ["to_onnx"]

Array = npt.NDArray[Any]

_NAMES = {0: "ADD", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 18: "MUL", 19: "RELU", 22: "RESHAPE", 41: "SUB", 101: "ABS"}
_LEAST_INPUTS = {kind: 1 if kind in ("RELU", "RESHAPE", "ABS") else 2 for kind in _NAMES.values()}
_FLOAT32, _INT32 = 0, 2
_MOST = 100_000  # operators, tensors, buffers: a face network has some hundreds


class _Table:
    """A flatbuffer table at an offset; a field that the file leaves out has its default."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        offsets = at - _read("<i", data, at)
        self._fields = offsets, (_read("<H", data, offsets) - 4) // 2

    def _field(self, i: int) -> int:
        offsets, count = self._fields
        offset = _read("<H", self._data, offsets + 4 + 2 * i) if i < count else 0
        return self._at + offset if offset else 0

    def number(self, i: int, kind: str = "<i", default: int = 0) -> int:
        at = self._field(i)
        return _read(kind, self._data, at) if at else default

    def table(self, i: int) -> _Table | None:
        at = self._field(i)
        return _Table(self._data, at + _read("<I", self._data, at)) if at else None

    def tables(self, i: int) -> list[_Table]:
        start, count = self._vector(i, 4)
        places = [start + 4 * k for k in range(count)]
        return [_Table(self._data, at + _read("<I", self._data, at)) for at in places]

    def numbers(self, i: int) -> list[int]:
        start, count = self._vector(i, 4)
        return list(struct.unpack_from(f"<{count}i", self._data, start))

    def bytes(self, i: int) -> memoryview:
        start, count = self._vector(i, 1)
        return memoryview(self._data)[start : start + count]

    def _vector(self, i: int, width: int) -> tuple[int, int]:
        at = self._field(i)
        if not at:
            return 0, 0
        start = at + _read("<I", self._data, at)
        count = _read("<I", self._data, start)
        if (count > _MOST and width > 1) or start + 4 + count * width > len(self._data):
            raise InputError("a TensorFlow Lite file that is cut short or damaged")
        return start + 4, count


def _read(kind: str, data: bytes, at: int) -> int:
    if at < 0:
        raise InputError("a TensorFlow Lite file that is cut short or damaged")
    value: int = struct.unpack_from(kind, data, at)[0]
    return value


@dataclass(frozen=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    value: Array | None


@dataclass(frozen=True)
class _Operator:
    kind: str
    inputs: tuple[int, ...]
    output: int
    options: Mapping[str, int]


# Fields of an operator's options, in the order of the schema; padding 0 is SAME, activation 0 none and 1 ReLU.
_OPTIONS = {
    "ADD": ("activation",),
    "SUB": ("activation",),
    "MUL": ("activation",),
    "CONV_2D": ("padding", "stride_w", "stride_h", "activation", "dilation_w", "dilation_h"),
    "DEPTHWISE_CONV_2D": (
        "padding", "stride_w", "stride_h", "multiplier", "activation", "dilation_w", "dilation_h",
    ),
}  # fmt: skip
_BYTES = ("padding", "activation")  # one byte each; the others are 32 bits
_ONE = ("dilation_w", "dilation_h")  # what the schema says they are when left out


def to_onnx(data: bytes) -> bytes:
    """Turn a float32 TensorFlow Lite network of one image input and one output into ONNX, NCHW, with a free batch axis.

    Raises
    ------
    InputError
        If the file is damaged or cut short, holds an operator or type that isn't known here (named), or its output
        is not one vector an image.
    """
    try:
        tensors, operators, (source,), (result,) = _network(data)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise InputError("a TensorFlow Lite file that is cut short or damaged") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError("a TensorFlow Lite file with several inputs or outputs, or a damaged one") from None
    return _graph(tensors, operators, source, result, len(data))


def _network(data: bytes) -> tuple[list[_Tensor], list[_Operator], list[int], list[int]]:
    if data[4:8] != b"TFL3":
        raise InputError("not a TensorFlow Lite file, or a truncated one")
    root = _Table(data, _read("<I", data, 0))
    codes = [max(code.number(0, "<b"), code.number(3)) for code in root.tables(1)]
    (graph,) = root.tables(2)
    buffers = root.tables(4)
    tensors = [_tensor(row, buffers) for row in graph.tables(0)]
    operators = [_operator(row, codes, len(tensors)) for row in graph.tables(3)]
    ends = graph.numbers(1), graph.numbers(2)
    if any(not 0 <= i < len(tensors) for end in ends for i in end):
        raise IndexError
    return tensors, operators, *ends


def _tensor(row: _Table, buffers: Sequence[_Table]) -> _Tensor:
    shape, kind, name = tuple(row.numbers(0)), row.number(1, "<b"), bytes(row.bytes(3)).decode()
    if kind not in (_FLOAT32, _INT32):
        raise InputError(f"tensor {name[:80]!r} is of type {kind}; only float32 networks are read")
    held = buffers[row.number(2, "<I")].bytes(0)
    if not len(held):
        return _Tensor(name, shape, None)
    count = int(np.prod(shape, dtype=np.int64))
    if min(shape, default=1) < 0 or 4 * count != len(held):
        raise InputError(f"tensor {name[:80]!r} of shape {shape} does not hold {len(held)} bytes")
    return _Tensor(name, shape, np.frombuffer(held, "<f4" if kind == _FLOAT32 else "<i4").reshape(shape))


def _operator(row: _Table, codes: Sequence[int], tensors: int) -> _Operator:
    code = codes[row.number(0, "<I")]
    if code not in _NAMES:
        raise InputError(f"TensorFlow Lite operator {code} is not known; those that are: {', '.join(_NAMES.values())}")
    kind, options = _NAMES[code], row.table(4)
    inputs, outputs = row.numbers(1), row.numbers(2)
    if any(not 0 <= i < tensors for i in (*inputs, *outputs)) or len(outputs) != 1:
        raise IndexError
    stated = {
        name: (1 if name in _ONE else 0)
        if options is None
        else options.number(i, "<b" if name in _BYTES else "<i", 1 if name in _ONE else 0)
        for i, name in enumerate(_OPTIONS.get(kind, ()))
    }
    return _Operator(kind, tuple(inputs), outputs[0], stated)


class _Writer:
    """Collects ONNX nodes and weights, of no more bytes than the file has; tensors are named by their number."""

    def __init__(self, tensors: Sequence[_Tensor], room: int) -> None:
        self.tensors = tensors
        self._room = room
        self.nodes: list[Any] = []
        self.weights: dict[str, Array] = {}

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))

    def weight(self, name: str, value: Array) -> str:
        self._room -= 4 * value.size
        if self._room < 0:
            raise InputError("a TensorFlow Lite file that uses the same weights again and again")
        self.weights[name] = np.ascontiguousarray(value, np.float32)
        return name

    def operand(self, i: int) -> str:
        """Return the name of an operand; a constant one is spread over the channel axis."""
        value = self.tensors[i].value
        if value is None:
            return str(i)
        if value.ndim > 1 or value.dtype != np.float32:
            raise InputError(f"constant {self.tensors[i].name[:80]!r} is no number a channel")
        return self.weight(str(i), value.reshape(-1, 1, 1))


def _graph(tensors: list[_Tensor], operators: list[_Operator], source: int, result: int, room: int) -> bytes:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    for operator in operators:
        if len(operator.inputs) < _LEAST_INPUTS[operator.kind]:
            raise InputError(f"a {operator.kind} of {len(operator.inputs)} inputs: a damaged TensorFlow Lite file")
    shape = tensors[source].shape
    if len(shape) != 4 or shape[3] != 3 or len(tensors[result].shape) != 2:
        raise InputError(f"it turns {shape} into {tensors[result].shape}, not RGB images into one vector each")
    writer = _Writer(tensors, room)
    slopes = _slopes(tensors, operators)
    hidden = {i for _, inner in slopes.values() for i in inner}
    for operator in operators:
        if operator.output in slopes:
            x, slope = slopes[operator.output][0]
            writer.node("PRelu", [str(x), writer.weight(f"{operator.output}.slope", slope)], str(operator.output))
        elif operator.output not in hidden:
            _WRITE[operator.kind](writer, operator)
    graph = helper.make_graph(
        writer.nodes,
        "tflite",
        [helper.make_tensor_value_info(str(source), TensorProto.FLOAT, ["n", 3, shape[1], shape[2]])],
        [helper.make_tensor_value_info(str(result), TensorProto.FLOAT, ["n", tensors[result].shape[1]])],
        [numpy_helper.from_array(value, name) for name, value in writer.weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="visavis")
    model.ir_version = 8
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        reason = str(error).strip().splitlines() or ["no reason given"]
        raise InputError(f"a TensorFlow Lite file whose operators don't fit together: {reason[0][:200]}") from None
    made: bytes = model.SerializeToString(deterministic=True)
    return made


def _slopes(
    tensors: Sequence[_Tensor], operators: Sequence[_Operator]
) -> dict[int, tuple[tuple[int, Array], tuple[int, ...]]]:
    """Find each ``relu(x) + c * (x - |x|)``: its output to x and the slope 2c, and what only it uses."""
    made = {operator.output: operator for operator in operators}
    found: dict[int, tuple[tuple[int, Array], tuple[int, ...]]] = {}
    for end in operators:
        relu, scaled = (made.get(i) for i in (*end.inputs, -1, -1)[:2])
        if end.kind != "ADD" or not relu or not scaled or (relu.kind, scaled.kind) != ("RELU", "MUL"):
            continue
        constant, less = tensors[scaled.inputs[0]].value, made.get(scaled.inputs[1])
        if constant is None or constant.ndim != 1 or not less or less.kind != "SUB":
            continue
        x, absolute = less.inputs[0], made.get(less.inputs[1])
        if relu.inputs == (x,) and absolute and (absolute.kind, absolute.inputs) == ("ABS", (x,)):
            inner = (relu.output, scaled.output, less.output, absolute.output)
            found[end.output] = ((x, 2 * constant.reshape(-1, 1, 1)), inner)
    return found


def _convolution(writer: _Writer, operator: _Operator) -> None:
    x, weights = operator.inputs[0], writer.tensors[operator.inputs[1]]
    if weights.value is None or weights.value.ndim != 4 or operator.options.get("multiplier", 1) != 1:
        raise InputError(f"convolution {weights.name[:80]!r} is of a kind that isn't read")
    # OHWI, for depthwise 1HWC, to OIHW.
    depthwise = operator.kind == "DEPTHWISE_CONV_2D"
    kernel = weights.value.transpose(3, 0, 1, 2) if depthwise else weights.value.transpose(0, 3, 1, 2)
    options = operator.options
    inputs = [str(x), writer.weight(f"{operator.output}.weight", kernel)]
    if len(operator.inputs) > 2:
        bias = writer.tensors[operator.inputs[2]].value
        if bias is None or bias.ndim != 1:
            raise InputError(f"the bias of {weights.name[:80]!r} is no constant")
        inputs.append(writer.weight(f"{operator.output}.bias", bias))
    _activated(
        writer, operator, "Conv", inputs,
        kernel_shape=kernel.shape[2:],
        strides=[options["stride_h"], options["stride_w"]],
        dilations=[options["dilation_h"], options["dilation_w"]],
        group=len(kernel) if depthwise else 1,
        auto_pad="VALID" if options["padding"] else "SAME_UPPER",
    )  # fmt: skip


def _activated(writer: _Writer, operator: _Operator, kind: str, inputs: Sequence[str], **attributes: Any) -> None:
    """Write a node and the ReLU that may be part of its operator."""
    activation, output = operator.options.get("activation", 0), str(operator.output)
    if activation not in (0, 1):
        raise InputError(f"activation {activation} of a {operator.kind} is not known")
    writer.node(kind, inputs, f"{output}.linear" if activation else output, **attributes)
    if activation:
        writer.node("Relu", [f"{output}.linear"], output)


def _of_two(kind: str) -> Callable[[_Writer, _Operator], None]:
    def write(writer: _Writer, operator: _Operator) -> None:
        _activated(writer, operator, kind, [writer.operand(i) for i in operator.inputs])

    return write


def _of_one(kind: str) -> Callable[[_Writer, _Operator], None]:
    def write(writer: _Writer, operator: _Operator) -> None:
        writer.node(kind, [str(operator.inputs[0])], str(operator.output))

    return write


def _reshape(writer: _Writer, operator: _Operator) -> None:
    before, after = (writer.tensors[i].shape for i in (operator.inputs[0], operator.output))
    # Anything else would mean something different once channels come first.
    if len(before) != 4 or before[1:3] != (1, 1) or after != (before[0], before[3]):
        raise InputError(f"a RESHAPE of {before} to {after} is not read, only of 1 x 1 pixels to a vector")
    writer.node("Flatten", [str(operator.inputs[0])], str(operator.output), axis=1)


_WRITE: Mapping[str, Callable[[_Writer, _Operator], None]] = {
    "ADD": _of_two("Add"),
    "SUB": _of_two("Sub"),
    "MUL": _of_two("Mul"),
    "RELU": _of_one("Relu"),
    "ABS": _of_one("Abs"),
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "RESHAPE": _reshape,
}
