"""Detectors and recognizers side by side on one data set: accuracy, TAR at a FAR, faces found, time, memory, license.

Accuracy and TAR are computed in f32 unless asked otherwise. A detector runs once; all recognizers share what it found.
Time and memory of each pair of models are measured in a process of its own, on one thread, so that rows don't disturb
each other.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.datasets.lfw import Lfw, Pairs, central
from visavis.errors import EngineError, InputError, ModelError, VisavisError
from visavis.evaluation.all_pairs import nonmated_pairs
from visavis.evaluation.intervals import Estimate
from visavis.evaluation.tail import tar_estimate
from visavis.evaluation.verification import accuracy, pair_similarities
from visavis.models.store import Store
from visavis.pipeline import FILLER, Analyzer
from visavis.types import Embeddings, Faces, Image

__all__ = ["FAR", "Row", "Running", "choices", "compare", "measure"]

FAR = 1e-3
_BATCH = 16  # crops embedded at once
_PHOTOS = 12  # that time and memory are measured on
_SECONDS = 8.0  # that the measurement may take, loading apart; three photos are measured in any case
_TIMEOUT = 600.0

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Running:
    """How models are run; None takes the defaults of `Analyzer`, but for ``precision``, which is f32 here."""

    threads: int | None = None
    precision: str = "f32"
    engine: str | None = None
    device: str | None = None
    store: Store = field(default_factory=Store)

    def analyzer(self, detector: str, recognizer: str | None, *, threads: int | None = None) -> Analyzer:
        """Return an analyzer of these models."""
        return Analyzer(
            detector,
            recognizer,
            threads=threads or self.threads,
            precision=self.precision,
            engine=self.engine,
            device=self.device,
            store=self.store,
        )


@dataclass(frozen=True)
class Row:
    """What was measured of a detector with a recognizer.

    Attributes
    ----------
    accuracy
        Share of pairs decided rightly over folds; a pair with a photo without a face counts as rejected.
    tar, far
        Share of the mated pairs accepted where ``far`` of all non-mated pairs among the photos are.
    found
        Share of the photos in whose middle a face was found.
    ms
        Milliseconds from an encoded photo to embeddings, median, one thread; None where it could not be measured.
    peak_mb
        The most memory the process that did so held, in units of 10**6 bytes; None where the system does not say.
    commercial_use
        False if a license of the models used forbids it, None if one is not known.
    problem
        Why time and memory could not be measured.
    """

    detector: str
    recognizer: str
    photos: int
    pairs: int
    accuracy: Estimate
    tar: Estimate
    far: float
    found: float
    ms: float | None
    peak_mb: float | None
    license: str
    commercial_use: bool | None
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def choices(store: Store, task: str, names: Sequence[str] | None = None) -> tuple[list[str], dict[str, str]]:
    """Return the models of a task to compare, and those left out with the reason.

    Named models have to be usable; without names it is all that are.

    Parameters
    ----------
    task
        ``"detection"`` or ``"recognition"``.

    Raises
    ------
    UnknownModel
        If a name is of no such model.
    ModelError
        If a named one can't be used: its license was not accepted, or its library is missing.
    """
    if names:
        noun = {"detection": "detector", "recognition": "recognizer"}[task]
        for name in names:
            store.card_for(name, task, noun)  # type: ignore[arg-type]
            if why := store.unusable(name):
                raise ModelError(why)
        return list(dict.fromkeys(names)), {}
    every = [card.id for card in store.cards().values() if card.task == task]
    left_out = {name: why for name in every if (why := store.unusable(name))}
    return [name for name in every if name not in left_out], left_out


def compare(
    detector: str,
    recognizers: Sequence[str],
    data: Lfw,
    pairs: Pairs,
    running: Running | None = None,
    *,
    say: Progress | None = None,
) -> tuple[list[Row], dict[str, str]]:
    """Measure one detector with each recognizer on pairs of photos.

    Returns the rows, and why each recognizer that failed did: the others go on.

    Parameters
    ----------
    say
        Called with what is under way.
    """
    running, say = running or Running(), say or _silence
    used = np.unique(pairs.photos)
    where = np.full(len(data.members), -1)
    where[used] = np.arange(len(used))
    inside = Pairs(where[pairs.photos], pairs.mated, pairs.folds)
    subjects = np.unique([data.people[i] for i in used], return_inverse=True)[1]
    found, vectors, filled, failed = _embeddings(detector, recognizers, data, used, running, say)
    sample = used[np.linspace(0, len(used) - 1, min(_PHOTOS, len(used))).astype(int)]
    rows = []
    for recognizer, its_vectors in vectors.items():
        say(f"{detector}, {recognizer}: rates")
        rates = _rates(its_vectors, found, subjects, inside)
        say(f"{detector}, {recognizer}: time and memory")
        try:
            (ms, peak), problem = measure(detector, recognizer, [data.read(int(i)) for i in sample], running), ""
        except EngineError as error:
            (ms, peak), problem = (None, None), str(error)
        license_name, commercial = _terms(running.store, [detector, recognizer, *([FILLER] if filled else [])])
        shape = (len(used), len(pairs))
        rows.append(
            Row(
                detector,
                recognizer,
                *shape,
                *rates,
                FAR,
                float(found.mean()),
                ms,
                peak,
                license_name,
                commercial,
                problem,
            )
        )
    return rows, failed


def _silence(_: str) -> None:
    pass


def _rates(
    vectors: npt.NDArray[np.float32], found: npt.NDArray[np.bool_], subjects: npt.NDArray[np.intp], pairs: Pairs
) -> tuple[Estimate, Estimate]:
    similarities = pair_similarities(vectors, pairs.photos, found)
    mated = pairs.mated
    others = nonmated_pairs(vectors, subjects, found=found, share=20 * FAR)
    tar, _ = tar_estimate(similarities[mated], subjects[pairs.photos[mated, 0]], others, FAR)
    return accuracy(similarities, mated, pairs.folds), tar


def _embeddings(
    detector: str, recognizers: Sequence[str], data: Lfw, used: npt.NDArray[np.intp], running: Running, say: Progress
) -> tuple[npt.NDArray[np.bool_], dict[str, npt.NDArray[np.float32]], bool, dict[str, str]]:
    """Return which photos have a face in their middle, and its embeddings; a photo without has a row of zeros.

    Then whether points had to be added to the detector's boxes, and why each recognizer that failed did.
    """
    finder = running.analyzer(detector, None)
    embedders = {name: _Embedder(running.analyzer(detector, name)) for name in recognizers}
    failed: dict[str, str] = {}
    found = np.zeros(len(used), bool)
    filled = False
    for n, analysis in enumerate(finder.stream((data.read(int(i)) for i in used), keep_images=True)):
        if n % 20 == 0:
            say(f"{detector}: {n:,} of {len(used):,} photos")
        if analysis.error is not None:
            raise InputError(f"{data.members[int(used[n])]}: {analysis.error}")
        assert analysis.image is not None
        face = _in_the_middle(analysis.faces, analysis.image)
        if not len(face):
            continue
        found[n] = True
        filled |= face.landmarks is None
        for name, embedder in [*embedders.items()]:
            try:
                face = embedder.analyzer.with_landmarks(analysis.image, face)
                embedder.add(analysis.image, face)
            except VisavisError as error:
                failed[name] = str(error)
                del embedders[name]
        if not embedders:
            break
    if not found.any():
        raise InputError(f"{detector} found a face in none of {len(used)} photos")
    return found, {name: embedder.vectors(found) for name, embedder in embedders.items()}, filled, failed


class _Embedder:
    """Embeds faces in batches."""

    def __init__(self, analyzer: Analyzer) -> None:
        self.analyzer = analyzer
        self._crops: list[Image] = []
        self._rows: list[Embeddings] = []

    def add(self, image: Image, face: Faces) -> None:
        self._crops.append(self.analyzer.crop(image, face))
        if len(self._crops) >= _BATCH:
            self._flush()

    def vectors(self, found: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Return the rows, with zeros for photos that were not found."""
        if self._crops:
            self._flush()
        joined = Embeddings.concat(self._rows).vectors
        rows = np.zeros((len(found), joined.shape[1]), np.float32)
        rows[found] = joined
        return rows

    def _flush(self) -> None:
        self._rows.append(self.analyzer.embed(np.concatenate(self._crops)))
        self._crops.clear()


