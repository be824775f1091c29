"""Constant folding of ONNX graphs: block-quantised weights become plain float32, fixed axes become free.

The packages carry weights as int8 with one scale a block (``DequantizeLinear`` with ``block_size``, ONNX
opset 21) followed by a ``Reshape``, all of it constant. Engines differ in how well they see through that
(ONNX Runtime refuses blocks with one scale), so it is computed once, in numpy, as the operator is defined:
https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError

__all__ = ["dequantize", "float32_any_batch", "float32_any_size", "fold_constants", "free_axes", "load_model"]

Array = npt.NDArray[Any]


def float32_any_batch(data: bytes) -> bytes:
    """Fold an ONNX file's constants and free the batch axis of its inputs and outputs."""
    model = load_model(data)
    fold_constants(model)
    free_axes(model, ("n",))
    return _dump(model)


def float32_any_size(data: bytes) -> bytes:
    """Fold an ONNX file's constants and free batch, height and width of its NCHW input."""
    model = load_model(data)
    fold_constants(model)
    free_axes(model, ("n", None, "h", "w"))
    return _dump(model)


def load_model(data: bytes) -> Any:
    """Parse and check an ONNX file that carries all of its weights.

    Raises
    ------
    InputError
        If it is not a valid ONNX model, or keeps weights in other files.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        raise InputError("not an ONNX file, or a truncated one") from None
    if not model.graph.node or not model.graph.output:
        raise InputError("not an ONNX file: it holds no graph")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model.graph)):
        raise InputError("it keeps its weights in other files; save it again with everything in one file")
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = str(error).strip().splitlines() or ["no reason given"]
        raise InputError(f"not a valid ONNX model: {reason[0][:200]}") from None
    return model


def fold_constants(model: Any) -> None:
    """Compute, in place, every node that depends on constants alone, and drop what only training needs.

    Initializers and unused inputs leave ``graph.input``, so that it names what a caller has to give.
    Batch normalization is left: OpenVINO and ONNX Runtime both fuse it into the convolution as they compile.
    """
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    values: dict[str, Array] = {}
    computed: set[str] = set()  # weights that are only passed through stay as they are
    renamed: dict[str, str] = {}
    ends = {output.name for output in graph.output}
    kept = []

    def constant(name: str) -> Array | None:
        if name not in values and name in weights:
            values[name] = numpy_helper.to_array(weights[name])
        return values.get(name)

    for node in graph.node:
        _rename_inputs(node, renamed)
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Dropout" and (len(node.output) == 1 or not node.output[1]):
            if node.output[0] in ends:  # the output has to keep its name
                kept.append(onnx.helper.make_node("Identity", node.input[:1], node.output[:1]))
                continue
            renamed[node.output[0]] = node.input[0]
            continue
        result = None
        if node.op_type == "Constant" and "value" in attributes:
            result = numpy_helper.to_array(attributes["value"])
        elif node.op_type in _FOLDABLE:
            inputs = [constant(name) if name else None for name in node.input]
            if all(value is not None or not name for value, name in zip(inputs, node.input, strict=True)):
                result = _FOLDABLE[node.op_type](inputs, attributes)
        if result is None:
            kept.append(node)
        else:
            values[node.output[0]] = result
            computed.add(node.output[0])

    if ends & computed:
        raise InputError("an output of the model does not depend on its input")
    used = {name for node in kept for name in _names_read(node)} | ends
    tensors = [weights[name] for name in weights if name in used]
    tensors += [numpy_helper.from_array(values[name], name) for name in values if name in computed & used]
    inputs = [value for value in graph.input if value.name in used and value.name not in weights]
    nodes = [_copy(node) for node in kept]  # clearing a repeated field frees what it held
    tensors, inputs = [_copy(t) for t in tensors], [_copy(i) for i in inputs]
    for field, items in ((graph.node, nodes), (graph.initializer, tensors), (graph.input, inputs)):
        del field[:]
        field.extend(items)
    del graph.value_info[:]
    # The first version in which initializers need not be inputs too.
    model.ir_version = max(model.ir_version, 4)


def free_axes(model: Any, axes: Sequence[str | None]) -> None:
    """Give axes of the image input a free size, in place: ``axes[k]`` names axis k, None leaves it.

    The outputs' first axis becomes free with it, and with height or width every output axis before the last.
    A ``Reshape`` to a constant shape that begins with 1 keeps its input's first axis instead.
    """
    from onnx import numpy_helper

    graph = model.graph
    if len(graph.input) != 1:
        names = ", ".join(value.name for value in graph.input)
        raise InputError(f"a model with one input is needed, not {names or 'none'}")
    dims = graph.input[0].type.tensor_type.shape.dim
    for dim, name in zip(dims, axes, strict=False):
        if name is not None:
            dim.Clear()
            dim.dim_param = name
    for output in graph.output:
        dims = output.type.tensor_type.shape.dim
        dims[0].dim_param = axes[0] or "n"
        for k in range(1, len(dims) - 1) if len(axes) > 1 else ():
            dims[k].dim_param = f"{output.name}_{k}"
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for tensor in graph.initializer:
        if tensor.name in shapes:
            shape = numpy_helper.to_array(tensor)
            if len(shape) > 1 and shape[0] == 1:
                tensor.CopyFrom(numpy_helper.from_array(np.r_[np.int64(0), shape[1:]], tensor.name))


def dequantize(
    quantized: Array, scale: Array, zero_point: Array | None = None, *, axis: int = 1, block_size: int = 0
) -> Array:
    """Return ``(quantized - zero_point) * scale`` as ONNX's DequantizeLinear defines it.

    A scalar scale holds for the whole tensor, a vector for one slice each along ``axis``, and a scale of the
    tensor's own rank for ``block_size`` neighbors each along ``axis``.

    Examples
    --------
    >>> dequantize(np.array([[1, 2, 3]], np.int8), np.array([[1.0, 10.0]], np.float32), axis=1, block_size=2)
    array([[ 1.,  2., 30.]], dtype=float32)
    """

    def spread(values: Array) -> Array:
        if block_size:
            return np.repeat(values, block_size, axis)[_upto(quantized.ndim, axis, quantized.shape[axis])]
        if values.ndim == 1 and quantized.ndim > 0 and values.size > 1:
            shape = [1] * quantized.ndim
            shape[axis] = -1
            return values.reshape(shape)
        return values

    centered = quantized.astype(np.int32)
    if zero_point is not None:
        centered = centered - spread(zero_point.astype(np.int32))
    result: Array = centered.astype(scale.dtype) * spread(scale)
    return result


def _upto(ndim: int, axis: int, stop: int) -> tuple[slice, ...]:
    cut = [slice(None)] * ndim
    cut[axis] = slice(stop)
    return tuple(cut)


def _fold_dequantize(inputs: list[Array | None], attributes: Mapping[str, Any]) -> Array:
    quantized, scale, zero_point = [*inputs, None][:3]
    assert quantized is not None
    assert scale is not None
    axis, block_size = attributes.get("axis", 1), attributes.get("block_size", 0)
    return dequantize(quantized, scale, zero_point, axis=axis, block_size=block_size)


def _fold_reshape(inputs: list[Array | None], attributes: Mapping[str, Any]) -> Array:
    data, shape = inputs
    assert data is not None
    assert shape is not None
    keep = not attributes.get("allowzero", 0)
    return data.reshape([data.shape[k] if size == 0 and keep else int(size) for k, size in enumerate(shape)])


_FOLDABLE: dict[str, Callable[[list[Array | None], Mapping[str, Any]], Array]] = {
    "DequantizeLinear": _fold_dequantize,
    "Reshape": _fold_reshape,
}


def _rename_inputs(node: Any, renamed: Mapping[str, str]) -> None:
    for k, name in enumerate(node.input):
        node.input[k] = renamed.get(name, name)
    for inner in _inner_graphs(node):
        for inner_node in inner.node:
            _rename_inputs(inner_node, renamed)


def _names_read(node: Any) -> set[str]:
    """Names a node reads, those of graphs inside it too: the branches of an If see what is around them."""
    names = set(node.input)
    for inner in _inner_graphs(node):
        names |= {output.name for output in inner.output}
        names = names.union(*map(_names_read, inner.node))
    return names


def _inner_graphs(node: Any) -> list[Any]:
    graphs = []
    for attribute in node.attribute:
        graphs += [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
    return graphs


def _tensors(graph: Any) -> list[Any]:
    """All tensors of a graph: its initializers and those inside its nodes' attributes."""
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            found += [attribute.t] if attribute.HasField("t") else []
            found += list(attribute.tensors)
        for inner in _inner_graphs(node):
            found += _tensors(inner)
    return found


def _copy(message: Any) -> Any:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def _dump(model: Any) -> bytes:
    data: bytes = model.SerializeToString(deterministic=True)
    return data
