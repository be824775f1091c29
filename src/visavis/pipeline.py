"""From an image to faces with embeddings: decode, detect, align, embed."""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, overload

import numpy as np

from visavis.alignment import align
from visavis.analysis.landmarks import Landmarker, landmarker_card, open_landmarker
from visavis.detection import Detector, detector_card, open_detector
from visavis.errors import InputError, NoFaceFound, SeveralFacesFound, VisavisError
from visavis.geometry import area
from visavis.image import ImageSource, Order, load_image
from visavis.models.cards import Calibration
from visavis.models.session import EngineOptions
from visavis.models.store import Store
from visavis.recognition import Recognizer, open_recognizer, recognizer_card
from visavis.recognition.compare import verification
from visavis.types import Embeddings, Faces, Image, Verification

__all__ = ["FILLER", "Analysis", "Analyzer", "analyze", "only_face", "verify"]

_CHUNK = 16  # images a worker takes at once: enough to fill the recognizer's batches
FILLER = "face-mesh"  # gives five landmarks where the detector finds boxes alone
_CALIBRATED_WITH = "yunet"  # whose landmarks the tables rest on that name no other
_RUN_PIXELS = 4 * 2**20  # decoded pixels held before the detector runs: bounds memory on large photos


@dataclass(frozen=True, eq=False)
class Analysis:
    """What came of one image of a stream: its faces, or the error that kept it from being read."""

    source: ImageSource
    faces: Faces
    error: VisavisError | None = None
    image: Image | None = None