def _in_the_middle(faces: Faces, image: Image) -> Faces:
    """Return the face the photo is named after: the one nearest to its middle, which has to be in it."""
    height, width = image.shape[:2]
    face = central(faces, width, height)
    middle = np.array([width / 2, height / 2])
    around = len(face) and (face.boxes[0, :2] <= middle).all() and (face.boxes[0, 2:] >= middle).all()
    return face if around else face[:0]


def _terms(store: Store, names: Sequence[str]) -> tuple[str, bool | None]:
    """Return the licenses of models and their parts, each once, and whether all allow commercial use."""
    cards = list(dict.fromkeys(part for name in names for part in _with_parts(store, name)))
    own = [card for card in map(store.card, cards) if card.has_file or not card.parts]
    licenses = list(dict.fromkeys(card.license for card in own))
    uses = {store.card(name).commercial_use for name in cards}
    return ", ".join(licenses), False if False in uses else None if None in uses else True


def _with_parts(store: Store, name: str) -> Iterator[str]:
    yield name
    for part in store.card(name).parts:
        yield from _with_parts(store, part)


def measure(
    detector: str, recognizer: str | None, photos: Sequence[bytes], running: Running | None = None
) -> tuple[float | None, float | None]:
    """Return milliseconds a photo and peak memory in MB, measured on one thread of a fresh process.

    Parameters
    ----------
    photos
        Encoded images; the first is analyzed twice more, before the clock starts.

    Raises
    ------
    VisavisError
        If the models could not be run there.
    """
    running = running or Running()
    with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
        for i, photo in enumerate(photos):
            (Path(folder) / f"{i:03}").write_bytes(photo)
        job = {
            "models": [detector, recognizer],
            "running": {"precision": running.precision, "engine": running.engine, "device": running.device},
            "home": str(running.store.home),
            "photos": len(photos),
        }
        command = [sys.executable, "-c", "from visavis.protocols.comparison import _in_own_process; _in_own_process()"]
        try:
            done = subprocess.run(
                command,
                input=json.dumps(job),
                capture_output=True,
                text=True,
                cwd=folder,
                timeout=_TIMEOUT,
                check=False,
            )
            said = json.loads(done.stdout.splitlines()[-1])
        except subprocess.TimeoutExpired:
            return None, None
        except (IndexError, ValueError):
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise EngineError(f"{detector} with {recognizer} failed in a process of its own: {last}") from None
    if "error" in said:
        raise EngineError(f"{detector} with {recognizer}: {said['error']}")
    return said["ms"], said["peak_mb"]


def _in_own_process() -> None:
    """Do what `measure` asks for on stdin, and answer on stdout."""
    job = json.loads(sys.stdin.read())
    try:
        analyzer = Running(**job["running"], store=Store(Path(job["home"]))).analyzer(*job["models"], threads=1)
        encoded = [Path(f"{i:03}").read_bytes() for i in range(job["photos"])]  # files are not what is measured
        for _ in range(2):
            analyzer.analyze(encoded[0])
        times: list[float] = []
        until = time.perf_counter() + _SECONDS
        for photo in encoded:
            start = time.perf_counter()
            analyzer.analyze(photo)
            times.append(time.perf_counter() - start)
            if len(times) >= 3 and time.perf_counter() > until:
                break
        answer: dict[str, Any] = {"ms": round(1e3 * float(np.median(times)), 2), "peak_mb": _peak_mb()}
    except VisavisError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)  # noqa: T201 (the answer to the process that started this one)


def _peak_mb() -> float | None:
    """Return the most memory this process held, where the system says it."""
    try:
        # Not getrusage: on Linux what it says begins with what the parent held when it started this process.
        lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        return round(peak * 1024 / 1e6, 1)
    except (OSError, StopIteration, ValueError):
        pass
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)
