"""The report of IJB-B or IJB-C: TAR at FARs, ranks and TPIR at FPIRs, and their curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visavis.evaluation.intervals import percent
from visavis.evaluation.rates import VerificationResult
from visavis.protocols.identification_report import UNKNOWN, open_table, rank_table, trade_off
from visavis.protocols.ijb import IjbResult
from visavis.reporting.document import Curve, Document, Figure, Part, Section, Table

__all__ = ["ijb_document"]


def ijb_document(found: IjbResult, facts: Sequence[tuple[str, str]]) -> Document:
    """Return the report; ``facts`` are settings and versions."""
    sections, said = [], []
    if found.verification is not None:
        sections.append(Section("Verification, 1:1", _verification(found.verification, found.model)))
        shown = [rate for rate in found.verification.rates if rate.tar is not None]
        if shown and shown[-1].tar is not None:
            said.append(f"TAR {percent(shown[-1].tar)} at FAR {shown[-1].far:g}.")
    if found.galleries:
        means = found.means()
        rows = [(one.name, one.closed) for one in found.galleries]
        if found.joined is not None:
            rows.append(("both", found.joined))
        nets = [(one.name, one.open) for one in found.galleries]
        cells = [UNKNOWN if name in found.unsupported else f"{100 * value:.2f} %" for name, value in means.items()]
        mean = Table("Means over the galleries", list(means), [cells])
        parts: list[Part] = [mean, rank_table(rows), open_table(nets), *trade_off(nets)]
        sections.append(Section("Identification, 1:N", parts))
        said.append(f"Rank 1 of {100 * means['rank1']:.2f} % over the galleries.")
    return Document(f"{found.data}: {found.model}", " ".join(said), sections, facts, found.to_dict())


def _verification(found: VerificationResult, model: str) -> list[Part]:
    cells = [
        [f"{rate.far:g}", *(("", UNKNOWN) if rate.tar is None else (f"{rate.threshold:.4f}", percent(rate.tar)))]
        for rate in found.rates
    ]
    note = f"Intervals: {found.interval}. " + " ".join(found.warnings)
    if not all(rate.supported for rate in found.rates):
        note += f" {found.nonmated:,} non-mated pairs are too few for some FARs (rule of three)."
    fmr, fnmr = found.curve.thinned().det()
    keep = fmr > 0
    return [
        Table(
            f"{found.mated:,} mated and {found.nonmated:,} non-mated pairs", ["FAR", "threshold", "TAR"], cells, note
        ),
        Figure(
            "TAR over FAR",
            "FAR",
            "TAR",
            [Curve(model, fmr[keep], np.asarray(1 - fnmr[keep]))],
            "log",
            description="The share of mated pairs accepted over that of non-mated ones.",
            steps=True,
        ),
    ]
