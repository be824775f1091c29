"""The contact sheet of an album: a page with the best faces of every cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visavis.curation.album import Album, Person
from visavis.reporting.document import Document, Picture, Pictures, Section, Table, Text

__all__ = ["PEOPLE", "contact_sheet"]

PEOPLE = 200
"""Clusters that a page shows, the largest."""

_FACES = 8  # of each
_SIDE = 168  # pixels of a face: sharp at the size in which the page shows it


def contact_sheet(
    album: Album, people: Sequence[Person], names: Mapping[int, str], apart: int, facts: Sequence[tuple[str, str]]
) -> Document:
    """Return the page of an album.

    Parameters
    ----------
    people
        Of `Album.people`.
    names
        Known people, by cluster.
    apart
        How many faces were left apart, as too small, blurred or turned.
    facts
        Settings to state.
    """
    shown = people[:PEOPLE]
    rows = np.concatenate([np.empty(0, np.intp), *(person.best[:_FACES] for person in shown)])
    cut = dict(album.crops(rows, side=_SIDE))
    pictures, captions = [], []
    for person in shown:
        faces = [int(row) for row in person.best[:_FACES] if int(row) in cut]
        pictures.append([Picture(cut[row], f"{album.path(row).name}, face {album.face[row] + 1}") for row in faces])
        captions.append(_title(album, person, names))
    grouped = int((album.labels >= 0).sum())
    alone = len(album) - grouped - apart
    summary = (
        f"{grouped:,} of {len(album):,} faces in {len(album.photos):,} photos belong to {len(people):,} people seen "
        f"more than once; {alone:,} belong to nobody else, {apart:,} are too small, blurred or turned to tell."
    )
    note = "Of each the best faces, the more typical half first." + (
        f" {len(people) - PEOPLE:,} smaller clusters are not shown." if len(people) > PEOPLE else ""
    )
    parts: list[Any] = [Pictures("The people", pictures, captions, note)] if people else [Text("Nobody is seen twice.")]
    return Document(
        title="People of an album",
        summary=summary,
        sections=[Section("People", parts), Section("How many faces", [_sizes(people)])],
        facts=facts,
        results={
            "photos": len(album.photos),
            "faces": len(album),
            "grouped": grouped,
            "apart": apart,
            "people": [
                {"cluster": p.cluster + 1, "faces": len(p.rows), "subject": names.get(p.cluster)} for p in people
            ],
        },
    )


def _title(album: Album, person: Person, names: Mapping[int, str]) -> str:
    photos = len(np.unique(album.photo[person.rows]))
    name = f": {names[person.cluster]}" if person.cluster in names else ""
    many = "photo" if photos == 1 else "photos"
    return f"Cluster {person.cluster + 1}{name} ({len(person.rows):,} faces in {photos:,} {many})"


def _sizes(people: Sequence[Person]) -> Table:
    sizes = np.array([len(person.rows) for person in people])
    edges = [(2, 2), (3, 5), (6, 10), (11, 50), (51, None)]
    rows = []
    for low, high in edges:
        inside = (sizes >= low) & (sizes <= high) if high is not None else sizes >= low
        told = f"{low}" if low == high else f"{low} to {high}" if high else f"{low} and more"
        rows.append([told, f"{int(inside.sum()):,}", f"{int(sizes[inside].sum()):,}"])
    return Table("Clusters by size", ["faces in the cluster", "clusters", "faces in all"], rows)
