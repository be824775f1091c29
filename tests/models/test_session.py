"""Sessions: two engines that agree, batches, threads, and what they refuse."""

from __future__ import annotations

import sys
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from visavis.errors import EngineError, InputError
from visavis.models import session as sessions
from visavis.models.cards import InputSpec
from visavis.models.session import EngineOptions, network_input, open_session

RNG = np.random.default_rng(0)
CROPS = RNG.integers(0, 256, (20, 112, 112, 3), dtype=np.uint8)
SCENE = RNG.integers(0, 256, (2, 96, 160, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def open_one(store):
    """Return a function that opens a model on an engine."""

    def make(name, engine="openvino", precision="f32", threads=1, **how):
        card = store.card(name)
        options = EngineOptions(engine, "cpu", precision, threads)
        return open_session(store.path(name), card.input, options, cache_dir=store.compiled_dir(), **how)

    return make


@pytest.fixture(scope="module")
def reference(open_one):
    """Return SFace's answers to CROPS from ONNX Runtime."""
    (answer,) = open_one("sface", "onnxruntime").run(CROPS).values()
    return answer


@pytest.fixture(scope="module")
def shared_sface(open_one):
    return open_one("sface", batches=(1, 8))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class TestEnginesAgree:
    def test_on_sface_in_f32(self, open_one, reference):
        outputs = open_one("sface", batches=(1, 8)).run(CROPS)
        assert list(outputs) == list(open_one("sface", "onnxruntime").run(CROPS[:1]))
        (answer,) = outputs.values()
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, reference, atol=2e-4 * np.abs(reference).max())

    def test_on_sface_nearly_in_bf16(self, open_one, reference):
        session = open_one("sface", precision="bf16", batches=(1, 8))
        (answer,) = session.run(CROPS).values()
        assert (unit(answer) * unit(reference)).sum(axis=1).min() > 0.995

    def test_on_yunet(self, open_one):
        ours, theirs = open_one("yunet").run(SCENE), open_one("yunet", "onnxruntime").run(SCENE)
        assert sorted(ours) == sorted(theirs)
        assert len(ours) == 12
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], atol=2e-4, err_msg=name)

    def test_auto_is_what_the_cpu_has(self, open_one):
        assert open_one("yunet", precision="auto").options.precision in ("f32", "bf16")
        assert open_one("yunet", "onnxruntime", precision="auto").options.precision == "f32"

    @pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
    @pytest.mark.parametrize("order", ["rgb", "bgr"])
    @pytest.mark.parametrize("layout", ["nchw", "nhwc"])
    def test_on_order_layout_mean_and_scale(self, tmp_path, engine, order, layout):
        spec = InputSpec((4, 6), order, (1.0, 2.0, 3.0), (0.5, 0.25, 0.125), layout)
        path = tmp_path / "same.onnx"
        save_identity(path, ["n", 3, 4, 6] if layout == "nchw" else ["n", 4, 6, 3])
        images = RNG.integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
        (answer,) = open_session(path, spec, EngineOptions(engine, "cpu", "f32"), batches=(1, 2)).run(images).values()
        pixels = images[..., ::-1] if order == "bgr" else images
        expected = (pixels - np.array([1.0, 2.0, 3.0])) * np.array([0.5, 0.25, 0.125])
        expected = expected.transpose(0, 3, 1, 2) if layout == "nchw" else expected
        np.testing.assert_allclose(answer, expected, rtol=1e-6)
        np.testing.assert_allclose(network_input(images, spec), expected, rtol=1e-6)


