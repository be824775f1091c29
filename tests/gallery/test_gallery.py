"""Enrolling, identifying, listing, renaming and removing, with embeddings alone: no model is loaded here."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from visavis.errors import (
    CalibrationError,
    GalleryError,
    InputError,
    ModelMismatch,
    NoFaceFound,
    SubjectExists,
    UnknownSubject,
)
from visavis.gallery import index, open_gallery
from visavis.models.store import Store
from visavis.types import Embeddings, Faces


def test_enroll_then_identify(gallery, person) -> None:
    done = gallery.enroll("ada", person(1, 3))
    assert (done.subject, done.created, done.templates, done.model) == ("ada", True, 3, "test-model")
    gallery.enroll("bob", person(2))
    found = gallery.identify(Embeddings.concat([person(1, take=9), person(3), person(2, take=9)]), threshold=0.5)
    assert found.best == ("ada", None, "bob")
    assert found.counts.tolist() == [1, 0, 1]
    assert found.similarities.shape == (3, 2), "three templates of ada count as one subject"
    assert found.subjects[0] == ("ada", "bob")
    assert found.fmr is None
    assert found.fmr_at_similarity is None
    assert len(gallery) == 2


def test_more_templates_for_an_enrolled_subject(gallery, person) -> None:
    gallery.enroll("ada", person(1), metadata={"floor": 1})
    again = gallery.enroll("ada", person(1, take=1), external_id="4711")
    assert not again.created
    shown = gallery.show("ada")
    assert shown.counts == {"test-model": 2}
    assert shown.external_id == "4711"
    assert shown.metadata == {"floor": 1}, "metadata that wasn't given is left alone"
    gallery.enroll("ada", person(1, take=2), metadata={"floor": 2})
    assert gallery.show("ada").metadata == {"floor": 2}
    with pytest.raises(SubjectExists, match="4711"):
        gallery.enroll("ada", person(1), external_id="4712")
    with pytest.raises(SubjectExists, match="ada"):
        gallery.enroll("bob", person(2), external_id="4711")
    assert "bob" not in gallery
    assert gallery.models == {"test-model": 3}


def test_what_list_and_show_tell(gallery, person) -> None:
    before = datetime.now(timezone.utc)
    gallery.enroll("张伟", person(1, 2), external_id="x-1", metadata={"größe": [1.5, None, "ü"]})
    gallery.enroll("Ada", person(2))
    ada, zhang = gallery.list()
    assert (ada.name, zhang.name) == ("Ada", "张伟")
    assert zhang.metadata == {"größe": [1.5, None, "ü"]}
    assert zhang.counts == {"test-model": 2}
    assert zhang.templates == ()
    assert before - timedelta(seconds=1) <= zhang.created <= datetime.now(timezone.utc)
    shown = gallery.show("张伟")
    assert [t.model for t in shown.templates] == ["test-model"] * 2
    assert shown.templates[0].created.tzinfo is timezone.utc
    assert shown.to_dict()["templates"][0]["has_crop"] is False


def test_a_name_typed_two_ways_is_one_name(gallery, person) -> None:
    gallery.enroll("Zoe\N{COMBINING DIAERESIS}", person(1))
    assert "Zo\N{LATIN SMALL LETTER E WITH DIAERESIS}" in gallery
    assert not gallery.enroll("Zo\N{LATIN SMALL LETTER E WITH DIAERESIS}", person(1)).created


@pytest.mark.parametrize(
    "name",
    ["", " a", "a ", "a\nb", "a\x00b", "a\x1b[31mb", "x" * 201, "a\u202eb", "a\ud800b", "a\u2028b", None, 7, b"ada"],
)
def test_names_that_are_refused(gallery, person, name) -> None:
    with pytest.raises(InputError, match="name"):
        gallery.enroll(name, person(1))
    with pytest.raises(InputError, match="external id"):
        gallery.enroll("ada", person(1), external_id=name if name is not None else "")
    assert len(gallery) == 0


@pytest.mark.parametrize(
    "metadata",
    [[1], "text", {1: "a"}, {"a": float("nan")}, {"a": object()}, {"a": "x" * 70_000}, {"a": {1, 2}}, {"a": "\ud800"}],
)
def test_metadata_that_is_refused(gallery, person, metadata) -> None:
    with pytest.raises(InputError, match="metadata"):
        gallery.enroll("ada", person(1), metadata=metadata)
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InputError, match="metadata"):
        gallery.enroll("ada", person(1), metadata={"deep": deep})
    assert len(gallery) == 0


def test_hostile_names_are_only_names(gallery, person) -> None:
    names = ["'; DROP TABLE subjects; --", "%", "_", "*", "../../etc/passwd", '"', "NULL", "👩‍👩‍👧", "ن‌امه"]
    for i, name in enumerate(names):
        gallery.enroll(name, person(i))
    assert {subject.name for subject in gallery.list()} == set(names)
    gallery.remove("%")
    assert len(gallery) == len(names) - 1


@pytest.mark.parametrize("sources", [[], (), Embeddings(np.empty((0, 128), np.float32), "m")])
def test_nothing_to_enroll(gallery, sources) -> None:
    with pytest.raises(InputError, match="nothing to enroll"):
        gallery.enroll("ada", sources)


def test_faces_are_enrolled_and_identified_with_their_embeddings(gallery, person) -> None:
    boxes = np.array([[0, 0, 100, 100], [0, 0, 20, 20]], np.float32)
    faces = Faces(boxes, np.ones(2, np.float32), embeddings=Embeddings.concat([person(1), person(2)]))
    gallery.enroll("ada", faces)
    found = gallery.identify(faces, threshold=0.5)
    assert found.best == ("ada", None), "the small face in the background was no second person, and wasn't enrolled"
    assert found.faces is faces
    with pytest.raises(InputError, match="no embeddings"):
        gallery.enroll("bob", Faces(boxes, np.ones(2, np.float32)))
    with pytest.raises(NoFaceFound):
        gallery.enroll("bob", Faces.empty().replace(embeddings=Embeddings(np.empty((0, 128), np.float32), "m")))


def test_models_lie_side_by_side_and_never_mix(gallery, person) -> None:
    gallery.enroll("ada", person(1))
    gallery.enroll("ada", person(1, model="other", dimension=64))
    gallery.enroll("bob", person(2, model="other", dimension=64))
    assert gallery.models == {"other": 2, "test-model": 1}
    assert gallery.identify(person(2, model="other", dimension=64), threshold=0.5).best == ("bob",)
    assert gallery.identify(person(2), threshold=0.5).subjects == (("ada",),)
    with pytest.raises(ModelMismatch, match=r"other, test-model, none of 'third'"):
        gallery.identify(person(1, model="third"), threshold=0.5)
    with pytest.raises(ModelMismatch, match="64"):
        gallery.identify(person(1, dimension=64), threshold=0.5)


def test_one_model_has_one_dimension(gallery, person) -> None:
    gallery.enroll("ada", person(1))
    with pytest.raises(ModelMismatch, match="64"):
        gallery.enroll("bob", person(1, dimension=64))
    assert len(gallery) == 1


def test_an_empty_gallery_knows_nobody(gallery, person) -> None:
    found = gallery.identify(person(1, 2), threshold=0.5)
    assert found.best == (None, None)
    assert found.subjects == ((), ())
    assert found.similarities.shape == (2, 0)
    assert gallery.list() == ()
    assert gallery.models == {}
    assert gallery, "an empty gallery is still a gallery"


def test_thresholds_from_measured_error_rates(gallery, person) -> None:
    table = Store().card("sface").calibrations["sface"]
    for i in range(20):
        gallery.enroll(f"p{i}", person(i, model="sface"))
    found = gallery.identify(person(3, model="sface"))
    assert found.best == ("p3",)
    assert found.fpir == pytest.approx(0.01)
    assert found.fmr == pytest.approx(1 - 0.99 ** (1 / 20))
    assert table.similarities[0] < found.threshold < table.similarities[-1]
    assert found.fmr_at_similarity is not None
    assert found.fmr_at_similarity.shape == (1, 5)
    looser = gallery.identify(person(3, model="sface"), fmr=1e-2)
    assert looser.threshold < found.threshold
    assert looser.fmr == 1e-2
    gallery.enroll("q", person(1))
    with pytest.raises(CalibrationError, match="threshold"):
        gallery.identify(person(1))
    with pytest.raises(InputError, match="one of"):
        gallery.identify(person(3, model="sface"), fmr=0.1, threshold=0.3)


@pytest.mark.parametrize("top", [0, -1, 2.5, True, "3"])
def test_top_must_be_a_whole_number(gallery, person, top) -> None:
    with pytest.raises(InputError, match="top"):
        gallery.identify(person(1), top=top, threshold=0.5)


def test_a_new_subject_that_looks_like_another_is_told(gallery, person) -> None:
    assert gallery.enroll("ada", person(1, 2, model="sface")).warnings == ()
    assert gallery.enroll("ada", person(1, take=3, model="sface")).warnings == (), "like herself is no news"
    (warning,) = gallery.enroll("countess", person(1, take=4, model="sface")).warnings
    assert warning.startswith("looks like 'ada' (similarity 0.")
    assert "FMR" in warning
    assert gallery.enroll("bob", person(2, model="sface")).warnings == ()


def test_rename(gallery, person) -> None:
    gallery.enroll("ada", person(1))
    gallery.enroll("bob", person(2))
    gallery.rename("ada", "Ada Lovelace")
    assert gallery.identify(person(1), threshold=0.5).best == ("Ada Lovelace",)
    gallery.rename("bob", "bob")
    with pytest.raises(SubjectExists, match="Ada Lovelace"):
        gallery.rename("bob", "Ada Lovelace")
    with pytest.raises(UnknownSubject, match="carol"):
        gallery.rename("carol", "dave")
    assert [s.name for s in gallery.list()] == ["Ada Lovelace", "bob"]


def test_remove_takes_a_subject_out_of_search(gallery, person) -> None:
    gallery.enroll("ada", person(1, 2))
    gallery.enroll("bob", person(2))
    assert gallery.identify(person(1), threshold=0.5).best == ("ada",)
    gallery.remove("ada")
    assert gallery.identify(person(1), threshold=0.5).subjects == (("bob",),)
    for call in (gallery.remove, gallery.show, gallery.erase):
        with pytest.raises(UnknownSubject, match="ada"):
            call("ada")
    gallery.enroll("ada", person(3))
    assert gallery.identify(person(3), threshold=0.5).best == ("ada",)
    assert gallery.identify(person(1), threshold=0.5).best == (None,), "a name enrolled anew starts anew"


def test_remove_one_template(gallery, person) -> None:
    gallery.enroll("ada", Embeddings.concat([person(1), person(2)]))
    good, bad = (template.id for template in gallery.show("ada").templates)
    assert gallery.identify(person(2), threshold=0.5).best == ("ada",)
    gallery.remove("ada", template=bad)
    assert gallery.identify(person(2), threshold=0.5).best == (None,)
    with pytest.raises(InputError, match=f"no template {bad}; it has {good}"):
        gallery.remove("ada", template=bad)
    with pytest.raises(InputError, match="only one"):
        gallery.remove("ada", template=good)


def test_collections_are_apart(path, person) -> None:
    with open_gallery(path, collection="staff") as staff, open_gallery(path, collection="visitors") as visitors:
        staff.enroll("ada", person(1), external_id="1")
        visitors.enroll("ada", person(2), external_id="1")
        assert staff.identify(person(1), threshold=0.5).best == ("ada",)
        assert visitors.identify(person(1), threshold=0.5).best == (None,)
        assert staff.collections == ("staff", "visitors")
        visitors.erase("ada")
        assert staff.collections == ("staff",)
        assert len(staff) == 1
        assert len(visitors) == 0


def test_one_gallery_shared_by_threads(gallery, person) -> None:
    errors: list[Exception] = []

    def work(thread: int) -> None:
        try:
            for i in range(10):
                name = f"{thread}-{i}"
                gallery.enroll(name, person(thread * 100 + i))
                assert gallery.identify(person(thread * 100 + i), threshold=0.5).best == (name,)
        except Exception as error:  # noqa: BLE001 (handed on to the main thread)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(gallery) == 40


def test_a_closed_gallery_says_so(path, person) -> None:
    gallery = open_gallery(path)
    gallery.enroll("ada", person(1))
    gallery.close()
    gallery.close()
    with pytest.raises(GalleryError, match="closed"):
        gallery.identify(person(1), threshold=0.5)
    with pytest.raises(GalleryError, match="closed"):
        gallery.enroll("bob", person(2))


def test_a_large_gallery_is_searched_as_a_small_one(gallery, person, monkeypatch) -> None:
    """Enough templates for the 8-bit codes, enrolled in bulk, with removals and additions in between."""
    monkeypatch.setattr(index, "EIGHT_BIT_FROM", 20_000)
    rng = np.random.default_rng(0)
    bulk = Embeddings.normalized(rng.standard_normal((25_000, 32)), "bulk")
    for part in range(5):
        gallery.enroll(f"crowd {part}", bulk[part * 5000 : (part + 1) * 5000])
    probes = bulk[np.arange(0, 25_000, 100)]
    for _ in range(3):
        found = gallery.identify(probes, top=1, threshold=0.999)
    assert found.best == tuple(f"crowd {i // 5000}" for i in range(0, 25_000, 100))
    assert gallery._indexes._indexes["bulk"]._codes is not None
    gallery.remove("crowd 2")
    found = gallery.identify(probes, top=1, threshold=0.999)
    left = [i // 5000 for i in range(0, 25_000, 100) if i // 5000 != 2]
    assert [name for name in found.best if name] == [f"crowd {number}" for number in left]
    gallery.enroll("crowd 2", bulk[10_000:15_000])
    assert gallery.identify(probes, top=1, threshold=0.999).best[100] == "crowd 2"
