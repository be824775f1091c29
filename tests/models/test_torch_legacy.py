"""torch's old files: real ones are read, broken ones told apart, and nothing in them ever runs."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import InputError
from visavis.models.convert import convert
from visavis.models.convert.torch_legacy import read_state_dict
from visavis.models.registry import download

REFERENCE = Path(__file__).resolve().parent.parent / "reference" / "mtcnn"
NETWORKS = ("pnet", "rnet", "onet")


@pytest.fixture(scope="module")
def files(home, cards, tmp_path_factory):
    """Return the three .pt files as the package has them."""
    folder = home.with_name(home.name + "-archives")
    folder.mkdir(parents=True, exist_ok=True)
    source = cards["mtcnn-pnet"].sources[0]
    with FileLock(folder / "facenet.lock"):
        if not list(folder.glob("facenet_pytorch-*.whl")):
            package = download(source, tmp_path_factory.mktemp("facenet"))
            package.path.replace(folder / package.path.name)
    with zipfile.ZipFile(next(folder.glob("facenet_pytorch-*.whl"))) as wheel:
        return {name: wheel.read(f"facenet_pytorch/data/{name}.pt") for name in NETWORKS}


@pytest.fixture
def saved(monkeypatch):
    """Return a function that writes arrays as torch did: names of torch's, none of its code."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2():
        raise AssertionError

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    for name in ("FloatStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    class Tensor:
        def __init__(self, key, storage, offset, shape, strides):
            self.key, self.storage, self.parts = key, storage, (offset, shape, strides)

        def __reduce__(self):
            kind = torch.FloatStorage if self.storage.dtype == np.float32 else torch.LongStorage
            stored = Stored(("storage", kind, self.key, "cpu", self.storage.size, None))
            return _rebuild_tensor_v2, (stored, *self.parts, False, OrderedDict())

    class Stored:
        def __init__(self, values):
            self.values = values

    class Writer(pickle.Pickler):
        def persistent_id(self, obj):
            return obj.values if isinstance(obj, Stored) else None

    def save(tensors, *, magic=0x1950A86A20F9469CFC6C, protocol=1001, little=True, extra=None, shared=False):
        rows = OrderedDict(
            (name, Tensor("0" if shared else str(k), *(t if isinstance(t, tuple) else whole(t))))
            for k, (name, t) in enumerate(tensors.items())
        )
        rows.update(extra or {})
        file = io.BytesIO()
        for value in (magic, protocol, {"protocol_version": 1001, "little_endian": little}, rows):
            Writer(file, 2).dump(value)
        kept = [tensor for tensor in rows.values() if isinstance(tensor, Tensor)][: 1 if shared else None]
        Writer(file, 2).dump([tensor.key for tensor in kept])
        for tensor in kept:
            file.write(struct.pack("<q", tensor.storage.size) + tensor.storage.tobytes())
        return file.getvalue()

    def whole(array):
        return array.ravel(), 0, array.shape, tuple(step // array.itemsize for step in array.strides)

    return save


def test_the_networks_equal_torch(files):
    ort = pytest.importorskip("onnxruntime")
    with np.load(REFERENCE / "networks.npz") as reference:
        for name in NETWORKS:
            session = ort.InferenceSession(convert(f"mtcnn-{name}", files[name]), providers=["CPUExecutionProvider"])
            pixels = (reference[f"{name}_pixels"].astype(np.float32) - 127.5) * np.float32(0.0078125)
            found = session.run(None, {"image": np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))})
            for output, values in zip(session.get_outputs(), found, strict=True):
                np.testing.assert_allclose(values, reference[f"{name}_{output.name}"], atol=1e-5)


