from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from visavis.errors import InputError
from visavis.models.convert import convert
from visavis.models.convert.fold import dequantize, fold_constants, free_axes, load_model


def session(data: bytes) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def yunet(quantized: dict[str, bytes]) -> bytes:
    return convert("onnx-float32-any-size", quantized["yunet"])


@pytest.fixture(scope="module")
def sface(quantized: dict[str, bytes]) -> bytes:
    return convert("onnx-float32", quantized["sface"])


def test_sface_equals_onnx_runtime_on_the_original(quantized: dict[str, bytes], sface: bytes) -> None:
    original, folded = session(quantized["sface"]), session(sface)
    images = np.random.default_rng(1).uniform(0, 255, (3, 3, 112, 112)).astype(np.float32)
    # The original lists weights that it doesn't use as inputs; they have to be fed.
    unused = {i.name: np.zeros(i.shape, np.float32) for i in original.get_inputs() if i.name != "data"}
    expected = [original.run(None, {**unused, "data": image[None]})[0][0] for image in images]
    (found,) = folded.run(None, {"data": images})
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found).max() > 0.1


def test_yunet_equals_onnx_runtime_on_the_original(quantized: dict[str, bytes], yunet: bytes) -> None:
    # ONNX Runtime refuses a block size where there is one scale, and then it says nothing: take it away.
    model = onnx.load_model_from_string(quantized["yunet"])
    scales = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and scales[node.input[1]].shape == (1,):
            kept = [a for a in node.attribute if a.name != "block_size"]
            del node.attribute[:]
            node.attribute.extend(kept)
    image = np.random.default_rng(2).uniform(0, 255, (1, 3, 640, 640)).astype(np.float32)
    expected = session(model.SerializeToString()).run(None, {"input": image})
    for value, wanted in zip(session(yunet).run(None, {"input": image}), expected, strict=True):
        np.testing.assert_allclose(value, wanted, atol=1e-4)


def test_yunet_equals_opencv_on_the_original(quantized: dict[str, bytes], yunet: bytes) -> None:
    import cv2

    image = np.random.default_rng(3).uniform(0, 255, (1, 3, 640, 640)).astype(np.float32)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(quantized["yunet"], np.uint8))
    net.setInput(image)
    names = net.getUnconnectedOutLayersNames()
    expected = dict(zip(names, net.forward(names), strict=True))
    folded = session(yunet)
    for output, value in zip(folded.get_outputs(), folded.run(None, {"input": image}), strict=True):
        np.testing.assert_allclose(value, expected[output.name].reshape(value.shape), atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(256, 320), (32, 32), (32, 96)])
def test_yunet_takes_any_batch_and_size(yunet: bytes, height: int, width: int) -> None:
    folded = session(yunet)
    images = np.random.default_rng(4).uniform(0, 255, (3, 3, height, width)).astype(np.float32)
    names = [output.name for output in folded.get_outputs()]
    batch = dict(zip(names, folded.run(None, {"input": images}), strict=True))
    for k, image in enumerate(images):
        for name, value in zip(names, folded.run(None, {"input": image[None]}), strict=True):
            np.testing.assert_allclose(batch[name][k], value[0], atol=1e-5)
    for stride in (8, 16, 32):
        cells = (height // stride) * (width // stride)
        depths = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
        for name, depth in depths.items():
            assert batch[f"{name}_{stride}"].shape == (3, cells, depth)


@pytest.mark.parametrize("name", ["yunet", "sface"])
def test_what_is_left_is_plain_float32(quantized: dict[str, bytes], name: str) -> None:
    model = load_model(convert("onnx-float32", quantized[name]))
    graph = model.graph
    assert len(graph.input) == 1
    assert not {"DequantizeLinear", "Dropout", "Constant"} & {node.op_type for node in graph.node}
    used = {i for node in graph.node for i in node.input}
    assert {tensor.name for tensor in graph.initializer} <= used
    assert {tensor.data_type for tensor in graph.initializer} <= {TensorProto.FLOAT, TensorProto.INT64}
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"


@pytest.mark.parametrize("name", ["yunet", "sface"])
def test_folding_again_changes_nothing(quantized: dict[str, bytes], name: str) -> None:
    for converter in ("onnx-float32", "onnx-float32-any-size"):
        once = convert(converter, quantized[name])
        assert convert(converter, once) == once
        assert convert(converter, quantized[name]) == once


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    shape=hnp.array_shapes(min_dims=1, max_dims=3, max_side=7),
    kind=st.sampled_from([np.int8, np.uint8]),
    with_zero_point=st.booleans(),
)
def test_dequantize_is_what_onnx_defines(
    data: st.DataObject, shape: tuple[int, ...], kind: Any, with_zero_point: bool
) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    block = data.draw(st.integers(1, shape[axis]))
    blocks = list(shape)
    blocks[axis] = -(-shape[axis] // block)
    quantized = data.draw(hnp.arrays(kind, shape))
    scale = data.draw(hnp.arrays(np.float32, tuple(blocks), elements=st.floats(0.0078125, 4, width=32)))
    zero_point = data.draw(hnp.arrays(kind, tuple(blocks))) if with_zero_point else None
    inputs = ["x", "scale"] + (["zero"] if with_zero_point else [])
    node = helper.make_node("DequantizeLinear", inputs, ["y"], axis=axis, block_size=block)
    kinds = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8}
    values = {"x": quantized, "scale": scale} | ({"zero": zero_point} if zero_point is not None else {})
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT if n == "scale" else kinds[kind], v.shape)
            for n, v in values.items()
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    (expected,) = ReferenceEvaluator(model).run(None, values)
    found = dequantize(quantized, scale, zero_point, axis=axis, block_size=block)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_dequantize_one_scale_a_slice(axis: int) -> None:
    quantized = np.arange(-3, 3, dtype=np.int8).reshape(2, 3)
    scale = np.array([0.5, 2, 4][: quantized.shape[axis]], np.float32)
    expected = quantized * (scale[:, None] if axis == 0 else scale)
    np.testing.assert_array_equal(dequantize(quantized, scale, axis=axis), expected)


