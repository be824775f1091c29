"""What a gallery says of tracks, while people are enrolled and erased, and while it can't be read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visavis.errors import ModelMismatch, VisavisError
from visavis.gallery import Gallery
from visavis.pipeline import Analyzer
from visavis.recognition.compare import OperatingPoint, fmr_at, operating_point
from visavis.types import Embeddings, FloatArray
from visavis.video.identity import Answer, Candidate, Naming

__all__ = ["Names", "require_names"]

_TOP = 5  # candidates asked for: the name that a track has should be among them
_RETRY_SECONDS = 1.0


def require_names(gallery: Gallery, analyzer: Analyzer, how: Naming | None = None) -> None:
    """Raise if a gallery can give no names to faces from this analyzer: to be called before cameras are opened.

    One that holds nobody is fine: people may be enrolled meanwhile.

    Raises
    ------
    ModelMismatch
        If it holds templates of other models only.
    CalibrationError, InputError
        If the thresholds asked for can't be had.
    GalleryError
        If it can't be read.
    """
    held = gallery.models
    if held and analyzer.model not in held:
        raise ModelMismatch(
            f"the gallery holds templates of {', '.join(sorted(held))}, none of {analyzer.model!r}: take that "
            "recognizer, enroll with this one, or remake the templates from kept crops: visavis gallery remake"
        )
    _point(gallery, analyzer, how or Naming())


def _point(gallery: Gallery, analyzer: Analyzer, how: Naming) -> OperatingPoint:
    free = how.fmr is None and how.threshold is None
    return operating_point(
        analyzer.calibration,
        fmr=how.fmr,
        fpir=how.fpir if free else None,
        threshold=how.threshold,
        templates=gallery.models.get(analyzer.model, 0),
        model=analyzer.calibrated_as,
    )


class Names:
    """A gallery that is asked again and again while it may change, be locked, or vanish.

    Attributes
    ----------
    problem
        What is wrong with it, as one line; None where nothing is.
    version
        Of the gallery, as last seen: what was asked at another version is asked again.
    """

    def __init__(self, gallery: Gallery, analyzer: Analyzer, how: Naming) -> None:
        self.problem: str | None = None
        self.version: tuple[int, ...] = ()
        self._gallery = gallery
        self._analyzer = analyzer
        self._how = how
        self._threshold = 1.0
        self._retry = -np.inf

    def look(self, time: float) -> bool:
        """Look whether the gallery can be asked; a second after it could not, again. Return whether it changed."""
        if self.problem is not None and abs(time - self._retry) < _RETRY_SECONDS:
            return False
        try:
            version = self._gallery.version()
            changed = version != self.version
            if changed:
                self._threshold = _point(self._gallery, self._analyzer, self._how).threshold
        except VisavisError as error:
            self._failed(error, time)
            return False
        self.problem, self.version = None, version
        return changed

    def ask(self, templates: Sequence[tuple[FloatArray, float]], time: float) -> list[Answer] | None:
        """Say whom templates show; None while the gallery can't be asked.

        Parameters
        ----------
        templates
            Unit vectors and the lengths of the means they come from: see `Identity.template`.
        """
        if self.problem is not None:
            return None
        vectors = Embeddings(np.stack([vector for vector, _ in templates]), self._analyzer.model)
        try:
            found = self._gallery.identify(vectors, top=_TOP, threshold=-1.0)
        except VisavisError as error:
            self._failed(error, time)
            return None
        # The mean of the looks' similarities, not that of their mean brought to length 1: docs/identity.md.
        similarities = found.similarities * np.array([[length] for _, length in templates])
        table = self._analyzer.calibration
        rates = None if table is None else fmr_at(table, similarities)
        return [
            Answer(
                tuple(
                    Candidate(name, float(similarities[i, j]), None if rates is None else float(rates[i, j]))
                    for j, name in enumerate(names)
                ),
                self._threshold,
            )
            for i, names in enumerate(found.subjects)
        ]

    def enrolled(self, subject: str, time: float) -> bool:
        """Return whether a subject is (still) enrolled; yes while the gallery can't be asked."""
        if self.problem is not None:
            return True
        try:
            return subject in self._gallery
        except VisavisError as error:
            self._failed(error, time)
            return True

    def _failed(self, error: VisavisError, time: float) -> None:
        self.problem, self._retry, self.version = str(error), time, ()
