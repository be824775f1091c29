"""The labeling loop: a detector's boxes go out to be corrected, and what people changed comes back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.datasets.annotations import Annotation
from visavis.errors import InputError
from visavis.evaluation.detection import overlaps, share_of_pictures
from visavis.evaluation.intervals import Estimate
from visavis.image import image_size, load_image, save_image
from visavis.pipeline import Analyzer

__all__ = ["Correction", "Corrections", "common_folder", "compare", "cut_faces", "label_pictures"]

SAME = 0.98
"""IoU from which a box counts as left alone, as it does where no side moved by more than `ROUNDED`."""
ROUNDED = 0.75
"""Pixels by which a tool that keeps whole pixels or percents may move a side that nobody touched."""


def common_folder(paths: Sequence[Path]) -> Path:
    """Return the folder that all pictures lie in or below; their names in annotations start from there."""
    parents = {os.path.realpath(path.parent) for path in paths}
    try:
        return Path(os.path.commonpath(parents))
    except ValueError:  # different drives, or no path
        raise InputError("the pictures lie in no common folder; put them into one") from None


def label_pictures(
    paths: Sequence[Path], folder: Path, analyzer: Analyzer, *, points: bool = False
) -> Iterator[tuple[Path, Annotation | Exception]]:
    """Yield, for each picture, the faces that are found on it, with scores; or why it could not be read.

    Parameters
    ----------
    folder
        Where names start from; see `common_folder`.
    points
        Keep the five landmarks.
    """
    for path, analysis in zip(paths, analyzer.stream(paths), strict=True):
        if analysis.error is not None:
            yield path, analysis.error
            continue
        width, height = image_size(path)
        name = Path(os.path.realpath(path.parent), path.name).relative_to(os.path.realpath(folder)).as_posix()
        found = Annotation.of_faces(name, analysis.faces, width=width, height=height)
        yield path, found if points else found.replace(landmarks=None)


@dataclass(frozen=True, eq=False)
class Correction:
    """What was changed on one picture.

    Attributes
    ----------
    kept, moved
        Numbers of the first boxes that were left alone, and that were moved or resized.
    added, removed
        Numbers of the boxes that are new, and of the first ones that are gone. A box moved so far that less than half
        of it and its old place overlap counts as removed and added.
    overlaps
        ``(kept + moved,)``: IoU of each box with its old place.
    """

    image: str
    kept: npt.NDArray[np.intp]
    moved: npt.NDArray[np.intp]
    added: npt.NDArray[np.intp]
    removed: npt.NDArray[np.intp]
    overlaps: npt.NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, and the mean IoU of the boxes that are still there."""
        return {
            "image": self.image,
            "kept": len(self.kept),
            "moved": len(self.moved),
            "added": len(self.added),
            "removed": len(self.removed),
            "iou": float(self.overlaps.mean()) if len(self.overlaps) else None,
        }


@dataclass(frozen=True, eq=False)
class Corrections:
    """What was changed in all, and so how good the detector was on these pictures.

    Attributes
    ----------
    pictures
        One for each corrected picture.
    corrected
        The corrected annotations, named as the first ones.
    untouched
        First pictures that the corrections lack: nobody has looked at them yet, so they count for nothing.
    new
        Corrected pictures that the first lacks.
    """

    pictures: tuple[Correction, ...]
    corrected: tuple[Annotation, ...]
    untouched: tuple[str, ...]
    new: tuple[str, ...]

    def _counts(self, *names: str) -> npt.NDArray[np.int64]:
        return np.array([sum(len(getattr(p, name)) for name in names) for p in self.pictures], np.int64)

    @property
    def precision(self) -> Estimate | None:
        """Share of the first boxes that were right; None where there was none."""
        boxes = self._counts("kept", "moved", "removed")
        return share_of_pictures(self._counts("kept", "moved"), boxes) if boxes.any() else None

    @property
    def recall(self) -> Estimate | None:
        """Share of the faces that were found at first; None where there is none."""
        faces = self._counts("kept", "moved", "added")
        return share_of_pictures(self._counts("kept", "moved"), faces) if faces.any() else None

    def to_dict(self) -> dict[str, Any]:
        """Return the sums as plain values."""
        ious = np.concatenate([np.zeros(0), *(p.overlaps for p in self.pictures)])
        return {
            **{name: int(self._counts(name).sum()) for name in ("kept", "moved", "added", "removed")},
            "iou": float(ious.mean()) if len(ious) else None,
            "precision": None if self.precision is None else self.precision.to_dict(),
            "recall": None if self.recall is None else self.recall.to_dict(),
            "untouched": list(self.untouched),
            "new": list(self.new),
        }