def save_identity(path, shape):
    node = helper.make_node("Mul", ["x", "one"], ["y"])
    one = numpy_helper.from_array(np.float32([1]), "one")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    graph = helper.make_graph([node], "g", [x], [y], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


class TestBatches:
    @pytest.mark.parametrize("n", range(1, 21))
    def test_any_number_gives_the_rows_of_singles(self, shared_sface, reference, n):
        (answer,) = shared_sface.run(CROPS[:n]).values()
        assert answer.shape == (n, 128)
        np.testing.assert_allclose(answer, reference[:n], atol=2e-4 * np.abs(reference).max())

    @pytest.mark.parametrize("batches", [(1,), (1, 4), (1, 8), (1, 2, 16)])
    def test_chunks_cover_every_row_once(self, batches):
        for n in range(1, 70):
            cuts = sessions._chunks(n, batches)
            assert [row for start, stop, _ in cuts for row in range(start, stop)] == list(range(n))
            assert all(0 < stop - start <= batch and batch in batches for start, stop, batch in cuts)
            assert sum(batch for _, _, batch in cuts) - n <= max(batches) // 4

    def test_the_answer_belongs_to_the_caller(self, shared_sface):
        (first,) = shared_sface.run(CROPS[:1]).values()
        kept = first.copy()
        shared_sface.run(CROPS[1:2])
        np.testing.assert_array_equal(first, kept)

    def test_a_strided_batch(self, shared_sface, reference):
        (answer,) = shared_sface.run(CROPS[::3]).values()
        np.testing.assert_allclose(answer, reference[::3], atol=2e-4 * np.abs(reference).max())

    def test_sizes_may_change_between_calls(self, open_one):
        session, fresh = open_one("yunet"), open_one("yunet", "onnxruntime")
        for n, height, width in ((1, 64, 64), (3, 32, 96), (1, 96, 32), (3, 32, 96), (1, 64, 64)):
            images = RNG.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
            np.testing.assert_allclose(session.run(images)["cls_8"], fresh.run(images)["cls_8"], atol=2e-4)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_threads_share_a_session(open_one, reference, engine):
    session = open_one("sface", engine, batches=(1, 8), parallel=4, threads=2)
    wrong = []

    def work(start):
        for n in (1, 3, 8, 2):
            rows = slice(start, start + n)
            (answer,) = session.run(CROPS[rows]).values()
            if not np.allclose(answer, reference[rows], atol=2e-4 * np.abs(reference).max()):
                wrong.append((start, n))

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 4, 8, 12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class TestRefused:
    @pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
    @pytest.mark.parametrize(
        "images",
        [
            np.zeros((112, 112, 3), np.uint8),
            np.zeros((1, 112, 112), np.uint8),
            np.zeros((1, 112, 112, 4), np.uint8),
            np.zeros((1, 112, 112, 3), np.float32),
            np.zeros((0, 112, 112, 3), np.uint8),
            np.zeros((1, 111, 112, 3), np.uint8),
            np.zeros((1, 224, 224, 3), np.uint8),
        ],
        ids=lambda a: f"{a.dtype}{a.shape}",
    )
    def test_images(self, open_one, engine, images):
        with pytest.raises(InputError, match="takes"):
            open_one("sface", engine).run(images)

    def test_sides_that_are_no_multiple(self, open_one):
        with pytest.raises(InputError, match=r"whose sides 32 divides, not \(64, 65\)"):
            open_one("yunet").run(np.zeros((1, 64, 65, 3), np.uint8))

    @pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
    @pytest.mark.parametrize(
        "content", [None, b"", b"not a model", b"\x08\x07" + b"\xff" * 5000], ids=["missing", "empty", "text", "torn"]
    )
    def test_a_file_that_is_no_model(self, tmp_path, engine, content):
        path = tmp_path / "bad.onnx"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(EngineError, match=r"can't load bad\.onnx") as caught:
            open_session(path, InputSpec((8, 8)), EngineOptions(engine), cache_dir=tmp_path / "c").run(
                np.zeros((1, 8, 8, 3), np.uint8)
            )
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
    def test_a_torn_model(self, tmp_path, store, engine):
        path = tmp_path / "torn.onnx"
        path.write_bytes(store.path("yunet").read_bytes()[:100_000])
        with pytest.raises(EngineError, match=r"can't load torn\.onnx"):
            open_session(path, store.card("yunet").input, EngineOptions(engine)).run(SCENE)


class TestChoosing:
    def test_defaults(self, monkeypatch):
        for name in ("ENGINE", "DEVICE", "PRECISION", "THREADS"):
            monkeypatch.delenv(f"VISAVIS_{name}", raising=False)
        chosen = EngineOptions.choose()
        assert (chosen.engine, chosen.device, chosen.precision) == ("openvino", "cpu", "auto")
        assert chosen.threads == sessions.usable_cores() >= 1

    def test_environment(self, monkeypatch):
        monkeypatch.setenv("VISAVIS_ENGINE", "onnxruntime")
        monkeypatch.setenv("VISAVIS_PRECISION", "f32")
        monkeypatch.setenv("VISAVIS_THREADS", "3")
        assert EngineOptions.choose() == EngineOptions("onnxruntime", "cpu", "f32", 3)
        assert EngineOptions.choose(engine="openvino", threads=1) == EngineOptions("openvino", "cpu", "f32", 1)

    def test_a_gpu_means_onnx_runtime(self, monkeypatch):
        monkeypatch.setenv("VISAVIS_DEVICE", "cuda")
        assert EngineOptions.choose().engine == "onnxruntime"

    def test_empty_variables_count_as_unset(self, monkeypatch):
        for name in ("ENGINE", "DEVICE", "PRECISION", "THREADS"):
            monkeypatch.setenv(f"VISAVIS_{name}", "")
        assert EngineOptions.choose().engine == "openvino"

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("ENGINE", "tflite", "engine must be one of openvino, onnxruntime, not 'tflite'"),
            ("DEVICE", "tpu", "device must be one of cpu, cuda, .* not 'tpu'"),
            ("PRECISION", "int8", "precision must be one of auto, f32, bf16, not 'int8'"),
            ("THREADS", "many", "VISAVIS_THREADS must be a whole number, not 'many'"),
            ("THREADS", "0", "threads must be a whole number of at least 1, not 0"),
            ("THREADS", "-2", "threads must be"),
        ],
    )
    def test_unknown_values(self, monkeypatch, name, value, message):
        monkeypatch.setenv(f"VISAVIS_{name}", value)
        with pytest.raises(InputError, match=message):
            EngineOptions.choose()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"engine": "openvino", "device": "cuda"}, "needs engine='onnxruntime'"),
            ({"engine": "onnxruntime", "precision": "bf16"}, "needs engine='openvino'"),
            ({"threads": 1.5}, "threads must be a whole number"),
        ],
    )
    def test_what_does_not_go_together(self, options, message):
        with pytest.raises(InputError, match=message):
            EngineOptions.choose(**options)

    @pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
    def test_a_missing_engine(self, monkeypatch, engine):
        monkeypatch.setattr(sessions, "_installed", lambda name: name != engine)
        with pytest.raises(EngineError, match=f"{engine} is not installed: pip install {engine}"):
            EngineOptions.choose(engine=engine)

    def test_without_openvino_onnx_runtime_is_taken(self, monkeypatch):
        monkeypatch.setattr(sessions, "_installed", lambda name: name != "openvino")
        assert EngineOptions.choose().engine == "onnxruntime"

    @pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
    def test_an_engine_that_does_not_import(self, monkeypatch, tmp_path, engine):
        monkeypatch.setitem(sys.modules, engine, None)
        with pytest.raises(EngineError, match="can't be loaded"):
            open_session(tmp_path / "x.onnx", InputSpec((8, 8)), EngineOptions(engine))

    def test_a_device_that_the_build_lacks(self, tmp_path):
        with pytest.raises(EngineError, match=r"has no DmlExecutionProvider; it has .*CPUExecutionProvider"):
            open_session(tmp_path / "x.onnx", InputSpec((8, 8)), EngineOptions("onnxruntime", "directml"))


def test_the_cpu_has_a_name():
    assert sessions.cpu_name().strip()


def test_without_proc_no_child_is_started(monkeypatch):
    import subprocess

    def refuse(*args, **kwargs):
        raise AssertionError("a child process was started")

    monkeypatch.setattr(sessions.Path, "open", lambda *a, **k: (_ for _ in ()).throw(OSError("no /proc")))
    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert sessions.cpu_name()
    assert sessions._cpu_key()
