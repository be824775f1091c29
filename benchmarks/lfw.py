"""LFW for benchmarks: photos, pairs and embeddings of the person each photo is named after.

The central face is the one the photo is labelled with: LFW photos were cut around it (Huang et al., "Labeled Faces
in the Wild", 2007).
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visavis import Analyzer, Embeddings, Faces

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("VISAVIS_DATA") or ROOT.parent / "shared" / "data")


@dataclass(frozen=True)
class Lfw:
    """The photos of a zip with folders ``NAME/NAME_0001.jpg`` and a ``pairs.txt``."""

    archive: zipfile.ZipFile
    members: list[str]

    @classmethod
    def open(cls, path: Path = DATA / "lfw-dev.zip") -> Lfw:
        archive = zipfile.ZipFile(path)
        return cls(archive, sorted(name for name in archive.namelist() if name.endswith(".jpg")))

    @property
    def photos(self) -> list[str]:
        """Return the photos' names: ``Ada_Lovelace_0001``."""
        return [Path(member).stem for member in self.members]

    @property
    def people(self) -> list[str]:
        """Return the person of each photo."""
        return [Path(member).parent.name for member in self.members]

    def read(self, i: int) -> bytes:
        """Return photo i as encoded JPEG."""
        return self.archive.read(self.members[i])

    def pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return View 2's pairs: photo indices ``(p, 2)``, whether mated ``(p,)`` and fold ``(p,)``."""
        where = {photo: i for i, photo in enumerate(self.photos)}
        (listing,) = (name for name in self.archive.namelist() if name.endswith("pairs.txt"))
        rows = self.archive.read(listing).decode().splitlines()
        folds, per_kind = (int(word) for word in rows[0].split())
        pairs, mated = [], []
        for row in rows[1:]:
            words = row.split()
            if len(words) == 3:
                a, b = (f"{words[0]}_{int(n):04d}" for n in words[1:])
            else:
                a, b = f"{words[0]}_{int(words[1]):04d}", f"{words[2]}_{int(words[3]):04d}"
            pairs.append((where[a], where[b]))
            mated.append(len(words) == 3)
        return np.array(pairs), np.array(mated), np.repeat(np.arange(folds), 2 * per_kind)


def central(faces: Faces, width: int = 250, height: int = 250) -> Faces:
    """Return the face nearest the middle of the photo, as one row; no row where there is no face."""
    if not len(faces):
        return faces
    off = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 - np.array([width / 2, height / 2])
    nearest = int(np.argmin((off**2).sum(axis=1)))
    return faces[nearest : nearest + 1]


def embeddings(lfw: Lfw, analyzer: Analyzer) -> tuple[Embeddings, np.ndarray]:
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


def ten_fold(similarity: np.ndarray, mated: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return the accuracy of each fold at the threshold that is best on the other nine (LFW View 2)."""
    accuracies = []
    for held_out in np.unique(fold):
        train, test = fold != held_out, fold == held_out
        candidates = np.unique(similarity[train])
        yes = np.sort(similarity[train & mated])
        no = np.sort(similarity[train & ~mated])
        right = len(yes) - np.searchsorted(yes, candidates) + np.searchsorted(no, candidates)
        best = candidates[right == right.max()]
        threshold = best[len(best) // 2]
        accuracies.append(float(((similarity[test] >= threshold) == mated[test]).mean()))
    return np.array(accuracies)
