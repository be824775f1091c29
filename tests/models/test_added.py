from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import visavis as vv
from visavis.errors import InputError, StorageError
from visavis.models.added import card_toml
from visavis.models.cards import InputSpec, ModelCard, parse_cards
from visavis.models.session import EngineOptions
from visavis.models.store import Store
from visavis.recognition import open_recognizer

SOURCE = str(Path(vv.__file__).parents[1])
ARCFACE = {"size": (112, 112), "mean": 127.5, "scale": 1 / 127.5, "order": "rgb", "alignment": "arcface-112"}


def network(
    *,
    layout: str = "nchw",
    side: int | str = 112,
    batch: int | str = 1,
    kind: int = TensorProto.FLOAT,
    outputs: int = 1,
    reshape: bool = True,
    over_batch: bool = False,
    factor: float = 1.0,
    rank: int = 2,
) -> bytes:
    """Return a small recognizer: pooling by 16, then a linear layer to 8 numbers, as trainers export it."""
    rng = np.random.default_rng(5)
    shape = [batch, 3, side, side] if layout == "nchw" else [batch, side, side, 3]
    nodes, weights, at = [], [], "image"

    def then(op: str, *more: str, **attributes: Any) -> str:
        nonlocal at
        out = f"t{len(nodes)}"
        nodes.append(helper.make_node(op, [at, *more], [out], **attributes))
        at = out
        return out

    def constant(name: str, value: Any) -> str:
        weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    if kind != TensorProto.FLOAT:
        then("Cast", to=TensorProto.FLOAT)
    if layout == "nhwc":
        then("Transpose", perm=[0, 3, 1, 2])
    then("AveragePool", kernel_shape=[16, 16], strides=[16, 16])
    if over_batch:  # as batch normalization does that was left in training mode
        then("ReduceMean", keepdims=1, axes=[0])
    features = 3 * 7 * 7
    if reshape:
        value = numpy_helper.from_array(np.int64([1, features]))
        nodes.append(helper.make_node("Constant", [], ["shape"], value=value))
        then("Reshape", "shape")
    else:
        then("Flatten", axis=1)
    then("Gemm", constant("w", rng.normal(0, factor, (features, 8)).astype(np.float32)))
    then("Dropout")
    if rank == 4:
        then("Unsqueeze", constant("axes", np.int64([2, 3])))
    names = [at]
    if outputs == 2:
        names.append(then("Relu"))
    end = [batch, 8, 1, 1][:rank]
    graph = helper.make_graph(
        nodes,
        "recognizer",
        # As older exporters did: every weight is listed as an input too.
        [
            helper.make_tensor_value_info("image", kind, shape),
            *(helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in weights),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, end) for name in names],
        weights,
    )
    # Opset 13: ReduceMean's axes are an attribute, Unsqueeze's an input.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def save(data: bytes, name: str = "mine.onnx") -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return save


def embed(store: Store, name: str, crops: Any) -> Any:
    return open_recognizer(name, store, EngineOptions.choose(precision="f32", threads=1)).embed(crops)


@pytest.fixture
def crops() -> Any:
    return np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), np.uint8)


# It works everywhere by its name


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_an_added_model_computes_what_it_says(
    empty: Store, save: Callable[..., Path], crops: Any, layout: str, order: Any
) -> None:
    data = network(layout=layout)
    card = empty.add(save(data), name="mine", **{**ARCFACE, "order": order}, license="MIT", commercial_use=True)
    assert (card.dimension, card.license, card.commercial_use, card.user_added) == (8, "MIT", True, True)
    assert card.input == InputSpec((112, 112), order, (127.5,) * 3, (1 / 127.5,) * 3, layout)  # type: ignore[arg-type]

    # By numpy: mean of each 16 x 16 block, times the weights.
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load_model_from_string(data).graph.initializer}
    pixels = (crops[..., ::-1] if order == "bgr" else crops).astype(np.float64)
    blocks = ((pixels - 127.5) / 127.5).reshape(5, 7, 16, 7, 16, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2)
    expected = blocks.reshape(5, -1) @ weights["w"]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = embed(Store(empty.home), "mine", crops)
    assert found.model == "mine"
    np.testing.assert_allclose(found.vectors, expected, atol=1e-4)


def test_sface_added_by_hand_is_sface(empty: Store, home: Path, crops: Any) -> None:
    given = {**ARCFACE, "mean": 0, "scale": [1, 1, 1]}
    card = empty.add(Store(home).path("sface"), name="my-sface", dimension=128, **given)
    assert (card.dimension, card.license, card.commercial_use) == (128, "unknown", None)
    ours, theirs = embed(empty, "my-sface", crops), embed(Store(home), "sface", crops)
    np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=1e-6)
    with pytest.raises(vv.ModelMismatch):
        ours.require_same_model(theirs)


