"""``visavis evaluate traits``: expressions, attributes and ages that any system said, against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.facts import provenance
from visavis.cli.options import Json, ReportFile
from visavis.cli.report import Column, Report

if TYPE_CHECKING:
    from visavis.evaluation.intervals import Estimate
    from visavis.evaluation.traits import AgeResult, ClassResult
    from visavis.reporting.document import Document, Part

__all__ = ["traits"]

_MAX_GROUPS = 1000
_COLUMNS = (
    Column("group", 10),
    Column("what", 17),
    Column("of"),
    Column("faces", 8, right=True),
    Column("value", 8, right=True),
    Column("95 % interval", 18, right=True),
)


def traits(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="Columns truth and predicted, perhaps group; a row a face.")
    ],
    age: Annotated[bool, typer.Option("--age", help="Both are ages in years, not classes.")] = False,
    within: Annotated[
        list[float] | None,
        typer.Option("--within", metavar="YEARS", help="With --age: how far off counts as right; repeatable.", min=0),
    ] = None,
    page: ReportFile = None,
    as_json: Json = False,
) -> None:
    """Compare classes or ages of a model with the true ones.

    For classes (expression, sex, glasses): accuracy, balanced accuracy, macro F1, what share of each class was found,
    and (with --json or --report) the confusion matrix. For ages: mean absolute error, bias, and the cumulative score
    CS(t), the share of faces whose age is off by at most t years. A column named group repeats all that for each group.

    Intervals take faces as independent. They need the package scipy: pip install 'visavis[evaluate]'.

    Exit code: 0 all fine, 2 error.

    \b
    Examples:
      visavis evaluate traits expressions.csv
      visavis evaluate traits ages.csv --age --within 5
    """
    from visavis.datasets.columns import numbers, read_columns
    from visavis.errors import InputError
    from visavis.evaluation.traits import TOLERANCES, evaluate_ages, evaluate_classes

    if within and not age:
        raise InputError("--within goes with --age")
    with Report("evaluate traits", as_json=as_json, columns=_COLUMNS, items="groups") as report:
        if page is not None:
            from visavis.reporting.page import require_target

            require_target(page)
        columns = read_columns(file, ("truth", "predicted"), ("group",))
        truth, predicted, groups = columns["truth"], columns["predicted"], columns.get("group", [])
        if age:
            true, said = (numbers(columns[name], name, file, low=0, high=200) for name in ("truth", "predicted"))

        def measure(rows: list[int]) -> ClassResult | AgeResult:
            if age:
                return evaluate_ages(true[rows], said[rows], tolerances=within or TOLERANCES)
            return evaluate_classes([truth[i] for i in rows], [predicted[i] for i in rows])

        every = measure(list(range(len(truth))))
        report.fields(file=str(file), kind="age" if age else "classes", **every.to_dict())
        _show(report, "all", every)
        never = [one.name for one in getattr(every, "classes", ()) if not one.faces]
        if never:
            report.warn(f"predicted, and never true: {', '.join(map(repr, never[:10]))}; counted as 0 in macro F1")
        members: dict[str, list[int]] = {}
        for i, group in enumerate(groups):
            members.setdefault(group, []).append(i)
        if len(members) > _MAX_GROUPS:
            raise InputError(f"{file} has {len(members)} groups; {_MAX_GROUPS} are the limit")
        by_group = [(group, measure(members[group])) for group in sorted(members)]
        for group, one in by_group:
            report.item({"group": group, **one.to_dict()})
            _show(report, group, one)
        if page is not None:
            from visavis.reporting.page import write

            facts = provenance([("file", file.name)], [file])
            write(_document(every, by_group, file.name, facts), page)


def _rows(found: ClassResult | AgeResult) -> list[tuple[str, str, int, float, Estimate | None]]:
    """Return what is stated: what, of what, how many faces, the value, and its estimate where it has one."""
    from visavis.evaluation.traits import AgeResult

    if isinstance(found, AgeResult):
        return [
            ("MAE, years", "", found.faces, found.mae.value, found.mae),
            ("bias, years", "", found.faces, found.bias, None),
            *((f"CS({years:g})", "", found.faces, share.value, share) for years, share in found.cumulative),
        ]
    return [
        ("accuracy", "", found.faces, found.accuracy.value, found.accuracy),
        ("balanced accuracy", "", found.faces, found.balanced_accuracy, None),
        ("macro F1", "", found.faces, found.macro_f1, None),
        *(("found", one.name, one.faces, one.recall.value, one.recall) for one in found.classes if one.recall),
    ]


def _figures(what: str, value: float, share: Estimate | None) -> tuple[str, str]:
    years = what.endswith("years")
    ends = "" if share is None else "..".join(f" {x:.2f} " if years else f" {x:.2%} " for x in (share.low, share.high))
    return (f"{value:.2f}" if years else f"{value:.2%}"), ends.strip()


def _show(report: Report, group: str, found: ClassResult | AgeResult) -> None:
    for what, of, faces, value, share in _rows(found):
        report.row(group, what, of, f"{faces:,}", *_figures(what, value, share))


def _document(
    every: ClassResult | AgeResult,
    by_group: list[tuple[str, ClassResult | AgeResult]],
    name: str,
    facts: list[tuple[str, str]],
) -> Document:
    from visavis.evaluation.traits import AgeResult
    from visavis.reporting.document import Document, Section, Table

    sections = []
    for group, one in [("All", every), *by_group]:
        rows = [[what, of, f"{n:,}", *_figures(what, value, share)] for what, of, n, value, share in _rows(one)]
        columns = ["what", "of", "faces", "value", "95 % interval"]
        parts: list[Part] = [Table("Rates", columns, rows, numeric=[False, False, True, True, True])]
        if not isinstance(one, AgeResult):
            names = [kind.name for kind in one.classes]
            cells = [[names[i], *(f"{n:,}" for n in row)] for i, row in enumerate(one.confusion.tolist())]
            parts.append(
                Table("Confusion", ["truth \\ predicted", *names], cells, "Faces; right ones on the diagonal.")
            )
        sections.append(Section(group, parts))
    if isinstance(every, AgeResult):
        summary = f"Ages of {every.faces:,} faces are off by {every.mae.value:.2f} years on average."
    else:
        summary = f"Of {every.faces:,} faces {100 * every.accuracy.value:.2f} % were said right."
    results = {**every.to_dict(), "groups": [{"group": group, **one.to_dict()} for group, one in by_group]}
    return Document(f"Traits: {name}", summary, sections, facts, results)
