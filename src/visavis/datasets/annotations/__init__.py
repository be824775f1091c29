"""Boxes on pictures in the formats of the field, read and written: WIDER FACE, FDDB, YOLO, COCO, VOC, Label Studio."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from visavis.datasets.annotations import coco, fddb, label_studio, voc, wider, yolo
from visavis.datasets.annotations.annotation import FACE, Annotation, corners
from visavis.datasets.annotations.recognition import recognize
from visavis.datasets.annotations.text import unique
from visavis.errors import InputError
from visavis.files import printable_path
from visavis.image import image_size

__all__ = [
    "ANNOTATION_FORMATS",
    "FACE",
    "Annotation",
    "AnnotationFormat",
    "corners",
    "read_annotations",
    "recognize",
    "write_annotations",
]


@dataclass(frozen=True)
class AnnotationFormat:
    """A format that annotations are kept in.

    Attributes
    ----------
    name
        As the command line has it.
    title
        For people.
    read, write
        ``read(path) -> iterator of Annotation`` and ``write(path, annotations)``; None where it can't be.
    folder
        Whether what is written is a folder.
    needs_size
        Whether writing needs the size of each picture.
    """

    name: str
    title: str
    read: Callable[[Path], Iterator[Annotation]] | None
    write: Callable[[Path, Iterable[Annotation]], None] | None
    folder: bool = False
    needs_size: bool = False


ANNOTATION_FORMATS: dict[str, AnnotationFormat] = {
    kind.name: kind
    for kind in (
        AnnotationFormat("wider", "WIDER FACE ground truth", wider.read, wider.write),
        AnnotationFormat(
            "wider-predictions", "WIDER FACE predictions", wider.read, wider.write_predictions, folder=True
        ),
        AnnotationFormat("fddb", "FDDB", fddb.read, fddb.write),
        AnnotationFormat("yolo", "YOLO", yolo.read, yolo.write, folder=True, needs_size=True),
        AnnotationFormat("coco", "COCO", coco.read, coco.write),
        AnnotationFormat("coco-results", "COCO results", None, coco.write_results),
        AnnotationFormat("voc", "Pascal VOC", voc.read, voc.write, folder=True),
        AnnotationFormat("label-studio", "Label Studio", label_studio.read, label_studio.write, needs_size=True),
    )
}
"""Every format, by its name."""


def read_annotations(
    path: Path,
    kind: str | None = None,
    *,
    images: Path | None = None,
    skip_missing: bool = False,
    truth: Path | None = None,
) -> Iterator[Annotation]:
    """Read annotations in any format, one picture after the other.

    Parameters
    ----------
    path
        A file or folder.
    kind
        A name of `ANNOTATION_FORMATS`; recognized without it.
    images
        The folder of the pictures. Where it is given, each must be there, and its size is looked up.
    skip_missing
        Leave out what is marked on pictures that are not in ``images``, instead of refusing.
    truth
        The ground truth that a file of COCO results refers to: by ids where it is COCO too, else by names.

    Raises
    ------
    InputError
        If something can't be read, a picture comes twice or (said at the end) some are missing.
    """
    name = kind or recognize(path)
    if name not in ANNOTATION_FORMATS:
        raise InputError(f"there is no format {name!r}; there are {', '.join(ANNOTATION_FORMATS)}")
    items: Iterator[Annotation]
    if name == "coco-results":
        if truth is None:
            raise InputError(f"{printable_path(path)} holds COCO results, which need the ground truth they refer to")
        if recognize(truth) == "coco":
            items = coco.read_results(path, *coco.image_ids(truth))
        else:  # whose pictures have no ids but names
            items = coco.read_results(path, {item.image: item.image for item in read_annotations(truth)})
    elif name == "yolo":
        items = yolo.read(path, images, skip_missing=skip_missing)
        images = None  # looked up already
    else:
        reader = ANNOTATION_FORMATS[name].read
        assert reader is not None
        items = reader(path)
    found = unique(items, path)
    return found if images is None else _on_pictures(found, images, skip_missing=skip_missing)


def _on_pictures(items: Iterable[Annotation], images: Path, *, skip_missing: bool) -> Iterator[Annotation]:
    if not images.is_dir():
        raise InputError(f"{printable_path(images)} is no folder of pictures; check --images")
    missing: list[str] = []
    for item in items:
        if not (images / item.image).is_file():
            missing.append(item.image)
            continue
        width, height = image_size(images / item.image)
        if item.width is not None and (item.width, item.height) != (width, height):
            raise InputError(
                f"{item.image} is annotated at {item.width} x {item.height} pixels and has {width} x {height} upright"
            )
        yield item.replace(width=width, height=height)
    if missing and not skip_missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise InputError(
            f"{len(missing)} pictures are not in {printable_path(images)}: {', '.join(missing[:5])}{more}; "
            "give --skip-missing to leave them out"
        )


def write_annotations(path: Path, items: Iterable[Annotation], kind: str, **how: Any) -> None:
    """Write annotations in a format, as a stream.

    Parameters
    ----------
    path
        The file or, for formats of a file a picture, the folder; what was there under the same names is replaced.
    kind
        A name of `ANNOTATION_FORMATS`.
    how
        What the format's own ``write`` takes beside.

    Raises
    ------
    InputError
        If the format can't hold them, as YOLO boxes that reach out of the picture.
    StorageError
        If the disk refuses.
    """
    form = ANNOTATION_FORMATS.get(kind)
    if form is None or form.write is None:
        raise InputError(f"there is no format {kind!r} to write; there are {', '.join(ANNOTATION_FORMATS)}")
    if form.folder and path.is_file():
        raise InputError(f"{printable_path(path)} is a file, and {form.title} is a folder; name another")
    if not form.folder and path.is_dir():
        raise InputError(f"{printable_path(path)} is a folder, and {form.title} is one file; name the file")
    partial(form.write, **how)(path, items)
