"""Detectors measured on annotated pictures: six people marked by hand, and made-up detections."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from visavis.datasets.annotations import Annotation, read_annotations, write_annotations
from visavis.errors import InputError
from visavis.models.store import Store
from visavis.pipeline import Analyzer
from visavis.protocols.detection import Detections, detect_pictures, measure, paired
from visavis.protocols.detection_report import detection_document
from visavis.protocols.landmarks import find_landmarks, measure_landmarks
from visavis.reporting.document import Figure, Pictures, Table

# Drawn and clicked by hand on the sample photo "six-people": hairline to chin; eyes, nose, mouth corners.
SIX = (
    ([745, 345, 846, 478], [[760, 397], [800, 403], [783, 424], [767, 439], [806, 442]]),
    ([462, 262, 574, 412], [[491, 319], [537, 332], [508, 362], [484, 365], [530, 380]]),
    ([1132, 270, 1226, 400], [[1149, 328], [1195, 323], [1169, 351], [1154, 365], [1198, 363]]),
    ([272, 145, 366, 276], [[291, 213], [321, 194], [300, 232], [312, 243], [340, 232]]),
    ([903, 60, 1012, 212], [[915, 118], [946, 115], [921, 151], [933, 169], [959, 168]]),
    ([60, 258, 172, 402], [[86, 329], [132, 309], [117, 343], [115, 371], [148, 350]]),
)


@pytest.fixture(scope="session")
def six(store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Annotation]:
    """Return a folder with the photo, and what was marked on it."""
    folder = tmp_path_factory.mktemp("six")
    shutil.copy(store.fetch("six-people"), folder / "six.jpg")
    boxes, points = (np.array(part, np.float32) for part in zip(*SIX, strict=True))
    return folder, Annotation("six.jpg", boxes, 1280, 886, landmarks=points)


@pytest.fixture(scope="session")
def found(six: tuple[Path, Annotation], store: Store) -> Detections:
    analyzer = Analyzer(recognizer=None, score=0.05, threads=1, precision="f32", store=store)
    return detect_pictures([six[1]], six[0], analyzer)


def test_yunet_finds_the_six(found: Detections) -> None:
    assert found.faces == 6
    result = measure(found, "coco")
    assert result.figures["ap_50"] == pytest.approx(1)
    assert result.figures["ap"] > 0.7
    assert result.matches.recall_at(0.6).value == 1
    assert result.slices["height"][5].faces == 6
    document = result.to_dict()
    assert (document["protocol"], document["pictures"], document["faces"]) == ("coco", 1, 6)


def test_by_wider_and_fddb(found: Detections) -> None:
    wider = measure(found, "wider")
    assert set(wider.figures) == {"ap_easy", "ap_medium", "ap_hard"}
    assert wider.figures["ap_hard"] == pytest.approx(1)
    assert "approximated by heights" in wider.notes[0]
    fddb = measure(found, "fddb")
    assert fddb.figures["discrete_1000"] == 1
    assert 0.75 < fddb.figures["continuous_1000"] < 1


def test_listed_faces_are_the_protocols_own() -> None:
    boxes = np.array([[0, 0, 60, 60], [100, 0, 160, 60]], np.float32)
    truth = Annotation("a/b.jpg", boxes, traits={"easy": np.array([True, False]), "hard": np.array([True, True])})
    seen = Annotation("a/b.jpg", boxes[:1], scores=np.array([0.5], np.float32))
    result = measure(paired([truth], [seen]), "wider")
    assert result.figures == {"ap_easy": 1, "ap_hard": 0.5}
    assert result.notes == ()


def test_what_does_not_count_is_neither_found_nor_missed() -> None:
    boxes = np.array([[0, 0, 60, 60], [100, 0, 160, 60], [200, 0, 260, 60], [300, 0, 300, 60]], np.float32)
    truth = Annotation("a.jpg", boxes, traits={"invalid": np.array([0, 1, 0, 0]), "difficult": np.array([0, 0, 1, 0])})
    result = measure(paired([truth], [Annotation("a.jpg", boxes[:2], scores=np.array([0.5, 0.9]))]))
    assert result.matches.total == 1
    assert result.figures["ap_50"] == pytest.approx(1)
    assert result.notes == ("1 boxes of the ground truth have no area and don't count",)


def test_detections_of_other_pictures_are_refused() -> None:
    boxes = np.array([[0, 0, 60, 60]], np.float32)
    with pytest.raises(InputError, match=r"1 pictures of the detections are not in the ground truth, as b\.jpg"):
        paired([Annotation("a.jpg", boxes)], [Annotation("b.jpg", boxes)])
    assert len(paired([Annotation("a.jpg", boxes)], []).found[0]) == 0
    with pytest.raises(InputError, match="no picture"):
        measure(paired([], []))
    with pytest.raises(InputError, match="no face to be found"):
        measure(paired([Annotation("a.jpg", np.empty((0, 4)))], []))
    with pytest.raises(InputError, match=r"gone\.jpg"):
        detect_pictures([Annotation("gone.jpg", boxes)], Path(), Analyzer(recognizer=None, threads=1))


def test_the_report_shows_misses_and_false_alarms(six: tuple[Path, Annotation], found: Detections) -> None:
    kept = found.found[0].take([0, 1, 2])
    alarm = Annotation("six.jpg", np.array([[600, 700, 700, 800]]), scores=np.array([0.99]))
    boxes, scores = np.concatenate([kept.boxes, alarm.boxes]), np.concatenate([kept.scores, alarm.scores])
    result = measure(Detections(found.truth, (Annotation("six.jpg", boxes, scores=scores),)), "coco")
    document = detection_document(result, "yunet", six[0])
    parts = [part for section in document.sections for part in section.parts]
    misses, alarms = (part for part in parts if isinstance(part, Pictures))
    assert sum(map(len, misses.rows)) == 3
    (picture,) = (picture for row in alarms.rows for picture in row)
    assert picture.caption == "six.jpg, score 0.99"
    assert max(picture.image.shape) == 220
    assert any(isinstance(part, Figure) for part in parts)
    assert any(
        isinstance(part, Table) and part.rows[0] == ("AP, mean of IoU 0.5 to 0.95", f"{result.figures['ap']:.4f}")
        for part in parts
    )
    assert document.results["faces"] == 6
    assert [s.title for s in detection_document(result, "yunet", None).sections] == ["COCO", "Slices"]


def test_landmarks_of_the_six(six: tuple[Path, Annotation], store: Store) -> None:
    folder, marked = six
    analyzer = Analyzer(recognizer=None, threads=1, precision="f32", store=store)
    truth, seen = find_landmarks([marked], folder, analyzer)
    errors = measure_landmarks(truth, seen, "box")
    assert len(errors.measured) == 6
    assert errors.nme < 0.06  # by YuNet, of points that were clicked by eye
    part = measure_landmarks(truth, [seen[0].take([0, 1, 2, 3, 4])], "box")
    assert part.to_dict()["without_landmarks"] == 1
    assert part.failure_rate(0.1) == pytest.approx(1 / 6)


def test_landmarks_that_cannot_be_compared_are_refused(six: tuple[Path, Annotation]) -> None:
    marked = six[1]
    other = marked.replace(landmarks=np.zeros((6, 68, 2)), scores=np.ones(6))
    with pytest.raises(InputError, match="marked with 5 landmarks a face, and 68 were found"):
        measure_landmarks([marked], [other])
    with pytest.raises(InputError, match="has 68 landmarks a face, those before 5"):
        measure_landmarks([marked, other], [])
    with pytest.raises(InputError, match="has no landmarks"):
        measure_landmarks([marked.replace(landmarks=None)], [])


def test_real_detections_have_the_figures_of_pycocotools(
    six: tuple[Path, Annotation], found: Detections, tmp_path: Path
) -> None:
    """Ours are read from the files that pycocotools reads too: ground truth and results as COCO has them."""
    truth, results = tmp_path / "truth.json", tmp_path / "results.json"
    write_annotations(truth, [six[1]], "coco")
    write_annotations(results, found.found, "coco-results", pictures={"six.jpg": 1})
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO(str(truth))
        judge = COCOeval(ground, ground.loadRes(str(results)), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    ours = measure(paired(read_annotations(truth), read_annotations(results, truth=truth)))
    figures = [-1 if value is None else value for value in ours.figures.values()]
    np.testing.assert_allclose(figures, judge.stats, atol=1e-12)
    assert 0.7 < ours.figures["ap"] < 1
