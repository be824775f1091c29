"""SSD-MobileNetV1 to ONNX: its package has a weight manifest alone, so the graph is built here from the names.

MobileNetV1 (Howard and others, 2017) at depth 1 and 512 x 512 pixels, four pairs of convolutions after it, and six
box predictors, as in "SSD: Single Shot MultiBox Detector" (Liu and others, 2016) and TensorFlow's Object Detection
API: a 1x1 convolution each gives four numbers a box and three class scores, of which the second is "face".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.models.convert.nchw_graph import checked
from visavis.models.convert.tfjs_weights import read_manifest

__all__ = ["ssd_mobilenet"]

Array = npt.NDArray[Any]

_SIDE = 512
_STRIDES = {2: 2, 4: 2, 6: 2, 12: 2}  # of the depthwise convolutions of MobileNetV1; the others have 1
_BLOCKS = 13
_EXTRA = 8  # convolutions after MobileNetV1: 1x1, then 3x3 of stride 2, in turn
_CLASSES, _FACE = 3, 1
_EPSILON = 1e-3  # of batch normalization
_CHANNELS = 2048  # more than any layer has


def ssd_mobilenet(data: bytes, companions: Mapping[str, bytes] | None = None) -> bytes:
    """Return the ONNX file of SSD-MobileNetV1, batch axis free.

    Parameters
    ----------
    data
        ``ssd_mobilenetv1_model-weights_manifest.json``.
    companions
        Its binary file, by name.

    Returns
    -------
    A model with the input ``image`` ``(n, 3, 512, 512)`` and the outputs ``boxes`` ``(n, 5118, 4)``, the offsets
    of the anchors as y, x, height and width, and ``logits`` ``(n, 5118)``, whose sigmoid is the score of a face.

    Raises
    ------
    InputError
        If the weights are not those of this network.
    """
    network = _Network(read_manifest(data, companions or {}))
    x = network.pointwise("image", "MobilenetV1/Conv2d_0", stride=2)
    seen = []
    for block in range(1, _BLOCKS + 1):
        x = network.depthwise(x, f"MobilenetV1/Conv2d_{block}_depthwise", _STRIDES.get(block, 1))
        x = network.pointwise(x, f"MobilenetV1/Conv2d_{block}")
        if block in (11, 13):
            seen.append(x)
    for k in range(_EXTRA):
        x = network.pointwise(x, f"Prediction/Conv2d_{k}", stride=1 + k % 2)
        if k % 2:
            seen.append(x)
    for k, features in enumerate(seen):
        network.predict(features, f"Prediction/BoxPredictor_{k}")
    return network.finish()


class _Network:
    def __init__(self, weights: Mapping[str, Array]) -> None:
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: dict[str, Array] = {"/zero": np.float32(0), "/six": np.float32(6)}
        self._boxes: list[str] = []
        self._logits: list[str] = []

    def pointwise(self, x: str, name: str, stride: int = 1) -> str:
        """Add a convolution with its bias and a ReLU up to 6."""
        kernel = self._weight(f"{name}_pointwise/weights", 4).transpose(3, 2, 0, 1)
        return self._relu6(
            self._convolution(x, name, kernel, self._weight(f"{name}_pointwise/convolution_bn_offset", 1), stride)
        )

    def depthwise(self, x: str, name: str, stride: int) -> str:
        """Add a depthwise convolution, its batch normalization folded in, and a ReLU up to 6."""
        kernel = self._weight(f"{name}/depthwise_weights", 4).transpose(2, 3, 0, 1)
        gamma, beta, mean, variance = (
            self._weight(f"{name}/BatchNorm/{part}", 1).astype(np.float64)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        if not kernel.shape[1] == 1 or not len(kernel) == len(gamma) == len(beta) == len(mean) == len(variance):
            raise InputError(f"the weights of {name!r} do not fit together")
        if variance.min(initial=0) < 0:
            raise InputError(f"a variance of {name!r} is negative")
        factor = gamma / np.sqrt(variance + _EPSILON)
        folded = kernel * factor[:, None, None, None]
        return self._relu6(self._convolution(x, name, folded, beta - mean * factor, stride, len(kernel)))

    def predict(self, x: str, name: str) -> None:
        """Add a predictor of boxes and one of faces, as rows of anchors."""
        for part, outputs in (("BoxEncodingPredictor", self._boxes), ("ClassPredictor", self._logits)):
            kernel = self._weight(f"{name}/{part}/weights", 4).transpose(3, 2, 0, 1)
            bias = self._weight(f"{name}/{part}/biases", 1)
            shape = [0, -1, 4]
            if outputs is self._logits:
                if len(kernel) % _CLASSES:
                    raise InputError(f"{name!r} has {len(kernel)} class scores, which {_CLASSES} does not divide")
                kernel, bias, shape = kernel[_FACE::_CLASSES], bias[_FACE::_CLASSES], [0, -1]
            found = self._convolution(x, f"{name}/{part}", kernel, bias)
            rows = self._add("Transpose", [found], f"{name}/{part}/nhwc", perm=[0, 2, 3, 1])
            target = self._constant(f"{name}/{part}/shape", np.array(shape, np.int64))
            outputs.append(self._add("Reshape", [rows, target], f"{name}/{part}/rows"))

    def finish(self) -> bytes:
        """Return the file."""
        from onnx import TensorProto, helper, numpy_helper

        self._add("Concat", self._boxes, "boxes", axis=1)
        self._add("Concat", self._logits, "logits", axis=1)
        graph = helper.make_graph(
            self._nodes,
            "ssd_mobilenet",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, _SIDE, _SIDE])],
            [
                helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", None, 4]),
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", None]),
            ],
            [numpy_helper.from_array(np.ascontiguousarray(v), name) for name, v in self._constants.items()],
        )
        opset = [helper.make_opsetid("", 17)]
        return checked(helper.make_model(graph, opset_imports=opset, ir_version=8, producer_name="visavis"))

    def _weight(self, name: str, rank: int) -> Array:
        values = self._weights.get(name)
        if values is None or values.ndim != rank or values.dtype != np.float32:
            raise InputError(f"not the weights of SSD-MobileNetV1: {name!r} is missing, or has another shape")
        if not values.size or max(values.shape) > _CHANNELS:
            raise InputError(f"not the weights of SSD-MobileNetV1: {name!r} has the shape {values.shape}")
        return values

    def _convolution(self, x: str, name: str, kernel: Array, bias: Array, stride: int = 1, groups: int = 1) -> str:
        inputs = [
            x,
            self._constant(f"{name}/kernel", kernel.astype(np.float32)),
            self._constant(f"{name}/bias", bias.astype(np.float32)),
        ]
        return self._add(
            "Conv",
            inputs,
            f"{name}/product",
            kernel_shape=list(kernel.shape[2:]),
            strides=[stride, stride],
            group=groups,
            auto_pad="SAME_UPPER",
        )

    def _relu6(self, x: str) -> str:
        return self._add("Clip", [x, "/zero", "/six"], x + "/relu")

    def _constant(self, name: str, values: Array) -> str:
        self._constants[name] = values
        return name

    def _add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output
