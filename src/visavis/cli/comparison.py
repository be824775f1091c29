"""``visavis models compare``: detectors and recognizers side by side."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.models import under_way
from visavis.cli.options import Json, Machine, unpacked
from visavis.cli.report import Column, Report
from visavis.errors import InputError, VisavisError

if TYPE_CHECKING:
    from visavis.evaluation.intervals import Estimate
    from visavis.protocols.comparison import Row

__all__ = ["compare"]

_USE = {True: "yes", False: "no", None: "unknown"}


@unpacked
def compare(
    data: Annotated[
        str, typer.Option(metavar="DATA", help="Zip or folder in LFW's layout, or its name in VISAVIS_DATA.")
    ] = "lfw-dev",
    detectors: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Detectors, with commas between; all without it.")
    ] = None,
    recognizers: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Recognizers, with commas between; all without it.")
    ] = None,
    pairs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="About so many of the pairs, the same in every run.")
    ] = None,
    as_json: Json = False,
    *,
    machine: Machine,
) -> None:
    """Compare detectors and recognizers on pairs of photos, in one table.

    Accuracy: of the pairs over ten folds, each at the threshold that is best on the others (LFW's View 2). TAR: of
    the mated pairs, at the threshold that 1 in 1,000 of all non-mated pairs among the photos reaches. Both in f32. A
    photo in whose middle no face is found lowers "found", and its pairs count as rejected. Time (one thread) and peak
    memory are measured in a process of its own a row.

    Models whose license was not accepted or whose library is missing are listed below the table. The whole of
    lfw-dev takes minutes a detector; --pairs 300 gives a first look.

    Exit code: 0 all compared, 1 some could not be, 2 error.

    \b
    Examples:
      visavis models compare --data lfw-dev
      visavis models compare --pairs 300 --detectors mtcnn
    """
    from visavis.datasets.lfw import Lfw
    from visavis.protocols.comparison import FAR, Running, choices
    from visavis.protocols.comparison import compare as compared

    with Report("models compare", as_json=as_json, columns=_columns(), items="rows") as report:
        photos = Lfw.open(data)
        chosen = photos.view2() if pairs is None else photos.view2().sample(pairs)
        running = Running(machine.threads, machine.precision or "f32", machine.engine, machine.device)
        finders, without = choices(running.store, "detection", _names(detectors))
        embedders, more = choices(running.store, "recognition", _names(recognizers))
        left_out = {**without, **more}
        if not finders or not embedders:
            raise InputError("; ".join(["there is nothing to compare", *left_out.values()]))
        report.fields(data=data, pairs=len(chosen), far=FAR, precision=running.precision)
        done = 0
        failed: dict[str, str] = {}
        for detector in finders:
            try:
                with under_way() as say:
                    rows, broken = compared(detector, embedders, photos, chosen, running, say=say)
            except VisavisError as error:
                failed[detector] = str(error)
                report.say(f"{detector} left out: {error}")
                continue
            for recognizer, reason in broken.items():
                failed[recognizer] = reason
                report.say(f"{recognizer} with {detector} left out: {reason}")
            for row in rows:
                done += 1
                report.row(*_cells(row), item=row.to_dict())
                if row.problem:
                    report.warn(row.problem)
        report.fields(left_out=[{"id": name, "why": why} for name, why in {**left_out, **failed}.items()])
        for name, why in left_out.items():
            report.say(f"{name} left out: {why}")
        report.note(
            f"{len(chosen):,} pairs of {data}; acc: 10-fold accuracy in %; TAR: in % at FAR {FAR:g}; "
            "found: photos in whose middle a face was found, in %; ms a photo and MB at most: one thread"
        )
    if not done:
        raise typer.Exit(2)
    if failed:
        raise typer.Exit(1)


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError("--detectors and --recognizers take names with commas between, as yunet,mtcnn")
    return names


def _width() -> int:
    """Return how much there is room for; a pipe has room for everything."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize


def _columns() -> list[Column]:
    return [column for column, needs in _TABLE if _width() >= needs]


def _cells(row: Row) -> list[str]:
    cells = (
        row.detector,
        row.recognizer,
        _percent(row.accuracy.value),
        _interval(row.accuracy),
        _percent(row.tar.value),
        _interval(row.tar),
        _percent(row.found),
        _number(row.ms, ".1f"),
        _number(row.peak_mb, ".0f"),
        _USE[row.commercial_use],
        str(row.photos),
        row.license,
    )
    return [cell for cell, (_, needs) in zip(cells, _TABLE, strict=True) if _width() >= needs]


_EVER = sys.maxsize  # wider than any terminal: for programs, and the license for people by visavis models show
_TABLE = (
    (Column("detector", 13), 0),
    (Column("recognizer"), 0),
    (Column("acc", 6, right=True), 0),
    (Column("95 %", 13), 110),
    (Column("TAR", 6, right=True), 0),
    (Column("95 %", 13), 110),
    (Column("found", 6, right=True), 0),
    (Column("ms", 6, right=True), 0),
    (Column("MB", 5, right=True), 76),
    (Column("commercial", 10), 80),
    (Column("photos", piped=True), _EVER),
    (Column("license", piped=True), _EVER),
)
"""Each column, and the width of a terminal from which it is shown."""


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _interval(estimate: Estimate) -> str:
    return f"{_percent(estimate.low)}-{_percent(estimate.high)}"


def _number(value: Any, how: str) -> str:
    return "" if value is None else format(value, how)
