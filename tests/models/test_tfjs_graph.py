"""Graph models of TensorFlow.js: the same numbers as TensorFlow.js gives, each operator as defined, files gone bad."""

from __future__ import annotations

import base64
import contextlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visavis.errors import InputError
from visavis.models.convert.tfjs_graph import graph_model
from visavis.models.registry import download

REFERENCE = json.loads((Path(__file__).parent / "references" / "tfjs.json").read_text())


def picture(height: int, width: int, channels: int) -> np.ndarray:
    """Return the picture that references/tfjs.mjs shows, NCHW."""
    y, x, c = np.mgrid[:height, :width, :channels]
    pixels = (3 * x * x + 5 * y * y + x * y + 40 * c) % 256 / 255
    return pixels.astype(np.float32).transpose(2, 0, 1)[None]


@pytest.fixture(scope="module")
def human(cards, tmp_path_factory):
    """Return the package that holds the graph models."""
    return download(cards["blazeface"].sources[0], tmp_path_factory.mktemp("npm"))


def run(model: bytes, image: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: image}), strict=True))


@pytest.mark.parametrize("name", sorted(REFERENCE))
def test_outputs_are_those_of_tensorflow_js(name, human):
    data, weights = human.read(f"package/models/{name}.json"), human.read(f"package/models/{name}.bin")
    model = graph_model(data, {f"{name}.bin": weights})
    _, channels, height, width = (
        d.dim_value for d in onnx.load_from_string(model).graph.input[0].type.tensor_type.shape.dim
    )
    image = picture(height, width, channels)
    found = run(model, np.concatenate([image, image[..., ::-1]]))
    assert len(found) == len(REFERENCE[name])
    for output, expected in REFERENCE[name].items():
        values = found[output.removesuffix(":0")]
        assert values.shape == (2, *expected["shape"][1:]), "the batch axis is free"
        some = values[0].reshape(-1)[:: expected["step"]]
        np.testing.assert_allclose(some, expected["values"], rtol=1e-4, atol=1e-3 * np.abs(expected["values"]).max())


def test_conversion_is_the_same_each_time(human):
    data, weights = human.read("package/models/iris.json"), human.read("package/models/iris.bin")
    assert graph_model(data, {"iris.bin": weights}) == graph_model(data, {"iris.bin": weights})


# Operators, one by one, against their definition in numpy


def attribute(value: Any) -> dict:
    if isinstance(value, bool):
        return {"b": value}
    if isinstance(value, str):
        return {"s": base64.b64encode(value.encode()).decode()}
    if value and isinstance(value[0], str):
        return {"list": {"s": [base64.b64encode(text.encode()).decode() for text in value]}}
    return {"list": {"i": [str(number) for number in value]}}


class Model:
    """A graph model in the making."""

    def __init__(self, *shape: int) -> None:
        sides = [{"size": str(side)} for side in (-1, *shape)]
        self.nodes: list[dict] = [{"name": "x", "op": "Placeholder", "attr": {"shape": {"shape": {"dim": sides}}}}]
        self.weights: list[tuple[str, np.ndarray]] = []

    def constant(self, name: str, values: Any) -> str:
        array = np.asarray(values)
        self.weights.append((name, array.astype(np.int32 if array.dtype.kind == "i" else np.float32)))
        self.nodes.append({"name": name, "op": "Const"})
        return name

    def node(self, op: str, *inputs: str, name: str = "y", **attributes: Any) -> str:
        rows = {key: attribute(value) for key, value in attributes.items()}
        self.nodes.append({"name": name, "op": op, "input": list(inputs), "attr": rows})
        return name

    def parts(self) -> tuple[dict, dict[str, bytes]]:
        rows = [{"name": name, "shape": list(v.shape), "dtype": str(v.dtype)} for name, v in self.weights]
        manifest = [{"paths": ["w.bin"], "weights": rows}]
        data = b"".join(values.tobytes() for _, values in self.weights)
        return {"modelTopology": {"node": self.nodes}, "weightsManifest": manifest}, {"w.bin": data}

    def convert(self) -> bytes:
        if not self.weights:
            self.constant("unused", [0.0])
            self.nodes = [node for node in self.nodes if node["name"] != "unused"]
        model, files = self.parts()
        return graph_model(json.dumps(model).encode(), files)

    def run(self, image: np.ndarray) -> np.ndarray:
        """Run on an NHWC image; the output comes as TensorFlow has it."""
        (found,) = run(self.convert(), np.ascontiguousarray(image.transpose(0, 3, 1, 2))).values()
        return found


RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def patches(x: np.ndarray, size: tuple[int, int], stride: int, dilation: int, padding: str, fill: float):
    """Return every window of NHWC pixels ``(n, rows, columns, kh, kw, c)``, as TensorFlow lays them."""
    reach = [(k - 1) * dilation + 1 for k in size]
    if padding == "SAME":
        totals = [
            max((math.ceil(s / stride) - 1) * stride + r - s, 0) for s, r in zip(x.shape[1:3], reach, strict=True)
        ]
        x = np.pad(x, [(0, 0), *((t // 2, t - t // 2) for t in totals), (0, 0)], constant_values=fill)
    rows, columns = ((s - r) // stride + 1 for s, r in zip(x.shape[1:3], reach, strict=True))
    out = np.empty((len(x), rows, columns, *size, x.shape[3]), x.dtype)
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride, j * stride
            out[:, i, j] = x[:, top : top + reach[0] : dilation, left : left + reach[1] : dilation]
    return out


windows = {
    "height": st.integers(5, 9),
    "width": st.integers(5, 9),
    "size": st.tuples(st.integers(1, 4), st.integers(1, 4)),
    "stride": st.integers(1, 3),
    "padding": st.sampled_from(["SAME", "VALID"]),
}


@settings(max_examples=25)
@given(**windows, dilation=st.integers(1, 2))
def test_convolution(height, width, size, stride, padding, dilation):
    dilation = dilation if padding == "VALID" and stride == 1 and max(size) < 4 else 1
    x, kernel = normal(2, height, width, 3), normal(*size, 3, 4)
    model = Model(height, width, 3)
    strides, dilations = [1, stride, stride, 1], [1, dilation, dilation, 1]
    model.node("Conv2D", "x", model.constant("k", kernel), strides=strides, dilations=dilations, padding=padding)
    expected = np.einsum("nijabc,abcd->nijd", patches(x, size, stride, dilation, padding, 0), kernel)
    np.testing.assert_allclose(model.run(x), expected, atol=1e-4)


@settings(max_examples=25)
@given(**windows, multiplier=st.integers(1, 3))
def test_depthwise_convolution(height, width, size, stride, padding, multiplier):
    x, kernel = normal(2, height, width, 3), normal(*size, 3, multiplier)
    model = Model(height, width, 3)
    model.node(
        "DepthwiseConv2dNative", "x", model.constant("k", kernel), strides=[1, stride, stride, 1], padding=padding
    )
    expected = np.einsum("nijabc,abcm->nijcm", patches(x, size, stride, 1, padding, 0), kernel)
    np.testing.assert_allclose(model.run(x), expected.reshape(*expected.shape[:3], -1), atol=1e-4)


@settings(max_examples=25)
@given(**windows)
def test_max_pool(height, width, size, stride, padding):
    stride = min(stride, *size)
    x = normal(2, height, width, 3)
    model = Model(height, width, 3)
    model.node("MaxPool", "x", ksize=[1, *size, 1], strides=[1, stride, stride, 1], padding=padding)
    np.testing.assert_allclose(model.run(x), patches(x, size, stride, 1, padding, -np.inf).max(axis=(3, 4)), atol=1e-6)


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("Relu", lambda v: np.maximum(v, 0)),
        ("Relu6", lambda v: np.clip(v, 0, 6)),
        ("Sigmoid", lambda v: 1 / (1 + np.exp(-v))),
        ("Prelu", lambda v: np.where(v > 0, v, v * np.array([0.1, -0.3, 0.5, 2], np.float32))),
    ],
)
@pytest.mark.parametrize("op", ["_FusedConv2D", "FusedDepthwiseConv2dNative"])
def test_fused_convolution(op, activation, function):
    x, bias = normal(1, 6, 5, 4), normal(4)
    kernel = normal(1, 1, 4, 4) if op == "_FusedConv2D" else normal(1, 1, 4, 1)
    model = Model(6, 5, 4)
    inputs = ["x", model.constant("k", kernel), model.constant("b", bias)]
    if activation == "Prelu":
        inputs.append(model.constant("slope", np.array([0.1, -0.3, 0.5, 2], np.float32).reshape(1, 1, 4)))
    model.node(op, *inputs, strides=[1, 1, 1, 1], padding="SAME", fused_ops=["BiasAdd", activation])
    product = x @ kernel[0, 0] if op == "_FusedConv2D" else x * kernel[0, 0, :, 0]
    np.testing.assert_allclose(model.run(x), function(product + bias), atol=1e-5)


@pytest.mark.parametrize(
    ("op", "function"),
    [
        ("AddV2", np.add),
        ("Add", np.add),
        ("Sub", np.subtract),
        ("Mul", np.multiply),
        ("Minimum", np.minimum),
        ("Maximum", np.maximum),
    ],
)
@pytest.mark.parametrize("shape", [(), (3,), (4, 1), (1, 1, 3), (5, 4, 3), (1, 5, 4, 3)])
def test_elementwise_with_a_constant(op, function, shape):
    x, other = normal(2, 5, 4, 3), normal(*shape)
    model = Model(5, 4, 3)
    model.node(op, "x", model.constant("c", other))
    np.testing.assert_allclose(model.run(x), function(x, other), rtol=1e-6)


def test_elementwise_of_two_computed():
    x = normal(2, 5, 4, 3)
    model = Model(5, 4, 3)
    model.node("Mul", model.node("Relu", "x", name="r"), "x")
    np.testing.assert_allclose(model.run(x), np.maximum(x, 0) * x, rtol=1e-6)


def test_constants_are_folded():
    model = Model(5, 4, 3)
    product = model.node("Mul", model.constant("a", normal(3)), model.constant("b", np.float32(2)), name="ab")
    model.node("AddV2", "x", model.node("Identity", product, name="same"))
    folded = onnx.load_from_string(model.convert()).graph
    assert sorted(node.op_type for node in folded.node) == ["Add", "Identity", "Transpose"]


@pytest.mark.parametrize(("op", "function"), [("Mean", np.mean), ("Max", np.max)])
@pytest.mark.parametrize(
    ("axes", "keep"), [([1, 2], False), ([1, 2], True), ([3], True), ([-1], False), ([2, 1, 3], False), ([1], True)]
)
def test_reductions(op, function, axes, keep):
    x = normal(2, 5, 4, 3)
    model = Model(5, 4, 3)
    model.node(op, "x", model.constant("axes", np.array(axes)), keep_dims=keep)
    expected = function(x, axis=tuple(axes), keepdims=keep)
    np.testing.assert_allclose(model.run(x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 60), (-1, 60), (1, 20, 3), (1, 12, 5), (1, 3, 4, 5), (1, -1, 6)])
def test_reshape(shape):
    x = normal(2, 5, 4, 3)
    model = Model(5, 4, 3)
    model.node("Reshape", "x", model.constant("shape", np.array(shape)))
    np.testing.assert_array_equal(model.run(x), x.reshape(2, *shape[1:]))


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2])
def test_concat(axis):
    x = normal(2, 5, 4, 3)
    model = Model(5, 4, 3)
    model.node("ConcatV2", "x", model.node("Relu", "x", name="r"), model.constant("axis", np.int32(axis)))
    np.testing.assert_array_equal(model.run(x), np.concatenate([x, np.maximum(x, 0)], axis=axis))


