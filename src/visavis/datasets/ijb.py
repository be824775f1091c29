"""IJB-B and IJB-C in the layout in which InsightFace distributes them: loose crops and list files.

::

    IJBC/loose_crop/1.jpg ...               photos, loosely cut around one face
    IJBC/meta/ijbc_name_5pts_score.txt      a photo's name, its five landmarks (x y) and the detector's score
    IJBC/meta/ijbc_face_tid_mid.txt         a photo's name, its template and its medium (a still, or one video)
    IJBC/meta/ijbc_template_pair_label.txt  two templates, and 1 where they are mated: the 1:1 protocol
    IJBC/meta/ijbc_1N_gallery_G1.csv        a gallery's templates and subjects; IJB-B calls them S1 and S2
    IJBC/meta/ijbc_1N_probe_mixed.csv       the probes' templates and subjects

Whitelam et al., "IARPA Janus Benchmark-B Face Dataset", CVPR Workshops 2017; Maze et al., "IARPA Janus Benchmark - C:
Face Dataset and Protocol", ICB 2018.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError
from visavis.files import printable_path, read_file, reason

__all__ = ["Ijb", "TemplatePairs", "TemplateSubjects", "parse_media", "parse_pairs", "parse_photos", "parse_subjects"]

_MAX_PHOTO = 64 * 2**20  # bytes of a photo
_MAX_BYTES = 4 * 2**30  # of a list; IJB-C's pairs, the longest, have 0.2 GB
_MAX_LINE = 2**16  # bytes
_MAX_ROWS = 100_000_000
_CHUNK = 2**24  # bytes of a list read at once
_NAMES = {"ijbb": "IJB-B", "ijbc": "IJB-C"}
_GALLERIES = {"ijbb": ("S1", "S2"), "ijbc": ("G1", "G2")}

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TemplatePairs:
    """Pairs of templates ``(p, 2)`` to compare, and whether they are mated ``(p,)``."""

    templates: Ints
    mated: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TemplateSubjects:
    """Templates ``(t,)``, each once, and the subject of each ``(t,)``."""

    templates: Ints
    subjects: Ints


@dataclass(frozen=True, eq=False)
class Ijb:
    """The photos of IJB-B or IJB-C and their templates.

    Attributes
    ----------
    name
        ``"IJB-B"`` or ``"IJB-C"``.
    photos
        Names of the n photos, in the order of the lists.
    landmarks
        Float32 ``(n, 5, 2)``, pixels of the photo.
    scores
        Float32 ``(n,)``: the detector's confidence.
    templates, media
        Int64 ``(n,)``: the template and the medium that each photo belongs to.
    """

    path: Path
    prefix: str
    photos: tuple[str, ...]
    landmarks: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    templates: Ints
    media: Ints

    @classmethod
    def open(cls, where: str | os.PathLike[str]) -> Ijb:
        """Open the folder that holds ``meta`` (and ``loose_crop``, where photos are to be read).

        Raises
        ------
        InputError
            If a list is missing or malformed (the line is named), or the two lists of photos differ.
        """
        path = Path(where).expanduser()
        there = [prefix for prefix in _NAMES if (path / "meta" / f"{prefix}_face_tid_mid.txt").is_file()]
        if len(there) != 1:
            raise InputError(
                f"{printable_path(path)} is not IJB's layout: it needs meta/ijbb_face_tid_mid.txt or "
                "meta/ijbc_face_tid_mid.txt, not both"
            )
        prefix = there[0]
        lists = [path / "meta" / f"{prefix}_{name}.txt" for name in ("name_5pts_score", "face_tid_mid")]
        photos, landmarks, scores = parse_photos(lists[0])
        names, templates, media = parse_media(lists[1])
        if photos != names:
            if len(photos) != len(names):
                what = f"{len(photos)} and {len(names)} lines"
            else:
                line = next(i for i, pair in enumerate(zip(photos, names, strict=True)) if pair[0] != pair[1])
                what = f"{photos[line][:80]!r} and {names[line][:80]!r} in line {line + 1}"
            raise InputError(f"{lists[0].name} and {lists[1].name} must list the same photos, but have {what}")
        return cls(path, prefix, photos, landmarks, scores, templates, media)

    @property
    def name(self) -> str:
        """What the data set is called."""
        return _NAMES[self.prefix]

    @property
    def galleries(self) -> tuple[str, str]:
        """What its two galleries are called."""
        return _GALLERIES[self.prefix]

    def read(self, i: int) -> bytes:
        """Return photo i as it is encoded."""
        return read_file(self.path / "loose_crop" / self.photos[i], _MAX_PHOTO)

    def pairs(self) -> TemplatePairs:
        """Return the pairs of the 1:1 protocol; `InputError` where a template has no photo."""
        path = self._meta("template_pair_label.txt")
        pairs = parse_pairs(path)
        self._require(pairs.templates, path)
        return pairs

    def gallery(self, name: str) -> TemplateSubjects:
        """Return a gallery of the 1:N protocol by its name, one of `galleries`."""
        return self._subjects(f"1N_gallery_{name}.csv")

    def probes(self) -> TemplateSubjects:
        """Return the mixed probes (stills and frames) of the 1:N protocol."""
        return self._subjects("1N_probe_mixed.csv")

    def has(self, *names: str) -> bool:
        """Return whether lists are there, by the ends of their names."""
        return all(self._meta(name).is_file() for name in names)

    def _meta(self, name: str) -> Path:
        return self.path / "meta" / f"{self.prefix}_{name}"

    def _subjects(self, name: str) -> TemplateSubjects:
        path = self._meta(name)
        found = parse_subjects(path)
        self._require(found.templates, path)
        return found

    def _require(self, templates: Ints, path: Path) -> None:
        unknown = np.setdiff1d(templates, self.templates)
        if len(unknown):
            raise InputError(f"{printable_path(path)} names template {unknown[0]}, of which there is no photo")


def parse_photos(
    path: str | os.PathLike[str],
) -> tuple[tuple[str, ...], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Read a ``name_5pts_score`` list: a name, ten coordinates and a score a line.

    Returns
    -------
    Names, landmarks float32 ``(n, 5, 2)`` and scores float32 ``(n,)``.

    Raises
    ------
    InputError
        If a line is malformed, a number not finite, a score negative, or a name leads out of its folder or is there
        twice; the line is named.
    """
    path = Path(path)
    names, numbers = _named(path, 11, float, "a name, ten coordinates and a score")
    rows = numbers.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1) | (rows[:, 10] < 0))
    if len(wrong):
        raise InputError(
            f"line {wrong[0] + 1} of {printable_path(path)} holds a number that is not finite, or a score < 0"
        )
    return names, rows[:, :10].reshape(-1, 5, 2), rows[:, 10]


