"""``visavis enroll`` and ``visavis identify``: people into a gallery, and out of it again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.faces import analyses, counted, say_where, write_picture
from visavis.cli.options import (
    Fpir,
    GalleryFile,
    Json,
    Machine,
    MatchRate,
    Out,
    Paths,
    Recognition,
    Threshold,
    unpacked,
)
from visavis.cli.pictures import PictureFolder
from visavis.cli.report import Column, Report, measured, rate, rate_at
from visavis.errors import InputError
from visavis.files import IMAGE_SUFFIXES, find_images, reason

if TYPE_CHECKING:
    from visavis.models.cards import Calibration
    from visavis.types import Candidates

__all__ = ["enroll", "identify"]


@unpacked
def enroll(
    where: GalleryFile,
    subject: Annotated[str | None, typer.Argument(metavar="SUBJECT", help="The person's name.")] = None,
    images: Annotated[
        list[str] | None, typer.Argument(metavar="IMAGE", help="Photos of them, each with one face.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Enroll a folder: a sub-folder a person, named after them."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take faces that are small, blurred or turned, and the largest of several.")
    ] = False,
    keep_crops: Annotated[
        bool, typer.Option("--keep-crops", help="Keep pictures of the faces, to re-make templates later.")
    ] = False,
    external_id: Annotated[str | None, typer.Option(metavar="ID", help="Your own id of the person.")] = None,
    metadata: Annotated[str | None, typer.Option(metavar="JSON", help="A JSON object to store with them.")] = None,
    as_json: Json = False,
    *,
    models: Recognition,
    machine: Machine,
) -> None:
    """Remember people: store their faces in a gallery.

    More photos of a person enrolled already are added. A photo that can't be used (no face, several, too small,
    blurred or turned) is reported and skipped.

    Exit code: 0 all fine, 1 some photos were skipped, 2 error.

    \b
    Examples:
      visavis enroll ada ada1.jpg ada2.jpg --gallery people.db
      visavis enroll --from photos/ --gallery people.db
    """
    columns = [
        Column("subject"),
        Column("photo", keep="end"),
        Column("", 8),
        Column("model", piped=True),
    ]
    with Report("enroll", as_json=as_json, columns=columns, items="enrolled") as report:
        facts = _metadata(metadata)
        work = _one(subject, images) if source is None else _folders(report, source, subject, external_id, metadata)
        analyzer = models.analyzer(machine)
        created = not Path(where.gallery).expanduser().exists()
        with where.open(analyzer, create=True) as gallery:
            if created:
                report.say(f"made the gallery {where.gallery}")
            report.fields(gallery=where.gallery, collection=where.collection, model=analyzer.model)
            people: set[str] = set()
            new = 0
            for name, path in report.track(work, lambda: len(work), "enrolling"):
                try:
                    result = gallery.enroll(
                        name, path, external_id=external_id, metadata=facts, keep_crops=keep_crops, force=force
                    )
                except InputError as error:
                    report.skip(path, error)
                    continue
                for warning in result.warnings:
                    report.warn(f"{name}: {warning}")
                people.add(name)
                new += result.created
                state = "enrolled" if result.created else "added"
                report.row(name, str(path), state, result.model, item={"image": str(path), **result.to_dict()})
            total = len(gallery)
        report.fields(subjects=len(people), new_subjects=new, subjects_in_gallery=total)
        report.note(f"{new} new of {_people(len(people))}; {where.gallery} now holds {_people(total)}")
        code = report.end()
    raise typer.Exit(code)


def _one(subject: str | None, images: list[str] | None) -> list[tuple[str, Path]]:
    if subject is None or not images:
        raise InputError("give a name and photos (visavis enroll NAME PHOTO...), or --from DIR")
    work = [(subject, path) for path in find_images(images)]
    if not work:
        raise InputError(f"no image in {', '.join(images)}")
    return work


def _folders(
    report: Report, folder: Path, subject: str | None, external_id: str | None, metadata: str | None
) -> list[tuple[str, Path]]:
    if subject is not None or external_id is not None or metadata is not None:
        raise InputError("--from takes names from sub-folders: leave out SUBJECT, --external-id and --metadata")
    try:
        inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"--from {folder} can't be read: {reason(error)}") from None
    people = [path for path in inside if path.is_dir()]
    work = [(person.name, path) for person in people for path in find_images([person])]
    if not work:
        raise InputError(f"--from {folder} needs a sub-folder a person, with photos in it")
    loose = sum(path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES for path in inside)
    if loose:
        report.warn(f"{counted(loose, 'file')} directly in {folder} left out: they belong to no person")
    return work


def _metadata(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"--metadata is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError('--metadata must be a JSON object, as {"team": "red"}')
    return found


@unpacked
def identify(
    where: GalleryFile,
    images: Paths,
    top: Annotated[int, typer.Option(metavar="K", min=1, help="How many candidates to name for each face.")] = 1,
    fpir: Fpir = None,
    fmr: MatchRate = None,
    threshold: Threshold = None,
    out: Out = None,
    as_json: Json = False,
    *,
    models: Recognition,
    machine: Machine,
) -> None:
    """Say who of a gallery is in photos.

    Without --fpir, --fmr or --threshold, the threshold is the one that 1 face in 100 of people who are not in the
    gallery reaches (--fpir 0.01), whatever the gallery's size.

    Exit code: 0 all fine, 1 some files were skipped, 2 error.

    \b
    Examples:
      visavis identify party.jpg --gallery people.db
      visavis identify photos/ -g people.db --out named/
      visavis identify door.jpg -g people.db --fpir 0.001
    """
    from visavis.drawing import labels_for

    with Report("identify", as_json=as_json, columns=_columns(top), items="images") as report:
        pictures = PictureFolder(out, images) if out else None
        analyzer = models.analyzer(machine)
        calibration = analyzer.calibration
        with where.open(analyzer) as gallery:
            point = gallery.identify(_no_faces(analyzer.model), fpir=fpir, fmr=fmr, threshold=threshold)
            people = len(gallery)
            report.fields(
                gallery=where.gallery,
                collection=where.collection,
                subjects=people,
                model=point.model,
                threshold=point.threshold,
                fmr=point.fmr,
                fpir=point.fpir,
                fmr_measured=measured(calibration),
            )
            if not people:
                report.warn(f"{where.gallery} holds nobody, so every face is unknown")
            named = total = 0
            for analysis in analyses(report, analyzer, images, keep_images=bool(out), what="identifying"):
                found = gallery.identify(analysis.faces, top=top, fpir=fpir, fmr=fmr, threshold=threshold)
                rows = analysis.faces.to_dict()
                for row, who in zip(rows, found.to_dict(), strict=True):
                    row |= who
                total, named = total + len(rows), named + sum(who is not None for who in found.best)
                picture = write_picture(pictures, analysis, analysis.faces, labels_for(found) if pictures else None)
                report.item({"image": str(analysis.source), "faces": rows, **picture})
                for cells in _cells(str(analysis.source), found, top, calibration):
                    report.row(*cells)
        report.fields(read=report.done - report.skipped, faces=total, named=named)
        report.note(
            f"{named} of {counted(total, 'face')} named, in {counted(report.done - report.skipped, 'photo')}\n"
            f"{_threshold(point)}{_measured_on(calibration)}; model {point.model}, {_people(people)} enrolled"
        )
        say_where(report, out)
        code = report.end()
    raise typer.Exit(code)


def _columns(top: int) -> list[Column]:
    said = [Column(name, piped=True) for name in ("threshold", "threshold FMR", "FPIR", "model")]
    scores = [Column("similarity", 10, right=True), Column("FMR", 8, right=True)]
    first = [Column("photo", keep="end"), Column("face", 4, right=True)]
    if top == 1:
        return [*first, Column("who"), *scores, *said]
    return [*first, Column("rank", 4, right=True), Column("candidate"), *scores, Column("match", 5), *said]


def _cells(source: str, found: Candidates, top: int, calibration: Calibration | None) -> Iterator[tuple[str, ...]]:
    said = (f"{found.threshold:.4f}", rate(found.fmr), rate(found.fpir), found.model)
    for i, row in enumerate(found.to_dict()):
        scored = [
            (c["subject"], f"{c['similarity']:.3f}", rate_at(c["fmr_at_similarity"], calibration), c["match"])
            for c in row["candidates"]
        ]
        if top == 1:
            _, similarity, at, _ = scored[0] if scored else ("", "", "", False)
            yield source, str(i + 1), row["subject"] or "unknown", similarity, at, *said
        for rank, (name, similarity, at, match) in enumerate(scored if top > 1 else (), 1):
            yield source, str(i + 1), str(rank), name, similarity, at, "yes" if match else "no", *said


def _threshold(point: Candidates) -> str:
    return f"threshold {point.threshold:.3f}: FPIR {rate(point.fpir)}, FMR {rate(point.fmr)}"


def _measured_on(calibration: Calibration | None) -> str:
    return "" if calibration is None else f", measured on {calibration.data}"


def _no_faces(model: str) -> Any:
    """Return a probe of no faces, which identifies nobody but learns the threshold, or that there can be none."""
    import numpy as np

    from visavis.types import Embeddings

    return Embeddings(np.empty((0, 0), np.float32), model)


def _people(number: int) -> str:
    return f"{number:,} {'person' if number == 1 else 'people'}"