def branching_model() -> onnx.ModelProto:
    """Return a model with an If whose branches read a Dropout's output and a constant around them."""
    float_ = TensorProto.FLOAT

    def branch(name: str, op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{name}_out", float_, None)
        return helper.make_graph([helper.make_node(op, ["dropped", "two"], [f"{name}_out"])], name, [], [out])

    two = numpy_helper.from_array(np.float32([2]), "")
    nodes = [
        helper.make_node("Constant", [], ["two"], value=two),
        helper.make_node("Dropout", ["x"], ["dropped"]),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
    ]
    branches = {"then_branch": branch("a", "Mul"), "else_branch": branch("b", "Add")}
    graph = helper.make_graph(
        [*nodes, helper.make_node("If", ["positive"], ["y"], **branches)],
        "g",
        [helper.make_tensor_value_info("x", float_, [1, 3])],
        [helper.make_tensor_value_info("y", float_, [1, 3])],
        [numpy_helper.from_array(np.float32(0), "zero")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_branches_keep_what_they_read_from_outside() -> None:
    model = branching_model()
    before = session(model.SerializeToString())
    folded = load_model(model.SerializeToString())
    fold_constants(folded)
    after = session(folded.SerializeToString())
    for x in (np.float32([[1, 2, 3]]), np.float32([[-1, -2, -3]])):
        np.testing.assert_array_equal(after.run(None, {"x": x})[0], before.run(None, {"x": x})[0])
    assert "Dropout" not in {node.op_type for node in folded.graph.node}


def test_free_axes_needs_one_input() -> None:
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3]) for n in ("a", "b", "y")]
    add = helper.make_node("Add", ["a", "b"], ["y"])
    model = helper.make_model(helper.make_graph([add], "g", info[:2], info[2:]))
    with pytest.raises(InputError, match="one input is needed, not a, b"):
        free_axes(model, ("n",))


def test_an_output_without_input_is_refused() -> None:
    one = numpy_helper.from_array(np.float32([1]), "one")
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node("Constant", [], ["y"], value=one)
    model = helper.make_model(helper.make_graph([node], "g", [], [out]))
    with pytest.raises(InputError, match="does not depend on its input"):
        fold_constants(model)


@pytest.mark.parametrize("data", [b"", b"hello, a text file\n", b"\x00" * 100, b"PK\x03\x04" + b"\xff" * 50])
def test_what_is_not_onnx_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"not an ONNX file|not a valid ONNX model"):
        load_model(data)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(quantized: dict[str, bytes], share: float) -> None:
    data = quantized["yunet"]
    with pytest.raises(InputError, match=r"not an ONNX file|not a valid ONNX model"):
        load_model(data[: int(len(data) * share)])


def test_weights_in_other_files_are_refused(tmp_path: Any, yunet: bytes) -> None:
    model = onnx.load_model_from_string(yunet)
    path = tmp_path / "m.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(InputError, match="weights in other files"):
        load_model(path.read_bytes())


def test_an_unknown_converter_is_named() -> None:
    with pytest.raises(InputError, match=r"no converter 'x'; there are onnx-float32"):
        convert("x", b"")
    assert convert("", b"as it is") == b"as it is"