def parse_media(path: str | os.PathLike[str]) -> tuple[tuple[str, ...], Ints, Ints]:
    """Read a ``face_tid_mid`` list: a name, a template and a medium a line.

    Returns
    -------
    Names, templates int64 ``(n,)`` and media int64 ``(n,)``.
    """
    names, numbers = _named(Path(path), 2, int, "a name, a template and a medium")
    return names, numbers[:, 0], numbers[:, 1]


def parse_pairs(path: str | os.PathLike[str]) -> TemplatePairs:
    """Read a ``template_pair_label`` list: two templates, and 1 (mated) or 0, a line."""
    path = Path(path)
    parts: list[Ints] = []
    count = 0
    for first, lines in _chunks(path):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # nothing but empty lines
                rows = np.loadtxt(lines, np.int64, comments=None, ndmin=2)
        except ValueError:
            rows = np.empty((0, 0), np.int64)
        if rows.shape != (len(lines), 3) or ((rows[:, 2] | 1) != 1).any():
            raise _malformed(path, first, lines, "two templates and 0 or 1", _pair)
        parts.append(rows)
        count += len(rows)
        if count > _MAX_ROWS:
            raise InputError(f"{printable_path(path)} has more than {_MAX_ROWS} lines, the limit")
    rows = np.concatenate(parts)
    return TemplatePairs(rows[:, :2], rows[:, 2] == 1)


