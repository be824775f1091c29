"""LFW for benchmarks: photos, pairs and embeddings of the person each photo is named after."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from visavis import Analyzer, Embeddings
from visavis.datasets import lfw as _lfw
from visavis.datasets.lfw import central
from visavis.evaluation.verification import ten_fold

__all__ = ["DATA", "ROOT", "Lfw", "central", "embeddings", "ten_fold"]

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("VISAVIS_DATA") or ROOT.parent / "shared" / "data")


class Lfw(_lfw.Lfw):
    """LFW from the folder beside the checkout, unless another is named."""

    @classmethod
    def open(cls, where: str | os.PathLike[str] = DATA / "lfw-dev.zip") -> _lfw.Lfw:
        return _lfw.Lfw.open(where)


def embeddings(lfw: _lfw.Lfw, analyzer: Analyzer) -> tuple[Embeddings, np.ndarray]:
    """Return an embedding a photo with a face, and the indices of those photos."""
    rows, kept = [], []
    for i, analysis in enumerate(analyzer.stream(lfw.read(i) for i in range(len(lfw.members)))):
        if analysis.error is not None:
            raise analysis.error
        face = central(analysis.faces)
        if len(face):
            assert face.embeddings is not None
            rows.append(face.embeddings)
            kept.append(i)
    return Embeddings.concat(rows), np.array(kept)