def compare(first: Iterable[Annotation], corrected: Iterable[Annotation], *, least: float = 0.5) -> Corrections:
    """Compare corrected boxes with the first ones.

    Parameters
    ----------
    corrected
        A picture's name may lack its folders, as in exports of uploaded files, where only one picture has it.
    least
        IoU from which a box is still the same one.

    Raises
    ------
    InputError
        If not one picture is in both, or one is there twice.

    Examples
    --------
    >>> first = Annotation("a.png", np.array([[0, 0, 10, 10], [50, 50, 60, 60]]))
    >>> changed = compare([first], [Annotation("a.png", np.array([[0, 0, 10, 8], [20, 20, 30, 30]]))])
    >>> changed.pictures[0].to_dict()
    {'image': 'a.png', 'kept': 0, 'moved': 1, 'added': 1, 'removed': 1, 'iou': 0.8}
    """
    before = {item.image: item for item in first}
    by_stem: dict[str, list[str]] = {}
    for name in before:
        by_stem.setdefault(PurePosixPath(name).name, []).append(name)
    pictures: list[Correction] = []
    kept: list[Annotation] = []
    new: list[str] = []
    seen: set[str] = set()
    for item in corrected:
        same = by_stem.get(PurePosixPath(item.image).name, [])
        name = item.image if item.image in before or len(same) != 1 else same[0]
        if name not in before:
            new.append(item.image)
            kept.append(item)
            continue
        if name in seen:
            raise InputError(f"the corrections have the picture {name} twice; leave one out")
        seen.add(name)
        kept.append(item.replace(image=name))
        pictures.append(_compared(before[name], item, least))
    if not kept:
        raise InputError("the corrections have no picture that anybody has worked on; finish some and export again")
    if not pictures:
        raise InputError("not one picture of the corrections is among the first; are they of the same pictures?")
    return Corrections(tuple(pictures), tuple(kept), tuple(name for name in before if name not in seen), tuple(new))


def _compared(first: Annotation, corrected: Annotation, least: float) -> Correction:
    """Pair old and new boxes, those that overlap most first."""
    shared = overlaps(first.boxes.astype(np.float64), corrected.boxes.astype(np.float64))
    old, new = np.nonzero(shared >= least)
    pairs: list[tuple[int, int]] = []
    gone, taken = set(range(len(first))), set(range(len(corrected)))
    for k in np.argsort(-shared[old, new], kind="stable"):
        i, j = int(old[k]), int(new[k])
        if i in gone and j in taken:
            gone.remove(i)
            taken.remove(j)
            pairs.append((i, j))
    ious = np.array([shared[pair] for pair in pairs], np.float64)
    rows, others = np.array(pairs, np.intp).reshape(-1, 2).T
    shifts = np.abs(first.boxes[rows] - corrected.boxes[others]).max(axis=1, initial=0)
    same = (ious >= SAME) | (shifts <= ROUNDED)
    added, removed = (np.array(sorted(rest), np.intp) for rest in (taken, gone))
    return Correction(first.image, rows[same], rows[~same], added, removed, ious)


def cut_faces(
    items: Iterable[Annotation], images: Path, out: Path, *, margin: float = 0.3
) -> Iterator[tuple[str, int]]:
    """Cut the faces out of pictures into ``out``, as ``NAME_1.png``; yield each picture and how many it gave.

    Parameters
    ----------
    margin
        Share of the box's longer side that is left around it, where the picture has it.

    Raises
    ------
    InputError
        If a picture can't be read.
    """
    written: set[str] = set()
    for item in items:
        usable = item.repaired()
        stem = str(PurePosixPath(item.image).with_suffix(""))
        if stem.lower() in written:
            raise InputError(f"the crops of {item.image} would replace those of another picture; rename one")
        written.add(stem.lower())
        image = load_image(images / item.image) if len(usable) else None
        for i, box in enumerate(usable.boxes, 1):
            assert image is not None
            edge = margin * float((box[2:] - box[:2]).max())
            low = np.maximum(np.floor(box[:2] - edge), 0).astype(int)
            high = np.minimum(np.ceil(box[2:] + edge), [image.shape[1], image.shape[0]]).astype(int)
            if (high <= low).any():
                continue
            path = out / f"{stem}_{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_image(path, np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]]))
        yield item.image, len(usable)