def parse_subjects(path: str | os.PathLike[str]) -> TemplateSubjects:
    """Read a 1:N list: a CSV whose first two columns are the template and its subject.

    A template may have a line for each of its photos, as in the lists that NIST distributes.

    Raises
    ------
    InputError
        If it can't be read, a line does not begin with two whole numbers, or a template has two subjects.
    """
    path = Path(path)
    name = printable_path(path)
    found: dict[int, int] = {}
    for first, lines in _chunks(path):
        for number, line in enumerate(lines, first):
            row = line.split(",", 2)
            if number == 1 and row and not row[0].strip().isdigit():
                continue  # TEMPLATE_ID,SUBJECT_ID,...
            try:
                template, subject = int(row[0]), int(row[1])
            except (ValueError, IndexError):
                raise InputError(f"line {number} of {name} does not begin with a template and a subject") from None
            if found.setdefault(template, subject) != subject:
                raise InputError(f"line {number} of {name} gives template {template} a second subject")
    if not found:
        raise InputError(f"{name} lists no templates")
    return TemplateSubjects(np.array(list(found), np.int64), np.array(list(found.values()), np.int64))


def _named(path: Path, count: int, kind: type[Any], wanted: str) -> tuple[tuple[str, ...], npt.NDArray[Any]]:
    """Read lines of a name and ``count`` numbers."""

    def numbers(words: list[str]) -> npt.NDArray[Any]:
        if len(words) != count + 1:
            raise ValueError
        return np.array([kind(word) for word in words[1:]], kind)

    names: list[str] = []
    parts: list[npt.NDArray[Any]] = []
    for first, lines in _chunks(path):
        words = [line.split() for line in lines]
        try:
            parts.append(np.stack([numbers(row) for row in words]))
        except (ValueError, OverflowError):
            raise _malformed(path, first, lines, wanted, numbers) from None
        for i, row in enumerate(words):
            if _leads_out(row[0]):
                raise InputError(
                    f"line {first + i} of {printable_path(path)} names {row[0][:80]!r}, outside its folder"
                )
        names += [row[0] for row in words]
        if len(names) > _MAX_ROWS:
            raise InputError(f"{printable_path(path)} has more than {_MAX_ROWS} lines, the limit")
    if len(set(names)) < len(names):
        seen: dict[str, int] = {}
        line = next(i for i, name in enumerate(names) if seen.setdefault(name, i) != i)
        raise InputError(f"line {line + 1} of {printable_path(path)} names {names[line][:80]!r} a second time")
    return tuple(names), np.concatenate(parts)


def _leads_out(name: str) -> bool:
    paths = PurePosixPath(name), PureWindowsPath(name)
    return any(path.is_absolute() or path.drive or ".." in path.parts for path in paths)


def _malformed(
    path: Path, first: int, lines: Sequence[str], wanted: str, read: Callable[[list[str]], object]
) -> InputError:
    """Return the error that names the first line that ``read`` can't take."""
    for i, line in enumerate(lines):
        try:
            read(line.split())
        except (ValueError, OverflowError):
            return InputError(f"line {first + i} of {printable_path(path)} is not {wanted}: {line.strip()[:80]!r}")
    return InputError(f"{printable_path(path)} is not {wanted} a line")


def _pair(words: list[str]) -> Ints:
    first, second, label = words
    if label not in ("0", "1"):
        raise ValueError
    return np.array([int(first), int(second)], np.int64)


def _chunks(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first line and some megabytes of whole lines, without empty ones at the end."""
    name = printable_path(path)
    try:
        if not path.is_file():
            raise InputError(f"{name} is missing; IJB's lists are distributed with it in the folder meta")
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{name} has more than {_MAX_BYTES} bytes, the limit for a list")
        with path.open("rb") as file:
            number, rest = 1, b""
            while block := file.read(_CHUNK):
                whole, newline, tail = (rest + block).rpartition(b"\n")
                if len(tail) > _MAX_LINE:
                    raise InputError(f"{name} has a line of more than {_MAX_LINE} bytes after line {number}")
                rest = tail
                if newline:
                    lines = whole.decode("utf-8").split("\n")
                    yield number, lines
                    number += len(lines)
            if rest.strip() or number == 1:
                yield number, [rest.decode("utf-8")]
    except UnicodeDecodeError:
        raise InputError(f"{name} is no text in UTF-8") from None
    except OSError as error:
        raise InputError(f"{name} can't be read: {reason(error)}") from None
