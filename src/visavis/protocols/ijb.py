"""IJB-B and IJB-C: templates of photos compared one to one, and searched in galleries.

1:1 compares the published pairs of templates: TAR at FARs of 1e-1 to 1e-6. 1:N searches every mixed probe in each of
the two galleries, whose subjects are disjoint: a probe is mated in one, and in the other it is of a stranger. Papers
print the means over the two galleries. The rank over both galleries joined, which InsightFace's script prints, is given
beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from visavis.datasets.ijb import Ijb, TemplatePairs, TemplateSubjects
from visavis.errors import InputError
from visavis.evaluation.identification import RANKS, ClosedSet, OpenSet, closed_set, open_set
from visavis.evaluation.rates import FARS, Scores, VerificationResult, evaluate_scores
from visavis.evaluation.searching import Search, search
from visavis.evaluation.templates import Templates, aggregate
from visavis.evaluation.verification import pair_similarities
from visavis.image import load_image
from visavis.pipeline import Analyzer
from visavis.protocols.embedding import Embedded
from visavis.types import Faces

__all__ = ["FPIRS", "GalleryResult", "IjbResult", "Weighting", "embed_ijb", "evaluate_ijb"]

FPIRS = (0.1, 0.01)
"""False positive identification rates that tables of IJB print."""

Weighting = Literal["none", "score", "norm", "score+norm"]
"""What a photo counts by in its template: the detector's score, the length of its vector, both, or all alike."""

_PAIRS = 2**16  # compared at once
_BATCH = 16  # crops embedded at once


@dataclass(frozen=True, eq=False)
class GalleryResult:
    """Identification in one gallery."""

    name: str
    closed: ClosedSet
    open: OpenSet

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"gallery": self.name, "closed_set": self.closed.to_dict(), "open_set": self.open.to_dict()}


@dataclass(frozen=True, eq=False)
class IjbResult:
    """What came out of IJB-B or IJB-C.

    Attributes
    ----------
    verification
        1:1; None where the list of pairs is not there.
    galleries
        1:N, one for each gallery; none where their lists are not there.
    joined
        Rank of the mated probes in both galleries together.
    templates, without
        How many templates there are, and how many of them have no photo with an embedding.
    photos_without
        How many photos have no embedding.
    """

    data: str
    model: str
    weighting: Weighting
    verification: VerificationResult | None
    galleries: tuple[GalleryResult, ...]
    joined: ClosedSet | None
    templates: int
    without: int
    photos_without: int

    def means(self) -> dict[str, float]:
        """Return the means over galleries, as papers print them: ``rank1``, ``tpir@0.01``, ..."""
        if not self.galleries:
            return {}
        found = {f"rank{k}": [one.closed.rank(k).value for one in self.galleries] for k in RANKS}
        for i, point in enumerate(self.galleries[0].open.points):
            found[f"tpir@{point.wanted:g}"] = [one.open.points[i].tpir.value for one in self.galleries]
        return {name: float(np.mean(values)) for name, values in found.items()}

    @property
    def unsupported(self) -> frozenset[str]:
        """Which of the means are of rates that the non-mated probes of a gallery are too few for."""
        points = [point for one in self.galleries for point in one.open.points]
        return frozenset(f"tpir@{point.wanted:g}" for point in points if not point.supported)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "data": self.data,
            "model": self.model,
            "weighting": self.weighting,
            "templates": self.templates,
            "templates_without_embedding": self.without,
            "photos_without_embedding": self.photos_without,
            "verification": None if self.verification is None else self.verification.to_dict(),
            "galleries": [one.to_dict() for one in self.galleries],
            "means": self.means(),
            "joined": None if self.joined is None else self.joined.to_dict(),
        }


def embed_ijb(data: Ijb, analyzer: Analyzer, say: Callable[[str], None] | None = None) -> Embedded:
    """Embed all photos, aligned by the landmarks that the lists give; no detector is run.

    Raises
    ------
    InputError
        If a photo is missing or can't be read.
    """
    vectors: npt.NDArray[np.float32] | None = None
    n = len(data.photos)
    for start in range(0, n, _BATCH):
        if say is not None:
            say(f"{analyzer.model}: {start:,} of {n:,} photos")
        rows = range(start, min(start + _BATCH, n))
        made = analyzer.embed(np.concatenate([_crop(data, analyzer, i) for i in rows])).vectors
        if vectors is None:
            vectors = np.empty((n, made.shape[1]), np.float32)
        vectors[rows.start : rows.stop] = made
    assert vectors is not None  # a list without photos was refused
    return Embedded(data.photos, vectors, np.ones(n, bool), analyzer.model, {"aligned_by": "the lists' landmarks"})


