"""Data sets cut by person: nobody is in two parts, whatever their name is spelled like."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from visavis.datasets.photos import PhotoSet
from visavis.errors import InputError

__all__ = ["Split", "name_key", "same_files", "same_people", "split_people"]

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Split:
    """Which photos are in which part.

    Attributes
    ----------
    parts
        Of each part the numbers of its photos, rising.
    left_out
        Photos of people with too few, or beyond the most that one person may have.
    together
        Names that were kept together, as they may be one person, in groups of two or more.
    """

    parts: dict[str, Rows]
    left_out: Rows
    together: list[tuple[str, ...]] = field(default_factory=list)


def split_people(
    people: Sequence[str],
    shares: Mapping[str, float],
    *,
    seed: int = 0,
    at_least: int = 1,
    at_most: int | None = None,
    same: Iterable[tuple[str, str]] = (),
    photos: Sequence[str] | None = None,
) -> Split:
    """Cut photos into parts by person, so that each part has its share of people with few photos and with many.

    People are put into bands by their number of photos (1, 2-3, 4-7, 8-15, ...), shuffled within each, and dealt one
    after the other to the part that lacks most. The answer depends on the seed and the names alone, not on the order
    of the photos.

    Parameters
    ----------
    people
        The person of each photo.
    shares
        Of each part its share of the people; they need not add up to 1.
    seed
        Of all that is left to chance.
    at_least
        People with fewer photos are left out.
    at_most
        Of a person with more, so many are drawn.
    same
        Pairs of names that may be one person, as `same_people` and `same_files` find them: they go together.
    photos
        A name for each photo, which makes the drawing of ``at_most`` independent of their order.

    Raises
    ------
    InputError
        If there are fewer people than parts, or a setting is out of range.

    Examples
    --------
    >>> split = split_people(["ada", "ada", "bob", "cleo", "dora"], {"train": 3, "test": 1})
    >>> {name: len(rows) for name, rows in split.parts.items()}
    {'train': 4, 'test': 1}
    """
    if not shares or not all(0 < share < float("inf") for share in shares.values()):
        raise InputError("each part of a split needs a share above 0, as train=0.8")
    if at_least < 1 or (at_most is not None and at_most < at_least):
        raise InputError(f"people have at least 1 photo and no fewer at most, not {at_least} to {at_most}")
    if photos is not None and len(photos) != len(people):
        raise InputError(f"{len(people)} people of {len(photos)} photos: each photo needs a person")
    rng = np.random.default_rng(seed)
    order = sorted(range(len(people)), key=lambda i: (people[i], photos[i] if photos is not None else "", i))
    of_person: dict[str, list[int]] = defaultdict(list)
    for i in order:
        of_person[people[i]].append(i)
    wanted = {name: rows for name, rows in of_person.items() if len(rows) >= at_least}
    if at_most is not None:
        wanted = {n: [rows[i] for i in _drawn(rng, len(rows), at_most)] for n, rows in wanted.items()}
    units = _joined(sorted(wanted), same)
    if len(units) < len(shares):
        least = f" with {at_least} photos or more" if at_least > 1 else ""
        raise InputError(f"{len(units)} people{least} can't be split into {len(shares)} parts without one in two")
    sizes = np.array([sum(len(wanted[name]) for name in unit) for unit in units])
    dealt = _deal(rng, sizes, np.array(list(shares.values()), np.float64))
    parts = {}
    for number, part in enumerate(shares):
        rows = [row for unit, to in zip(units, dealt, strict=True) if to == number for n in unit for row in wanted[n]]
        parts[part] = np.sort(np.array(rows, np.intp))
    used = np.concatenate(list(parts.values()))
    left_out = np.setdiff1d(np.arange(len(people)), used)
    return Split(parts, left_out, [unit for unit in units if len(unit) > 1])


def _drawn(rng: np.random.Generator, total: int, most: int) -> list[int]:
    return list(range(total)) if total <= most else sorted(rng.choice(total, most, replace=False).tolist())


def _deal(rng: np.random.Generator, sizes: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]) -> Rows:
    """Return the part of each unit: bands of size one after the other, each to whom most is owed."""
    order = rng.permutation(len(sizes))
    bands = np.log2(np.maximum(sizes[order], 1)).astype(int)
    order = order[np.argsort(-bands, kind="stable")]
    due, dealt = shares / shares.sum(), np.zeros(len(shares))
    parts = np.empty(len(sizes), np.intp)
    for number, unit in enumerate(order, 1):
        lacking = due * number - dealt
        empty = np.flatnonzero(dealt == 0)
        # The last people go to parts that would have none.
        to = empty[np.argmax(lacking[empty])] if len(sizes) - number < len(empty) else np.argmax(lacking)
        parts[unit] = to
        dealt[to] += 1
    return parts


def _joined(names: Sequence[str], same: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Return the names in groups that belong together, sorted (union-find)."""
    top = {name: name for name in names}

    def find(name: str) -> str:
        while top[name] != name:
            top[name] = top[top[name]]
            name = top[name]
        return name

    for a, b in same:
        if a in top and b in top:
            first, second = sorted((find(a), find(b)))
            top[second] = first
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[find(name)].append(name)
    return [tuple(group) for group in groups.values()]


def name_key(name: str) -> tuple[str, ...]:
    """Return what spellings of one name share: its words without case and accents, in any order.

    It errs on the safe side, as two people of one name are only kept in one part.

    Examples
    --------
    >>> name_key("Nan_Wang") == name_key("wang nan"), name_key("José Ruiz") == name_key("Jose-Ruiz")
    (True, True)
    """
    plain = unicodedata.normalize("NFKD", name).casefold()
    letters = "".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c))
    return tuple(sorted(letters.split())) or (name,)


def same_people(people: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of names that are spellings of one; see `name_key`."""
    first: dict[tuple[str, ...], str] = {}
    pairs = []
    for name in sorted(set(people)):
        other = first.setdefault(name_key(name), name)
        if other != name:
            pairs.append((other, name))
    return pairs


def same_files(data: PhotoSet) -> list[tuple[str, str]]:
    """Return pairs of names that have the same file: two people, or one of two names.

    Raises
    ------
    InputError
        If a photo can't be read.
    """
    first: dict[bytes, str] = {}
    pairs = set()
    for i, person in enumerate(data.people):
        other = first.setdefault(hashlib.sha256(data.read(i)).digest(), person)
        if other != person:
            pairs.add((other, person))
    return sorted(pairs)
