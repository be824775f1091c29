"""Rows of a gallery: what is read from its tables and written to them, inside a transaction the caller holds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from visavis.database.file import DatabaseFile
from visavis.database.times import from_micros, micros_now
from visavis.errors import ModelMismatch, NotAGallery, SubjectExists, UnknownSubject
from visavis.gallery.crops import Crop
from visavis.gallery.index import TemplateIndex
from visavis.gallery.records import Subject, Template
from visavis.gallery.schema import collections, crops, subjects, templates
from visavis.types import FloatArray

__all__ = ["LiveIndexes", "NewTemplate"]

_BATCH = 2_048  # rows read at once: what they hold stays in the processor's cache
_NAMES_AT_ONCE = 500  # SQLite binds at most 999 values in its oldest builds


@dataclass(frozen=True)
class NewTemplate:
    """A template about to be stored: its vector ``(d,)``, what was measured of its face, a new or a stored crop."""

    vector: FloatArray
    quality: Mapping[str, float] = field(default_factory=dict)
    crop: Crop | int | None = None
    created: int | None = None


def collection_id(connection: Connection, name: str) -> int | None:
    """Return the id of a collection, or None where nothing was ever enrolled in it."""
    found: int | None = connection.execute(select(collections.c.id).where(collections.c.name == name)).scalar()
    return found


def make_collection(connection: Connection, name: str) -> int:
    """Return the id of a collection, making it if need be."""
    found = collection_id(connection, name)
    return found if found is not None else _inserted(connection.execute(insert(collections).values(name=name)))


def find_subject(connection: Connection, collection: int | None, name: str) -> Row[Any] | None:
    """Return the row of a subject, or None."""
    where = (subjects.c.collection == collection) & (subjects.c.name == name)
    return None if collection is None else connection.execute(select(subjects).where(where)).one_or_none()


def require_subject(connection: Connection, collection: int | None, name: str) -> Row[Any]:
    """Return the row of a subject; raise `UnknownSubject` where there is none."""
    row = find_subject(connection, collection, name)
    if row is None:
        raise UnknownSubject(f"no subject {name!r} is enrolled; `visavis gallery ls` lists who is")
    return row


def insert_subject(
    connection: Connection, collection: int, name: str, external_id: str | None, metadata: str, created: int
) -> int:
    """Add a subject and return its id."""
    refuse_taken_id(connection, collection, external_id)
    values = {"collection": collection, "name": name, "external_id": external_id, "metadata": metadata}
    return _inserted(connection.execute(insert(subjects).values(**values, created=created)))


def refuse_taken_id(connection: Connection, collection: int, external_id: str | None) -> None:
    """Raise `SubjectExists` if another subject has that external id."""
    where = (subjects.c.collection == collection) & (subjects.c.external_id == external_id)
    owner = connection.execute(select(subjects.c.name).where(where)).scalar() if external_id is not None else None
    if owner is not None:
        raise SubjectExists(f"external id {external_id!r} belongs to {owner!r} already")


def insert_templates(
    connection: Connection, collection: int, subject: int, model: str, new: Iterable[NewTemplate]
) -> None:
    """Add templates of one model to a subject, with their crops."""
    insert_many(connection, collection, model, {subject: new})


def insert_many(connection: Connection, collection: int, model: str, new: Mapping[int, Iterable[NewTemplate]]) -> None:
    """Add templates of one model to several subjects, given by id."""
    rows = [_row(connection, collection, subject, model, one) for subject, some in new.items() for one in some]
    if not rows:
        return
    same = (templates.c.collection == collection) & (templates.c.model == model)
    held = connection.execute(select(func.length(templates.c.vector)).where(same).limit(1)).scalar()
    sizes = {len(row["vector"]) for row in rows} | ({held} if held is not None else set())
    if len(sizes) > 1:
        lengths = " and of ".join(str(size // 4) for size in sorted(sizes))
        raise ModelMismatch(f"{model!r} templates of {lengths} numbers can't be in one gallery")
    connection.execute(insert(templates), rows)


def _row(connection: Connection, collection: int, subject: int, model: str, new: NewTemplate) -> dict[str, Any]:
    return {
        "collection": collection,
        "subject": subject,
        "crop": insert_crop(connection, subject, new.crop) if isinstance(new.crop, Crop) else new.crop,
        "model": model,
        "vector": np.asarray(new.vector, "<f4").tobytes(),
        "quality": json.dumps(dict(new.quality), allow_nan=False),
        "created": micros_now() if new.created is None else new.created,
    }


def insert_crop(connection: Connection, subject: int, crop: Crop) -> int:
    """Add a kept crop to a subject and return its id."""
    landmarks = json.dumps(crop.landmarks.tolist())
    return _inserted(connection.execute(insert(crops).values(subject=subject, png=crop.png, landmarks=landmarks)))


def delete_subject(connection: Connection, collection: int, subject: int) -> None:
    """Delete a subject with all templates and crops."""
    connection.execute(delete(templates).where(templates.c.subject == subject))
    connection.execute(delete(crops).where(crops.c.subject == subject))
    connection.execute(delete(subjects).where(subjects.c.id == subject))
    count_removal(connection, collection)


def delete_templates(connection: Connection, collection: int, ids: Sequence[int]) -> None:
    """Delete templates, and those of their crops that no other template came from."""
    for some in _batches(ids, _NAMES_AT_ONCE):
        connection.execute(delete(templates).where(templates.c.id.in_(some)))
    orphaned = select(crops.c.id).outerjoin(templates, templates.c.crop == crops.c.id).where(templates.c.id.is_(None))
    connection.execute(delete(crops).where(crops.c.id.in_(orphaned)))
    count_removal(connection, collection)


def count_removal(connection: Connection, collection: int) -> None:
    """Tell every index in memory, of this process and others, that templates went."""
    which = collections.c.id == collection
    connection.execute(update(collections).where(which).values(removals=collections.c.removals + 1))


def model_counts(connection: Connection, collection: int | None) -> dict[str, int]:
    """Return how many templates of each model a collection holds."""
    if collection is None:
        return {}
    count = select(templates.c.model, func.count()).where(templates.c.collection == collection)
    return {model: int(number) for model, number in connection.execute(count.group_by(templates.c.model))}


def read_subjects(connection: Connection, collection: int | None) -> tuple[Subject, ...]:
    """Return every subject of a collection, by name."""
    if collection is None:
        return ()
    mine = templates.c.collection == collection
    counted = select(templates.c.subject, templates.c.model, func.count()).where(mine)
    counts: dict[int, dict[str, int]] = {}
    for subject, model, number in connection.execute(counted.group_by(templates.c.subject, templates.c.model)):
        counts.setdefault(subject, {})[model] = number
    rows = connection.execute(select(subjects).where(subjects.c.collection == collection).order_by(subjects.c.name))
    return tuple(_subject(row, counts.get(row.id, {})) for row in rows)


def read_subject(connection: Connection, row: Row[Any]) -> Subject:
    """Return one subject with its templates."""
    wanted = select(templates.c.id, templates.c.model, templates.c.created, templates.c.quality, templates.c.crop)
    found = tuple(
        Template(t.id, t.model, from_micros(t.created), json.loads(t.quality), t.crop is not None)
        for t in connection.execute(wanted.where(templates.c.subject == row.id).order_by(templates.c.id))
    )
    counts: dict[str, int] = {}
    for template in found:
        counts[template.model] = counts.get(template.model, 0) + 1
    return _subject(row, counts, found)


def _subject(row: Row[Any], counts: Mapping[str, int], found: tuple[Template, ...] = ()) -> Subject:
    return Subject(row.name, row.external_id, json.loads(row.metadata), from_micros(row.created), counts, found)


def names_of(connection: Connection, ids: Iterable[int]) -> dict[int, str]:
    """Return the names of subjects by id."""
    names: dict[int, str] = {}
    for some in _batches(sorted(set(ids)), _NAMES_AT_ONCE):
        wanted = select(subjects.c.id, subjects.c.name).where(subjects.c.id.in_(some))
        names.update({row.id: row.name for row in connection.execute(wanted)})
    return names


def read_vectors(
    raw: sqlite3.Connection, collection: int, model: str, after: int
) -> Iterator[tuple[list[int], list[int], FloatArray]]:
    """Yield template ids, subject ids and vectors ``(m, d)`` of a model above an id, in the order of ids.

    A million SQLAlchemy rows would cost seconds; the driver's cursor and one join a batch cost a fraction.
    """
    # All of a large table is read faster in its own order than by way of an index; unary + keeps SQLite off
    # the index.
    source = "collection = ? AND model = ?" if after else "+collection = ? AND +model = ?"
    wanted = f"SELECT id, subject, vector FROM templates WHERE {source} AND id > ? ORDER BY id"  # noqa: S608
    cursor = raw.execute(wanted, (collection, model, after))
    while rows := cursor.fetchmany(_BATCH):
        ids, owners, blobs = (list(column) for column in zip(*rows, strict=True))
        sizes = set(map(len, blobs))
        size = sizes.pop()
        if not size or size % 4 or sizes:
            raise NotAGallery(f"templates {ids[0]} to {ids[-1]} of {model!r} are damaged; restore the gallery")
        vectors = np.frombuffer(b"".join(blobs), "<f4").reshape(len(rows), size // 4)
        if not np.isfinite(vectors).all():
            raise NotAGallery(f"templates {ids[0]} to {ids[-1]} of {model!r} are damaged; restore the gallery")
        yield ids, owners, vectors.astype(np.float32, copy=False)


class LiveIndexes:
    """An index a model over one collection, each brought up to date before it is used.

    New rows are appended; after a removal the ids still there are compared with those in memory. Whether anything
    changed at all is one cheap question to SQLite.
    """

    def __init__(self, database: DatabaseFile, collection: str) -> None:
        self._database = database
        self._collection = collection
        self._indexes: dict[str, TemplateIndex] = {}
        self._seen: dict[str, tuple[tuple[int, int], int, int]] = {}  # version, removals, last id

    def get(self, connection: Connection, model: str) -> TemplateIndex | None:
        """Return the index of a model as of the transaction's moment, or None where there are no such templates."""
        version = self._database.version()
        index = self._indexes.get(model)
        seen, removals, last = self._seen.get(model, (None, -1, 0))
        if seen == version:
            return index
        wanted = select(collections.c.id, collections.c.removals).where(collections.c.name == self._collection)
        row = connection.execute(wanted).one_or_none()
        if row is None:
            return None
        raw = self._database.raw
        if index is not None and row.removals != removals:
            which = "SELECT id FROM templates WHERE collection = ? AND model = ? AND id <= ?"
            held = (i for (i,) in raw.execute(which, (row.id, model, last)))
            index.keep(np.fromiter(held, np.int64))
        for ids, owners, vectors in read_vectors(raw, row.id, model, last):
            if index is None:
                counted = select(func.count()).where((templates.c.collection == row.id) & (templates.c.model == model))
                index = TemplateIndex(vectors.shape[1], int(connection.execute(counted).scalar() or 0))
            index.add(ids, owners, vectors)
            last = ids[-1]
        if index is not None:
            self._indexes[model] = index
            self._seen[model] = (version, row.removals, last)
        return index

    def refresh(self, connection: Connection) -> None:
        """Bring every loaded index up to date now, so that nothing removed stays in memory."""
        for model in tuple(self._indexes):
            self.get(connection, model)


def _inserted(result: Any) -> int:
    (key,) = result.inserted_primary_key
    return int(key)


def _batches(values: Sequence[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(values), size):
        yield list(values[start : start + size])