def evaluate_ijb(
    data: Ijb,
    vectors: npt.NDArray[np.floating[Any]],
    model: str,
    *,
    found: npt.NDArray[np.bool_] | None = None,
    weighting: Weighting = "score",
    fars: Sequence[float] = FARS,
    fpirs: Sequence[float] = FPIRS,
    say: Callable[[str], None] | None = None,
) -> IjbResult:
    """Measure embeddings on the 1:1 and 1:N protocols, whichever have their lists there.

    Parameters
    ----------
    vectors
        ``(n, d)``, one a photo in the order of ``data.photos``; of any length where ``weighting`` has norms.
    model
        What made them.
    found
        Which photos have an embedding; all but rows of zeros without it.
    weighting
        What a photo counts by in its template.
    fars, fpirs
        Rates at which TAR and TPIR are stated.
    say
        Called with what is under way.

    Raises
    ------
    InputError
        If lengths differ, or no protocol's lists are there.
    """
    tell = say or _silence
    if len(vectors) != len(data.photos):
        raise InputError(f"{data.name} lists {len(data.photos)} photos, and there are {len(vectors)} vectors")
    one_to_one = data.has("template_pair_label.txt")
    one_to_n = data.has("1N_probe_mixed.csv", *(f"1N_gallery_{name}.csv" for name in data.galleries))
    if not (one_to_one or one_to_n):
        raise InputError(f"{data.path} has neither the pairs of 1:1 nor the galleries and probes of 1:N in its meta")
    tell("making templates")
    templates = aggregate(
        vectors,
        data.templates,
        data.media,
        weights=data.scores if "score" in weighting else None,
        norms="norm" in weighting,
        found=found,
    )
    if not templates.found.any():
        raise InputError(f"{model}: no photo of {data.name} has an embedding")
    galleries = [data.gallery(name) for name in data.galleries] if one_to_n else []
    probes = data.probes() if one_to_n else None
    verification = None
    if one_to_one:
        tell("comparing pairs")
        known = [*galleries, *([probes] if probes is not None else [])]
        verification = _one_to_one(templates, data.pairs(), known, fars, tell)
    results, joined = [], None
    if probes is not None:
        for name, gallery in zip(data.galleries, galleries, strict=True):
            tell(f"searching gallery {name}")
            searched = _searched(templates, probes, gallery)
            closed = closed_set(searched.ranks, searched.subjects, searched.size)
            results.append(GalleryResult(name, closed, open_set(searched, fpirs)))
        both = TemplateSubjects(
            *(np.concatenate([getattr(g, of) for g in galleries]) for of in ("templates", "subjects"))
        )
        searched = _searched(templates, probes, both)
        joined = closed_set(searched.ranks, searched.subjects, searched.size)
    without = ~np.asarray(vectors).any(axis=1) if found is None else ~found
    return IjbResult(
        data.name,
        model,
        weighting,
        verification,
        tuple(results),
        joined,
        len(templates),
        int((~templates.found).sum()),
        int(without.sum()),
    )


def _crop(data: Ijb, analyzer: Analyzer, i: int) -> npt.NDArray[np.uint8]:
    points = data.landmarks[i]
    box = np.concatenate([points.min(axis=0), points.max(axis=0)])
    try:
        image = load_image(data.read(i))
    except InputError as error:
        raise InputError(f"{data.photos[i]}: {error}") from None
    return analyzer.crop(image, Faces(box[None], np.ones(1, np.float32), points[None]))


def _one_to_one(
    templates: Templates,
    pairs: TemplatePairs,
    known: Sequence[TemplateSubjects],
    fars: Sequence[float],
    tell: Callable[[str], None],
) -> VerificationResult:
    rows = templates.rows(pairs.templates)
    similarities = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _PAIRS):
        part = slice(start, start + _PAIRS)
        similarities[part] = pair_similarities(templates.vectors, rows[part], templates.found)
    tell(f"measuring {len(rows):,} pairs")
    subjects = _subjects(templates, rows, known)
    return evaluate_scores(Scores(similarities.astype(np.float64), pairs.mated, subjects), fars)


def _subjects(
    templates: Templates, rows: npt.NDArray[np.intp], known: Sequence[TemplateSubjects]
) -> npt.NDArray[np.int64] | None:
    """Return the subjects of pairs, where the lists of 1:N name those of all templates in them."""
    owner = np.full(len(templates), -1, np.int64)
    for part in known:
        owner[templates.rows(part.templates)] = part.subjects
    found = owner[rows]
    return None if (found < 0).any() else found


def _searched(templates: Templates, probes: TemplateSubjects, gallery: TemplateSubjects) -> Search:
    there, enrolled = templates.rows(probes.templates), templates.rows(gallery.templates)
    return search(
        templates.vectors[there],
        probes.subjects,
        templates.vectors[enrolled],
        gallery.subjects,
        found=templates.found[there],
        gallery_found=templates.found[enrolled],
    )


def _silence(_: str) -> None:
    pass