class Analyzer:
    """Finds faces and embeds them. Loading is late: the first image pays for it. Safe to share among threads.

    Parameters
    ----------
    detector
        Card id of a detector.
    recognizer
        Card id of a recognizer, or None to detect only.
    flip
        Embed each face and its mirror image together: twice the recognizer's cost. Embeddings then belong to the
        variant ``"<recognizer>+flip"``, which never mixes with the plain one.
    landmarks
        Card id of a landmark model whose points the faces get as traits, such as ``landmarks_68``; None looks for none.
        Where the detector finds boxes alone, it also gives the five landmarks, or the face mesh does if it can't.
    score, min_face
        Least score of a face (0..1) and height in pixels of the smallest looked for; None takes the detector's own.
    detector_settings
        What the detector takes beside: ``{"factor": 0.8}`` for MTCNN; see docs/detection.md.
    threads
        CPU cores used; None takes ``VISAVIS_THREADS`` or all of them.
    precision
        ``"auto"`` (bf16 where the CPU has it), ``"f32"`` or ``"bf16"``; None takes ``VISAVIS_PRECISION`` or auto.
    engine, device
        See `visavis.models.session.EngineOptions.choose`.
    store
        Where models are kept; None takes the user's own.

    Examples
    --------
    >>> analyzer = Analyzer(threads=1, precision="f32")
    >>> faces = analyzer.analyze("group.jpg")             # doctest: +SKIP
    >>> faces.embeddings.vectors.shape                    # doctest: +SKIP
    (6, 128)
    """

    def __init__(
        self,
        detector: str = "yunet",
        recognizer: str | None = "sface",
        *,
        flip: bool = False,
        landmarks: str | None = None,
        score: float | None = None,
        min_face: float | None = None,
        detector_settings: Mapping[str, Any] | None = None,
        threads: int | None = None,
        precision: str | None = None,
        engine: str | None = None,
        device: str | None = None,
        store: Store | None = None,
    ) -> None:
        self.store = store or Store()
        self.options = EngineOptions.choose(engine=engine, device=device, precision=precision, threads=threads)
        detector_card(detector, self.store)  # a mistyped name fails here, not at the first image
        if recognizer is not None:
            recognizer_card(recognizer, self.store)
        if landmarks is not None:
            landmarker_card(landmarks, self.store)
        self._landmarks = landmarks
        self._detector = detector
        self._recognizer = recognizer
        self._flip = flip
        settings = {"score": score, "min_face": min_face}
        self._settings = {name: value for name, value in settings.items() if value is not None}
        self._settings |= dict(detector_settings or {})
        self._detectors: dict[int, Detector] = {}
        self._landmarkers: dict[tuple[str, int], Landmarker] = {}
        self._recognizers: dict[int, Recognizer] = {}
        self._lock = threading.Lock()

    @property
    def model(self) -> str:
        """Card id and variant of the embeddings it makes; an error where it only detects."""
        if self._recognizer is None:
            raise InputError("this Analyzer has recognizer=None: it detects faces but can't embed them")
        return f"{self._recognizer}+flip" if self._flip else self._recognizer

    @property
    def recognizes(self) -> bool:
        """Whether it makes embeddings."""
        return self._recognizer is not None

    @property
    def calibration(self) -> Calibration | None:
        """Measured error rates of its embeddings, or None where there are none.

        Crops laid by other landmarks give other rates, so there is a table for each that was measured.
        """
        return self.store.card(self.model.partition("+")[0]).calibrations.get(self.calibrated_as)

    @property
    def calibrated_as(self) -> str:
        """Name of the table its error rates would be in: `model`, and behind an @ what lays the crops but YuNet."""
        names = (self._detector, self._landmarks)
        points = next((name for name in names if name and self.store.card(name).five_points), FILLER)
        return self.model if points == _CALIBRATED_WITH else f"{self.model}@{points}"

    @overload
    def analyze(self, source: ImageSource, *, order: Order = "rgb") -> Faces: ...
    @overload
    def analyze(self, source: list[ImageSource] | tuple[ImageSource, ...], *, order: Order = "rgb") -> list[Faces]: ...
    def analyze(self, source: Any, *, order: Order = "rgb") -> Faces | list[Faces]:
        """Find the faces of one image, or of each in a list.

        Parameters
        ----------
        source
            A path, encoded bytes or a uint8 array ``(h, w, 3)``; or a list or tuple of them.
        order
            Channel order of arrays: ``"rgb"`` or, for cv2's, ``"bgr"``.

        Returns
        -------
        `Faces`, best score first, with embeddings unless ``recognizer=None``; for a list, a list in its order. An
        image without faces gives an empty `Faces`.

        Raises
        ------
        ImageError
            If an image can't be read. `stream` goes on instead.
        """
        if isinstance(source, (list, tuple)):
            results = []
            for analysis in self.stream(source, order=order):
                if analysis.error is not None:
                    raise analysis.error
                results.append(analysis.faces)
            return results
        return self._faces([load_image(source, order=order)], parallel=1)[0]

    def stream(
        self, sources: Iterable[ImageSource], *, order: Order = "rgb", keep_images: bool = False
    ) -> Iterator[Analysis]:
        """Analyze images one after the other in bounded memory, on all threads, in order.

        An image that can't be read gives an `Analysis` with its error, and the stream goes on.

        Parameters
        ----------
        sources
            Any number of images, read as they are needed.
        keep_images
            Hand on the decoded image too.
        """
        if isinstance(sources, (str, bytes, os.PathLike, np.ndarray)):
            raise InputError("stream takes several images; for one, use analyze or give a list")
        workers = self.options.threads
        step = 1 if keep_images else _chunk_size(sources, workers)
        rest = iter(sources)
        chunks = iter(lambda: list(islice(rest, step)), [])
        with ThreadPoolExecutor(workers, thread_name_prefix="visavis") as pool:
            waiting: deque[Future[list[Analysis]]] = deque()
            try:
                for chunk in chunks:
                    waiting.append(pool.submit(self._chunk, chunk, order, keep_images))
                    if len(waiting) > workers:
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _chunk(self, sources: Sequence[ImageSource], order: Order, keep_images: bool) -> list[Analysis]:
        results: list[Analysis] = []
        held: list[tuple[int, Image]] = []

        def flush() -> None:
            found = self._faces([image for _, image in held], parallel=self.options.threads)
            for (i, image), faces in zip(held, found, strict=True):
                results[i] = Analysis(sources[i], faces, image=image if keep_images else None)
            held.clear()

        for i, source in enumerate(sources):
            results.append(Analysis(source, Faces.empty()))
            try:
                held.append((i, load_image(source, order=order)))
            except VisavisError as error:
                results[i] = Analysis(source, Faces.empty(), error)
            if sum(image.shape[0] * image.shape[1] for _, image in held) > _RUN_PIXELS:
                flush()
        if held:
            flush()
        return results

    def _faces(self, images: Sequence[Image], parallel: int) -> list[Faces]:
        found = self._get_detector(parallel).detect(images)
        found = [self._with_landmarks(image, faces, parallel) for image, faces in zip(images, found, strict=True)]
        if self._recognizer is None:
            return found
        recognizer = self._get_recognizer(parallel)
        crops = [_crops(recognizer, image, faces) for image, faces in zip(images, found, strict=True)]
        embeddings = recognizer.embed(np.concatenate(crops))
        ends = np.cumsum([len(faces) for faces in found])
        return [
            faces.replace(embeddings=embeddings[int(end) - len(faces) : int(end)])
            for faces, end in zip(found, ends, strict=True)
        ]

    def _with_landmarks(self, image: Image, faces: Faces, parallel: int) -> Faces:
        """Add the points that were asked for, and the five that recognition needs where the detector gave none."""
        five, points = faces.landmarks, {}
        if self._landmarks is not None:
            landmarker = self._get_landmarker(self._landmarks, parallel)
            points = landmarker.locate(image, faces)
            five = landmarker.five(points) if five is None else five
        if five is None and self._recognizer is not None:
            if not len(faces):
                return faces.replace(landmarks=np.empty((0, 5, 2), np.float32), traits={**faces.traits, **points})
            filler = self._get_landmarker(FILLER, parallel, irises=False)  # alignment has no use for them
            five = filler.five(filler.locate(image, faces))
        return faces.replace(landmarks=five, traits={**faces.traits, **points})

    def detect(self, images: Sequence[Image], *, parallel: int = 1) -> list[Faces]:
        """Return the faces of RGB uint8 images with landmarks as `crop` needs them, without embeddings.

        For video, where not every face of every frame is worth an embedding: `crop` and `embed` make those wanted.

        Parameters
        ----------
        parallel
            How many threads call this at a time: the cores are then shared out among them.
        """
        return [
            self._with_landmarks(image, faces, parallel)
            for image, faces in zip(images, self._get_detector(parallel).detect(images), strict=True)
        ]

    def with_landmarks(self, image: Image, faces: Faces) -> Faces:
        """Return the faces of a detector with the points that `analyze` adds, as `crop` needs them."""
        return self._with_landmarks(image, faces, parallel=1)

    def crop(self, image: Image, faces: Faces) -> Image:
        """Return the aligned crops of faces, uint8 ``(n, size, size, 3)``, as the recognizer takes them."""
        return _crops(self._get_recognizer(1), image, faces)

    def embed(self, crops: Image) -> Embeddings:
        """Return the embeddings of aligned crops, uint8 ``(n, size, size, 3)``."""
        return self._get_recognizer(1).embed(crops)

    def verify(
        self,
        a: ImageSource,
        b: ImageSource,
        *,
        fmr: float | None = None,
        threshold: float | None = None,
        largest: bool = False,
        order: Order = "rgb",
    ) -> Verification:
        """Decide whether two images show one person; see `visavis.verify`."""
        sides = [only_face(self.analyze(source, order=order), source, largest=largest) for source in (a, b)]
        first, second = (side.embeddings for side in sides)
        if first is None or second is None:
            raise InputError("this Analyzer has recognizer=None: it can't verify")
        return verification(
            first, second, self.calibration, fmr=fmr, threshold=threshold, calibrated_as=self.calibrated_as
        )

    # One set of sessions serves single images with all threads, another runs a single-threaded stream per worker:
    # batch work scales better that way. Both are loaded when first needed.

    def _get_detector(self, parallel: int) -> Detector:
        with self._lock:
            if parallel not in self._detectors:
                self._detectors[parallel] = open_detector(
                    self._detector, self.store, self.options, parallel=parallel, **self._settings
                )
            return self._detectors[parallel]

    def _get_landmarker(self, name: str, parallel: int, **settings: Any) -> Landmarker:
        with self._lock:
            if (name, parallel) not in self._landmarkers:
                found = open_landmarker(name, self.store, self.options, parallel=parallel, **settings)
                self._landmarkers[name, parallel] = found
            return self._landmarkers[name, parallel]

    def _get_recognizer(self, parallel: int) -> Recognizer:
        if self._recognizer is None:
            raise InputError("this Analyzer has recognizer=None: it detects faces but can't embed them")
        with self._lock:
            if parallel not in self._recognizers:
                self._recognizers[parallel] = open_recognizer(
                    self._recognizer, self.store, self.options, parallel=parallel, flip=self._flip
                )
            return self._recognizers[parallel]


