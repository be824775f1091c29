"""A gallery as one portable file: a ZIP of JSON lines, NumPy arrays and PNG pictures. docs/gallery.md describes it.

Reading one trusts nothing: sizes are bounded before anything is unpacked, arrays are parsed without pickle,
every value is checked as if a caller had given it, and everything goes in by one transaction or not at all.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from sqlalchemy import Connection, select

from visavis.database.file import DatabaseFile
from visavis.database.times import from_micros, micros_now, to_micros
from visavis.errors import InputError, ModelMismatch, NotAGallery, StorageError, SubjectExists
from visavis.gallery import store
from visavis.gallery.crops import MAX_PNG, Crop
from visavis.gallery.records import checked_metadata
from visavis.gallery.schema import crops, subjects, templates
from visavis.names import checked_name
from visavis.types import Embeddings, FloatArray

__all__ = ["FORMAT", "VERSION", "Transfer", "export", "import_from"]

FORMAT = "visavis-gallery"
VERSION = 1

Existing = Literal["refuse", "merge", "skip"]

_MAX_LINE = 256 * 1024
_MAX_ROWS = 50_000_000
_MAX_DIMENSION = 16_384
_MAX_MODELS = 100
_ROWS = 4_096
# What reading and checking malformed archives, JSON and arrays raises.
_MALFORMED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
)


@dataclass(frozen=True)
class Transfer:
    """How many subjects, templates and crops were written or added, and the subjects that were skipped."""

    subjects: int
    templates: int
    crops: int
    skipped: tuple[str, ...] = ()


def export(database: DatabaseFile, collection: str, path: str | os.PathLike[str]) -> Transfer:
    """Write a collection to a portable file, which appears whole or not at all and is readable by its owner alone.

    Raises
    ------
    StorageError
        If the folder can't be written or the disk is full.
    """
    target = Path(path).expanduser()
    work = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with contextlib.ExitStack() as undo:
            undo.callback(work.unlink, missing_ok=True)
            descriptor = os.open(work, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor, for its permissions)
                with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, database.reading() as connection:
                    done = _write(archive, connection, database, collection)
                file.flush()
                os.fsync(file.fileno())
            work.replace(target)
    except OSError as error:
        raise StorageError(f"{target} can't be written: {error.strerror or error}") from error
    return done


def _write(archive: zipfile.ZipFile, connection: Connection, database: DatabaseFile, collection: str) -> Transfer:
    where = store.collection_id(connection, collection)
    counts = store.model_counts(connection, where)
    models, numbers, dimensions = sorted(counts), dict[int, int](), dict[str, int]()
    with _text(archive, "subjects.jsonl") as lines:
        mine = select(subjects).where(subjects.c.collection == where).order_by(subjects.c.id)
        for row in connection.execute(mine):
            numbers[row.id] = len(numbers)
            _line(
                lines,
                name=row.name,
                external_id=row.external_id,
                metadata=json.loads(row.metadata),
                created=from_micros(row.created).isoformat(),
            )
    for number, model in enumerate(models):
        with archive.open(zipfile.ZipInfo(f"vectors/{number}.npy"), "w", force_zip64=True) as file:
            for _, _, vectors in store.read_vectors(database.raw, int(where or 0), model, 0):
                if model not in dimensions:
                    dimensions[model] = vectors.shape[1]
                    header = {"descr": "<f4", "fortran_order": False, "shape": (counts[model], vectors.shape[1])}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(vectors.astype("<f4", copy=False).tobytes())
    pictured: dict[int, int] = {}
    with _text(archive, "templates.jsonl") as lines:
        columns = select(
            templates.c.subject, templates.c.model, templates.c.crop, templates.c.quality, templates.c.created
        ).where(templates.c.collection == where)
        for model in models:
            for row in connection.execute(columns.where(templates.c.model == model).order_by(templates.c.id)):
                crop = None if row.crop is None else pictured.setdefault(row.crop, len(pictured))
                _line(
                    lines,
                    subject=numbers[row.subject],
                    model=model,
                    created=from_micros(row.created).isoformat(),
                    quality=json.loads(row.quality),
                    crop=crop,
                )
    with _text(archive, "crops.jsonl") as lines:
        for crop in pictured:
            row = connection.execute(select(crops.c.landmarks).where(crops.c.id == crop)).one()
            _line(lines, landmarks=json.loads(row.landmarks))
    for crop, number in pictured.items():
        png = connection.execute(select(crops.c.png).where(crops.c.id == crop)).scalar_one()
        archive.writestr(zipfile.ZipInfo(f"crops/{number}.png"), png)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.now(timezone.utc).isoformat(),
        "collection": collection,
        "subjects": len(numbers),
        "crops": len(pictured),
        "models": [
            {"model": m, "dimension": dimensions[m], "templates": counts[m], "vectors": f"vectors/{i}.npy"}
            for i, m in enumerate(models)
        ],
    }
    archive.writestr("manifest.json", json.dumps(manifest, ensure_ascii=False, indent=1))
    return Transfer(len(numbers), sum(counts.values()), len(pictured))


def import_from(
    database: DatabaseFile, collection: str, path: str | os.PathLike[str], *, existing: Existing = "refuse"
) -> Transfer:
    """Add the subjects of a portable file to a collection: all of it, or nothing if anything is wrong.

    Parameters
    ----------
    path
        The file.
    existing
        What to do with a subject whose name is enrolled already: ``"refuse"`` the file, ``"skip"`` the
        subject, or ``"merge"`` the templates that differ from those it has.

    Raises
    ------
    NotAGallery
        If it is not such a file, is damaged, or was written by a newer visavis.
    SubjectExists
        If a name is taken (with ``"refuse"``), or an external id is another subject's.
    StorageError
        If the file can't be read or the disk is full.
    """
    if existing not in ("refuse", "merge", "skip"):
        raise InputError(f"existing must be 'refuse', 'merge' or 'skip', not {existing!r}")
    source = Path(path).expanduser()
    try:
        with zipfile.ZipFile(source) as archive:
            reader = _Reader(archive, source)
            with database.writing() as connection:
                return _add(connection, store.make_collection(connection, collection), reader, existing)
    except (InputError, SubjectExists, ModelMismatch) as error:
        raise type(error)(f"{source}: {error}") from None
    except OSError as error:
        raise StorageError(f"{source} can't be read: {error.strerror or error}") from error
    except _MALFORMED as error:
        raise NotAGallery(f"{source} is not a readable gallery file: {error or type(error).__name__}") from error


def _add(connection: Connection, collection: int, reader: _Reader, existing: Existing) -> Transfer:
    owners: list[int | None] = []
    known: dict[int, set[tuple[str, bytes]]] = {}  # what merged subjects have
    skipped = []
    names: set[str] = set()
    for line in reader.lines("subjects.jsonl", reader.subjects):
        name = checked_name(line["name"])
        if name in names:
            raise ValueError(f"it holds {name!r} twice")
        names.add(name)
        external = None if line["external_id"] is None else checked_name(line["external_id"], "an external id")
        row = store.find_subject(connection, collection, name)
        if row is None:
            described = checked_metadata(line["metadata"])
            owners.append(store.insert_subject(connection, collection, name, external, described, _moment(line)))
        elif existing == "skip":
            owners.append(None)
            skipped.append(name)
        elif existing == "merge":
            if external is not None and row.external_id not in (None, external):
                raise SubjectExists(f"{name!r} is enrolled with the external id {row.external_id!r}, not {external!r}")
            owners.append(row.id)
            held = select(templates.c.model, templates.c.vector).where(templates.c.subject == row.id)
            known[row.id] = {(t.model, bytes(t.vector)) for t in connection.execute(held)}
        else:
            raise SubjectExists(f"{name!r} is enrolled already; merge or skip what exists")
    landmarks = [_landmarks(line) for line in reader.lines("crops.jsonl", reader.crops)]
    stored: dict[int, tuple[int, int]] = {}  # crop number to its id and owner
    lines = reader.lines("templates.jsonl", sum(model["templates"] for model in reader.models))
    added = 0
    for model in reader.models:
        for vectors in reader.vectors(model):
            batch: dict[int, list[store.NewTemplate]] = {}
            for vector in vectors:
                line = next(lines)
                owner = owners[_index(line["subject"], len(owners))]
                if line["model"] != model["model"]:
                    raise ValueError(f"a template of {line['model']!r} lies among those of {model['model']!r}")
                if owner is None or (model["model"], vector.tobytes()) in known.get(owner, ()):
                    continue
                crop = None if line["crop"] is None else _index(line["crop"], len(landmarks))
                if crop is not None and crop not in stored:
                    picture = Crop(reader.png(crop), landmarks[crop])
                    stored[crop] = (store.insert_crop(connection, owner, picture), owner)
                if crop is not None and stored[crop][1] != owner:
                    raise ValueError(f"crop {crop} belongs to two subjects")
                crop_id = None if crop is None else stored[crop][0]
                new = store.NewTemplate(vector, _quality(line), crop_id, _moment(line))
                batch.setdefault(owner, []).append(new)
                added += 1
            store.insert_many(connection, collection, model["model"], batch)
    if next(lines, None) is not None:
        raise ValueError("templates.jsonl has more lines than there are vectors")
    return Transfer(len(owners) - len(skipped), added, len(stored), tuple(skipped))


class _Reader:
    """The members of a portable file, each read within the bounds its manifest and this reader set."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive = archive
        self._path = path
        self._members = {info.filename: info for info in archive.infolist()}
        manifest = json.loads(self._bytes("manifest.json", 1 << 20))
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise ValueError("its manifest doesn't say that it is a gallery")
        if manifest.get("version") != VERSION:
            raise ValueError(f"it has format version {manifest.get('version')!r}, this visavis reads {VERSION}")
        self.subjects = _count(manifest["subjects"])
        self.crops = _count(manifest["crops"])
        self.models: list[dict[str, Any]] = list(manifest["models"])
        if len(self.models) > _MAX_MODELS:
            raise ValueError(f"it claims {len(self.models)} models")
        for model in self.models:
            model["model"] = checked_name(model["model"], "a model's name")
            model["templates"] = _count(model["templates"])
            if not 0 < _count(model["dimension"]) <= _MAX_DIMENSION:
                raise ValueError(f"templates of {model['dimension']} numbers")
        if len({model["model"] for model in self.models}) != len(self.models):
            raise ValueError("it names a model twice")

    def lines(self, name: str, count: int) -> Iterator[dict[str, Any]]:
        """Yield the JSON objects of a member that must have ``count`` lines."""
        with self._open(name) as file:
            for _ in range(count):
                line = file.readline(_MAX_LINE + 1)
                if not line or len(line) > _MAX_LINE:
                    raise ValueError(f"{name} has {'too long a line' if line else 'too few lines'}")
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"{name} has a line that is no object")
                yield row
            if file.read(1):
                raise ValueError(f"{name} has more than {count} lines")

    def vectors(self, model: Mapping[str, Any]) -> Iterator[FloatArray]:
        """Yield a model's vectors in parts, checked to be of unit length."""
        rows, dimension = model["templates"], model["dimension"]
        with self._open(str(model["vectors"])) as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError(f"{model['vectors']} is not a NumPy array of format 1.0")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            if shape != (rows, dimension) or fortran or dtype != np.dtype("<f4"):
                raise ValueError(f"{model['vectors']} must be <f4 ({rows}, {dimension}), not {dtype} {shape}")
            for start in range(0, rows, _ROWS):
                count = min(_ROWS, rows - start)
                data = file.read(count * dimension * 4)
                if len(data) != count * dimension * 4:
                    raise ValueError(f"{model['vectors']} is cut short")
                part = np.frombuffer(data, "<f4").reshape(count, dimension)
                yield Embeddings(part, model["model"]).vectors

    def png(self, number: int) -> bytes:
        """Return a crop's picture."""
        data = self._bytes(f"crops/{number}.png", MAX_PNG)
        if not data.startswith(b"\x89PNG\r\n\x1a\n"):
            raise ValueError(f"crops/{number}.png is not a PNG picture")
        return data

    def _bytes(self, name: str, limit: int) -> bytes:
        with self._open(name) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise ValueError(f"{name} has more than {limit} bytes")
        return data

    def _open(self, name: str) -> IO[bytes]:
        if name not in self._members:
            raise ValueError(f"it has no {name}")
        if self._members[name].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is compressed in an unusual way")
        return self._archive.open(self._members[name])


