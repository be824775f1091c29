"""A classifier as a file: an uncompressed ZIP of a JSON header and NumPy arrays, which np.load reads too.

::

    header.json     format, version, method, model, dimension, people, settings, reject, confidence, validation
    templates.npy   float32 (t, d)       owners.npy       int64 (t,)
    weights.npy     float64 (people, d) linear or (people, t) RBF, SVMs only
    intercepts.npy  float64 (people,), SVMs only

Reading one trusts nothing: members are stored, not compressed, so none is larger than the file; only these names are
taken; an array's shape must be the header's before its numbers are read; no pickle is ever opened.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.classification.classifier import Classifier, Validation
from visavis.classification.methods import METHODS, Knn, Machine, Scorer
from visavis.classification.probabilities import Confidence
from visavis.classification.reject import RULES, Reject
from visavis.errors import InputError, StorageError
from visavis.files import printable_path, reason
from visavis.models.durable import write_whole
from visavis.names import checked_name
from visavis.types import Embeddings

__all__ = ["FORMAT", "VERSION", "read", "write"]

FORMAT = "visavis-classifier"
VERSION = 1

_MAX_FILE = 2**31
_MAX_HEADER = 64 * 2**20  # 100,000 names of 200 characters
_MAX_ROWS, _MAX_PEOPLE, _MAX_DIMENSION = 1_000_000, 100_000, 16_384
# What malformed archives, JSON and arrays raise.
_MALFORMED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError),
    *(ValueError, TypeError, LookupError, OverflowError, AttributeError),
)


def write(classifier: Classifier, path: str | os.PathLike[str]) -> None:
    """Write a classifier to a file; see `Classifier.save`."""
    target = Path(path).expanduser()
    header = {
        "format": FORMAT,
        "version": VERSION,
        "method": classifier.method,
        "model": classifier.templates.model,
        "dimension": classifier.templates.dimension,
        "templates": len(classifier.templates),
        "people": list(classifier.people),
        "counts": list(classifier.counts.values()),
        "settings": dict(classifier.settings),
        "reject": classifier.reject.to_dict(),
        "confidence": None if classifier.confidence is None else classifier.confidence.to_dict(),
        "validation": None if classifier.validation is None else asdict(classifier.validation),
        "made_with": dict(classifier.made_with),
    }
    arrays: dict[str, npt.NDArray[Any]] = {
        "templates": classifier.templates.vectors.astype("<f4"),
        "owners": classifier.owners.astype("<i8"),
    }
    if isinstance(classifier.scorer, Machine):
        weights = classifier.scorer.weights
        arrays["weights"] = (classifier.scorer.vectors if weights is None else weights).astype("<f8")
        arrays["intercepts"] = classifier.scorer.intercepts.astype("<f8")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("header.json"), json.dumps(header, ensure_ascii=False, allow_nan=False))
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    if len(buffer.getbuffer()) > _MAX_FILE:
        raise InputError(f"this classifier takes more than {_MAX_FILE >> 30} GiB; train knn, or use a gallery")
    try:
        write_whole(target, buffer.getvalue(), mode=0o600)
    except OSError as error:
        raise StorageError(f"{printable_path(target)} can't be written: {reason(error)}") from None


def read(path: str | os.PathLike[str]) -> Classifier:
    """Read a classifier; see `Classifier.load`."""
    source = Path(path).expanduser()
    name = printable_path(source)
    try:
        if not source.is_file():
            raise InputError(f"there is no classifier {name}; make it: visavis classify train DIR --out FILE")
        if source.stat().st_size > _MAX_FILE:
            raise InputError(f"{name} has more than {_MAX_FILE >> 30} GiB, too much for a classifier")
        with zipfile.ZipFile(source) as archive:
            return _Reader(archive, source.stat().st_size).classifier()
    except _TooNew as error:
        raise InputError(f"{name} {error}") from None
    except OSError as error:
        raise InputError(f"{name} can't be read: {reason(error)}") from None
    except InputError as error:
        raise error if str(error).startswith(("there is no", name)) else _damaged(name, error) from None
    except _MALFORMED as error:
        raise _damaged(name, error) from None


def _damaged(name: str, error: BaseException) -> InputError:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(f"{name} is not a classifier, or damaged ({said}); train it anew")


class _TooNew(Exception):
    """Written by a newer visavis."""


class _Reader:
    """Takes a file apart, believing nothing it says."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive = archive
        self._size = size
        header = json.loads(self._member("header.json", _MAX_HEADER))
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError("its header is another format's")
        if _whole(header["version"], 1, 2**31) > VERSION:
            raise _TooNew("was written by a newer visavis; update this one")
        self._header: dict[str, Any] = header

    def classifier(self) -> Classifier:
        """Return what the file holds."""
        header = self._header
        method = header["method"]
        if method not in METHODS:
            raise ValueError(f"it knows no method {str(method)[:40]!r}")
        dimension = _whole(header["dimension"], 1, _MAX_DIMENSION)
        rows = _whole(header["templates"], 1, _MAX_ROWS)
        people = self._people()
        settings = _settings(header["settings"])
        templates = Embeddings(
            self._array("templates", "<f4", (rows, dimension)), checked_name(header["model"], "a model")
        )
        owners = self._array("owners", "<i8", (rows,))
        if int(owners.min()) < 0 or int(owners.max()) >= len(people):
            raise ValueError("a template belongs to nobody")
        if np.bincount(owners, minlength=len(people)).tolist() != header["counts"]:
            raise ValueError("its counts are not those of its templates")
        vectors = templates.vectors.astype(np.float64)
        scorer: Scorer
        if method == "knn":
            scorer = Knn(vectors, owners, len(people), settings["neighbors"])
        else:
            if len(people) < 2:
                raise ValueError("an SVM of one person")
            intercepts = self._array("intercepts", "<f8", (len(people),))
            if method == "svm":
                scorer = Machine(self._array("weights", "<f8", (len(people), dimension)), None, intercepts)
            else:
                weights = self._array("weights", "<f8", (len(people), rows))
                scorer = Machine(vectors, weights, intercepts, settings["gamma"])
        return Classifier(
            method=method,
            people=people,
            templates=templates,
            owners=owners,
            scorer=scorer,
            reject=_reject(header["reject"]),
            confidence=_confidence(header["confidence"]),
            validation=_validation(header["validation"]),
            settings=MappingProxyType(settings),
            made_with=MappingProxyType({str(k)[:80]: str(v)[:80] for k, v in dict(header["made_with"]).items()}),
        )

    def _people(self) -> tuple[str, ...]:
        listed = self._header["people"]
        if not isinstance(listed, list) or not 1 <= len(listed) <= _MAX_PEOPLE:
            raise ValueError("it names nobody, or too many")
        people = tuple(checked_name(one) for one in listed)
        if len(set(people)) != len(people):
            raise ValueError("it names somebody twice")
        return people

    def _member(self, name: str, limit: int) -> bytes:
        try:
            info = self._archive.getinfo(name)
        except KeyError:
            raise ValueError(f"it has no {name}") from None
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ValueError(f"{name} is packed")
        if info.file_size != info.compress_size or info.file_size > min(self._size, limit):
            raise ValueError(f"{name} is larger than it may be")
        return self._archive.read(info)

    def _array(self, name: str, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        wanted = np.dtype(dtype)
        size = wanted.itemsize * int(np.prod(shape, dtype=object))
        data = io.BytesIO(self._member(f"{name}.npy", size + 4096))
        if np.lib.format.read_magic(data) != (1, 0):
            raise ValueError(f"{name} is of another format")
        found, fortran, kind = np.lib.format.read_array_header_1_0(data, max_header_size=4000)
        if kind != wanted or found != shape or fortran or len(data.getbuffer()) - data.tell() != size:
            raise ValueError(f"{name} is {kind} {found}, not {wanted} {shape}")
        array = np.frombuffer(data.getvalue(), wanted, offset=data.tell()).reshape(shape)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinity")
        return array.astype(wanted.newbyteorder("="))


def _whole(value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{str(value)[:40]!r} is no whole number in {low}..{high}")
    return value


def _number(value: object, low: float, high: float) -> float:
    if type(value) not in (int, float) or not low <= value <= high:  # type: ignore[operator]
        raise ValueError(f"{str(value)[:40]!r} is no number in {low:g}..{high:g}")
    return float(value)  # type: ignore[arg-type]


def _share(value: object) -> float:
    return _number(value, 0, 1)


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    if given["reject"] not in RULES:
        raise ValueError(f"it knows no rule {str(given['reject'])[:40]!r}")
    return {
        "neighbors": _whole(given["neighbors"], 1, 10_000),
        "c": _number(given["c"], 1e-6, 1e6),
        "gamma": _number(given["gamma"], 1e-6, 1e6),
        "fpir": _share(given["fpir"]),
        "threshold": None if given["threshold"] is None else _number(given["threshold"], -1, 1),
        "reject": given["reject"],
    }


def _reject(given: Mapping[str, Any]) -> Reject:
    if given["rule"] not in ("people", "calibration", "given"):
        raise ValueError(f"it knows no rule {str(given['rule'])[:40]!r}")
    return Reject(
        threshold=_number(given["threshold"], -1, 1),
        rule=given["rule"],
        fpir=None if given["fpir"] is None else _share(given["fpir"]),
        fmr=None if given["fmr"] is None else _share(given["fmr"]),
        photos=_whole(given["photos"], 0, _MAX_ROWS),
    )


def _confidence(given: Mapping[str, Any] | None) -> Confidence | None:
    if given is None:
        return None
    slope, intercept, factor = (_number(given[name], -1e9, 1e9) for name in ("slope", "intercept", "factor"))
    counts = (_whole(given[name], 0, _MAX_ROWS) for name in ("mated", "strangers"))
    return Confidence(slope, intercept, factor, *counts)


def _validation(given: Mapping[str, Any] | None) -> Validation | None:
    if given is None:
        return None
    photos, people = (_whole(given[name], 0, _MAX_ROWS) for name in ("photos", "people"))
    return Validation(photos, people, _share(given["right"]), _share(given["named"]))
