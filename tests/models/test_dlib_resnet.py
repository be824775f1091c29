"""dlib's networks, converted: the same numbers as dlib gives, and what is no such file is refused."""

from __future__ import annotations

import tracemalloc

import numpy as np
import onnx
import pytest

from visavis.errors import InputError
from visavis.models.cards import builtin_cards
from visavis.models.convert.dlib_mmod import dlib_mmod
from visavis.models.convert.dlib_resnet import dlib_resnet
from visavis.models.session import EngineOptions, import_openvino, open_session

CONVERT = {"dlib-resnet": dlib_resnet, "mmod": dlib_mmod}


@pytest.fixture(scope="module")
def dat(dlib_file):
    return {name: dlib_file(name).read_bytes() for name in CONVERT}


@pytest.fixture(scope="module")
def chips(lfw_images):
    """Return the middles of 100 photos, where the face is: pixels as they are."""
    return np.stack([photo[50:200, 50:200] for photo in lfw_images(100, seed=29)])


@pytest.fixture(scope="module")
def descriptors(chips, dlib_file):
    """Return what dlib itself says of the chips, as unit vectors."""
    dlib = pytest.importorskip("dlib")
    model = dlib.face_recognition_model_v1(str(dlib_file("dlib-resnet")))
    vectors = np.array([np.array(model.compute_face_descriptor(chip)) for chip in chips])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embed(store, chips, engine, precision):
    spec = builtin_cards()["dlib-resnet"].input
    options = EngineOptions(engine, "cpu", precision, 1)
    session = open_session(store.path("dlib-resnet"), spec, options, batches=(1, 4))
    (vectors,) = session.run(chips).values()
    vectors = vectors.astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_same_embeddings_as_dlib(engine, store, chips, descriptors):
    pytest.importorskip(engine)
    cosine = (embed(store, chips, engine, "f32") * descriptors).sum(axis=1)
    assert len(cosine) == 100
    assert cosine.min() > 0.999999


def test_bf16_turns_an_embedding_by_less_than_a_degree(store, chips, descriptors):
    openvino = import_openvino()
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU does not compute in bf16")
    cosine = (embed(store, chips, "openvino", "bf16") * descriptors).sum(axis=1)
    assert cosine.min() > np.cos(np.radians(1))


@pytest.mark.parametrize("name", CONVERT)
def test_a_valid_network_with_a_free_batch(name, dat):
    model = onnx.load_model_from_string(CONVERT[name](dat[name]))
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    assert not {"BatchNormalization", "Mul"} & {node.op_type for node in model.graph.node}, "folded"


@pytest.mark.parametrize("name", CONVERT)
def test_a_file_cut_short(name, dat):
    whole = dat[name]
    rng = np.random.default_rng(7)
    cuts = [0, 1, 2, 20, 300, len(whole) - 1, *rng.integers(0, len(whole), 30)]
    tracemalloc.start()
    try:
        for cut in cuts:
            with pytest.raises(InputError, match=r"cut short|not a dlib file|that network"):
                CONVERT[name](whole[: int(cut)])
        assert tracemalloc.get_traced_memory()[1] < 4 * len(whole)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", CONVERT)
def test_a_file_made_up(name, dat):
    whole = dat[name]
    other = dat["mmod" if name == "dlib-resnet" else "dlib-resnet"]
    for data in (whole + b"\0", b"", b"PK\3\4" * 100, b"\x80\x04\x95" + bytes(50), other, bytes(10**6)):
        with pytest.raises(InputError):
            CONVERT[name](data)


def test_any_byte_altered(dat):
    """Sizes, versions and kinds of layers are all checked; what is left are other weights, all of them finite."""
    whole = dat["mmod"]
    rng = np.random.default_rng(11)
    refused = 0
    for at in [*range(0, 310, 5), *rng.integers(0, len(whole), 20)]:
        altered = bytearray(whole)
        altered[at] ^= int(rng.integers(1, 256))
        try:
            model = onnx.load_model_from_string(dlib_mmod(bytes(altered)))
        except InputError:
            refused += 1
            continue
        for weights in model.graph.initializer:
            assert np.isfinite(onnx.numpy_helper.to_array(weights)).all()
    assert refused > 10


def test_a_layer_that_claims_more_than_there_is(dat):
    whole = dat["dlib-resnet"]
    at = whole.index(b"\x05con_4") + len(b"\x05con_4") + 2  # past the tensor's version: its samples
    assert whole[at : at + 3] == b"\x02\x80\x12"
    crafted = whole[:at] + b"\x08" + b"\xff" * 7 + b"\x0f" + whole[at + 3 :]
    with pytest.raises(InputError, match="need"):
        dlib_resnet(crafted)
