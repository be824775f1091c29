"""Templates of another model, made from kept crops."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Row, select

from visavis.database.file import DatabaseFile
from visavis.errors import InputError
from visavis.gallery import crops as kept
from visavis.gallery import store
from visavis.gallery.crops import Crop
from visavis.gallery.enrollment import FaceAnalyzer
from visavis.gallery.schema import crops, subjects, templates

__all__ = ["Remade", "remake"]

_BATCH = 64


@dataclass(frozen=True)
class Remade:
    """What `remake` did: the new templates' model, their number, and the subjects without a template of that model."""

    model: str
    templates: int
    without: tuple[str, ...]


def remake(database: DatabaseFile, collection: str, analyzer: FaceAnalyzer, *, replace: bool) -> Remade:
    """Make a template of the analyzer's model from every kept crop that has none yet.

    Parameters
    ----------
    analyzer
        Its model is the one templates are made of.
    replace
        Then remove the other models' templates of the subjects that have one of this model.

    Returns
    -------
    How many were made, and the names of subjects left without (no crop of theirs was kept).

    Notes
    -----
    Crops are worked off in batches, each of which is stored at once: after an interruption the next call goes
    on where this one ended.
    """
    model, made = analyzer.model, 0
    while batch := _crops_without(database, collection, model):
        pictures = [kept.read(Crop(row.png, np.array(json.loads(row.landmarks), np.float32))) for row in batch]
        embeddings = analyzer.embed(np.concatenate([analyzer.crop(image, face) for image, face in pictures]))
        if embeddings.model != model or len(embeddings) != len(batch):
            raise InputError(f"the analyzer of {model!r} gave {len(embeddings)} embeddings of {embeddings.model!r}")
        with database.writing() as connection:
            where = store.make_collection(connection, collection)
            here = {
                row.id for row in connection.execute(select(crops.c.id).where(crops.c.id.in_([r.id for r in batch])))
            }
            for row, vector in zip(batch, embeddings.vectors, strict=True):
                if row.id in here:  # not removed meanwhile
                    new = store.NewTemplate(vector, json.loads(row.quality or "{}"), row.id)
                    store.insert_templates(connection, where, row.subject, model, [new])
                    made += 1
    if replace:
        _remove_others(database, collection, model)
    with database.reading() as connection:
        mine = subjects.c.collection == store.collection_id(connection, collection)
        having = select(templates.c.subject).where(templates.c.model == model)
        lacking = select(subjects.c.name).where(mine & subjects.c.id.not_in(having)).order_by(subjects.c.name)
        return Remade(model, made, tuple(connection.execute(lacking).scalars()))


def _crops_without(database: DatabaseFile, collection: str, model: str) -> list[Row[Any]]:
    done = select(templates.c.crop).where((templates.c.model == model) & templates.c.crop.is_not(None))
    quality = select(templates.c.quality).where(templates.c.crop == crops.c.id).limit(1).scalar_subquery()
    with database.reading() as connection:
        mine = subjects.c.collection == store.collection_id(connection, collection)
        wanted = select(crops.c.id, crops.c.subject, crops.c.png, crops.c.landmarks, quality.label("quality"))
        todo = wanted.join(subjects, subjects.c.id == crops.c.subject).where(mine & crops.c.id.not_in(done))
        return list(connection.execute(todo.order_by(crops.c.id).limit(_BATCH)))


def _remove_others(database: DatabaseFile, collection: str, model: str) -> None:
    with database.writing() as connection:
        where = store.collection_id(connection, collection)
        having = select(templates.c.subject).where(templates.c.model == model)
        others = (templates.c.collection == where) & (templates.c.model != model) & templates.c.subject.in_(having)
        ids = list(connection.execute(select(templates.c.id).where(others)).scalars())
        if where is not None and ids:
            store.delete_templates(connection, where, ids)
