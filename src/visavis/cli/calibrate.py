"""``visavis calibrate``: what a recognizer's similarities are worth on one's own photos."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.faces import counted
from visavis.cli.facts import provenance
from visavis.cli.models import under_way
from visavis.cli.options import Json, Machine, Recognition, ReportFile, unpacked
from visavis.cli.report import Column, Report, rate
from visavis.errors import InputError, VisavisError

if TYPE_CHECKING:
    from visavis.datasets.photos import PhotoSet
    from visavis.pipeline import Analyzer
    from visavis.protocols.calibration import Calibrated
    from visavis.protocols.embedding import Embedded

__all__ = ["calibrate"]

_SHOWN = 10  # suspicious pairs that are printed
_COLUMNS = (
    Column("FMR", 6, right=True),
    Column("threshold", 9, right=True),
    Column("95 % interval of the FMR", 24, right=True),
    Column("FNMR", 8, right=True),
    Column("FNMR, people", 12, right=True),
)


@unpacked
def calibrate(
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="A folder a person, or LFW's layout (zip, folder, name in VISAVIS_DATA)."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to call the data; by default as its folder.")
    ] = None,
    fmr: Annotated[float, typer.Option("--fmr", metavar="RATE", help="The strictest FMR you mean to use.")] = 1e-4,
    embeddings: Annotated[
        Path | None,
        typer.Option("--embeddings", metavar="FILE.npz", help="Take embeddings from here (names, vectors)."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE.csv", help="With --embeddings, in place of DATA: photo, person."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure and print; change nothing.")] = False,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="MODEL", help="Forget what was measured; with --name only that.")
    ] = None,
    page: ReportFile = None,
    as_json: Json = False,
    *,
    how: Recognition,
    machine: Machine,
) -> None:
    """Measure error rates on your own photos, and use them.

    Whatever a recognizer decides from then on goes by the rates measured.

    All photos are compared with all others; the thresholds found, with their intervals, are kept beside the
    recognizer's card. verify, identify and the others then take them, and say what they were measured on. Of several
    measurements the newest counts; `visavis models show MODEL` shows it, --remove goes back. Rates hold for the
    detector, recognizer and --flip they were measured with.

    Needs photos of at least 10 people, and far more for strict rates: an FMR of 1e-4 takes 30,000 pairs of different
    people at the least. Photos of one person under two names raise thresholds: suspicious pairs are listed.

    Exit code: 0 all fine, 1 some photos could not be read, 2 error.

    \b
    Examples:
      visavis calibrate staff/ --name "front door" \\
        --report calibration.html
      visavis calibrate staff/ --recognizer dlib-resnet \\
        --fmr 1e-3
      visavis calibrate --embeddings mine.npz \\
        --labels people.csv --name lab
      visavis calibrate --remove sface
    """
    with Report("calibrate", as_json=as_json, columns=_COLUMNS, items="skipped_photos") as report:
        if remove is not None:
            if data is not None or embeddings is not None:
                raise InputError("--remove measures nothing: leave out DATA and --embeddings")
            _remove(report, remove, name)
            return
        if not 0 < fmr < 1:
            raise InputError(f"--fmr lies between 0 and 1, not {fmr}")
        if page is not None:
            from visavis.reporting.page import require_target

            require_target(page)
        analyzer = how.analyzer(machine.exact)
        embedded, people, photos = _embedded(report, data, embeddings, labels, analyzer)
        called = (name or _called(data, embeddings)).strip()
        if not called or len(called) > 100 or not called.isprintable():
            raise InputError("--name is a printable text of at most 100 characters")
        from visavis.protocols.calibration import calibrate as measured

        with under_way() as say:
            done = measured(embedded, people, data=called, say=say)
        if not dry_run:
            analyzer.store.calibrate(analyzer.model.partition("+")[0], done.table)
        _show(report, done, fmr, dry_run)
        if page is not None:
            from visavis.datasets.lfw import data_path
            from visavis.protocols.calibration import calibration_document
            from visavis.reporting.page import write

            settings = {
                "data": data or labels,
                "face of a photo": embedded.about.get("choose"),
                "model": embedded.model,
            }
            facts = [(name, str(value)) for name, value in settings.items() if value]
            files = [data and data_path(data), labels, embeddings]
            facts = provenance(facts, files, [how] if embeddings is None else [], machine.exact)
            write(calibration_document(done, fmr, facts, photos), page)
        code = report.end()
    raise typer.Exit(code)


def _remove(report: Report, model: str, data: str | None) -> None:
    from visavis.models.store import Store

    number = Store().forget_calibrations(model, data)
    if not number:
        on = f" on {data}" if data else ""
        raise InputError(f"nothing was measured of {model}{on}: visavis models show {model}")
    report.line(f"{model}: {counted(number, 'calibration')} removed")
    report.fields(model=model, removed=number)


def _called(data: str | None, embeddings: Path | None) -> str:
    return Path(data).resolve().name if data is not None else Path(embeddings or "").stem


def _embedded(
    report: Report, data: str | None, file: Path | None, labels: Path | None, analyzer: Analyzer
) -> tuple[Embedded, list[str], PhotoSet | None]:
    """Return embeddings with the person of each photo, and the photos where they are at hand."""
    from visavis.datasets.lfw import Lfw
    from visavis.datasets.photos import open_photos
    from visavis.protocols.embedding import embed_photos

    if (data is None) == (labels is None):
        raise InputError("give DATA, or --labels with --embeddings: photos of people")
    if labels is not None:
        if file is None:
            raise InputError("--labels tells who is on the photos of --embeddings: give that too")
        embedded = _brought(file, analyzer)
        return embedded, _people(embedded, labels), None
    assert data is not None
    photos = open_photos(data)
    if file is not None:
        known = _brought(file, analyzer)
        embedded = known.at(photos.photos)
        if not embedded.found.any():
            raise InputError(f"{file} has none of the photos of {data}: its names are as {known.names[0]!r}")
        missing = len(photos.photos) - len(set(photos.photos) & set(known.names))
        if missing:
            report.warn(f"{counted(missing, 'photo')} not in {file}: left out")
        return embedded, list(photos.people), photos

    def failed(photo: str, error: VisavisError) -> None:
        report.skip(photo, InputError(f"{photo}: {error}"))

    report.done = len(photos.photos)
    with under_way() as say:
        choose = "central" if isinstance(photos, Lfw) else "largest"
        embedded = embed_photos(photos, analyzer, choose=choose, say=say, failed=failed)  # type: ignore[arg-type]
    return embedded, list(photos.people), photos


def _brought(file: Path, analyzer: Analyzer) -> Embedded:
    """Return the embeddings of a file, under the name of the table they make."""
    from visavis.protocols.embedding import Embedded

    embedded = Embedded.load(file)
    if not len(embedded):
        raise InputError(f"{file} holds no embeddings")
    if embedded.model not in (analyzer.calibrated_as, file.stem):
        raise InputError(
            f"{file} holds embeddings of {embedded.model!r}, and the options say {analyzer.calibrated_as!r}: give the "
            "--recognizer, --flip and --detector they were made with"
        )
    size = analyzer.store.card(analyzer.model.partition("+")[0]).dimension
    if size is not None and embedded.vectors.shape[1] != size:
        raise InputError(
            f"{file} holds embeddings of {embedded.vectors.shape[1]} numbers; those of {analyzer.model} have {size}"
        )
    return replace(embedded, model=analyzer.calibrated_as)


def _people(embedded: Embedded, labels: Path) -> list[str]:
    from visavis.datasets.columns import read_columns

    columns = read_columns(labels, ("photo", "person"))
    people = dict(zip(columns["photo"], columns["person"], strict=True))
    missing = [photo for photo in embedded.names if photo not in people]
    if missing:
        raise InputError(f"{labels} tells of no person on {counted(len(missing), 'photo')}, as {missing[0]!r}")
    return [people[photo] for photo in embedded.names]


def _show(report: Report, done: Calibrated, fmr: float, dry_run: bool) -> None:
    found = done.measured
    for point in found.points:
        report.row(
            rate(point.fmr),
            f"{point.threshold:.4f}",
            f"{rate(point.low) if point.low else '0'} to {rate(point.high)}",
            _share(point.fnmr),
            _share(point.fnmr_people),
        )
    for text in done.warnings(fmr):
        report.warn(text)
    for pair in done.suspects[:_SHOWN]:
        report.say(f"suspicious: {pair.photos[0]} and {pair.photos[1]}, similarity {pair.similarity:.3f}")
    if len(done.suspects) > _SHOWN:
        report.say(f"suspicious: {len(done.suspects) - _SHOWN} more; --json or --report list them")
    if done.without:
        report.warn(f"{counted(len(done.without), 'photo')} without a face took no part")
    report.fields(**done.to_dict(), written=not dry_run)
    used = (
        "" if dry_run else f"\n{done.table.model} uses it from now on; back: visavis calibrate --remove {_card(done)}"
    )
    report.note(
        f"{done.table.model} measured on {done.table.data}: {found.nonmated_pairs:,} pairs of different people, "
        f"{found.mated_pairs:,} of one; {found.photos:,} photos of {found.people:,} people{used}"
    )


def _card(done: Calibrated) -> str:
    return done.table.model.partition("@")[0].partition("+")[0]


def _share(value: Any) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.2%}"
