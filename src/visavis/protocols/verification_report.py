"""The report of a verification: curves, rates with intervals, whether models differ, and the hardest pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from visavis.datasets.photos import PhotoSet
from visavis.evaluation.hardest import HardPairs
from visavis.evaluation.intervals import percent
from visavis.evaluation.significance import Comparison
from visavis.protocols.pictures import picture_of
from visavis.protocols.verification import Verified
from visavis.reporting.document import Curve, Document, Figure, Part, Pictures, Section, Table, Text

__all__ = ["verification_document"]

_POINTS = 600  # of a curve
_BINS = 60  # of a histogram
_PICTURES = 12  # hardest pairs of each kind that are shown
_LISTED = 30  # that are listed


def verification_document(
    found: Sequence[Verified],
    data: str,
    facts: Sequence[tuple[str, str]],
    *,
    comparison: Comparison | None = None,
    photos: PhotoSet | None = None,
    pictures: bool = True,
) -> Document:
    """Return the report of models on the same pairs.

    Parameters
    ----------
    data
        Name of the data set.
    facts
        Settings, versions, hashes.
    comparison
        Whether they differ.
    photos
        The photos that pairs are of: names and, with ``pictures``, pictures of the hardest pairs.
    """
    sections = [Section("Rates", _rates(found)), Section("Curves", _curves(found))]
    if comparison is not None:
        sections.append(Section("Do the models differ?", [_differences(comparison)]))
    if photos is not None:
        sections += [
            Section(_titled("Hardest pairs", one, found), parts)
            for one in found
            if (parts := _hardest(one.hard, photos, pictures))
        ]
    results: dict[str, Any] = {
        "data": data,
        "models": [{**one.to_dict(), "hardest": {} if photos is None else _listed(one.hard, photos)} for one in found],
        "comparison": None if comparison is None else comparison.to_dict(),
    }
    return Document(f"Verification on {data}", _summary(found), sections, facts, results)


def _summary(found: Sequence[Verified]) -> str:
    first = found[0].result
    said = [f"{first.mated:,} mated and {first.nonmated:,} non-mated pairs."]
    for one in found:
        measured = [f"EER {percent(one.result.eer)}"]
        if one.result.accuracy is not None:
            share = one.result.accuracy
            measured.insert(0, f"accuracy {100 * share.mean:.2f} % (standard error {100 * share.standard_error:.2f})")
        supported = [rate for rate in one.result.rates if rate.tar is not None]
        if supported:
            rate = min(supported, key=lambda rate: rate.far)
            assert rate.tar is not None
            measured.append(f"TAR {percent(rate.tar)} at FAR {rate.far:g}")
        said.append(f"{one.model}: {', '.join(measured)}.")
    return " ".join(said)


def _titled(title: str, one: Verified, found: Sequence[Verified]) -> str:
    return title if len(found) == 1 else f"{title}: {one.model}"


def _rates(found: Sequence[Verified]) -> list[Part]:
    parts: list[Part] = []
    if any(one.result.accuracy is not None for one in found):
        rows = [
            [
                one.model,
                f"{100 * share.mean:.2f} %",
                f"{100 * share.standard_error:.2f}",
                percent(share.estimate),
                str(len(share.folds)),
            ]
            for one in found
            if (share := one.result.accuracy) is not None
        ]
        columns = ["model", "mean of folds", "standard error", "all pairs, 95 % interval", "folds"]
        note = "Each fold is decided at the threshold that is best on the others."
        parts.append(Table("Accuracy over folds", columns, rows, note))
    view1 = [[one.model, f"{one.view1.threshold:.4f}", percent(one.view1.accuracy)] for one in found if one.view1]
    if view1:
        parts.append(Table("LFW's View 1", ["model", "threshold", "accuracy on the test pairs"], view1))
    rows = [[one.model, percent(one.result.eer), f"{one.result.eer_threshold:.4f}", _area(one)] for one in found]
    parts.append(Table("Equal error rate, area under the ROC", ["model", "EER", "threshold", "AUC"], rows))
    cells = []
    few: dict[float, int] = {}  # FARs that can't be shown, and the pairs it takes
    for one in found:
        for rate in one.result.rates:
            if rate.tar is None or rate.fmr is None or rate.threshold is None:
                few[rate.far] = rate.pairs_needed
                continue
            around = f"{rate.fmr.value:.2g} ({rate.fmr.low:.1e} to {rate.fmr.high:.1e})"
            cells.append([one.model, f"{rate.far:g}", f"{rate.threshold:.4f}", percent(rate.tar), around])
    first = found[0].result
    note = f"{first.mated:,} mated and {first.nonmated:,} non-mated pairs; intervals of 95 % by {first.interval}."
    if few:
        listed = ", ".join(f"{far:g} ({needed:,})" for far, needed in few.items())
        note += f" Not measurable on so few, with the non-mated pairs it takes by the rule of three: FAR {listed}."
    columns = ["model", "FAR", "threshold", "TAR (95 % interval)", "FMR there (95 % interval)"]
    parts.append(Table("TAR at a FAR", columns, cells, note))
    warned = [f"{one.model}: {text}." for one in found for text in one.result.warnings]
    warned += [
        f"{one.model}: no embedding of {one.without:,} photos; their pairs count, as rejected."
        for one in found
        if one.without
    ]
    return parts + [Text(text) for text in warned]


def _area(one: Verified) -> str:
    auc = one.result.auc
    return f"{auc.value:.5f} ({auc.low:.5f} to {auc.high:.5f})"


def _curves(found: Sequence[Verified]) -> list[Part]:
    roc, det, rates = [], [], []
    for one in found:
        curve = one.result.curve.thinned(_POINTS)
        far, tar = curve.roc()
        seen = far > 0
        low, high = _band(one, far[seen])
        roc.append(Curve(one.model, far[seen], tar[seen], low, high))
        told = seen & (tar > 0) & (tar < 1) & (far < 1)
        low, high = _band(one, far[told])
        least = 0.5 / one.result.mated  # on normal deviates nothing is infinitely far
        missed = (1 - high).clip(least), (1 - low).clip(least)
        det.append(Curve(one.model, far[told], 1 - tar[told], *missed))
        inside = slice(0, -1)  # the last threshold lies above every similarity
        for name, values in (("FMR", curve.fmr), ("FNMR", curve.fnmr)):
            rates.append(Curve(_named(name, one, found), curve.thresholds[inside], values[inside]))
    figures: list[Part] = [
        Figure(
            "Receiver operating characteristic",
            "FAR",
            "TAR",
            roc,
            "log",
            description="TAR over FAR, which is logarithmic: the higher and the further left, the better.",
            steps=True,
        )
    ]
    if all(len(curve.x) for curve in det):
        figures.append(
            Figure(
                "Detection error trade-off",
                "FMR",
                "FNMR",
                det,
                "probit",
                "probit",
                "FNMR over FMR, both on normal deviates: the lower and the further left, the better.",
            )
        )
    figures.append(
        Figure(
            "Error rates at each threshold",
            "similarity",
            "error rate",
            rates,
            y_scale="log",
            description="The FMR falls and the FNMR rises as the threshold rises.",
        )
    )
    return figures + [_histogram(one, found) for one in found]


def _named(name: str, one: Verified, found: Sequence[Verified]) -> str:
    return name if len(found) == 1 else f"{name} {one.model}"


def _band(one: Verified, far: Any) -> tuple[Any, Any]:
    """Return the interval of the TAR at FARs, between those it was found at; NaN beyond what pairs can show."""
    known = [(rate.far, rate.tar.low, rate.tar.high) for rate in one.band if rate.tar is not None]
    if not known:
        return np.full(len(far), np.nan), np.full(len(far), np.nan)
    at, low, high = np.array(sorted(known)).T
    logs = np.log(far)
    ends = {"left": np.nan, "right": np.nan}
    return np.interp(logs, np.log(at), low, **ends), np.interp(logs, np.log(at), high, **ends)


def _histogram(one: Verified, found: Sequence[Verified]) -> Figure:
    curve = one.result.curve
    edges = np.linspace(curve.thresholds[0], curve.thresholds[-1], _BINS + 1)
    at = np.searchsorted(curve.thresholds, edges).clip(0, len(curve.thresholds) - 1)
    middle = (edges[1:] + edges[:-1]) / 2
    curves = [
        Curve(name, middle, -np.diff(accepted[at]) / total)
        for name, accepted, total in (
            ("mated", curve.mated_accepted, curve.mated),
            ("non-mated", curve.nonmated_accepted, curve.nonmated),
        )
    ]
    return Figure(
        _titled("Similarities", one, found),
        "similarity",
        "share of pairs",
        curves,
        description="How often each similarity occurs among mated and among non-mated pairs.",
        steps=True,
    )


_METRICS = {"accuracy": "accuracy", "eer": "EER", "auc": "AUC"}


def _differences(found: Comparison) -> Table:
    rows = [
        [
            _METRICS.get(one.metric, one.metric.replace("tar@far=", "TAR at FAR ")),
            f"{one.b} - {one.a}",
            f"{100 * one.difference:+.2f}",
            f"{100 * one.low:+.2f} to {100 * one.high:+.2f}",
            f"{one.p:.3g}",
            f"{one.p_holm:.3g}",
            "" if one.p_mcnemar is None else f"{one.p_mcnemar:.3g}",
        ]
        for one in found.differences
    ]
    columns = ["metric", "models", "points", "95 % interval", "p", "p (Holm)", "p (McNemar)"]
    note = (
        f"Paired bootstrap, {found.repeats:,} draws of {found.drawn}, the same for all models. Holm's p is for as many "
        "comparisons of a metric as there are. McNemar's test takes pairs as independent."
    )
    return Table("Differences", columns, rows, note, [False, False, *[True] * 5])


def _hardest(hard: HardPairs, photos: PhotoSet, pictures: bool) -> list[Part]:
    parts: list[Part] = []
    for title, rows, similarities in (
        ("Mated pairs least alike", hard.mated, hard.mated_similarities),
        ("Non-mated pairs most alike", hard.nonmated, hard.nonmated_similarities),
    ):
        if not len(rows):
            continue
        if pictures:
            shown = [[picture_of(photos, int(i)) for i in pair] for pair in rows[:_PICTURES]]
            parts.append(Pictures(title, shown, [f"{value:.3f}" for value in similarities[:_PICTURES]]))
        cells = [[*(photos.photos[i] for i in pair), f"{s:.4f}"] for pair, s in zip(rows, similarities, strict=True)]
        listed = cells[_PICTURES:_LISTED] if pictures else cells[:_LISTED]
        if listed:
            further = f"{title}, further ones" if pictures else title
            parts.append(Table(further, ["photo", "photo", "similarity"], listed, numeric=[False, False, True]))
    return parts


def _listed(hard: HardPairs, photos: PhotoSet) -> dict[str, Any]:
    return {
        kind: [
            {"photos": [photos.photos[i] for i in pair], "similarity": round(float(s), 6)}
            for pair, s in zip(rows, similarities, strict=True)
        ]
        for kind, rows, similarities in (
            ("mated", hard.mated, hard.mated_similarities),
            ("nonmated", hard.nonmated, hard.nonmated_similarities),
        )
    }
