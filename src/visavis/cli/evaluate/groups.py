"""``visavis evaluate groups``: are some groups of people, or photos, recognized worse than others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.faces import counted
from visavis.cli.facts import provenance
from visavis.cli.models import under_way
from visavis.cli.options import Json, MatchRate, ReportFile, Threshold
from visavis.cli.report import Column, Report, rate
from visavis.errors import InputError

if TYPE_CHECKING:
    from visavis.evaluation.group_rates import GroupRates
    from visavis.evaluation.intervals import Estimate
    from visavis.protocols.groups import Groups

__all__ = ["groups"]

_COLUMNS = (
    Column("label", 10),
    Column("groups"),
    Column("rate", 4),
    Column("pairs", 13, right=True),
    Column("share", 8, right=True),
    Column("95 % interval", 19, right=True),
)


def groups(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Pairs as .csv (similarity, mated, ...), or embeddings as .npz (names, vectors)."
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Labels: a column photo or subject, then one a label (sex, camera)."),
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option("--by", metavar="NAME", help="Label to group by; repeatable. All without it.")
    ] = None,
    threshold: Threshold = None,
    fmr: MatchRate = None,
    page: ReportFile = None,
    as_json: Json = False,
) -> None:
    """Measure FMR and FNMR within and between groups.

    At one threshold for all.

    A group is what a label says: sex, age band or ethnicity of a subject, camera or lighting of a photo. Pairs come
    from any system: FILE.csv has the columns similarity and mated, and photo_a and photo_b or subject_a and subject_b
    to look up the labels by; or it carries labels itself, as sex_a and sex_b. Of embeddings all pairs of photos are
    compared. The worst case is the highest rate of a group by the lowest, and by the geometric mean of all.

    Exit code: 0 all fine, 2 error.

    \b
    Examples:
      visavis evaluate groups embeddings.npz \\
        --labels people.csv --by sex --fmr 1e-3
      visavis evaluate groups pairs.csv --threshold 0.36 \\
        --report groups.html
    """
    from visavis.protocols.embedding import Embedded
    from visavis.protocols.groups import groups_of_embeddings, groups_of_scores
    from visavis.protocols.scores import read_labels, read_scores

    with Report("evaluate groups", as_json=as_json, columns=_COLUMNS) as report:
        if page is not None:
            from visavis.reporting.page import require_target

            require_target(page)
        known = None if labels is None else read_labels(labels)
        with under_way() as say:
            if file.suffix.lower() == ".npz":
                if known is None:
                    raise InputError("embeddings need --labels FILE.csv")
                embedded = Embedded.load(file)
                if say is not None:
                    say(f"comparing {len(embedded):,} photos")
                found = groups_of_embeddings(embedded, known, by=by, threshold=threshold, fmr=fmr)
            else:
                found = groups_of_scores(read_scores(file), known, by=by, threshold=threshold, fmr=fmr)
        report.fields(file=str(file), **found.to_dict())
        _show(report, found)
        if page is not None:
            from visavis.protocols.groups_report import groups_document
            from visavis.reporting.page import write

            facts = [("file", file.name), *([("labels", labels.name)] if labels else [])]
            facts += [("threshold", f"{found.threshold:.6g}"), ("set by", "hand" if fmr is None else f"FMR {fmr:g}")]
            facts += [(f"intervals of {result.label}", result.interval) for result in found.results]
            write(groups_document(found, file.name, provenance(facts, [file, labels])), page)


def _show(report: Report, found: Groups) -> None:
    from visavis.protocols.groups_report import ratio_in_words

    for result in found.results:
        for one in result.within + result.between:
            _row(report, result.label, one, "FNMR", one.mated, one.fnmr)
            _row(report, result.label, one, "FMR", one.nonmated, one.fmr)
        for kind, differential in (("FMR", result.fmr), ("FNMR", result.fnmr)):
            if differential is not None:
                report.note(f"{result.label}: {ratio_in_words(kind, differential)}")
        for kind, pairs in (("mated", "mated"), ("non-mated", "nonmated")):
            without = [one.name for one in result.within if not getattr(one, pairs)]
            if without:
                some = ", ".join(without[:5])
                report.warn(f"{result.label}: no {kind} pairs within {some}, so no {_RATES[pairs]} can be given")
        if result.unlabeled:
            report.warn(f"{counted(result.unlabeled, 'pair')} left out: a side has no {result.label}")
    report.note(f"threshold {found.threshold:.4f}: FMR {rate(found.fmr)} of all {found.nonmated:,} non-mated pairs")


_RATES = {"mated": "FNMR", "nonmated": "FMR"}


def _row(report: Report, label: str, one: GroupRates, kind: str, pairs: int, share: Estimate | None) -> None:
    if share is None:
        if one.a == one.b:  # people of two sexes make no mated pair: nothing is missing between groups
            report.row(label, one.name, kind, "0", "no pairs", "")
        return
    report.row(label, one.name, kind, f"{pairs:,}", rate(share.value), f"{rate(share.low)} .. {rate(share.high)}")
