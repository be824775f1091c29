"""The report of error rates by group: bars with intervals, tables within and between, and the worst case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visavis.evaluation.group_rates import Differential, GroupRates, GroupResult
from visavis.evaluation.intervals import Estimate
from visavis.protocols.groups import Groups
from visavis.reporting.document import Bars, Document, Part, Section, Table, Text

__all__ = ["groups_document", "ratio_in_words", "share"]


def groups_document(found: Groups, data: str, facts: Sequence[tuple[str, str]]) -> Document:
    """Return the report.

    Parameters
    ----------
    data
        What was measured.
    facts
        Settings and versions.
    """
    worst = [sentence for kind in ("FMR", "FNMR") if (sentence := _farthest(found, kind))]
    summary = (
        f"{found.mated:,} mated and {found.nonmated:,} non-mated pairs of {data}, decided at one threshold, "
        f"{found.threshold:.4g}, at which {found.fmr:.3g} of all non-mated pairs match."
    )
    sections = [Section(result.label, _parts(result)) for result in found.results]
    return Document(f"Error rates by group: {data}", " ".join([summary, *worst]), sections, facts, found.to_dict())


def share(estimate: Estimate | None) -> str:
    """Return a rate with its interval as it is to be read.

    Examples
    --------
    >>> share(Estimate(0.01234, 0.01, 0.02)), share(None)
    ('0.0123 (0.01 to 0.02)', 'no pairs')
    """
    if estimate is None:
        return "no pairs"
    return f"{estimate.value:.3g} ({estimate.low:.3g} to {estimate.high:.3g})"


def ratio_in_words(kind: str, rate: Differential) -> str:
    """Return the worst case as a sentence."""
    if rate.ratio is None:
        return (
            f"{kind} is highest in {rate.worst}; {rate.best} shows no error, so that the ratio is known only to be at "
            f"least {rate.low:.3g}."
        )
    bound = "without bound" if rate.high is None else f"{rate.high:.3g}"
    mean = "" if rate.to_mean is None else f", and {rate.to_mean:.3g} times the geometric mean of all"
    return f"{kind} of {rate.worst} is {rate.ratio:.3g} times that of {rate.best} ({rate.low:.3g} to {bound}){mean}."


def _farthest(found: Groups, kind: str) -> str:
    """Return the worst case of all labels as a sentence; nothing where no ratio is known."""
    rates = [(result.label, result.fmr if kind == "FMR" else result.fnmr) for result in found.results]
    known = [(rate.ratio, label, rate) for label, rate in rates if rate is not None and rate.ratio is not None]
    if not known:
        return ""
    _, label, rate = max(known, key=lambda one: one[0])
    return f"By {label}, {ratio_in_words(kind, rate)}"


def _parts(result: GroupResult) -> list[Part]:
    parts: list[Part] = [
        Text(ratio_in_words(kind, rate)) for kind, rate in (("FMR", result.fmr), ("FNMR", result.fnmr)) if rate
    ]
    parts += [_bars(result, "FMR"), _bars(result, "FNMR"), _table("Within groups", result.within)]
    if result.between:
        parts.append(_table("Between groups", result.between))
    if result.unlabeled:
        parts.append(Text(f"Pairs left out for want of a {result.label} on a side: {result.unlabeled:,}."))
    return parts


def _bars(result: GroupResult, kind: str) -> Bars:
    rates = [one.fmr if kind == "FMR" else one.fnmr for one in result.within]
    there = [(one.name, rate) for one, rate in zip(result.within, rates, strict=True) if rate is not None]
    values, low, high = (
        np.array([[getattr(rate, field) for _, rate in there]], np.float64) for field in ("value", "low", "high")
    )
    return Bars(
        f"{kind} by {result.label}",
        kind,
        [name for name, _ in there],
        [kind],
        values,
        low,
        high,
        description=f"{kind} of each group at the same threshold, with its 95 % interval.",
    )


def _table(title: str, rows: Sequence[GroupRates]) -> Table:
    mated = any(one.mated for one in rows)  # people of two groups make no mated pairs, photos of two cameras do
    columns = ["group", *(["mated pairs", "FNMR"] if mated else []), "non-mated pairs", "FMR"]
    cells = [
        [
            one.name,
            *([f"{one.mated:,}", share(one.fnmr)] if mated else []),
            f"{one.nonmated:,}",
            share(one.fmr),
        ]
        for one in rows
    ]
    return Table(title, columns, cells, "Rates as shares of 1; in brackets the 95 % interval.")
