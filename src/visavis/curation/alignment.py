"""A folder of photos to a folder of aligned crops: on all cores, and taken up again where it was left.

The crops lie as the photos do: ``ada/1.png`` becomes ``ada/1.jpg``. Beside them ``manifest.jsonl`` says of every photo
what was found, which crop came of it and why another did not. Photos are only ever read.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from visavis.analysis.quality import FaceQuality, QualityGate, measure
from visavis.curation.crops import CropShape
from visavis.curation.manifest import Manifest
from visavis.curation.naming import free_names
from visavis.curation.workers import WorkerDied, run_units
from visavis.datasets.lfw import central
from visavis.detection import detector_card
from visavis.errors import InputError, StorageError, VisavisError
from visavis.files import find_images, printable_path, reason
from visavis.geometry import area
from visavis.image import encode_image, load_image
from visavis.models.durable import only_writer
from visavis.models.session import EngineOptions
from visavis.models.store import Store
from visavis.pipeline import FILLER, Analyzer
from visavis.types import Faces, Image

__all__ = ["MANIFEST", "Aligner", "FaceChoice", "Recipe", "align_folder", "of_one_person"]

FaceChoice = Literal["largest", "central", "only", "all", "person"]
FACES: tuple[FaceChoice, ...] = ("largest", "central", "only", "all", "person")
"""Which faces of a photo are taken: the largest; the one nearest the middle; its only one (others far smaller don't
count), else none; all; or the one that is most like the faces of the other photos in the folder."""

MANIFEST = "manifest.jsonl"
_WORK = ".visavis"  # in the folder of crops, while work goes on: a lock, and files not yet whole
_UNIT = 8  # photos handed to a process at once
_BLOCK = 1024  # faces compared with all of their folder at once
_OPEN_GATE = QualityGate(min_eye_distance_px=0, min_sharpness=0, max_yaw_deg=90, max_pitch_deg=90)


@dataclass(frozen=True)
class Recipe:
    """What decides how crops come out; a folder of crops is made with one.

    Parameters
    ----------
    shape
        Their size and what they show.
    face
        Which faces of a photo are taken; see `FACES`.
    min_face
        Least height of a face's box in pixels.
    gate
        What else a face must reach; by default nothing is asked.
    suffix, quality
        ``".jpg"`` with a quality of 1 to 100, or ``".png"``.
    detector, score
        Card id of the detector, and the least score of a face; None takes the detector's own.
    recognizer
        Card id of the recognizer that tells which face is the person's; used for ``face="person"`` only.
    """

    shape: CropShape = field(default_factory=CropShape)
    face: FaceChoice = "largest"
    min_face: float = 0.0
    gate: QualityGate = _OPEN_GATE
    suffix: str = ".jpg"
    quality: int = 95
    detector: str = "yunet"
    score: float | None = None
    recognizer: str = "sface"

    def __post_init__(self) -> None:
        if self.face not in FACES:
            raise InputError(f"faces to take are {', '.join(FACES)}, not {self.face!r}")
        if self.suffix not in (".jpg", ".png"):
            raise InputError(f"crops are written as .jpg or .png, not {self.suffix!r}")
        if not 1 <= self.quality <= 100:
            raise InputError(f"quality must be a whole number from 1 to 100, not {self.quality!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Make it of plain values."""
        return cls(**{**values, "shape": CropShape(**values["shape"]), "gate": QualityGate(**values["gate"])})


