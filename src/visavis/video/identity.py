"""Who a track is: a template of its best looks, a name that appears once, and when another look is worth its cost.

Nothing here asks a gallery or runs a model: looks and answers go in, a `Person` comes out. docs/identity.md tells the
measurements behind the defaults.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from visavis.analysis.quality import QualityGate
from visavis.errors import InputError
from visavis.types import FloatArray

__all__ = ["UNSEEN", "Answer", "Candidate", "Identity", "Naming", "Person"]


_MOST_DOUBLINGS = 7  # of the seconds between looks


@dataclass(frozen=True)
class Naming:
    """When a track is looked at closer, and when it gets a name.

    Attributes
    ----------
    looks, unknown_looks
        How many good looks a name needs, and how many the word "unknown".
    keep
        How many looks make the template: the best ones.
    usable, clear
        What a look must reach to count; and what one of them must reach before the track is called unknown: a face that
        was only ever too small or blurred to be told apart stays without a verdict.
    better
        A look is worth an embedding when it is worth this many times the best so far,
    apart
        or when so many seconds have passed since the last: twice as many after each.
    fpir, fmr, threshold
        What decides whether an answer is a name, as in `visavis.gallery.Gallery.identify`: ``fpir`` unless one of the
        others is given.
    margin, more
        A name is corrected only for one more similar by this, after so many further looks; and is taken from a track
        beside it only by one more similar by this.
    fall
        A name is taken back when, after so many further looks, its similarity is this far below the threshold.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    looks: int = 2
    unknown_looks: int = 3
    keep: int = 5
    usable: QualityGate = field(default_factory=lambda: QualityGate(10, 0.26, 60, 45))
    clear: QualityGate = field(default_factory=QualityGate)
    better: float = 1.25
    apart: float = 0.2
    fpir: float = 0.01
    fmr: float | None = None
    threshold: float | None = None
    margin: float = 0.1
    more: int = 2
    fall: float = 0.05

    def __post_init__(self) -> None:
        for name, least in (("looks", 1), ("unknown_looks", 1), ("keep", 1), ("more", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {least} or more, not {getattr(self, name)}")
        for name in ("apart", "margin", "fall"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} is 0 or more, not {getattr(self, name)}")
        if not self.better >= 1:
            raise InputError(f"better is 1 or more, not {self.better}")
        if self.fmr is not None and self.threshold is not None:
            raise InputError("give one of fmr and threshold, not both")


@dataclass(frozen=True)
class Person:
    """What is known of whom a track shows.

    Attributes
    ----------
    subject
        The name; None while there is none.
    similarity
        Of the track with that subject: the mean over its looks, weighted by what they are worth.
    fmr
        FMR of a threshold at that similarity; see docs/identity.md for why it is an upper bound here, for each of the
        subject's templates. None where the model was not calibrated.
    known
        Whether enough was seen to say: without a subject, the track shows nobody enrolled.
    corrects
        The name said before, which was wrong.
    """

    subject: str | None = None
    similarity: float | None = None
    fmr: float | None = None
    known: bool = False
    corrects: str | None = None


UNSEEN = Person()


@dataclass(frozen=True)
class Candidate:
    """A subject that a track may show, with the track's similarity and its FMR as in `Person`."""

    subject: str
    similarity: float
    fmr: float | None = None


@dataclass(frozen=True)
class Answer:
    """What a gallery says of a template: the most similar subjects first, and from which similarity they count."""

    candidates: tuple[Candidate, ...]
    threshold: float


@dataclass(eq=False)
class Identity:
    """What one track has shown of itself.

    A name is said once and corrected once at most. What takes it back are further looks that another subject is clearly
    more similar to, or that fall below the threshold (`hear`); another face of the same frame (`give_way`); or the
    gallery, where the subject is no longer enrolled (`forget`).

    Examples
    --------
    >>> ada, how = Answer((Candidate("ada", 0.6),), threshold=0.45), Naming(looks=2)
    >>> track = Identity()
    >>> track.add(0.4, np.array([1.0, 0.0], np.float32), 0.0, how)
    >>> track.hear(ada, how)
    >>> track.person.subject
    >>> track.add(0.5, np.array([0.8, 0.6], np.float32), 0.2, how)
    >>> track.hear(ada, how)
    >>> track.person.subject
    'ada'
    """

    looks: list[tuple[float, FloatArray]] = field(default_factory=list)
    """The best ones: what each is worth, and its unit vector."""
    person: Person = UNSEEN
    embedded: int = 0
    """Looks so far, those no longer kept too."""
    looked: float = -math.inf
    """When, in seconds."""
    measured: float = -math.inf
    """When a look's quality was measured last, in seconds."""
    clear: bool = False
    """Whether a look was good enough to say that the track shows nobody enrolled."""
    doubted: bool = False
    """Whether it may have come to show somebody else, so that the next look decides."""
    _said_at: int = 0  # looks there were when the name was said
    _spent: bool = False  # whether the one correction was made

    def measurable(self, time: float, how: Naming) -> bool:
        """Return whether it is time to measure a face's quality again."""
        return self.doubted or time - self.measured >= how.apart - 1e-6

    def ready(self, how: Naming) -> bool:
        """Return whether there are enough looks to ask who it is."""
        return len(self.looks) >= min(how.looks, how.keep)

    def due(self, time: float, how: Naming) -> bool:
        """Return whether it is time for another look, whatever it shows."""
        return time - self.looked >= how.apart * 2.0 ** min(max(self.embedded - 1, 0), _MOST_DOUBLINGS) - 1e-6

    def improves(self, quality: float, how: Naming) -> bool:
        """Return whether a look would be among those that make the template."""
        return len(self.looks) < how.keep or quality > self.looks[-1][0]

    def wants(self, quality: float, time: float, how: Naming) -> bool:
        """Return whether a look that counts and is worth ``quality`` would gain something now."""
        return self.doubted or self.due(time, how) or quality >= how.better * self.best

    @property
    def best(self) -> float:
        """What the best look is worth; 0 without any."""
        return self.looks[0][0] if self.looks else 0.0

    def add(self, quality: float, vector: FloatArray, time: float, how: Naming, *, clear: bool = True) -> None:
        """Take a look: what it is worth, its unit vector ``(d,)``, and whether it reaches `Naming.clear`."""
        self.looks = sorted([*self.looks, (quality, vector)], key=lambda look: -look[0])[: how.keep]
        self.clear = self.clear or clear
        self.looked, self.embedded = time, self.embedded + 1

    def template(self) -> tuple[FloatArray, float]:
        """Return the mean of the looks, weighted by what they are worth: brought to length 1, and its length.

        The similarity of the first with a vector, times the second, is the mean similarity of the looks with it.
        """
        weights = np.array([quality for quality, _ in self.looks]) + 1e-9
        mean = np.average([vector for _, vector in self.looks], axis=0, weights=weights)
        length = float(np.linalg.norm(mean))
        if length < 1e-6:  # looks that cancel out show no one person: the best one speaks
            return self.looks[0][1], 1.0
        return np.asarray(mean / length, np.float32), length

    def hear(self, answer: Answer, how: Naming, held: Mapping[str, float] | None = None) -> None:
        """Take what the gallery says of the template.

        Parameters
        ----------
        held
            Names of other tracks in the same frame, with their similarities: one is got only by a margin.
        """
        if not self.ready(how):
            return
        held = held or {}
        # Whom another face of the frame shows, this one does not; then it may be who comes right behind.
        near = max((one.similarity for one in answer.candidates), default=0.0) - how.margin
        best = next(
            (
                one
                for one in answer.candidates
                if one.similarity >= max(answer.threshold, held.get(one.subject, -math.inf) + how.margin, near)
            ),
            None,
        )
        if self.person.subject is not None:
            self._keep_or_correct(answer, best, how)
        elif best is not None and not self._spent:
            self.person = Person(best.subject, best.similarity, best.fmr, known=True)
            self._said_at = self.embedded
        elif self.clear and self.embedded >= how.unknown_looks:
            self.person = replace(self.person, known=True)

    def _keep_or_correct(self, answer: Answer, best: Candidate | None, how: Naming) -> None:
        own = next((one for one in answer.candidates if one.subject == self.person.subject), None)
        if own is not None:
            self.person = replace(self.person, similarity=own.similarity, fmr=own.fmr)
            least = own.similarity
        else:  # it is not among the most similar
            least = min((one.similarity for one in answer.candidates), default=1.0)
        if self._spent or self.embedded < self._said_at + how.more:
            return
        if best is not None and best is not own and best.similarity >= least + how.margin:
            self.person = Person(best.subject, best.similarity, best.fmr, True, corrects=self.person.subject)
            self._spent = True
        elif least < answer.threshold - how.fall:
            self.give_way()

    @property
    def can_give_way(self) -> bool:
        """Whether it has a name that may still be taken back."""
        return self.person.subject is not None and not self._spent

    def give_way(self) -> None:
        """Take the name back and say nobody's: this was the correction."""
        self.person = Person(known=True, corrects=self.person.subject)
        self._spent = True

    def forget(self) -> None:
        """Drop the name, as its subject is no longer enrolled: nothing of it is left, and another may come."""
        self.person, self._said_at, self._spent = Person(known=True), 0, False