def test_the_analyzer_takes_it_by_name(home: Path, tmp_path: Path, archives: Path, save: Callable[..., Path]) -> None:
    store = Store(tmp_path / "store")
    store.fetch("yunet", source_dir=archives)
    store.fetch("obama", source_dir=archives)
    store.add(save(network()), name="mine", **ARCFACE)
    faces = vv.Analyzer(recognizer="mine", store=store).analyze(store.path("obama"))
    assert len(faces) == 1
    assert faces.embeddings is not None
    assert faces.embeddings.vectors.shape == (1, 8)
    assert faces.embeddings.model == "mine"


@pytest.mark.parametrize("batch", [1, 4, "n"])
def test_any_batch_axis_becomes_free(empty: Store, save: Callable[..., Path], batch: int | str, crops: Any) -> None:
    file = save(network(batch=batch, reshape=batch == 1))
    empty.add(file, name="mine", **ARCFACE)
    assert embed(empty, "mine", crops).vectors.shape == (5, 8)


def test_a_free_input_size_takes_the_one_given(empty: Store, save: Callable[..., Path]) -> None:
    card = empty.add(save(network(side="side", batch="n")), name="mine", **ARCFACE)
    assert card.input is not None
    assert card.input.size == (112, 112)


def test_one_of_several_outputs(empty: Store, save: Callable[..., Path], crops: Any) -> None:
    file = save(network(outputs=2))
    names = [output.name for output in onnx.load(file).graph.output]
    with pytest.raises(InputError, match=rf"several outputs \({names[0]}, {names[1]}\)"):
        empty.add(file, name="mine", **ARCFACE)
    with pytest.raises(InputError, match="it has no output 'x'"):
        empty.add(file, name="mine", output="x", **ARCFACE)
    empty.add(file, name="first", output=names[0], **ARCFACE)
    empty.add(file, name="second", output=names[1], **ARCFACE)
    assert (embed(empty, "first", crops).vectors < 0).any()
    assert not (embed(empty, "second", crops).vectors < 0).any()


# What does not fit is refused, and nothing is left


@pytest.mark.parametrize(
    ("made", "given", "message"),
    [
        ({"side": 112}, {"size": (160, 160)}, "its input is 112x112 pixels, not 160x160"),
        ({}, {"size": (112, 96)}, "squares of at least 16 pixels, not 112x96"),
        ({}, {"size": (3, 3)}, "squares of at least 16"),
        ({}, {"dimension": 512}, "its embeddings have 8 numbers, not 512"),
        ({}, {"alignment": "guess"}, "no alignment template 'guess'; there are arcface-112"),
        ({}, {"mean": [1, 2]}, "one number or three, not 2"),
        ({}, {"scale": 0}, "scale not 0"),
        ({}, {"scale": float("nan")}, "must be finite"),
        ({}, {"order": "rbg"}, "order is rgb or bgr"),
        ({"kind": TensorProto.UINT8}, {}, "float32 images of four axes are needed"),
        ({"rank": 4}, {}, "an output of 1x8x1x1"),
        ({"over_batch": True, "reshape": False, "batch": "n"}, {}, "export it with a free batch axis"),
        ({"factor": 1e38}, {"scale": 1e30}, "NaN or infinity"),
    ],
)
def test_what_does_not_fit_is_refused(
    empty: Store, save: Callable[..., Path], made: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        empty.add(save(network(**made)), name="mine", **{**ARCFACE, **given})
    assert not list((empty.home / "models").glob("*"))
    assert not list((empty.home / "work").glob("*"))


@pytest.mark.parametrize("name", ["", "Mine", "a b", "../up", "a/b", ".hidden", "x" * 65, "名", "sface+flip"])
def test_impossible_names(empty: Store, save: Callable[..., Path], name: str) -> None:
    with pytest.raises(InputError, match="is no model name"):
        empty.add(save(network()), name=name, **ARCFACE)


def test_a_taken_name_is_an_error(empty: Store, save: Callable[..., Path]) -> None:
    file = save(network())
    for name in ("sface", "obama"):
        with pytest.raises(InputError, match=f"there is a model '{name}' already"):
            empty.add(file, name=name, **ARCFACE)
    empty.add(file, name="mine", **ARCFACE)
    before = empty.path("mine").read_bytes()
    with pytest.raises(InputError, match="there is a model 'mine' already"):
        empty.add(save(network(factor=3), "other.onnx"), name="mine", **ARCFACE)
    assert empty.path("mine").read_bytes() == before
    empty.remove("mine")
    empty.add(file, name="mine", **ARCFACE)


def test_two_processes_adding_one_name(tmp_path: Path, save: Callable[..., Path]) -> None:
    code = (
        "import sys; from pathlib import Path; from visavis.models.store import Store\n"
        "Store().add(Path(sys.argv[1]), name='mine', size=(112, 112), mean=float(sys.argv[2]), scale=1,\n"
        "            order='rgb', alignment='arcface-112')"
    )
    file = save(network())
    environment = {**os.environ, "VISAVIS_HOME": str(tmp_path / "home"), "PYTHONPATH": SOURCE}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(file), str(mean)], env=environment, stderr=subprocess.PIPE, text=True
        )
        for mean in range(3)
    ]
    errors = [process.communicate(timeout=120)[1] for process in running]
    assert sorted(process.returncode for process in running) == [0, 1, 1]
    assert sum("there is a model 'mine' already" in error for error in errors) == 2
    store = Store(tmp_path / "home")
    winner = next(k for k, process in enumerate(running) if process.returncode == 0)
    spec = store.card("mine").input
    assert spec is not None
    assert spec.mean == (winner, winner, winner)
    assert store.verify("mine").state == "ready"


