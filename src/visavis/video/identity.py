"""Who a track is: a template of its best looks, a name that appears once, and when another look is worth its cost."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from visavis.gallery import Gallery
from visavis.types import Embeddings, FloatArray

__all__ = ["UNSEEN", "Identity", "Naming", "Person"]


@dataclass(frozen=True)
class Naming:
    """When a track gets a name.

    Attributes
    ----------
    looks
        How many good looks a name, or the word "unknown", needs.
    keep
        How many looks make the template: the best ones.
    better
        A look is worth an embedding when its quality is this many times the best so far,
    every
        or when this many seconds have passed since the last.
    fpir
        Share of strangers who may get a name; see `visavis.gallery.Gallery.identify`.
    """

    looks: int = 2
    keep: int = 5
    better: float = 1.15
    every: float = 2.0
    fpir: float = 0.01


@dataclass(frozen=True)
class Person:
    """What is known of whom a track shows.

    Attributes
    ----------
    subject
        The name; None while there is none.
    similarity, fmr
        Of the template with that subject, and the FMR measured at it.
    known
        Whether enough was seen to tell: with no ``subject`` it is nobody enrolled.
    corrects
        The name that ``subject`` took the place of.
    """

    subject: str | None = None
    similarity: float | None = None
    fmr: float | None = None
    known: bool = False
    corrects: str | None = None


UNSEEN = Person()


@dataclass(eq=False)
class Identity:
    """What one track has shown of itself.

    Attributes
    ----------
    looks
        Quality and unit vector of each look kept, best first.
    person
        Whom it shows, as decided last.
    """

    looks: list[tuple[float, FloatArray]] = field(default_factory=list)
    person: Person = UNSEEN
    asked: float = -np.inf
    embedded: int = 0

    def wants(self, quality: float, time: float, how: Naming) -> bool:
        """Return whether a look of this quality at this time is worth an embedding."""
        if quality <= 0:
            return False
        if len(self.looks) < how.looks:
            return True
        return quality >= how.better * self.looks[0][0] or time - self.asked >= how.every

    def add(self, quality: float, vector: FloatArray, time: float, how: Naming) -> None:
        """Take a look into the template."""
        self.looks = sorted([*self.looks, (quality, vector)], key=lambda look: -look[0])[: how.keep]
        self.asked, self.embedded = time, self.embedded + 1

    @property
    def template(self) -> FloatArray:
        """Mean of the looks, weighted by their quality, of length 1."""
        total = np.sum([quality * vector for quality, vector in self.looks], axis=0)
        return np.asarray(total / np.linalg.norm(total), np.float32)

    def decide(self, gallery: Gallery, model: str, how: Naming) -> None:
        """Ask the gallery whom the template shows, and keep the name, give it one, or correct it, once."""
        if len(self.looks) < how.looks:
            return
        found = gallery.identify(Embeddings(self.template[None], model), top=1, fpir=how.fpir)
        name, before = found.best[0], self.person
        if name is None or name == before.subject or (before.subject is not None and before.corrects is not None):
            self.person = before if before.subject is not None else Person(known=True)
            return
        fmr = None if found.fmr_at_similarity is None else float(found.fmr_at_similarity[0, 0])
        self.person = Person(name, float(found.similarities[0, 0]), fmr, True, corrects=before.subject)
