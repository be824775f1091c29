"""Weight manifests of TensorFlow.js: dtypes, quantization, sizes that must add up, files that are something else."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from visavis.errors import InputError
from visavis.models.convert.tfjs_weights import parse_json, read_manifest, read_weights


def manifest(*weights: dict, paths: tuple[str, ...] = ("w.bin",)) -> list[dict]:
    return [{"paths": list(paths), "weights": list(weights)}]


def weight(name: object = "w", shape: object = (2,), dtype: object = "float32") -> dict:
    return {"name": name, "shape": list(shape) if isinstance(shape, tuple) else shape, "dtype": dtype}


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.int32]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0),
        elements=st.integers(-99, 99),
    )
)
def test_what_is_written_is_read(values):
    found = read_weights(manifest(weight("a", values.shape, str(values.dtype))), {"w.bin": values.tobytes()})
    np.testing.assert_array_equal(found["a"], values)
    assert found["a"].dtype == values.dtype
    assert found["a"].shape == values.shape


def test_weights_follow_each_other_through_several_files():
    first, second = np.arange(6, dtype=np.float32), np.arange(3, dtype=np.int32)
    data = first.tobytes() + second.tobytes()
    rows = manifest(weight("a", (2, 3)), weight("b", (3,), "int32"), paths=("1", "2"))
    found = read_weights(rows, {"1": data[:7], "2": data[7:]})
    np.testing.assert_array_equal(found["a"], first.reshape(2, 3))
    np.testing.assert_array_equal(found["b"], second)


@pytest.mark.parametrize("stored", ["float16", "uint8", "uint16"])
def test_quantized_weights(stored):
    raw = np.array([0, 1, 200, 255], stored)
    row = weight("a", (4,)) | {"quantization": {"dtype": stored, "scale": 0.02, "min": -1.5}}
    found = read_weights(manifest(row), {"w.bin": raw.tobytes()})["a"]
    expected = raw.astype(np.float64) if stored == "float16" else raw * 0.02 - 1.5
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


def test_quantized_whole_numbers():
    row = weight("a", (), "int32") | {"quantization": {"dtype": "uint8", "scale": 1, "min": 5118}}
    found = read_weights(manifest(row), {"w.bin": b"\x02"})["a"]
    assert found.dtype == np.int32
    assert found.item() == 5120


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (manifest(weight(shape=(3,))), "ends beyond its file of 8 bytes: truncated"),
        (manifest(weight(shape=(1,))), "w.bin has 8 bytes, but its weights 4"),
        (manifest(weight(shape=(-1,))), "impossible shape"),
        (manifest(weight(shape=(2**40,))), "impossible shape"),
        (manifest(weight(shape=(2**31 - 1,) * 8)), "ends beyond"),
        (manifest(weight(shape=(1,) * 9)), "impossible shape"),
        (manifest(weight(shape=(0, 2**30, 2**30, 2**30))), "misstates"),
        (manifest(weight(shape=(8,)) | {"quantization": {"dtype": "uint8", "scale": 10**400, "min": 0}}), "misstates"),
        (manifest(weight(shape=(1.5,))), "impossible shape"),
        (manifest(weight(shape=(True,))), "impossible shape"),
        (manifest(weight(shape="22")), "impossible shape"),
        (manifest(weight(shape=None)), "misstates"),
        (manifest(weight(dtype="string")), "dtype 'string', not float32 or int32"),
        (manifest(weight(dtype=["float32"])), "misstates"),
        (manifest(weight() | {"quantization": {"dtype": "int4"}}), "quantized to 'int4'"),
        (manifest(weight(shape=(8,)) | {"quantization": {"dtype": "uint8"}}), "misstates 'scale'"),
        (manifest(weight(shape=(8,)) | {"quantization": {"dtype": "uint8", "scale": 1e300, "min": 0}}), "scale"),
        (manifest(weight(shape=(8,)) | {"quantization": {"dtype": "uint8", "scale": float("nan"), "min": 0}}), "scale"),
        (manifest(weight(shape=(8,)) | {"quantization": {"dtype": "uint8", "scale": "1", "min": 0}}), "scale"),
        (manifest(weight(shape=(1,)), weight(shape=(1,))), "a name of its own"),
        (manifest(weight(name=7)), "a name of its own"),
        (manifest(weight(), paths=("other.bin",)), "'other.bin', which the weight manifest names, is missing"),
        (manifest(weight(), paths=("../../etc/passwd",)), "is missing"),
        ([], "lists no weights"),
        ({}, "lists no weights"),
        ([{}], "misstates 'paths'"),
        ([7], "misstates"),
        (None, "misstates"),
        ([{"paths": ["w.bin"], "weights": [{}]}], "misstates 'name'"),
    ],
)
def test_manifests_that_do_not_add_up(rows, message):
    with pytest.raises(InputError, match=message) as caught:
        read_weights(rows, {"w.bin": bytes(8)})
    assert "\n" not in str(caught.value)


def test_a_huge_shape_takes_no_memory():
    tracemalloc.start()
    with pytest.raises(InputError):
        read_weights(manifest(weight(shape=(2**31 - 1, 2**31 - 1))), {"w.bin": bytes(1000)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_values_that_are_no_numbers():
    with pytest.raises(InputError, match="NaN or infinity"):
        read_weights(manifest(weight()), {"w.bin": np.array([1, np.inf], np.float32).tobytes()})


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 10_000, json.dumps([{}]).encode()[:-1]]
)
def test_what_is_no_json(data):
    with pytest.raises(InputError, match="not JSON, or a truncated file"):
        parse_json(data)


def test_json_without_end():
    with pytest.raises(InputError, match="at most 16 MB"):
        parse_json(b" " * (1 << 25))


def test_a_manifest_of_its_own():
    rows = json.dumps(manifest(weight())).encode()
    assert read_manifest(rows, {"w.bin": bytes(8)})["w"].tolist() == [0, 0]
    with pytest.raises(InputError, match=r"w\.bin"):
        read_manifest(rows, {})
