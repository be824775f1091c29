"""COCO's average precision, held against pycocotools."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from visavis.errors import InputError
from visavis.evaluation.average_precision import coco_average_precision
from visavis.evaluation.detection import Found, Truth


def scene(rng: np.random.Generator, pictures: int, classes: int = 1) -> tuple[list[Truth], list[Found]]:
    """Return made-up faces of all sizes, crowds among them, and a detector's boxes: near, missing, double, false."""
    truths, found = [], []
    for _ in range(pictures):
        n = int(rng.integers(0, 12))
        corner = rng.uniform(0, 400, (n, 2)).round(1)
        size = np.exp(rng.uniform(np.log(6), np.log(250), (n, 2))).round(1)
        boxes = np.concatenate([corner, corner + size], axis=1)
        labels = rng.integers(0, classes, n)
        crowd = rng.random(n) < 0.15
        areas = size.prod(axis=1) * rng.uniform(0.5, 1, n)
        truths.append(Truth(boxes, crowd=crowd, areas=areas, labels=labels))
        kept = rng.random(n) < 0.8
        near = boxes[kept] + rng.normal(0, 0.08, (kept.sum(), 4)) * np.tile(size[kept], 2)
        twice = near[rng.random(len(near)) < 0.3] + rng.normal(0, 1, 4)
        m = int(rng.integers(0, 130 if rng.random() < 0.1 else 6))
        false = np.concatenate([(low := rng.uniform(0, 400, (m, 2))), low + rng.uniform(4, 120, (m, 2))], axis=1)
        every = np.concatenate([near, twice, false])
        every[:, 2:] = np.maximum(every[:, 2:], every[:, :2])
        scores = rng.random(len(every)).round(1 if rng.random() < 0.3 else 4)  # ties too
        found.append(Found(every, scores, rng.integers(0, classes, len(every))))
    return truths, found


def reference(truths: list[Truth], found: list[Found], classes: int) -> COCOeval:
    annotations: list[dict[str, Any]] = []
    results = []
    for p, (truth, boxes) in enumerate(zip(truths, found, strict=True)):
        for box, crowd, area, label in zip(truth.boxes, truth.crowd, truth.areas, truth.labels, strict=True):
            wide = [*box[:2], *(box[2:] - box[:2])]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": p, "category_id": int(label), "bbox": wide}
                | {"area": area, "iscrowd": int(crowd)}
            )
        for box, score, label in zip(boxes.boxes, boxes.scores, boxes.labels, strict=True):
            wide = [*box[:2], *(box[2:] - box[:2])]
            results.append({"image_id": p, "category_id": int(label), "bbox": wide, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        images = [{"id": p} for p in range(len(truths))]
        ground.dataset = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": k} for k in range(classes)],
        }
        ground.createIndex()
        detections = COCO()
        detections.dataset = {
            **ground.dataset,
            "annotations": [
                {"id": i + 1, "iscrowd": 0, "area": r["bbox"][2] * r["bbox"][3], **r} for i, r in enumerate(results)
            ],
        }
        detections.createIndex()
        judge = COCOeval(ground, detections, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


@pytest.mark.parametrize(("seed", "classes"), [(0, 1), (1, 1), (2, 3)])
def test_figures_are_those_of_pycocotools(seed: int, classes: int) -> None:
    truths, found = scene(np.random.default_rng(seed), 60, classes)
    judge = reference(truths, found, classes)
    result = coco_average_precision(truths, found)
    assert result.precision.shape == judge.eval["precision"].shape
    np.testing.assert_allclose(result.precision, judge.eval["precision"], atol=1e-12)
    np.testing.assert_allclose(result.recall, judge.eval["recall"], atol=1e-12)
    ours = [-1 if value is None else value for value in result.to_dict().values()]
    np.testing.assert_allclose(ours, judge.stats, atol=1e-12)
    assert 0.02 < result.ap(0.5) < 0.95


@given(st.integers(0, 10**6))
def test_any_few_pictures_give_the_figures_of_pycocotools(seed: int) -> None:
    truths, found = scene(np.random.default_rng(seed), 3)
    judge = reference(truths, found, 1)
    result = coco_average_precision(truths, found)
    if result.precision.size:
        np.testing.assert_allclose(result.precision, judge.eval["precision"], atol=1e-12)
    else:  # no face at all: pycocotools has a class without faces, here there is none
        assert (judge.eval["precision"] == -1).all()


def test_nothing_to_find_has_no_figure() -> None:
    result = coco_average_precision([Truth(np.empty((0, 4)))], [Found([[0, 0, 5, 5]], [0.5])])
    assert result.ap() is None
    assert set(result.to_dict().values()) == {None}


def test_mistakes_are_refused() -> None:
    with pytest.raises(InputError, match="can't be compared"):
        coco_average_precision([Truth(np.empty((0, 4)))], [])
    result = coco_average_precision([Truth([[0, 0, 5, 5]])], [Found([[0, 0, 5, 5]], [0.5])])
    with pytest.raises(InputError, match="no area 'tiny'"):
        result.ap(area="tiny")
    with pytest.raises(InputError, match=r"0\.3 was not measured"):
        result.ap(0.3)
