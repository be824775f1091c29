"""A classifier's file: what comes back is what was saved, and whatever else is refused in one line."""

from __future__ import annotations

import io
import json
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from classification.conftest import made_up, names_of
from visavis.classification import METHODS, Classifier
from visavis.errors import InputError, StorageError, VisavisError

PEOPLE, PHOTOS = 4, 3


@pytest.fixture(scope="module", params=METHODS)
def trained(request: pytest.FixtureRequest) -> Classifier:
    return Classifier.train(made_up(PEOPLE, PHOTOS), names_of(PEOPLE, PHOTOS), method=request.param, threshold=0.5)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "people.vvc"
    Classifier.train(made_up(PEOPLE, PHOTOS), names_of(PEOPLE, PHOTOS), method="rbf", threshold=0.5).save(path)
    return path


def altered(file: Path, target: Path, change: Callable[[dict[str, bytes]], Any], packing: int = 0) -> Path:
    """Write a copy of a classifier whose members were changed."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return target


def npy(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def header(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members["header.json"] = json.dumps(json.loads(members["header.json"]) | changes).encode()

    return change


def test_a_round_trip(trained: Classifier, tmp_path: Path) -> None:
    trained.save(tmp_path / "people.vvc")
    loaded = Classifier.load(tmp_path / "people.vvc")
    probes = made_up(6, 2)
    one, two = trained.predict(probes), loaded.predict(probes)
    for name in ("best", "known", "similarities", "scores", "probabilities"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    for name in ("method", "people", "reject", "confidence", "validation", "counts"):
        assert getattr(loaded, name) == getattr(trained, name)
    assert dict(loaded.settings) == dict(trained.settings)
    assert dict(loaded.made_with) == dict(trained.made_with)
    assert loaded.templates.model == "made-up"
    assert ("scikit-learn" in loaded.made_with) == (trained.method != "knn")
    loaded.save(tmp_path / "again.vvc")
    assert (tmp_path / "again.vvc").read_bytes() == (tmp_path / "people.vvc").read_bytes()


def test_numpy_opens_it_without_pickle(file: Path) -> None:
    with np.load(file, allow_pickle=False) as arrays:
        assert arrays["templates"].shape == (PEOPLE * PHOTOS, 64)
        assert arrays["weights"].shape == (PEOPLE, PEOPLE * PHOTOS)
        assert json.loads(arrays["header.json"])["format"] == "visavis-classifier"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_it_is_readable_by_its_owner_alone(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_who_is_forgotten_is_gone_from_the_file(trained: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "people.vvc"
    trained.save(path)
    gone = trained.templates.vectors[trained.owners == 1]
    assert gone[0].tobytes() in path.read_bytes()
    Classifier.load(path).forget("person 001").save(path)
    left = path.read_bytes()
    assert b"person 001" not in left
    for vector in gone:
        assert vector.tobytes() not in left
        assert vector[:4].tobytes() not in left
        assert vector.astype(np.float64)[:4].tobytes() not in left
    assert list(tmp_path.iterdir()) == [path]


def test_every_cut_is_refused(file: Path, tmp_path: Path) -> None:
    data, cut = file.read_bytes(), tmp_path / "cut.vvc"
    for length in {*range(0, len(data), 97), len(data) - 1}:
        cut.write_bytes(data[:length])
        with pytest.raises(InputError, match="is not a classifier, or damaged"):
            Classifier.load(cut)


@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=3))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_altered_bytes_are_refused_or_harmless(file: Path, tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(file.read_bytes())
    for at, flip in changes:
        data[at % len(data)] ^= flip
    path = tmp_path / "altered.vvc"
    path.write_bytes(data)
    try:
        loaded = Classifier.load(path)
    except InputError:
        return
    assert len(loaded.predict(made_up(2, 1))) == 2  # a byte that says nothing: a date, an attribute


NAN = np.full((PEOPLE * PHOTOS, 64), np.nan, np.float32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (header(format="something"), "another format's"),
        (header(method="forest"), "it knows no method 'forest'"),
        (header(method="svm"), r"weights is float64 \(4, 12\), not float64 \(4, 64\)|larger than it may be"),
        (header(version=0), "no whole number"),
        (header(version="1"), "no whole number"),
        (header(templates=10**9), "no whole number in 1..1000000"),
        (header(templates=10**6), r"templates is float32 \(12, 64\)"),
        (header(dimension=10**9), "no whole number in 1..16384"),
        (header(templates=True), "no whole number"),
        (header(people=[]), "names nobody"),
        (header(people=["a"] * 4), "somebody twice"),
        (header(people=["a", "b", "c", "d\te"]), "control characters"),
        (header(people=["a", "b", "c"]), "belongs to nobody"),
        (header(people=["a", "b", "c", "d", "e"]), "counts are not those"),
        (header(counts=[3, 3, 3, 4]), "counts are not those"),
        (header(model=""), "1 to 200 characters"),
        (header(settings={}), "'reject'"),
        (header(settings=None), "not subscriptable"),
        (header(reject={"rule": "mine"}), "it knows no rule"),
        (
            header(reject={"rule": "given", "threshold": float("nan"), "fpir": None, "fmr": None, "photos": 0}),
            "no number",
        ),
        (header(reject={"rule": "given", "threshold": 7, "fpir": None, "fmr": None, "photos": 0}), "no number"),
        (header(confidence={"slope": "x"}), "no number"),
        (header(validation=[1]), "list indices"),
        (lambda m: m.update({"header.json": b"[1]"}), "another format's"),
        (lambda m: m.update({"header.json": b"{"}), "Expecting"),
        (lambda m: m.update({"header.json": b"[" * 100_000}), "recursion|not a classifier"),
        (lambda m: m.update({"header.json": b"\xff\xfe"}), "not a classifier"),
        (lambda m: m.pop("header.json"), "it has no header.json"),
        (lambda m: m.pop("weights.npy"), "it has no weights.npy"),
        (lambda m: m.update({"templates.npy": npy(NAN)}), "NaN"),
        (lambda m: m.update({"templates.npy": npy(np.ones((12, 64), np.float32))}), "length 1"),
        (lambda m: m.update({"templates.npy": npy(np.ones((12, 63), np.float32))}), r"\(12, 63\)"),
        (lambda m: m.update({"templates.npy": npy(np.ones((12, 64)))}), "float64|larger"),
        (lambda m: m.update({"templates.npy": npy(np.asfortranarray(np.ones((12, 64), np.float32)))}), "not float32"),
        (lambda m: m.update({"owners.npy": npy(np.full(12, 4))}), "belongs to nobody"),
        (lambda m: m.update({"owners.npy": npy(np.full(12, -1))}), "belongs to nobody"),
        (lambda m: m.update({"owners.npy": npy(np.array([None] * 12), allow_pickle=True)}), "owners is object"),
        (lambda m: m.update({"owners.npy": pickle.dumps([0] * 12)}), "magic"),
        (lambda m: m.update({"intercepts.npy": m["intercepts.npy"] + b"x"}), "intercepts is"),
        (lambda m: m.update({"intercepts.npy": m["intercepts.npy"][:-1]}), "intercepts is"),
    ],
)
def test_what_does_not_fit_is_refused(change: Callable[..., Any], said: str, file: Path, tmp_path: Path) -> None:
    path = altered(file, tmp_path / "altered.vvc", change)
    with pytest.raises(InputError, match=said) as caught:
        Classifier.load(path)
    assert str(caught.value).startswith(repr(str(path)))
    assert "train it anew" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_a_newer_version_says_so(file: Path, tmp_path: Path) -> None:
    path = altered(file, tmp_path / "newer.vvc", header(version=2))
    with pytest.raises(InputError, match="was written by a newer visavis; update this one"):
        Classifier.load(path)


def test_a_packed_bomb_is_not_unpacked(file: Path, tmp_path: Path) -> None:
    def bomb(members: dict[str, bytes]) -> None:
        members["templates.npy"] = bytes(50_000_000)

    path = altered(file, tmp_path / "bomb.vvc", bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**6
    with pytest.raises(InputError, match="is packed"):
        Classifier.load(path)


def test_a_member_that_claims_more_than_the_file_has(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        size = archive.getinfo("templates.npy").file_size
    path = tmp_path / "claims.vvc"
    path.write_bytes(data.replace(size.to_bytes(4, "little"), (2**31).to_bytes(4, "little")))
    with pytest.raises(InputError, match=r"larger than it may be|damaged"):
        Classifier.load(path)


@pytest.mark.parametrize("content", [b"", b"no classifier", b"PK\x05\x06" + bytes(18), pickle.dumps({"a": 1})])
def test_other_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.vvc"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a classifier, or damaged"):
        Classifier.load(path)


def test_another_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", templates=np.ones(3))
    with pytest.raises(InputError, match=r"it has no header\.json"):
        Classifier.load(tmp_path / "other.npz")


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.vvc"):
        with pytest.raises(InputError, match=r"there is no classifier .* make it: visavis classify train"):
            Classifier.load(path)


def test_a_place_that_can_not_be_written(trained: Classifier, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="can't be written: no such file or directory"):
        trained.save(tmp_path / "none" / "people.vvc")
    assert issubclass(StorageError, VisavisError)


def test_a_failed_write_leaves_the_old_file(
    trained: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "people.vvc"
    trained.save(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="no space left"):
        trained.forget("person 000").save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