def test_pad():
    x, pads = normal(2, 5, 4, 3), [[0, 0], [1, 2], [0, 3], [4, 5]]
    model = Model(5, 4, 3)
    model.node("Pad", "x", model.constant("pads", np.array(pads)))
    np.testing.assert_array_equal(model.run(x), np.pad(x, pads))


def test_softmax_is_over_channels():
    x = normal(2, 5, 4, 3)
    model = Model(5, 4, 3)
    model.node("Softmax", "x")
    np.testing.assert_allclose(model.run(x), np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("turned", [False, True])
def test_matrix_product(turned):
    x, kernel, bias = normal(3, 2, 2, 3), normal(12, 5), normal(5)
    model = Model(2, 2, 3)
    flat = model.node("Reshape", "x", model.constant("s", np.array([1, 12])), name="flat")
    factors = [model.constant("k", kernel.T if turned else kernel), model.constant("b", bias)]
    model.node("_FusedMatMul", flat, *factors, fused_ops=["BiasAdd", "Relu"], transpose_b=turned)
    np.testing.assert_allclose(model.run(x), np.maximum(x.reshape(3, 12) @ kernel + bias, 0), atol=1e-5)


# Bad files


def simple() -> tuple[dict, dict[str, bytes]]:
    """Return a small model that can be converted, to be spoiled."""
    model = Model(4, 4, 3)
    kernel = [model.constant("k", normal(1, 1, 3, 2)), model.constant("b", normal(2))]
    model.node("_FusedConv2D", "x", *kernel, strides=[1, 1, 1, 1], padding="SAME", fused_ops=["BiasAdd", "Relu"])
    return model.parts()


def spoiled(model: dict, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        graph_model(json.dumps(model).encode(), files)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_is_spoiled_below_can_be_converted():
    model, files = simple()
    graph_model(json.dumps(model).encode(), files)


def test_an_unknown_operator_is_named_with_its_node():
    model, files = simple()
    model["modelTopology"]["node"].append({"name": "the end", "op": "NonMaxSuppressionV5", "input": ["y"]})
    spoiled(model, files, r"node 'the end' \(NonMaxSuppressionV5\): an operator that is not known here; known are Add,")


def test_an_unknown_fused_operator():
    model, files = simple()
    model["modelTopology"]["node"][-1]["attr"]["fused_ops"] = attribute(["BiasAdd", "Elu"])
    spoiled(model, files, "the fused operators 'Elu' are not known")


def test_companions_that_are_missing_short_or_long():
    model, files = simple()
    spoiled(model, {}, r"the file 'w\.bin', which the weight manifest names, is missing")
    spoiled(model, {"w.bin": files["w.bin"][:-1]}, "truncated")
    spoiled(model, {"w.bin": files["w.bin"] + b"0"}, "not of this manifest")


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"7", b"{}", b'{"modelTopology": 7}', b'{"modelTopology": {"node": []}}', b"\x08\x03tfjs"],
)
def test_what_is_no_graph_model(data):
    with pytest.raises(InputError, match=r"not JSON|not a TensorFlow\.js graph model"):
        graph_model(data, {})


