"""A folder of faces to pairs for training mesh removal: each clean, and the same under meshes.

::

    pairs/
      clean/ada/1.png
      mesh/ada/1-1.png, 1-2.png        the same pixels under a mesh each
      manifest.jsonl                   a line a mesh: both files, the photo, and what the mesh is made of
      preview.png                      the first few side by side
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visavis.curation.naming import free_names
from visavis.curation.workers import WorkerDied, run_units
from visavis.datasets.mesh import KINDS, Kind, apply, random_mesh, seed_of
from visavis.errors import InputError, StorageError, VisavisError
from visavis.files import find_images, printable_path, reason
from visavis.image import load_image, resize, save_image
from visavis.models.durable import new_file, only_writer
from visavis.models.session import usable_cores
from visavis.types import Image

__all__ = ["mesh_folder", "pair_maker"]

_PREVIEW_ROWS = 6
_PREVIEW_SIDE = 160


def mesh_folder(
    photos: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    per_image: int = 1,
    seed: int = 0,
    kinds: Sequence[Kind] = KINDS,
    workers: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Write pairs of all photos of a folder into another, in processes; give what came of each photo, in their order.

    A photo's meshes depend on the seed and its path in the folder alone: the same whatever the number of processes,
    and whichever other photos there are.

    Parameters
    ----------
    photos
        A folder, with sub-folders or without. Never written.
    out
        Where pairs go; files of an earlier run are replaced.
    per_image
        How many meshes for each photo.
    kinds
        Drawn from for each.
    workers
        How many processes; None takes all cores.

    Returns
    -------
    An iterator, of each photo: ``source``, ``clean``, ``pairs`` (a row of the manifest each), ``error`` (None or why
    it could not be read).

    Raises
    ------
    InputError
        At once, if there is no photo, or a folder lies in the other.
    StorageError
        If ``out`` can't be written, or another run is writing into it.
    """
    root, target = Path(photos).expanduser(), Path(out).expanduser()
    if per_image < 1:
        raise InputError(f"each photo gets at least one mesh, not {per_image}")
    random_mesh(seed, kinds)  # a mistake is told before the work
    if not root.is_dir():
        raise InputError(f"{printable_path(root)} is no folder of photos")
    inside, outside = target.resolve(), root.resolve()
    if inside == outside or inside in outside.parents or outside in inside.parents:
        raise InputError(f"{printable_path(target)} and the folder of photos must lie apart")
    sources = [path.relative_to(root).as_posix() for path in find_images([root])]
    if not sources:
        raise InputError(f"{printable_path(root)} holds no photo")
    return _written(root, target, sources, {"per_image": per_image, "seed": seed, "kinds": list(kinds)}, workers)


def _written(
    root: Path, target: Path, sources: list[str], how: dict[str, Any], workers: int | None
) -> Iterator[dict[str, Any]]:
    settings = {"root": str(root), "out": str(target), **how}
    units = ([i, source, name] for i, (source, name) in enumerate(free_names(sources).items()))
    workers = min(workers or usable_cores(), len(sources))
    shown: list[dict[str, Any]] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        with only_writer(target, target / ".visavis-lock"), new_file(target / "manifest.jsonl") as lines:
            done = run_units(f"{__name__}:pair_maker", settings, units, workers=workers)
            for row in _in_order(done):
                for pair in row["pairs"]:
                    lines.write(json.dumps(pair, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n")
                if row["pairs"] and len(shown) < _PREVIEW_ROWS:
                    shown.append(row)
                yield row
        if shown:
            save_image(target / "preview.png", _preview(target, shown))
    except OSError as error:
        raise StorageError(f"{printable_path(target)} can't be written: {reason(error)}; check the disk") from None


def pair_maker(settings: dict[str, Any]) -> Callable[[list[Any]], dict[str, Any]]:
    """Return what makes the pairs of one photo: see `visavis.curation.workers.run_units`."""
    root, out = Path(settings["root"]), Path(settings["out"])

    def make(unit: list[Any]) -> dict[str, Any]:
        _, source, name = unit
        row: dict[str, Any] = {"source": source, "clean": f"clean/{name}.png", "pairs": [], "error": None}
        try:
            image = load_image(root / source)
            meshes = [
                random_mesh(seed_of(source, settings["seed"], number), settings["kinds"])
                for number in range(1, settings["per_image"] + 1)
            ]
            laid = [apply(image, *mesh.draw(image.shape[:2])) for mesh in meshes]
        except InputError as error:
            return row | {"error": str(error)}
        _save(out / row["clean"], image)
        for number, (mesh, picture) in enumerate(zip(meshes, laid, strict=True), 1):
            file = f"mesh/{name}-{number}.png"
            _save(out / file, picture)
            row["pairs"].append({"mesh": file, "clean": row["clean"], "source": source, **mesh.to_dict()})
        return row

    return make


def _save(path: Path, image: Image) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{printable_path(path.parent)} can't be made: {reason(error)}") from None
    save_image(path, image)


def _in_order(done: Iterator[tuple[Any, Any]]) -> Iterator[dict[str, Any]]:
    """Give rows in the order of their units; only those that are ahead of a slower one are held."""
    held: dict[int, dict[str, Any]] = {}
    due = 0
    for (i, source, _), row in done:
        if isinstance(row, WorkerDied):
            row = {"source": source, "clean": None, "pairs": [], "error": str(row)}
        held[i] = row
        while due in held:
            yield held.pop(due)
            due += 1


def _preview(out: Path, rows: Sequence[dict[str, Any]]) -> Image:
    """Return a sheet: a photo a row, clean first, then under up to four of its meshes."""
    width = 1 + min(max(len(row["pairs"]) for row in rows), 4)
    sheet = np.full((len(rows), width, _PREVIEW_SIDE, _PREVIEW_SIDE, 3), 255, np.uint8)
    for row, places in zip(rows, sheet, strict=True):
        files = [row["clean"], *(pair["mesh"] for pair in row["pairs"])]
        for file, place in zip(files, places, strict=False):
            try:
                image = load_image(out / file)
            except VisavisError:
                continue
            share = _PREVIEW_SIDE / max(image.shape[:2])
            small = resize(image, max(round(image.shape[1] * share), 1), max(round(image.shape[0] * share), 1))
            place[: small.shape[0], : small.shape[1]] = small
    return np.ascontiguousarray(sheet.transpose(0, 2, 1, 3, 4).reshape(len(rows) * _PREVIEW_SIDE, -1, 3))
