"""The report of an identification: tables of rates, the CMC and how FPIR and FNIR trade off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visavis.evaluation.identification import RANKS, ClosedSet, OpenSet, OperatingPoint
from visavis.evaluation.intervals import percent
from visavis.protocols.identification import Identification
from visavis.reporting.document import Curve, Document, Figure, Part, Section, Table

__all__ = ["UNKNOWN", "identification_document", "open_table", "rank_table", "trade_off"]

UNKNOWN = "not measurable"
"""In place of a rate that there are too few non-mated probes or pairs for."""

_SEEN = 10  # strangers let through, from which on a rate is worth a sentence


def identification_document(found: Identification, data: str, facts: Sequence[tuple[str, str]]) -> Document:
    """Return the report of an identification.

    Parameters
    ----------
    data
        Name of the data set.
    facts
        Settings and versions.
    """
    closed = found.closed
    summary = (
        f"{closed.gallery:,} people of {data} are enrolled. Of {closed.probes:,} probes of them, "
        f"{percent(closed.rank(1))} had the right subject first."
    )
    sound = [] if found.open is None else [point for point in found.open.points if point.supported]
    if found.open is not None and sound:
        seen = [point for point in sound if point.fpir.value * found.open.nonmated >= _SEEN]
        point = min(seen or sound, key=lambda point: point.wanted)
        summary += (
            f" Where {point.wanted:.3g} of {found.open.nonmated:,} strangers' probes may reach somebody, "
            f"{percent(point.tpir)} of the mated ones reach their own subject."
        )
    sections = [Section("Closed set", _closed(found))]
    if found.open is not None:
        parts: list[Part] = [open_table([("", found.open)]), *trade_off([(found.model, found.open)])]
        sections.append(Section("Open set", parts))
    if found.distractors:
        sections.append(Section("Among distractors", _among(found)))
    return Document(f"Identification: {found.model} on {data}", summary, sections, facts, found.to_dict())


def rank_table(rows: Sequence[tuple[str, ClosedSet]], title: str = "Rank of the right subject") -> Table:
    """Return a table of closed sets, a row each."""
    columns = ["", "enrolled", "probes", "people", *(f"rank {k}" for k in RANKS)]
    cells = [[name, *(f"{n:,}" for n in (r.gallery, r.probes, r.people)), *_ranks(r)] for name, r in rows]
    note = "Share of mated probes whose subject came among the first; in brackets the 95 % interval."
    return Table(title, columns, cells, note)


def open_table(rows: Sequence[tuple[str, OpenSet]]) -> Table:
    """Return a table of open sets, a row for each FPIR asked for."""
    columns = ["", "FPIR wanted", "threshold", "FPIR", "TPIR", "DIR at rank 1"]
    cells = [[name, f"{p.wanted:g}", *_rates(p)] for name, found in rows for p in found.points]
    note = "In brackets the 95 % interval; that of TPIR and DIR covers where the threshold falls."
    if not all(p.supported for _, found in rows for p in found.points):
        few = [f"{p.wanted:g}" for _, found in rows for p in found.points if not p.supported]
        note += f" There are too few non-mated probes to speak of FPIR {', '.join(dict.fromkeys(few))}."
    return Table("At thresholds", columns, cells, note)


def _rates(point: OperatingPoint) -> list[str]:
    if not point.supported:
        return ["", UNKNOWN, UNKNOWN, UNKNOWN]
    return [f"{point.threshold:.4f}", percent(point.fpir), percent(point.tpir), percent(point.dir)]


def trade_off(found: Sequence[tuple[str, OpenSet]]) -> list[Figure]:
    """Return the figures of open sets: FNIR over FPIR, and both over the threshold."""
    nets = [(name, one, (one.fpir > 0) & (one.fnir > 0)) for name, one in found]
    both = [
        Curve(f"{rate} {name}".strip(), one.thresholds, getattr(one, rate.lower()))
        for name, one in found
        for rate in ("FPIR", "FNIR")
    ]
    return [
        Figure(
            "Strangers let through and subjects missed",
            "FPIR",
            "FNIR",
            [Curve(name, one.fpir[keep], one.fnir[keep]) for name, one, keep in nets],
            "log",
            "log",
            "FNIR over FPIR, both logarithmic: the lower and the further left, the better.",
            steps=True,
        ),
        Figure(
            "Rates over the threshold",
            "similarity",
            "share of probes",
            both,
            description="FPIR falls and FNIR rises with the threshold.",
            steps=True,
        ),
    ]


def _closed(found: Identification) -> list[Part]:
    closed = found.closed
    ranks = np.arange(1, len(closed.cmc) + 1, dtype=np.float64)
    cmc = Figure(
        "Cumulative match characteristic",
        "rank",
        "share of mated probes",
        [Curve(found.model, ranks, closed.cmc, closed.low, closed.high)],
        "log" if len(ranks) > 1 else "linear",
        description="The share of mated probes whose subject comes at each rank or before; the band is its interval.",
    )
    return [rank_table([(found.model, closed)]), cmc]


def _among(found: Identification) -> list[Part]:
    sizes = np.array([one.size for one in found.distractors], np.float64)
    first = [one.rates.rank(1) for one in found.distractors]
    columns = ["distractors", *(f"rank {k}" for k in RANKS)]
    rows = [[f"{one.size:,}", *_ranks(one.rates)] for one in found.distractors]
    curve = Curve("rank 1", sizes, *(np.array([getattr(s, end) for s in first]) for end in ("value", "low", "high")))
    return [
        Table("Own subject among distractors", columns, rows, "Nobody else is enrolled, as in MegaFace's protocol."),
        Figure(
            "Rank 1 among distractors",
            "distractors",
            "share of mated probes",
            [curve],
            "log",
            description="The share of mated probes whose subject comes before all distractors, over their number.",
        ),
    ]


def _ranks(found: ClosedSet) -> list[str]:
    return [percent(found.rank(k)) for k in RANKS]
