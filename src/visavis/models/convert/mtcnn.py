"""MTCNN's three networks: the tensors that facenet-pytorch carries to ONNX.

The layers are those of Zhang et al. 2016, "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional
Networks", as facenet-pytorch has them: no padding, pools that round up, one slope a channel, and, before the first
dense layer, axes in the order width, height, channel, which the weights have from their first framework.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.models.convert.torch_legacy import read_state_dict

__all__ = ["onet", "pnet", "rnet"]

_Layer = tuple[str, int, int, int]
# A convolution's or dense layer's number, side of its window (0: dense), channels; a pool's window.
_P: Sequence[_Layer] = (
    ("conv", 1, 3, 10), ("pool", 2, 2, 0),
    ("conv", 2, 3, 16),
    ("conv", 3, 3, 32),
)  # fmt: skip
_R: Sequence[_Layer] = (
    ("conv", 1, 3, 28), ("pool", 3, 2, 0),
    ("conv", 2, 3, 48), ("pool", 3, 2, 0),
    ("conv", 3, 2, 64),
    ("dense", 4, 3, 128),
)  # fmt: skip
_O: Sequence[_Layer] = (
    ("conv", 1, 3, 32), ("pool", 3, 2, 0),
    ("conv", 2, 3, 64), ("pool", 3, 2, 0),
    ("conv", 3, 3, 64), ("pool", 2, 2, 0),
    ("conv", 4, 2, 128),
    ("dense", 5, 3, 256),
)  # fmt: skip
_HEADS = {"prob": 2, "reg": 4, "points": 10}


def pnet(data: bytes) -> bytes:
    """Convert P-Net: ``(n, 3, h, w)`` of any size to ``prob`` ``(n, 2, r, c)`` and ``reg`` ``(n, 4, r, c)``.

    A cell of the output sees 12 x 12 pixels; cells are 2 pixels apart, so ``r = ceil((h - 2) / 2) - 4``.

    Raises
    ------
    InputError
        If the file is not P-Net's.
    """
    return _network(data, _P, {"prob": "conv4_1", "reg": "conv4_2"}, ["h", "w"])


def rnet(data: bytes) -> bytes:
    """Convert R-Net: ``(n, 3, 24, 24)`` to ``prob`` ``(n, 2)`` and ``reg`` ``(n, 4)``; errors as `pnet`."""
    return _network(data, _R, {"prob": "dense5_1", "reg": "dense5_2"}, [24, 24])


def onet(data: bytes) -> bytes:
    """Convert O-Net: ``(n, 3, 48, 48)`` to ``prob``, ``reg`` and ``points`` ``(n, 10)``; errors as `pnet`."""
    return _network(data, _O, {"prob": "dense6_1", "reg": "dense6_2", "points": "dense6_3"}, [48, 48])


def _network(data: bytes, trunk: Sequence[_Layer], heads: Mapping[str, str], size: Sequence[int | str]) -> bytes:
    from onnx import TensorProto, checker, helper, numpy_helper

    weights = _Weights(read_state_dict(data))
    nodes, constants = [], []
    last = "image"

    def add(operator: str, output: str, inputs: Sequence[str] = (), **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, [last, *inputs], [output], output, **attributes))
        return output

    def constant(name: str, values: npt.NDArray[Any]) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def layer(name: str, *shape: int) -> list[str]:
        sizes = {"weight": shape, "bias": shape[:1]}
        return [constant(f"{name}.{end}", weights.take(f"{name}.{end}", size)) for end, size in sizes.items()]

    channels = 3
    for kind, number, side, out in trunk:
        name = f"{kind}{number}"
        if kind == "pool":
            last = add("MaxPool", f"pool_after_{last}", kernel_shape=[number] * 2, strides=[side] * 2, ceil_mode=1)
            continue
        if kind == "conv":
            last = add("Conv", name, layer(name, out, channels, side, side), kernel_shape=[side] * 2)
        else:
            last = add("Transpose", "turned", perm=[0, 3, 2, 1])
            last = add("Flatten", "flat", axis=1)
            last = add("Gemm", name, layer(name, out, side * side * channels), transB=1)
        slope = weights.take(f"prelu{number}.weight", (out,))
        shape = (-1, 1, 1) if kind == "conv" else (-1,)
        last = add("PRelu", f"prelu{number}", [constant(f"prelu{number}.weight", slope.reshape(shape))])
        channels = out
    how: dict[str, Any]
    for output, name in heads.items():
        if name.startswith("conv"):
            operator, inputs, how = "Conv", layer(name, _HEADS[output], channels, 1, 1), {"kernel_shape": [1, 1]}
        else:
            operator, inputs, how = "Gemm", layer(name, _HEADS[output], channels), {"transB": 1}
        made = name if output == "prob" else output
        nodes.append(helper.make_node(operator, [last, *inputs], [made], name, **how))
        if output == "prob":
            nodes.append(helper.make_node("Softmax", [made], [output], "softmax", axis=1))
    weights.all_taken()

    def value(name: str, shape: Sequence[int | str]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])

    map_size = ["rows", "columns"] if isinstance(size[0], str) else []
    outputs = [value(name, [_HEADS[name], *map_size]) for name in heads]
    graph = helper.make_graph(nodes, "mtcnn", [value("image", [3, *size])], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="visavis")
    model.ir_version = 8
    checker.check_model(model, full_check=True)
    converted: bytes = model.SerializeToString(deterministic=True)
    return converted


class _Weights:
    """Tensors by name, each of which has to be used."""

    def __init__(self, tensors: dict[str, npt.NDArray[Any]]) -> None:
        self._left = tensors

    def take(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        if name not in self._left:
            raise InputError(f"these are not MTCNN's weights: {name} is missing")
        tensor = self._left.pop(name)
        if tensor.shape != shape:
            raise InputError(f"these are not MTCNN's weights: {name} has shape {tensor.shape}, not {shape}")
        if tensor.dtype != np.float32 or not np.isfinite(tensor).all():
            raise InputError(f"these are not MTCNN's weights: {name} holds something other than finite float32 numbers")
        return tensor

    def all_taken(self) -> None:
        if self._left:
            raise InputError(f"these are not MTCNN's weights: {sorted(self._left)[0][:80]} belongs to no layer")