@contextlib.contextmanager
def _text(archive: zipfile.ZipFile, name: str) -> Iterator[IO[str]]:
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=True) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8", newline="\n")
        yield text
        text.flush()
        text.detach()


def _line(file: IO[str], **values: Any) -> None:
    file.write(json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n")


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_ROWS:
        raise ValueError(f"{value!r} is no sensible number of rows")
    return value


def _index(value: object, length: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < length:
        raise ValueError(f"{value!r} is not one of {length} rows")
    return value


def _moment(line: Mapping[str, Any]) -> int:
    moment = datetime.fromisoformat(line["created"])
    if moment.tzinfo is None:
        raise ValueError(f"the time {line['created']!r} lacks its offset from UTC")
    return min(to_micros(moment), micros_now())


def _quality(line: Mapping[str, Any]) -> dict[str, float]:
    quality = line["quality"]
    if not isinstance(quality, dict) or len(quality) > 32:
        raise ValueError("a template's quality must be an object of at most 32 numbers")
    return {checked_name(name, "a quality's name"): float(value) for name, value in quality.items()}


def _landmarks(line: Mapping[str, Any]) -> FloatArray:
    points = np.array(line["landmarks"], np.float32)
    if points.shape != (5, 2) or not np.isfinite(points).all() or np.abs(points).max() > 1e6:
        raise ValueError("a crop's landmarks must be five points")
    return points