def align_folder(
    photos: str | os.PathLike[str],
    out: str | os.PathLike[str],
    recipe: Recipe | None = None,
    *,
    workers: int | None = None,
    options: EngineOptions | None = None,
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Write the aligned crops of all photos of a folder into another; go on where an earlier run was ended.

    Parameters
    ----------
    photos
        A folder, with sub-folders or without. Never written.
    out
        Where crops and ``manifest.jsonl`` go: a folder that is new, empty or was begun with the same recipe.
    recipe
        How they are made.
    workers
        How many processes work; None takes ``options.threads``: all cores.
    options
        How models are run.

    Yields
    ------
    What became of each photo, as the manifest has it, and whether it was done now rather than by an earlier run:
    first those that are there, then the others as they are done.

        ``source``, ``bytes``, ``width``, ``height``
            The photo: its path in the folder, the size of its file, and pixels.
        ``faces``
            Of each face found: ``box``, ``score``, ``landmarks``, ``eye_distance_px``, ``sharpness``, ``yaw_deg``,
            ``pitch_deg``; ``crop``, its path in ``out``, and ``crop_bytes``; or ``left_out``, why there is none.
        ``error``
            Why the photo could not be read, or None.

    Raises
    ------
    InputError
        If there is no photo, a folder lies in the other, or ``out`` holds something else.
    StorageError
        If ``out`` can't be written: what was done is kept, and another run goes on.
    """
    recipe = recipe or Recipe()
    options = options or EngineOptions.choose()
    root, target = Path(photos).expanduser(), Path(out).expanduser()
    sources = _sources(root)
    _require_apart(root, target)
    settings = {"photos": root.resolve().name, **recipe.to_dict()}
    with _work(target) as partial, Manifest(target / MANIFEST, settings) as manifest:
        kept = {source for source, row in manifest.rows.items() if _is_done(root, target, row)}
        for source in sources:
            if source in kept:
                yield manifest.rows[source], False
        names = free_names(sources, {source: manifest.rows[source]["name"] for source in kept})
        todo = [[source, names[source]] for source in sources if source not in kept]
        job = {"root": str(root), "out": str(target), "partial": str(partial), "recipe": recipe.to_dict()}
        job["engine"] = {**asdict(options), "threads": 1}
        workers = min(workers or options.threads, max(len(todo) // 2, 1))
        if todo:
            Aligner(job).load()  # fetches what is missing once, before processes ask for it
        for row in _rows(job, _units(todo, recipe.face), workers):
            manifest.add(row)
            yield row, True
        manifest.finish()


def _rows(job: dict[str, Any], units: Iterator[list[list[str]]], workers: int) -> Iterator[dict[str, Any]]:
    make = f"{__name__}:Aligner"
    for unit, rows in run_units(make, job, units, workers=workers):
        if not isinstance(rows, WorkerDied):
            yield from rows
            continue
        # Whichever of them it was: in a process of their own, one by one, the others go through.
        for (photo,), alone in run_units(make, job, [[photo] for photo in unit], workers=0):
            if isinstance(alone, WorkerDied):
                yield _row(photo[0], error=f"{photo[0]} can't be read: {alone}")
            else:
                yield alone[0]


def _sources(root: Path) -> list[str]:
    if not root.is_dir():
        raise InputError(f"{printable_path(root)} is no folder; give the folder that holds the photos")
    found = [path.relative_to(root).as_posix() for path in find_images([root])]
    if not found:
        raise InputError(f"no photo in {printable_path(root)}; they are known by suffixes such as .jpg and .png")
    return found


def _require_apart(root: Path, target: Path) -> None:
    inner, outer = target.resolve(), root.resolve()
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise InputError(f"{printable_path(target)} and {printable_path(root)} lie in each other; choose another --out")
    if target.is_dir() and not (target / MANIFEST).is_file() and any(path.name != _WORK for path in target.iterdir()):
        raise InputError(f"{printable_path(target)} holds something else; choose a folder that is new or empty")


@contextlib.contextmanager
def _work(target: Path) -> Iterator[Path]:
    """Hold the folder of crops against other runs, and give a folder for files that are not yet whole."""
    work = target / _WORK
    partial = work / "partial"
    try:
        work.mkdir(parents=True, exist_ok=True)
        with only_writer(target, work / "lock"):
            try:
                shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
                partial.mkdir()
                yield partial
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise _unwritable(target, error) from None


def _unwritable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{printable_path(path)} can't be written: {reason(error)}; what was done is kept: run it again to go on"
    )


def _is_done(root: Path, target: Path, row: dict[str, Any]) -> bool:
    """Whether the photo is still the one of the row, and its crops are there, whole."""
    try:
        crops = [(face["crop"], face["crop_bytes"]) for face in row["faces"] if face.get("crop")]
        return (
            row["error"] is None
            and isinstance(row["name"], str)
            and (root / row["source"]).stat().st_size == row["bytes"]
            and all((target / crop).stat().st_size == size for crop, size in crops)
        )
    except (OSError, KeyError, TypeError, ValueError):
        return False


def _units(todo: list[list[str]], face: FaceChoice) -> Iterator[list[list[str]]]:
    if face == "person":  # a folder is looked at as a whole
        for _, photos in groupby(todo, key=lambda photo: str(PurePosixPath(photo[0]).parent)):
            yield list(photos)
        return
    rest = iter(todo)
    while unit := list(islice(rest, _UNIT)):
        yield unit


class Aligner:
    """What a process does: photos of a unit to crops on the disk, and a row of the manifest each."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.recipe = Recipe.from_dict(job["recipe"])
        self._root, self._out, self._partial = (Path(job[name]) for name in ("root", "out", "partial"))
        recognizer = self.recipe.recognizer if self.recipe.face == "person" else None
        detector, store = self.recipe.detector, Store()
        points = None if detector_card(detector, store).five_points else FILLER
        settings = {"landmarks": points, "score": self.recipe.score, "store": store, **job["engine"]}
        self._analyzer = Analyzer(detector, recognizer, **settings)
        self._files = itertools.count()

    def load(self) -> None:
        """Load the models, which fetches those that are not there; a mistyped name has failed by then."""
        self._analyzer.analyze(np.zeros((64, 64, 3), np.uint8))

    def __call__(self, unit: list[list[str]]) -> list[dict[str, Any]]:
        """Align photos, each a path in the folder and the path of its crops without suffix."""
        if self.recipe.face != "person":
            return [self._aligned(source, name) for source, name in unit]
        found = [self._found(source) for source, _ in unit]
        return [
            self._aligned(source, name, faces, chosen)
            for (source, name), faces, chosen in zip(unit, found, of_one_person(found), strict=True)
        ]

    def _found(self, source: str) -> Faces:
        try:
            return self._analyzer.analyze(self._root / source)
        except VisavisError:
            return Faces.empty()  # reading it again says why

    def _aligned(
        self, source: str, name: str, faces: Faces | None = None, chosen: Sequence[int] | None = None
    ) -> dict[str, Any]:
        try:
            size = (self._root / source).stat().st_size
            image = load_image(self._root / source)
        except OSError as error:
            return _row(source, error=f"{source} can't be read: {reason(error)}")
        except VisavisError as error:
            return _row(source, error=str(error))
        if faces is None:
            faces = self._analyzer.analyze(image)
        kept, rows = self._kept(image, faces, chosen)
        crops = self.recipe.shape.cut(image, faces[np.array(kept, np.intp)])
        for number, (i, cut) in enumerate(zip(kept, crops, strict=True), 1):
            data = encode_image(cut, self.recipe.suffix, quality=self.recipe.quality)
            path = f"{name}{f'~face{number}' if number > 1 else ''}{self.recipe.suffix}"
            self._write(path, data)
            rows[i] |= {"crop": path, "crop_bytes": len(data)}
        return _row(source, name=name, bytes=size, width=image.shape[1], height=image.shape[0], faces=rows)

    def _kept(self, image: Image, faces: Faces, chosen: Sequence[int] | None) -> tuple[list[int], list[dict[str, Any]]]:
        """Return which faces get a crop, and a row of the manifest for all."""
        if not len(faces):
            return [], []
        chosen = _chosen(image, faces, self.recipe) if chosen is None else chosen
        points = faces.landmarks
        qualities: Sequence[FaceQuality | None] = [None] * len(faces) if points is None else measure(image, points)
        kept, rows = [], []
        for i, (face, quality) in enumerate(zip(faces, qualities, strict=True)):
            why = _left_out(face.height, quality, self.recipe) if i in chosen else "another face was taken"
            if i not in chosen and not chosen:
                why = "not the only face"
            if why is None:
                kept.append(i)
            rows.append(
                {
                    "box": [round(float(value), 2) for value in face.box],
                    "score": round(face.score, 4),
                    "landmarks": None if face.landmarks is None else face.landmarks.astype(float).round(2).tolist(),
                    **({} if quality is None else quality.to_dict()),
                    "crop": None,
                    "left_out": why,
                }
            )
        return kept, rows

    def _write(self, path: str, data: bytes) -> None:
        partial = self._partial / f"{os.getpid()}-{next(self._files)}"
        target = self._out / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            partial.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise _unwritable(target, error) from None


def _row(source: str, *, faces: Sequence[dict[str, Any]] = (), error: str | None = None, **more: Any) -> dict[str, Any]:
    return {"source": source, **more, "faces": list(faces), "error": error}


def _chosen(image: Image, faces: Faces, recipe: Recipe) -> list[int]:
    if recipe.face == "all":
        return list(range(len(faces)))
    if recipe.face == "central":
        nearest = central(faces, image.shape[1], image.shape[0])
        return [int(np.flatnonzero((faces.boxes == nearest.boxes).all(axis=1))[0])]
    if recipe.face == "only" and recipe.gate.rivals(faces.boxes) > 1:
        return []
    return [int(np.argmax(area(faces.boxes)))]


def _left_out(height: float, quality: FaceQuality | None, recipe: Recipe) -> str | None:
    if height < recipe.min_face:
        return f"the face is too small: {height:.0f} px high, at least {recipe.min_face:g} needed"
    problems = () if quality is None else recipe.gate.problems(quality)
    return "; ".join(problems) or None


def of_one_person(found: Sequence[Faces]) -> list[list[int]]:
    """Return which face of each photo is the one that all photos share.

    Parameters
    ----------
    found
        The faces of each photo of a person, with embeddings.

    Returns
    -------
    Of each photo the index of the face that is, at the mean, most like the likest faces of the other photos, in a
    list; an empty one where there is no face. Of a single photo the largest face is taken.
    """
    sizes = [len(faces) for faces in found]
    there = [i for i, size in enumerate(sizes) if size]
    if len(there) < 2:
        return [[int(np.argmax(area(faces.boxes)))] if len(faces) else [] for faces in found]
    vectors: npt.NDArray[np.float32] = np.concatenate(
        [faces.embeddings.vectors for faces in found if faces.embeddings is not None and len(faces)]
    )
    starts = np.cumsum([0, *(sizes[i] for i in there)])
    photo = np.repeat(np.arange(len(there)), np.diff(starts))
    score = np.zeros(len(vectors))
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        likest = np.maximum.reduceat(vectors[rows] @ vectors.T, starts[:-1], axis=1)
        own = likest[np.arange(len(likest)), photo[rows]]
        score[rows] = (likest.sum(axis=1) - own) / (len(there) - 1)
    best = {i: int(np.argmax(score[starts[n] : starts[n + 1]])) for n, i in enumerate(there)}
    return [[best[i]] if i in best else [] for i in range(len(found))]
