"""An ONNX graph made of one that keeps images as NHWC, as TensorFlow does, where ONNX has NCHW.

Every computed tensor of four axes is NCHW, every other one is as it was, and axes and constants are turned where they
are used; a transpose is written only where four axes become fewer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError

__all__ = ["TO_NCHW", "Array", "NchwGraph", "checked"]

Array = npt.NDArray[Any]

TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
_NCHW = (0, 2, 3, 1)  # where axis k of NHWC lies in NCHW
_OPSET = 17
_IR_VERSION = 8


class NchwGraph:
    """An ONNX graph as it grows from one whose images are NHWC; tensors go by the names they had there.

    Parameters
    ----------
    weights
        What constants are taken from, by name.

    Attributes
    ----------
    constants
        Tensors that don't depend on the input, with their axes as they were.
    """

    def __init__(self, weights: Mapping[str, Array]) -> None:
        from onnx import helper, numpy_helper

        self._make, self._tensor = helper, numpy_helper
        self._weights = weights
        self._nodes: list[Any] = []
        self._initializers: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self.constants: dict[str, Array] = {}
        self._ranks: dict[str, int] = {}  # of computed tensors
        self._names: dict[str, str] = {}  # of TensorFlow's nodes in the ONNX graph
        self._plain: dict[str, str] = {}  # tensors of four axes in the ONNX graph, turned back to NHWC
        # A graph may use a weight many times: what that may add to the file is bounded.
        self._room = 2 * sum(values.nbytes for values in weights.values()) + (1 << 20)

    def finish(self, outputs: Mapping[str, str]) -> bytes:
        """Return the file with the given outputs: names of TensorFlow's nodes to names in ONNX."""
        import onnx

        if len(self._inputs) != 1:
            raise InputError(f"a graph with one input is needed, not {len(self._inputs)}")
        if not outputs:
            raise InputError("the graph has no output")
        ends = []
        for node, name in outputs.items():
            if node in self.constants:
                raise InputError(f"the output {name[:80]!r} does not depend on the input")
            self._nodes.append(self._make.make_node("Identity", [self.plain(node)], [name]))
            sides = ["n"] + [None] * (self._ranks[node] - 1)
            ends.append(self._make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sides))
        graph = self._make.make_graph(self._nodes, "graph", self._inputs, ends, list(self._initializers.values()))
        opset = [self._make.make_opsetid("", _OPSET)]
        model = self._make.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION, producer_name="visavis")
        return checked(model)

    def input(self, name: str, shape: list[int]) -> None:
        """Add the image input; ``shape`` is NHWC, a size that is not above 0 is free."""
        from onnx import TensorProto

        if len(shape) != 4:
            raise InputError(f"an image input has four axes, not {len(shape)}")
        height, width, channels = (side if 0 < side <= 4096 else None for side in shape[1:])
        info = self._make.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, height or "h", width or "w"])
        self._inputs.append(info)
        self._names[name], self._ranks[name] = name, 4

    def weight(self, name: str) -> None:
        """Make a constant of the weight of that name."""
        if name not in self._weights:
            raise InputError("the weight manifest has no such weight")
        self.constants[name] = self._weights[name]

    def alias(self, name: str, source: str) -> None:
        """Give a tensor a second name."""
        if source in self.constants:
            self.constants[name] = self.constants[source]
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
        """Return the number of a tensor's axes."""
        return self._ranks[source] if source in self._ranks else self.constants[source].ndim

    def computed(self, source: str, rank: int | None = None) -> str:
        """Return the ONNX name of a computed tensor, which must have ``rank`` axes where that is given."""
        if source not in self._names:
            raise InputError(f"{source[:80]!r} is a constant, where a computed tensor is needed")
        if rank not in (None, self._ranks[source]):
            raise InputError(f"{source[:80]!r} has {self._ranks[source]} axes, where {rank} are needed")
        return self._names[source]

    def constant(self, source: str) -> Array:
        """Return a tensor that must be constant."""
        if source not in self.constants:
            raise InputError(f"{source[:80]!r} is computed, where a constant is needed")
        return self.constants[source]

    def store(self, name: str, values: Array) -> str:
        """Keep a constant in the ONNX graph and return its name."""
        self.take_room(values.nbytes)
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
        values = self.constants[source]
        if values.ndim > rank:
            raise InputError(f"the constant {source[:80]!r} has more axes than what it is joined to")
        if rank == 4 and values.ndim:
            values = values.reshape((1,) * (4 - values.ndim) + values.shape).transpose(TO_NCHW)
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
        if self._ranks[source] != 4:
            return name
        if name not in self._plain:
            self._plain[name] = self.emit("Transpose", [name], source + "/nhwc", perm=_TO_NHWC)
        return self._plain[name]

    def take_room(self, size: int) -> None:
        """Count bytes that the constants grow by."""
        self._room -= size
        if self._room < 0:
            raise InputError("its constants grow beyond twice the size of its weights: not a model for here")


def checked(model: Any) -> bytes:
    """Return the file of an ONNX model after checking that its operators and weights fit together.

    Raises
    ------
    InputError
        If they do not.
    """
    import onnx

    try:
        onnx.checker.check_model(model)
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        told = str(error).strip().splitlines() or ["no reason given"]
        raise InputError(f"the weights and operators do not fit together: {told[0][:200]}") from None
    graph = model.graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*graph.input, *graph.value_info)}
    kernels = {tensor.name: tensor.dims for tensor in graph.initializer}
    for node in graph.node:  # what shape inference leaves to the engine
        if node.op_type == "Conv":
            given = shapes[node.input[0]][1].dim_value if node.input[0] in shapes else 0
            wanted = kernels[node.input[1]][1] * next((a.i for a in node.attribute if a.name == "group"), 1)
            if given not in (0, wanted):
                raise InputError(f"the convolution {node.name[:80]!r} takes {wanted} channels, but gets {given}")
    del graph.value_info[:]
    file: bytes = model.SerializeToString(deterministic=True)
    return file
