"""What the classifiers' tests share: embeddings of a few real people, and of made-up ones."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from visavis.models.store import Store
from visavis.pipeline import Analyzer, only_face
from visavis.types import Embeddings

PEOPLE = ("Abel_Pacheco", "Al_Sharpton", "Ali_Naimi", "Andy_Roddick", "Ann_Veneman", "Ari_Fleischer")
STRANGERS = ("Ahmed_Chalabi", "Alejandro_Toledo", "Alvaro_Uribe", "Ana_Palacio")
PHOTOS = 4


@dataclass(frozen=True)
class People:
    """Photos of known people, to train on and to probe with, and of strangers."""

    train: Embeddings
    names: list[str]
    probes: Embeddings
    owners: list[str]
    strangers: Embeddings


@pytest.fixture(scope="session")
def people(lfw: zipfile.ZipFile, store: Store, home: Path) -> People:
    """Return real embeddings: three photos each of `PEOPLE` to train on, one to probe with, and `STRANGERS`."""
    analyzer = Analyzer(precision="f32", threads=1, store=store)
    listed = [(name, number) for name in (*PEOPLE, *STRANGERS) for number in range(1, PHOTOS + 1)]
    photos = [lfw.read(f"lfw-dev/{name}/{name}_{number:04d}.jpg") for name, number in listed]
    found = [only_face(faces, largest=True).embeddings for faces in analyzer.analyze(photos)]
    rows = Embeddings.concat([one for one in found if one is not None])
    assert len(rows) == len(listed)
    owners = np.array([name for name, _ in listed])
    numbers = np.array([number for _, number in listed])
    known = np.isin(owners, PEOPLE)
    train, probes = known & (numbers < PHOTOS), known & (numbers == PHOTOS)
    return People(rows[train], owners[train].tolist(), rows[probes], owners[probes].tolist(), rows[~known])


def made_up(people: int, photos: int, seed: int = 0, model: str = "made-up", noise: float = 0.05) -> Embeddings:
    """Return embeddings of people who don't exist: ``photos`` rows each, alike to about 0.8."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((people, 1, 64)) / 8
    return Embeddings.normalized((centers + noise * rng.standard_normal((people, photos, 64))).reshape(-1, 64), model)


def names_of(people: int, photos: int) -> list[str]:
    """Return the names of `made_up`'s rows."""
    return [f"person {i:03d}" for i in range(people) for _ in range(photos)]