def _chunk_size(sources: Iterable[ImageSource], workers: int) -> int:
    """Return how many images to hand out at once: where their number is known, so that no worker idles at the end."""
    if not isinstance(sources, Sequence) or not sources:
        return _CHUNK
    turns = math.ceil(len(sources) / (workers * _CHUNK))
    return math.ceil(len(sources) / (workers * turns))


def _crops(recognizer: Recognizer, image: Image, faces: Faces) -> Image:
    if faces.landmarks is None:
        raise InputError("faces without landmarks can't be aligned")
    return align(image, faces.landmarks, recognizer.alignment, recognizer.size)


def only_face(faces: Faces, source: ImageSource = "the image", *, largest: bool = False) -> Faces:
    """Return the one face of an image as a one-row `Faces`.

    Parameters
    ----------
    source
        Named in the error.
    largest
        Take the largest of several instead of refusing.

    Raises
    ------
    NoFaceFound
        If there is none.
    SeveralFacesFound
        If there are several and ``largest`` is not set.
    """
    name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the image"
    if not len(faces):
        raise NoFaceFound(f"no face found in {name}")
    if len(faces) > 1 and not largest:
        raise SeveralFacesFound(
            f"{len(faces)} faces in {name}, where one is needed; crop it, or ask for the largest face"
        )
    biggest = int(np.argmax(area(faces.boxes)))
    return faces[biggest : biggest + 1]


