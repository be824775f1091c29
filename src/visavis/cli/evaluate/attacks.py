"""``visavis evaluate attacks``: error rates of presentation attack detection, from any system's scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.facts import provenance
from visavis.cli.options import Json, ReportFile
from visavis.cli.report import Column, Report, rate
from visavis.errors import InputError

if TYPE_CHECKING:
    from visavis.evaluation.attacks import AttackResult, Presentations
    from visavis.evaluation.intervals import Estimate
    from visavis.reporting.document import Document

__all__ = ["attacks"]

_POINTS = 1000  # of a drawn curve
_COLUMNS = (
    Column("what", 10),
    Column("of"),
    Column("number", 8, right=True),
    Column("share", 8, right=True),
    Column("95 % interval", 18, right=True),
    Column("threshold", 10, right=True),
)


def attacks(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Columns score and kind, a row a presentation.")],
    bona_fide: Annotated[
        str, typer.Option("--bona-fide", metavar="NAME", help="The kind of presentations that are no attack.")
    ] = "bona fide",
    attack_scores: Annotated[
        bool, typer.Option("--attack-scores", help="A higher score is more surely an attack, not bona fide.")
    ] = False,
    threshold: Annotated[
        float | None, typer.Option(metavar="SCORE", help="Score that decides; bona fide from there on.")
    ] = None,
    development: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Take the threshold of the equal error rate of these presentations."),
    ] = None,
    page: ReportFile = None,
    as_json: Json = False,
) -> None:
    """Measure how many attacks pass and living faces don't.

    Presentation attack detection by ISO/IEC 30107-3.

    FILE.csv holds a row for each presentation: its score and its kind, which is "bona fide" or a kind of attack such
    as "print" or "replay". Given are APCER of each kind, the worst first, BPCER, their mean ACER, the equal error rate,
    and BPCER where the worst APCER is 10 % (BPCER10), 5 % (BPCER20) and 1 % (BPCER100).

    Without --threshold and --development the threshold is that of the equal error rate in FILE.csv itself: the rates
    at it are then better than they will be elsewhere.

    Intervals are exact and take presentations as independent. They need the package scipy: pip install
    'visavis[evaluate]'.

    Exit code: 0 all fine, 2 error.

    \b
    Examples:
      visavis evaluate attacks test.csv --development dev.csv
      visavis evaluate attacks test.csv --threshold 0.5 \\
        --bona-fide live
    """
    from visavis.evaluation.attacks import evaluate_attacks

    if threshold is not None and development is not None:
        raise InputError("--threshold and --development both set the threshold: give one")
    with Report("evaluate attacks", as_json=as_json, columns=_COLUMNS) as report:
        if page is not None:
            from visavis.reporting.page import require_target

            require_target(page)
        given = _read(file, bona_fide, attack_scores)
        sign = -1 if attack_scores else 1  # scores of attacks are negated inside: thresholds are shown as they came
        at = None if threshold is None else sign * threshold
        if development is not None:
            at = _read(development, bona_fide, attack_scores).eer()[1]
        found = evaluate_attacks(given, at)
        results = found.to_dict()
        if attack_scores:
            for place in (results, *results["bpcer_at_apcer"]):
                place["threshold"] *= -1
            results["eer_threshold"] *= -1
        source = "this file's equal error rate" if at is None else "given" if development is None else str(development)
        results["threshold_from"] = source
        report.fields(file=str(file), **results)
        _show(report, found, sign)
        if found.chosen_here:
            report.warn("the threshold was chosen on these very presentations; give --development or --threshold")
        if page is not None:
            from visavis.reporting.page import write

            facts = provenance([], [file, development])
            write(_document(found, file.name, results, sign, facts), page)


def _read(file: Path, bona_fide: str, attack_scores: bool) -> Presentations:
    from visavis.datasets.columns import numbers, read_columns
    from visavis.evaluation.attacks import Presentations

    columns = read_columns(file, ("score", "kind"))
    scores = numbers(columns["score"], "score", file)
    try:
        return Presentations.of(
            scores, columns["kind"], bona_fide=bona_fide, higher="attack" if attack_scores else "bona fide"
        )
    except InputError as error:
        raise InputError(f"{file}: {error} (--bona-fide {bona_fide!r})") from None


def _show(report: Report, found: AttackResult, sign: int) -> None:
    from visavis.evaluation.intervals import trials_needed

    def row(what: str, of: str, number: str, share: Estimate, at: float | None = None) -> None:
        where = "" if at is None else f"{sign * at:.4g}"
        report.row(what, of, number, f"{share.value:.2%}", f"{share.low:.2%} .. {share.high:.2%}", where)

    for kind in found.kinds:
        row("APCER", kind.name, f"{kind.attacks:,}", kind.apcer, found.threshold)
    row("BPCER", "bona fide", f"{found.bona_fide:,}", found.bpcer, found.threshold)
    report.row("ACER", "mean of both", "", f"{found.acer:.2%}", "", f"{sign * found.threshold:.4g}")
    report.row("EER", "worst kind", "", f"{found.eer:.2%}", "", f"{sign * found.eer_threshold:.4g}")
    for at in found.at:
        name, of = f"BPCER{1 / at.apcer:.0f}", f"worst APCER {rate(at.apcer)}"
        if at.supported:
            row(name, of, f"{found.bona_fide:,}", at.bpcer, at.threshold)
        else:
            report.row(name, of, f"{found.bona_fide:,}", "", "not measurable", "")
    least = min(kind.attacks for kind in found.kinds)
    for at in found.at:
        if not at.supported:
            needed = trials_needed(at.apcer)
            report.warn(f"{least} attacks of a kind can't show an APCER of {rate(at.apcer)}: it takes {needed:,}")


def _document(
    found: AttackResult, name: str, results: dict[str, object], sign: int, facts: list[tuple[str, str]]
) -> Document:
    import numpy as np

    from visavis.reporting.document import Curve, Document, Figure, Section, Table

    def cell(share: Estimate) -> str:
        return f"{100 * share.value:.2f} % ({100 * share.low:.2f} to {100 * share.high:.2f})"

    kinds = Table(
        "Attacks that pass",
        ["kind", "attacks", "APCER", "EER"],
        [[k.name, f"{k.attacks:,}", cell(k.apcer), f"{100 * k.eer:.2f} %"] for k in found.kinds],
        "The worst kind first; in brackets the exact 95 % interval.",
    )
    strict = Table(
        "Bona fide presentations rejected where few attacks pass",
        ["", "worst APCER", "threshold", "BPCER"],
        [
            [
                f"BPCER{1 / at.apcer:.0f}",
                f"{at.apcer:g}",
                *((f"{sign * at.threshold:.4g}", cell(at.bpcer)) if at.supported else ("", "not measurable")),
            ]
            for at in found.at
        ],
        "" if all(at.supported for at in found.at) else "Some kinds have too few attacks to show the stricter APCERs.",
    )
    k = len(found.thresholds)
    drawn = np.unique(np.linspace(0, k - 1, min(k, _POINTS)).round().astype(np.intp))[::sign]
    curves = Figure(
        "Rates over the threshold",
        "score",
        "share of presentations",
        [
            Curve(title, sign * found.thresholds[drawn], values[drawn])
            for title, values in (("worst APCER", found.apcer_curve), ("BPCER", found.bpcer_curve))
        ],
        description="The share of attacks of the worst kind that pass and of bona fide presentations that don't.",
        steps=True,
    )
    summary = (
        f"At the threshold {sign * found.threshold:.4g} the worst kind of attack, {found.kinds[0].name}, passes in "
        f"{cell(found.apcer)}, and {cell(found.bpcer)} of the bona fide presentations are rejected. ACER "
        f"{100 * found.acer:.2f} %, EER {100 * found.eer:.2f} %."
    )
    if found.chosen_here:
        summary += " The threshold was chosen on these very presentations: expect worse elsewhere."
    facts = [("file", name), ("threshold from", str(results["threshold_from"])), *facts]
    title = f"Presentation attack detection: {name}"
    return Document(title, summary, [Section("Attacks", [kinds, strict, curves])], facts, results)
