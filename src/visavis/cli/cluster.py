"""``visavis cluster``: the faces of an album to people, before anybody has a name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from visavis.cli.faces import analyses, counted
from visavis.cli.facts import provenance
from visavis.cli.models import under_way
from visavis.cli.options import Fpir, GalleryFile, Json, Machine, MatchRate, Recognition, Threshold, unpacked
from visavis.cli.pictures import PictureFolder, writable_folder
from visavis.cli.report import Column, Report, rate
from visavis.errors import InputError, StorageError

if TYPE_CHECKING:
    from visavis.curation.album import Album, Person
    from visavis.pipeline import Analyzer
    from visavis.recognition.compare import OperatingPoint

__all__ = ["cluster"]

_RESULT = "clusters.npz"
_PAGE = "people.html"
_CROPS = "crops"
_COLUMNS = (
    Column("cluster", 7, right=True),
    Column("faces", 6, right=True),
    Column("photos", 6, right=True),
    Column("who", 16),
    Column("best photo", keep="end"),
    Column("face", 4, right=True),
)


@dataclass(frozen=True)
class Grouping:
    """How faces are grouped."""

    fmr: MatchRate = None
    threshold: Threshold = None
    min_faces: Annotated[int, typer.Option(metavar="N", help="Faces that make a person.", min=1)] = 2
    method: Annotated[
        Literal["average", "dbscan"], typer.Option(help="How faces are grouped; see docs/clustering.md.")
    ] = "average"
    all_faces: Annotated[bool, typer.Option("--all-faces", help="Group small, blurred and turned faces too.")] = False


@unpacked
def cluster(
    images: Annotated[
        list[str] | None, typer.Argument(metavar="DIR", help="Folders (with all below them), photos or patterns.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help=f"Keep the result here ({_RESULT}), with a contact sheet ({_PAGE})."),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Take the result that an --out kept; no analysis.")
    ] = None,
    crops: Annotated[
        bool, typer.Option("--crops", help=f"Also write every face into {_CROPS}/, a folder a cluster.")
    ] = False,
    enroll: Annotated[
        list[str] | None,
        typer.Option("--enroll", metavar="CLUSTER=NAME", help="Enroll a cluster's best faces; repeatable."),
    ] = None,
    faces: Annotated[int, typer.Option(metavar="N", help="How many faces --enroll takes.", min=1, max=100)] = 5,
    gallery: Annotated[
        str | None, typer.Option("--gallery", "-g", metavar="FILE", help="Name whom it knows; enroll into it.")
    ] = None,
    collection: Annotated[str, typer.Option(metavar="NAME", help="Group of people in the gallery.")] = "default",
    fpir: Fpir = None,
    as_json: Json = False,
    *,
    how: Grouping,
    models: Recognition,
    machine: Machine,
) -> None:
    """Group the faces of an album to people.

    Every face of every photo takes part but those that are too small, blurred or turned to be recognized: they are
    counted and left apart. Prints the people, those with most faces first, with their best photo. Photos are never
    moved or changed.

    Two faces are taken for one person where their similarity reaches a threshold, groups of faces where the mean of all
    their similarities does. The more faces, the stricter the threshold: without --fmr or --threshold, each face meets
    0.2 strangers that reach it by chance, which is --fmr 1e-4 for 2,000 faces.

    With --out the result is kept: look at the contact sheet, then give names with --from and --enroll, which need no
    analysis. With --gallery people who are enrolled are named: where most of a cluster's best faces are identified,
    each at --fpir 0.001.

    Exit code: 0 all fine, 1 some files were skipped, 2 error.

    \b
    Examples:
      visavis cluster photos/ --out people/
      visavis cluster --from people/ --enroll 3=Ada \\
        --enroll 5=Bob -g people.db
      visavis cluster photos/ -g people.db --crops \\
        --out people/
    """
    from visavis.curation import album as albums

    with Report("cluster", as_json=as_json, columns=_COLUMNS, items="faces") as report:
        folder = out or source
        named = _wanted(enroll, gallery)
        if crops and folder is None:
            raise InputError("--crops writes into the folder of --out: give one")
        if source is not None and images:
            raise InputError("--from takes a result that was kept: leave out DIR")
        if source is None and not images:
            raise InputError("give folders or photos, or --from with the folder of a result")
        if out is not None and images:
            PictureFolder(out, images)  # refuses a folder that is searched
        # What can go wrong goes wrong before the long work.
        album = None if source is None else _loaded(source / _RESULT)
        if folder is not None:
            _require(writable_folder(folder), crops, page=out is not None)
        analyzer = (models if album is None else _kept(models, album)).analyzer(machine)
        if gallery is not None and not named:
            GalleryFile(gallery, collection).open(analyzer).close()
        again = album is None or how != Grouping()
        if again:
            _point(analyzer, how, faces=1)
        if album is None:
            stream = analyses(report, analyzer, images or [], keep_images=True, what="analyzing")
            settings = {key: value for key, value in asdict(models).items() if value is not None}
            album = albums.gather(stream, analyzer.model, settings)
        if again:
            album = _grouped(album, analyzer, how)
        people = album.people()
        if folder is not None and (again or out is not None):
            album.save(folder / _RESULT)
        names = _names(report, album, people, named, faces, analyzer, gallery, collection, fpir)
        problems = album.problems()
        apart = 0 if album.settings.get("all_faces") else sum(map(bool, problems))
        _show(report, album, people, names, problems)
        _totals(report, album, people, apart, problems)
        if out is not None:
            from visavis.curation.album_page import contact_sheet
            from visavis.reporting.page import write

            write(contact_sheet(album, people, names, apart, _facts(album)), out / _PAGE)
        if crops and folder is not None:
            _write_crops(album, people, folder / _CROPS)
        if folder is not None:
            report.note(f"kept in {folder}" + (f"; look at {folder / _PAGE}" if out is not None else ""))
        code = report.end() if source is None else 0
    raise typer.Exit(code)


def _loaded(path: Path) -> Album:
    from visavis.curation.album import Album

    album = Album.load(path)
    if not isinstance(album.settings.get("threshold"), float):
        raise InputError(f"{path} is no result of visavis cluster --out: it has no threshold")
    return album


def _kept(models: Recognition, album: Album) -> Recognition:
    """Return the options that an album was made with: error rates depend on them."""
    known = {name: value for name, value in album.settings.items() if hasattr(models, name)}
    return replace(models, **known)


def _require(folder: Path, crops: bool, *, page: bool) -> None:
    if page:
        from visavis.reporting.page import require_target

        require_target(folder / _PAGE)
    if crops and (folder / _CROPS).exists():
        raise InputError(f"{folder / _CROPS} is there already: move it away, or choose another --out")


def _grouped(album: Album, analyzer: Analyzer, how: Grouping) -> Album:
    import numpy as np

    usable = np.ones(len(album), bool) if how.all_faces else np.array([not found for found in album.problems()], bool)
    point, calibration = _point(analyzer, how, int(usable.sum())), analyzer.calibration
    with under_way() as say:
        found = album.grouped(point.threshold, usable=usable, min_faces=how.min_faces, method=how.method, say=say)
    told = {
        "threshold": point.threshold,
        "fmr": point.fmr,
        "measured_on": None if calibration is None else calibration.data,
        "min_faces": how.min_faces,
        "method": how.method,
        "all_faces": how.all_faces,
    }
    return replace(found, settings={**found.settings, **told})


def _point(analyzer: Analyzer, how: Grouping, faces: int) -> OperatingPoint:
    """Return the threshold for so many faces; an error where none was measured or the options contradict."""
    from visavis.clustering import fmr_for
    from visavis.recognition.compare import operating_point

    calibration, fmr = analyzer.calibration, how.fmr
    if fmr is None and how.threshold is None:
        fmr = fmr_for(faces, how.method)
        if calibration is not None:
            fmr = min(max(fmr, float(calibration.fmr[-1])), float(calibration.fmr[0]))
    return operating_point(calibration, fmr=fmr, threshold=how.threshold, model=analyzer.calibrated_as)


def _wanted(enroll: Sequence[str] | None, gallery: str | None) -> dict[int, str]:
    """Read ``3=Ada``: clusters by number from 0 on."""
    from visavis.names import checked_name

    named: dict[int, str] = {}
    for text in enroll or ():
        number, equals, name = text.partition("=")
        if not equals or not number.strip().isdecimal() or int(number) < 1:
            raise InputError(f"--enroll takes CLUSTER=NAME, as 3=Ada, not {text!r}")
        if named.setdefault(int(number) - 1, checked_name(name)) != checked_name(name):
            raise InputError(f"--enroll gives cluster {int(number)} two names")
    if named and gallery is None:
        raise InputError("--enroll needs the gallery to enroll into: --gallery people.db")
    return named


def _names(
    report: Report,
    album: Album,
    people: list[Person],
    named: dict[int, str],
    faces: int,
    analyzer: Analyzer,
    file: str | None,
    collection: str,
    fpir: float | None,
) -> dict[int, str]:
    """Enroll clusters under the names given, and name those that the gallery knows."""
    if file is None:
        return {}
    from visavis.curation.album import who

    beyond = sorted(number + 1 for number in named if number >= len(people))
    if beyond:
        raise InputError(f"there is no cluster {beyond[0]}; there are {len(people)}")
    with GalleryFile(file, collection).open(analyzer, create=bool(named)) as gallery:
        for number, name in named.items():
            result = gallery.enroll(name, album.embeddings(people[number].best[:faces]))
            for warning in result.warnings:
                report.warn(f"{name}: {warning}")
            report.say(f"cluster {number + 1}: {counted(result.templates, 'face')} enrolled as {name}")
        if not len(gallery):
            return {}
        if analyzer.calibration is None:
            report.warn(f"{analyzer.calibrated_as} has no calibration: whom the gallery knows is not told")
            return named
        known = who(album, people, gallery) if fpir is None else who(album, people, gallery, fpir)
        return {**known, **named}


def _show(
    report: Report, album: Album, people: list[Person], names: dict[int, str], problems: list[tuple[str, ...]]
) -> None:
    for person in people:
        said = _said(album, person, names)
        best = said["best"]
        cells = (str(said["cluster"]), str(said["faces"]), str(said["photos"]), said["subject"] or "")
        report.row(*cells, best["image"], str(best["face"]))
    for row, found in enumerate(problems if report.as_json else ()):
        label = int(album.labels[row])
        report.item(
            {
                "image": album.photos[int(album.photo[row])],
                "face": int(album.face[row]) + 1,
                "box": [round(float(value), 2) for value in album.boxes[row]],
                "cluster": None if label < 0 else label + 1,
                "subject": names.get(label),
                "problems": list(found),
            }
        )
    report.fields(people=[_said(album, person, names) for person in people])


def _said(album: Album, person: Person, names: dict[int, str]) -> dict[str, Any]:
    photos = len({int(album.photo[row]) for row in person.rows})
    best = int(person.best[0])
    return {
        "cluster": person.cluster + 1,
        "subject": names.get(person.cluster),
        "faces": len(person.rows),
        "photos": photos,
        "best": {"image": album.photos[int(album.photo[best])], "face": int(album.face[best]) + 1},
    }


def _totals(report: Report, album: Album, people: list[Person], apart: int, problems: list[tuple[str, ...]]) -> None:
    grouped, settings = int((album.labels >= 0).sum()), album.settings
    kinds = {"small": "too small", "blurred": "blurred", "turned": "too far"}
    why = {kind: sum(any(words in text for text in found) for found in problems) for kind, words in kinds.items()}
    report.fields(
        read=len(album.photos),
        grouped=grouped,
        apart={"faces": apart, **why},
        model=album.model,
        **{name: settings.get(name) for name in ("threshold", "fmr", "measured_on", "method", "min_faces")},
    )
    alone = len(album) - grouped - apart
    report.note(
        f"{counted(len(people), 'cluster')} with {grouped:,} of {counted(len(album), 'face')} in "
        f"{counted(len(album.photos), 'photo')}; {alone:,} with nobody else, {apart:,} too small, blurred or turned\n"
        f"threshold {settings['threshold']:.3f}, model {album.model}, FMR {_rate(settings)}"
    )


def _rate(settings: dict[str, Any]) -> str:
    on = f", measured on {settings['measured_on']}" if settings.get("measured_on") else ""
    return f"{rate(settings.get('fmr'))}{on}"


def _facts(album: Album) -> list[tuple[str, str]]:
    names = ("detector", "recognizer", "flip", "method", "threshold", "fmr", "measured_on", "min_faces", "all_faces")
    return provenance([(name, str(album.settings[name])) for name in names if name in album.settings], [])


def _write_crops(album: Album, people: list[Person], folder: Path) -> None:
    """Write every face of every cluster, each cluster into a folder of its own."""
    from visavis.image import save_image

    digits = max(len(str(len(people))), 3)
    for person in people:
        inside = folder / f"{person.cluster + 1:0{digits}d}"
        try:
            inside.mkdir(parents=True)
        except OSError as error:
            raise StorageError(f"{inside} can't be made: {error.strerror or error}") from None
        for row, crop in album.crops(person.rows, side=224):
            name = os.path.splitext(os.path.basename(album.photos[int(album.photo[row])]))[0]  # noqa: PTH119, PTH122
            save_image(inside / f"{row:06d}-{name[:80]}-{int(album.face[row]) + 1}.jpg", crop)