@cache
def _default_analyzer() -> Analyzer:
    """Make the analyzer behind `analyze` and `verify` once a process: loading it for each call takes 0.2 s."""
    return Analyzer()


@overload
def analyze(source: ImageSource, *, order: Order = "rgb") -> Faces: ...
@overload
def analyze(source: list[ImageSource] | tuple[ImageSource, ...], *, order: Order = "rgb") -> list[Faces]: ...
def analyze(source: Any, *, order: Order = "rgb") -> Faces | list[Faces]:
    """Find the faces of an image, or of each in a list, with the default models.

    See `Analyzer.analyze`; make an `Analyzer` to choose models, threads or precision.

    Examples
    --------
    >>> import visavis as vv
    >>> faces = vv.analyze("group.jpg")                   # doctest: +SKIP
    >>> len(faces), faces.boxes.shape                     # doctest: +SKIP
    (6, (6, 4))
    """
    found: Faces | list[Faces] = _default_analyzer().analyze(source, order=order)
    return found


def verify(
    a: ImageSource,
    b: ImageSource,
    *,
    fmr: float | None = None,
    threshold: float | None = None,
    largest: bool = False,
    order: Order = "rgb",
) -> Verification:
    """Decide whether two images show the same person, with the default models.

    Parameters
    ----------
    a, b
        Images with one face each.
    fmr
        False match rate to accept; default 1e-4, one non-mated pair in ten thousand.
    threshold
        A cosine similarity instead of ``fmr``.
    largest
        Take the largest face where there are several, instead of refusing.

    Raises
    ------
    NoFaceFound, SeveralFacesFound
        If an image doesn't show exactly one face.
    ImageError
        If one can't be read.

    Examples
    --------
    >>> import visavis as vv
    >>> vv.verify("a.jpg", "b.jpg").match                 # doctest: +SKIP
    True
    """
    return _default_analyzer().verify(a, b, fmr=fmr, threshold=threshold, largest=largest, order=order)
