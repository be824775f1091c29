"""When a face is of nobody known: a threshold of similarity with a stated false positive identification rate.

A face gets a name only if its similarity with the nearest template of that person reaches the threshold. There are two
ways to one, told by ``rule``:

``people``
    Each training photo is compared with the templates of all *other* people: to them, its person is a stranger. The
    threshold is the j-th highest of those n best similarities, ``j = floor(FPIR * (n + 1))``. A further stranger's face
    exceeds it with probability ``j / (n + 1)``, if strangers resemble the people as those resemble each other (the
    quantile of conformal prediction: Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005).
``calibration``
    The recognizer's measured FMR, over as many comparisons as there are templates. This is an upper bound, as a
    person's templates resemble each other; and it needs no photos, so it serves few people.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from visavis.classification.methods import Floats, Ints, blocks
from visavis.errors import InputError
from visavis.models.cards import Calibration
from visavis.recognition.compare import fmr_at, operating_point

__all__ = ["RULES", "Reject", "closest_others", "reject"]

RULES = ("auto", "people", "calibration")
_ENOUGH = 3  # strangers above the threshold from which on `auto` trusts it: fewer make it a matter of chance


@dataclass(frozen=True)
class Reject:
    """The threshold below which a face is unknown, and what it stands for.

    Attributes
    ----------
    threshold
        Least similarity with a template of the person named, -1..1.
    rule
        ``"people"``, ``"calibration"`` or ``"given"``.
    fpir
        Expected share of strangers' faces that get a name all the same; None where unknown.
    fmr
        Measured FMR of the threshold for one comparison; None where the recognizer was not calibrated.
    photos
        How many photos of left-out people it was learnt from; 0 for the other rules.
    """

    threshold: float
    rule: str
    fpir: float | None
    fmr: float | None
    photos: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return asdict(self)


def closest_others(vectors: Floats, owners: Ints) -> tuple[Floats, Ints]:
    """Return each row's highest similarity with a row of another person, -1 where there is none, and which row."""
    similarity, index = np.full(len(vectors), -1.0), np.zeros(len(vectors), np.int64)
    for part in blocks(len(vectors), len(vectors)):
        table = np.where(owners[part, None] == owners, -1.0, vectors[part] @ vectors.T)
        index[part] = table.argmax(axis=1)
        similarity[part] = table.max(axis=1)
    return similarity, index


def reject(
    strangers: Floats,
    *,
    rule: str,
    fpir: float,
    threshold: float | None,
    calibration: Calibration | None,
    templates: int,
    model: str,
) -> Reject:
    """Find the threshold for a wanted FPIR, or say what a given one stands for.

    Parameters
    ----------
    strangers
        Each training photo's highest similarity with a template of another person.
    rule
        One of `RULES`; ``auto`` learns from people where `_ENOUGH` of their photos would exceed the threshold.
    """
    if rule not in RULES:
        raise InputError(f"reject must be one of {', '.join(RULES)}, not {rule!r}")
    if not 0 < fpir < 1:
        raise InputError(f"fpir must lie between 0 and 1, not {fpir}")
    if threshold is not None:
        point = operating_point(calibration, threshold=threshold, templates=templates)
        return Reject(point.threshold, "given", point.fpir, point.fmr)
    n = len(strangers)
    above = int(fpir * (n + 1) * (1 + 1e-9))
    if rule == "people" or (rule == "auto" and (above >= _ENOUGH or (calibration is None and above))):
        if not above:
            raise InputError(
                f"an FPIR of {fpir:g} can't be learnt from {n} photos of others, it takes {round(1 / fpir) - 1}; "
                "ask for a greater one, or give a threshold"
            )
        # Just above the j-th highest: it must not be reached by a tie.
        at = min(float(np.nextafter(np.sort(strangers)[-above], 2.0)), 1.0)
        return Reject(at, "people", above / (n + 1), _fmr(calibration, at), n)
    if calibration is None:
        raise InputError(
            f"{model!r} was not calibrated, and {n} photos of others are too few to learn an FPIR of {fpir:g} "
            f"(it takes {round(1 / fpir) - 1}); ask for a greater one, or give a threshold"
        )
    point = operating_point(calibration, fpir=fpir, templates=templates, model=model)
    return Reject(point.threshold, "calibration", point.fpir, point.fmr)


def _fmr(calibration: Calibration | None, at: float) -> float | None:
    return None if calibration is None else float(fmr_at(calibration, at))
