"""From an index's answer to a decision: names, thresholds and error rates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from visavis.errors import ModelMismatch
from visavis.gallery import store
from visavis.gallery.index import TemplateIndex
from visavis.models.cards import Calibration
from visavis.recognition.compare import OperatingPoint, fmr_at, operating_point
from visavis.types import Candidates, Embeddings, Faces

__all__ = ["candidates", "refuse_other_models", "resemblances"]

_RESEMBLANCE_FMR = 1e-4


def refuse_other_models(model: str, held: Mapping[str, int]) -> None:
    """Raise `ModelMismatch` if a collection without templates of ``model`` holds some of other models."""
    if held:
        raise ModelMismatch(
            f"the gallery holds templates of {', '.join(sorted(held))}, none of {model!r}; identify with that model, "
            "enroll with this one, or remake the templates from kept crops"
        )


def candidates(
    connection: Connection,
    index: TemplateIndex | None,
    embeddings: Embeddings,
    faces: Faces | None,
    top: int,
    point: OperatingPoint,
    calibration: Calibration | None,
) -> Candidates:
    """Search an index and name what it finds."""
    ids: npt.NDArray[np.int64] = np.empty((len(embeddings), 0), np.int64)
    similarities: npt.NDArray[np.float64] = np.empty((len(embeddings), 0))
    if index is not None and len(embeddings):
        ids, similarities = index.search(embeddings.vectors, top)
    names = store.names_of(connection, ids.ravel().tolist())
    return Candidates(
        subjects=tuple(tuple(names[i] for i in row) for row in ids.tolist()),
        similarities=np.clip(similarities, -1, 1).astype(np.float32),
        counts=(similarities >= point.threshold).sum(axis=1),
        threshold=point.threshold,
        fmr=point.fmr,
        fpir=point.fpir,
        model=embeddings.model,
        fmr_at_similarity=None if calibration is None else fmr_at(calibration, similarities),
        faces=faces,
    )


def resemblances(
    connection: Connection, index: TemplateIndex, name: str, embeddings: Embeddings, calibration: Calibration
) -> tuple[str, ...]:
    """Say whom besides ``name`` new templates look like, at an FMR of 1e-4."""
    ids, similarities = index.search(embeddings.vectors, 2)
    names = store.names_of(connection, ids.ravel().tolist())
    point = operating_point(calibration, fmr=max(_RESEMBLANCE_FMR, float(calibration.fmr[-1])))
    closest: dict[str, float] = {}
    for row, scores in zip(ids.tolist(), similarities.tolist(), strict=True):
        for other, score in zip((names[i] for i in row), scores, strict=True):
            if other != name and score >= max(point.threshold, closest.get(other, -1.0)):
                closest[other] = score
    return tuple(
        f"looks like {other!r} (similarity {score:.2f}, FMR {float(fmr_at(calibration, score)):.0e} or less); "
        "the same person under two names?"
        for other, score in closest.items()
    )