def change(key: str, value: Any):
    def do(nodes: list[dict]) -> None:
        nodes[-1]["attr"][key] = value

    return do


@pytest.mark.parametrize(
    ("do", "message"),
    [
        (lambda nodes: nodes.append({"name": "y", "op": "Relu", "input": ["x"]}), "two nodes are called 'y'"),
        (lambda nodes: nodes.append({"op": "Relu"}), "no name or op"),
        (lambda nodes: nodes.append(7), "no name or op"),
        (lambda nodes: nodes.append({"name": "z", "op": "Relu", "input": ["nothing"]}), "reads 'nothing'"),
        (lambda nodes: nodes.append({"name": "z", "op": "Relu", "input": "x"}), "misstates its inputs"),
        (lambda nodes: nodes.append({"name": "z", "op": "Relu", "input": ["z"]}), "cycle"),
        (lambda nodes: nodes.append({"name": "z", "op": "MaxPool", "input": []}), r"node 'z' \(MaxPool\) is malformed"),
        (lambda nodes: nodes.append({"name": "z", "op": "Relu", "input": ["k"]}), "constant"),
        (lambda nodes: nodes.append({"name": "z", "op": "Const"}), "no such weight"),
        (lambda nodes: nodes.pop(0), "reads 'x'"),
        (lambda nodes: nodes.append({**nodes[0], "name": "x2"}), "one input is needed, not 2"),
        (change("padding", attribute("EXPLICIT")), "padding 'EXPLICIT' is neither"),
        (change("padding", {"s": "%%%"}), "malformed"),
        (change("data_format", attribute("NCHW")), "not NHWC"),
        (change("strides", attribute([1, 0, 1, 1])), "strides"),
        (change("strides", attribute([1, 1, 1, 10**9])), "strides"),
        (change("strides", {"list": {"i": ["one"]}}), "malformed"),
        (change("strides", 7), "malformed"),
        (change("fused_ops", attribute(["BiasAdd", "Relu", "Relu"])), "not known"),
        (lambda nodes: nodes[-1].update(input=["x", "b", "b"]), "four axes"),
        (lambda nodes: nodes[-1].update(input=["x", "k", "k"]), "a bias of 6 numbers does not fit 2 channels"),
        (lambda nodes: nodes[-1].update(input=["x", "x", "b"]), "where a constant is needed"),
        (change("dilations", attribute([1, 2, 2, 1])), "dilated"),
        (lambda nodes: nodes[0]["attr"]["shape"]["shape"].update(dim=[{"size": "4"}]), "four axes"),
        (lambda nodes: nodes[0]["attr"]["shape"]["shape"]["dim"][3].update(size="5"), "takes 3 channels, but gets 5"),
        (lambda nodes: nodes.__delitem__(slice(None)), "one input is needed"),
        (lambda nodes: nodes.extend({"name": str(i), "op": "Const"} for i in range(20_001)), "more than 20000 nodes"),
    ],
)
def test_graphs_that_are_malformed(do, message):
    model, files = simple()
    do(model["modelTopology"]["node"])
    spoiled(model, files, message)


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ({"outputs": {"out": {"name": "gone:0"}}}, "'gone', which is no node"),
        ({"outputs": {"out": {}}}, "misstates"),
        ({"outputs": {"out": {"name": "k"}}}, "does not depend on the input"),
    ],
)
def test_signatures_that_are_wrong(signature, message):
    model, files = simple()
    spoiled({**model, "signature": signature}, files, message)


def test_constants_do_not_grow_without_bound():
    model = Model(4, 4, 3)
    model.node("Mul", model.constant("a", normal(3000, 1)), model.constant("b", normal(1, 3000)), name="ab")
    model.node("AddV2", "x", "ab")
    spoiled(*model.parts(), "grow beyond")
    model = Model(4, 4, 3)
    model.constant("a", normal(100_000, 3))
    for k in range(50):
        model.node("AddV2", "x", "a", name=f"y{k}")
    spoiled(*model.parts(), "grow beyond|do not fit")


@settings(max_examples=60)
@given(st.data())
def test_whatever_is_changed_gives_a_model_or_an_error(data):
    """Cut or alter the JSON anywhere: nothing but InputError leaves the reader."""
    model, files = simple()
    text = bytearray(json.dumps(model).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at] = data.draw(st.sampled_from(b'0123456789"[]{},:-eax/'))
    with contextlib.suppress(InputError):
        graph_model(bytes(text), files)
