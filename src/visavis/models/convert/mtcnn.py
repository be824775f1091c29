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

_Layer = tuple[str, ...]
# The trunk, then the heads: name of the layer, of the output.
_P: Sequence[_Layer] = (
    ("conv", "1", "3"), ("pool", "2"),
    ("conv", "2", "3"),
    ("conv", "3", "3"),
)  # fmt: skip
_R: Sequence[_Layer] = (
    ("conv", "1", "3"), ("pool", "3"),
    ("conv", "2", "3"), ("pool", "3"),
    ("conv", "3", "2"),
    ("dense", "4"),
)  # fmt: skip
_O: Sequence[_Layer] = (
    ("conv", "1", "3"), ("pool", "3"),
    ("conv", "2", "3"), ("pool", "3"),
    ("conv", "3", "3"), ("pool", "2"),
    ("conv", "4", "2"),
    ("dense", "5"),
)  # fmt: skip


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

    def layer(name: str) -> list[str]:
        return [constant(f"{name}.{end}", weights.take(f"{name}.{end}")) for end in ("weight", "bias")]

    for kind, number, *side in trunk:
        name = f"{kind}{number}"
        if kind == "pool":
            window = [int(number)] * 2
            last = add("MaxPool", f"pool_after_{last}", kernel_shape=window, strides=[2, 2], ceil_mode=1)
            continue
        if kind == "conv":
            last = add("Conv", name, layer(name), kernel_shape=[int(side[0])] * 2)
        else:
            last = add("Transpose", "turned", perm=[0, 3, 2, 1])
            last = add("Flatten", "flat", axis=1)
            last = add("Gemm", name, layer(name), transB=1)
        slope = weights.take(f"prelu{number}.weight")
        shape = (-1, 1, 1) if kind == "conv" else (-1,)
        last = add("PRelu", f"prelu{number}", [constant(f"prelu{number}.weight", slope.reshape(shape))])
    for output, name in heads.items():
        how: dict[str, Any] = {"kernel_shape": [1, 1]} if name.startswith("conv") else {"transB": 1}
        operator, inputs = ("Conv" if name.startswith("conv") else "Gemm"), layer(name)
        if output == "prob":
            nodes.append(helper.make_node(operator, [last, *inputs], [name], name, **how))
            nodes.append(helper.make_node("Softmax", [name], [output], "softmax", axis=1))
        else:
            nodes.append(helper.make_node(operator, [last, *inputs], [output], name, **how))
    weights.all_taken()

    def value(name: str, shape: Sequence[int | str]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])

    map_size = ["rows", "columns"] if isinstance(size[0], str) else []
    channels = {"prob": 2, "reg": 4, "points": 10}
    outputs = [value(name, [channels[name], *map_size]) for name in heads]
    graph = helper.make_graph(nodes, "mtcnn", [value("image", [3, *size])], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="visavis")
    model.ir_version = 8
    try:
        checker.check_model(model, full_check=True)
    except Exception as error:  # noqa: BLE001  (its shape inference raises classes of its own)
        raise InputError(f"these are not MTCNN's weights: {str(error).strip().splitlines()[0][:120]}") from None
    converted: bytes = model.SerializeToString(deterministic=True)
    return converted


class _Weights:
    """Tensors by name, each of which has to be used."""

    def __init__(self, tensors: dict[str, npt.NDArray[Any]]) -> None:
        self._left = tensors

    def take(self, name: str) -> npt.NDArray[Any]:
        if name not in self._left:
            raise InputError(f"these are not MTCNN's weights: {name} is missing")
        tensor = self._left.pop(name)
        if tensor.dtype != np.float32 or not np.isfinite(tensor).all():
            raise InputError(f"these are not MTCNN's weights: {name} holds something other than finite float32 numbers")
        return tensor

    def all_taken(self) -> None:
        if self._left:
            raise InputError(f"these are not MTCNN's weights: {sorted(self._left)[0][:80]} belongs to no layer")