@pytest.mark.parametrize("data", [b"", b"text", b"\x08\x08", b"\xff" * 2000])
def test_a_file_that_is_not_onnx(empty: Store, save: Callable[..., Path], data: bytes) -> None:
    with pytest.raises(InputError, match=r"mine\.onnx: not a"):
        empty.add(save(data), name="mine", **ARCFACE)


def test_files_that_can_not_be_read(empty: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        empty.add(tmp_path / "missing.onnx", name="mine", **ARCFACE)
    with pytest.raises(InputError, match="is not a file"):
        empty.add(tmp_path, name="mine", **ARCFACE)
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(2 << 30)  # sparse
    with pytest.raises(InputError, match=r"2048 MB; at most 1024 MB"):
        empty.add(tmp_path / "huge.onnx", name="mine", **ARCFACE)


def test_damage_to_an_added_model_is_said(empty: Store, save: Callable[..., Path]) -> None:
    empty.add(save(network()), name="mine", **ARCFACE)
    path = empty.path("mine")
    path.write_bytes(path.read_bytes()[:-1])
    assert empty.verify("mine").state == "damaged"
    with pytest.raises(StorageError, match="visavis models rm mine, then add it"):
        empty.path("mine")


def test_a_broken_card_spoils_no_other(empty: Store, save: Callable[..., Path]) -> None:
    for name in ("good", "torn", "renamed"):
        empty.add(save(network()), name=name, **ARCFACE)
    card = empty.home / "models" / "torn" / "card.toml"
    card.write_text(card.read_text()[:40])
    folder = empty.home / "models" / "renamed"
    folder.rename(folder.with_name("other"))
    assert {name for name, card in empty.cards().items() if card.user_added} == {"good"}
    problems = empty.problems()
    assert len(problems) == 2
    assert any("torn" in problem for problem in problems)
    assert any("it describes renamed" in problem for problem in problems)
    assert empty.path("good").is_file()


def test_a_card_can_not_take_the_place_of_a_built_in_one(empty: Store, save: Callable[..., Path]) -> None:
    empty.add(save(network()), name="mine", **ARCFACE)
    folder = empty.home / "models" / "mine"
    (folder / "card.toml").write_text((folder / "card.toml").read_text().replace('["mine"', '["sface"'))
    folder.rename(folder.with_name("sface"))
    assert not empty.card("sface").user_added
    assert empty.cards()["sface"].dimension == 128
    assert "visavis has a model of that name itself" in empty.problems()[0]
    assert empty.state("sface").state in ("absent", "outdated")


numbers = st.floats(-1e6, 1e6).filter(bool)


@given(
    text=st.text(max_size=60),
    mean=st.tuples(numbers, numbers, numbers),
    scale=st.tuples(numbers, numbers, numbers),
    use=st.sampled_from([True, False, None]),
)
def test_a_card_reads_back_as_it_was_written(text: str, mean: Any, scale: Any, use: bool | None) -> None:
    card = ModelCard(
        id="my.model-2",
        task="recognition",
        title=text,
        license=text,
        commercial_use=use,
        member_sha256="0" * 64,
        input=InputSpec((112, 112), "bgr", mean, scale, "nhwc"),
        output="8 numbers",
        alignment="arcface-112",
        dimension=8,
        user_added=True,
    )
    assert parse_cards(card_toml(card), user_added=True) == {"my.model-2": card}
