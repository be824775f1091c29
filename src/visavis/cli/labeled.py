"""Labeled photos: a folder with a sub-folder a person, each photo with one face."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from visavis.cli.faces import counted
from visavis.cli.report import Report, printable
from visavis.errors import InputError, NoFaceFound, SeveralFacesFound
from visavis.files import IMAGE_SUFFIXES, find_images, reason

if TYPE_CHECKING:
    from visavis.datasets.photos import PhotoSet
    from visavis.pipeline import Analyzer
    from visavis.types import Embeddings

__all__ = ["embedded", "labeled", "opened", "warn_of_lookalikes", "without_doubles"]

_SHOWN = 5  # of a list that may be long


def opened(report: Report, data: str) -> PhotoSet:
    """Open photos of people in any layout; tell what is left out."""
    from visavis.datasets.photos import PeopleFolder, open_photos

    photos = open_photos(data)
    if isinstance(photos, PeopleFolder):
        found = list(photos.path.iterdir())
        loose = sum(path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "." and path.is_file() for path in found)
        if loose:
            report.warn(f"{counted(loose, 'photo')} directly in {data} left out: they belong to no person")
    return photos


def labeled(report: Report, folder: Path) -> list[tuple[str, Path]]:
    """Return each photo below a folder with its person; tell what is left out."""
    from visavis.names import checked_name

    try:
        inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder} can't be read: {reason(error)}") from None
    loose = sum(path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES for path in inside)
    if loose:
        report.warn(f"{counted(loose, 'file')} directly in {folder} left out: they belong to no person")
    work: list[tuple[str, Path]] = []
    taken: dict[str, Path] = {}
    for person in (path for path in inside if path.is_dir()):
        try:
            name = checked_name(person.name, "a person's name")
        except InputError as error:
            report.warn(f"{printable(str(person))} left out: {error}")
            continue
        if taken.setdefault(name, person) != person:
            report.warn(f"two folders are spelled {name!r}: taken as one person")
        photos = list(find_images([person]))
        if not photos:
            report.warn(f"{name!r} is left out: there is no photo in {person}")
        work += [(name, path) for path in photos]
    if not work:
        raise InputError(f"{folder} needs a sub-folder a person, with photos in it")
    return work


def embedded(
    report: Report, analyzer: Analyzer, work: list[tuple[str, Path]], largest: bool, what: str
) -> tuple[list[str], list[Path], Embeddings]:
    """Return names, paths and embeddings of the photos with one face each; skip the others."""
    from visavis.analysis.quality import QualityGate
    from visavis.pipeline import only_face
    from visavis.types import Embeddings

    gate = QualityGate()
    names, paths, rows = [], [], []
    stream = analyzer.stream([path for _, path in work])
    for (name, path), analysis in report.track(zip(work, stream, strict=True), lambda: len(work), what):
        if analysis.error is not None:
            report.skip(path, analysis.error)
            continue
        faces = analysis.faces
        if not len(faces):
            report.skip(path, NoFaceFound(f"no face found in {path}"))
            continue
        rivals = gate.rivals(faces.boxes)
        if rivals > 1 and not largest:
            report.skip(path, SeveralFacesFound(f"{rivals} faces of similar size in {path}; crop it, or add --largest"))
            continue
        embedding = only_face(faces, path, largest=True).embeddings
        assert embedding is not None
        names.append(name)
        paths.append(path)
        rows.append(embedding)
    if not rows:
        raise InputError(f"not one of {counted(len(work), 'photo')} shows one face")
    return names, paths, Embeddings.concat(rows)


def without_doubles(
    report: Report, names: list[str], paths: list[Path], embeddings: Embeddings
) -> tuple[list[str], Embeddings]:
    """Skip pictures that lie in two people's folders; tell of those that lie twice in one."""
    from visavis.classification import same_pictures

    torn: dict[int, int] = {}
    for i, first in enumerate(same_pictures(embeddings).tolist()):
        if i != first and names[i] == names[first]:
            report.warn(f"{paths[i]} is the same picture as {paths[first]} and counts once")
        elif i != first:
            torn |= {i: first, first: i}
    for i, other in sorted(torn.items()):
        report.skip(paths[i], InputError(f"{paths[i]} is the same picture as {paths[other]}, of another person"))
    kept = [i for i in range(len(names)) if i not in torn]
    if not kept:
        raise InputError("every picture lies in the folders of two people; sort them out")
    for i in kept:
        report.item({"image": str(paths[i]), "subject": names[i]})
    return [names[i] for i in kept], embeddings[kept]


def warn_of_lookalikes(report: Report, names: list[str], embeddings: Embeddings, at: float | None) -> None:
    """Tell of pairs of people whose photos reach a similarity; None: tell of none."""
    import numpy as np

    from visavis.classification import closest_others

    numbers = np.unique(np.array(names, object), return_inverse=True)[1]
    similarity, other = closest_others(embeddings.vectors.astype(np.float64), numbers)
    pairs: dict[tuple[str, ...], float] = {}
    for i in np.flatnonzero(similarity >= (2 if at is None else at)).tolist():
        pair = tuple(sorted((names[i], names[other[i]])))
        pairs[pair] = max(float(similarity[i]), pairs.get(pair, -1.0))
    for (one, two), score in sorted(pairs.items(), key=lambda item: -item[1])[:_SHOWN]:
        report.warn(f"{one!r} and {two!r} look alike (similarity {score:.2f}); one person in two folders?")