def test_the_networks_take_any_number_and_pnet_any_size(files):
    onnx = pytest.importorskip("onnx")
    for name, size in (("pnet", ["h", "w"]), ("rnet", [24, 24]), ("onet", [48, 48])):
        graph = onnx.load_model_from_string(convert(f"mtcnn-{name}", files[name])).graph
        dims = [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
        assert dims == ["n", 3, *size]


def test_real_files_have_their_tensors(files):
    tensors = read_state_dict(files["pnet"])
    assert {name: t.shape for name, t in tensors.items()}["conv1.weight"] == (10, 3, 3, 3)
    assert len(tensors) == 13
    assert sum(t.size for t in tensors.values()) == 6632
    assert all(t.dtype == np.float32 and t.flags.owndata for t in tensors.values())


def test_what_was_written_is_read(saved):
    rng = np.random.default_rng(0)
    tensors = {
        "a.weight": rng.normal(size=(3, 4, 2)).astype(np.float32),
        "turned": rng.normal(size=(3, 4)).astype(np.float32).T,
        "count": np.arange(5, dtype=np.int64),
        "none": np.empty((0, 3), np.float32),
        "one": np.float32(7).reshape(()),
    }
    given_ = {name: (t.base.ravel(), 0, t.shape, (1, 4)) if name == "turned" else t for name, t in tensors.items()}
    given_["part"] = (np.arange(10, dtype=np.float32), 4, (2, 2), (3, 1))
    read = read_state_dict(saved(given_))
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(read[name], tensor)
        assert read[name].dtype == tensor.dtype
    np.testing.assert_array_equal(read["part"], [[4, 5], [7, 8]])


class Runs:
    """What a malicious pickle holds: a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_that_runs_something_runs_nothing(saved, tmp_path, place, protocol):
    trace = tmp_path / "ran"
    attacks = [Runs(os.mkdir, str(trace)), Runs(exec, f"open({str(trace)!r}, 'w')"), Runs(eval, "1 / 0")]
    for attack in attacks:
        parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, OrderedDict(), []]
        parts[place] = attack
        data = b"".join(pickle.dumps(part, 2 if k != place else protocol) for k, part in enumerate(parts))
        with pytest.raises(InputError):
            read_state_dict(data)
        with pytest.raises(InputError):
            read_state_dict(saved({"x": np.ones(3, np.float32)}, extra={"y": attack}))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"\x80\x02cbuiltins\neval\n.", "builtins.eval"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "SHORT_BINUNICODE"),
        (b"\x80\x02ccollections\nOrderedDict\n(K\x01K\x02tR.", "neither a dictionary nor a tensor"),
        (b"(i__main__\nC\n.", "INST"),
        (b"\x80\x02r\xff\xff\xff\xff.", "not a .pt"),  # the C unpickler takes 64 GB for this index
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.", "not a .pt"),  # and tries to for this length
        (b"\x80\x02]" + b"]a" * 10, "not a .pt"),
        (b"\x80\x02" + b"K\x01" * 300_000 + b".", "instructions"),
        (b".", "not a .pt"),
        (b"", "not a .pt"),
        (b"a photo, not a tensor", "not a .pt"),
    ],
)
def test_other_pickles_are_refused(code, message):
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        read_state_dict(code)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"magic": 7}, "magic number"),
        ({"protocol": 1002}, "protocol"),
        ({"little": False}, "big-endian"),
        ({"extra": {"step": 3}}, "'step' in this .pt file is no dense tensor"),
    ],
)
def test_a_file_that_is_not_what_it_should_be(saved, changes, message):
    with pytest.raises(InputError, match=message):
        read_state_dict(saved({"x": np.ones(3, np.float32)}, **changes))


def test_tensors_beyond_their_storage(saved):
    numbers = np.arange(10, dtype=np.float32)
    for tensor in ((numbers, 5, (6,), (1,)), (numbers, 0, (2, 5), (6, 1)), (numbers, 0, (10**6, 10**6), (0, 0))):
        with pytest.raises(InputError, match="reaches beyond its storage"):
            read_state_dict(saved({"x": tensor}))
    for tensor in ((numbers, -1, (2,), (1,)), (numbers, 0, (2,), (-1,)), (numbers, 0, (2,), (1, 1))):
        with pytest.raises(InputError, match="corrupt"):
            read_state_dict(saved({"x": tensor}))


def test_tensors_of_one_storage_take_no_more_than_a_file_may(saved, monkeypatch):
    numbers = np.arange(100, dtype=np.float32)
    data = saved({f"x{i}": (numbers, 0, (100,), (1,)) for i in range(90)}, shared=True)
    assert len(read_state_dict(data)) == 90
    monkeypatch.setattr("visavis.models.convert.torch_legacy._MAX_BYTES", 90 * 400 - 1)
    with pytest.raises(InputError, match="which is the limit"):
        read_state_dict(data)


def test_an_empty_tensor_of_impossible_sides(saved):
    with pytest.raises(InputError, match="impossible shape"):
        read_state_dict(saved({"x": (np.arange(3, dtype=np.float32), 0, (0, 2**39, 2**39), (1, 1, 1))}))


def test_other_formats_and_sizes(monkeypatch, files):
    with pytest.raises(InputError, match="zip format"):
        read_state_dict(b"PK\x03\x04" + bytes(100))
    monkeypatch.setattr("visavis.models.convert.torch_legacy._MAX_BYTES", 1000)
    with pytest.raises(InputError, match="are the limit"):
        read_state_dict(files["pnet"])


def test_a_file_that_was_cut_short_or_goes_on(files):
    data = files["pnet"]
    for length in [*range(0, 2200, 7), *range(2200, len(data), 997), len(data) - 1]:
        with pytest.raises(InputError):
            read_state_dict(data[:length])
    with pytest.raises(InputError, match="goes on"):
        read_state_dict(data + b"\0")


@given(at=st.integers(0, 2600), value=st.integers(0, 255))
def test_an_altered_file_is_read_or_refused(files, at, value):
    data = bytearray(files["pnet"])
    data[at] = value
    try:
        tensors = read_state_dict(bytes(data))
    except InputError:
        return
    assert all(isinstance(t, np.ndarray) for t in tensors.values())


def test_weights_of_another_network(files, saved):
    with pytest.raises(
        InputError, match=r"not MTCNN's weights: conv1.weight has shape \(10, 3, 3, 3\), not \(28, 3, 3, 3\)"
    ):
        convert("mtcnn-rnet", files["pnet"])
    tensors = read_state_dict(files["pnet"])
    with pytest.raises(InputError, match=r"conv4_2.bias is missing"):
        convert("mtcnn-pnet", saved({name: t for name, t in tensors.items() if name != "conv4_2.bias"}))
    with pytest.raises(InputError, match=r"more.weight belongs to no layer"):
        convert("mtcnn-pnet", saved({**tensors, "more.weight": np.ones(2, np.float32)}))
    with pytest.raises(InputError, match="finite float32"):
        convert("mtcnn-pnet", saved({**tensors, "conv2.bias": np.full(16, np.nan, np.float32)}))
    with pytest.raises(InputError, match=r"conv2.weight has shape \(16, 9, 3, 3\), not \(16, 10, 3, 3\)"):
        convert("mtcnn-pnet", saved({**tensors, "conv2.weight": np.ones((16, 9, 3, 3), np.float32)}))
