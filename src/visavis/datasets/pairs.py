"""Pairs of photos to compare: drawn by a seed, in folds that share nobody, written as LFW does or as a plain list."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from visavis.datasets.lfw import Pairs, resolved
from visavis.datasets.splits import name_key
from visavis.errors import InputError

__all__ = ["fits_lfw", "lfw_text", "list_text", "make_pairs", "parse_list"]

_LFW_NAME = re.compile(r"(\S+)_([0-9]{4,9})", re.ASCII)
_FOLD = re.compile(r"[0-9]{1,9}")
_TRIES = 20  # draws for each pair wanted, before pairs are drawn from all that are left

_Pair = tuple[int, int]


def make_pairs(
    people: Sequence[str], *, folds: int = 10, each: int = 300, seed: int = 0, disjoint: bool = True
) -> Pairs:
    """Draw mated and non-mated pairs of photos in folds, as LFW's View 2 was made.

    For a mated pair a person with at least two photos is drawn, then two of them; for a non-mated one two people, then
    a photo of each. So a person with hundreds of photos doesn't fill the list. No pair comes twice. Names that may be
    spellings of one (`name_key`) are in one fold, and not taken for two people.

    Parameters
    ----------
    people
        The person of each photo.
    folds, each
        How many folds, and how many pairs of each kind in a fold.
    seed
        Decides what is drawn.
    disjoint
        Whether nobody is in two folds.

    Returns
    -------
    `Pairs`: fold after fold the mated, then the non-mated, each sorted.

    Raises
    ------
    InputError
        If there are not enough people or photos; the message says how many pairs there can be.

    Examples
    --------
    >>> pairs = make_pairs(["ada", "ada", "bob", "bob", "cleo"], folds=1, each=2)
    >>> pairs.photos[pairs.mated].tolist(), pairs.mated.tolist()
    ([[0, 1], [2, 3]], [True, True, False, False])
    """
    if folds < 1 or each < 1:
        raise InputError(f"pairs need at least 1 fold and 1 pair of each kind, not {folds} and {each}")
    groups = _groups(people)
    dealt = _dealt(groups, folds, each, seed, disjoint)
    largest = _capacity(dealt, folds, disjoint)
    if largest < each:
        raise InputError(_too_few(groups, folds, each, seed, disjoint))
    rng = np.random.default_rng([seed, 1])
    chosen: list[_Pair] = []
    kinds: list[bool] = []
    if disjoint:
        for fold in dealt:
            chosen += [*_mated(rng, fold, each), *_nonmated(rng, fold, each)]
    else:
        (pool,) = dealt
        kinds_of = (_mated(rng, pool, folds * each), _nonmated(rng, pool, folds * each))
        mixed = [[drawn[i] for i in rng.permutation(len(drawn))] for drawn in kinds_of]
        for fold_number in range(folds):
            for drawn in mixed:
                chosen += sorted(drawn[fold_number * each : (fold_number + 1) * each])
    kinds = ([True] * each + [False] * each) * folds
    return Pairs(np.array(chosen, np.intp), np.array(kinds), np.repeat(np.arange(folds), 2 * each))


_Group = dict[str, list[int]]
"""The photos of each name of a group of names that may be one person."""


def _groups(people: Sequence[str]) -> list[_Group]:
    groups: dict[tuple[str, ...], _Group] = defaultdict(dict)
    for i, person in enumerate(people):
        groups[name_key(person)].setdefault(person, []).append(i)
    return [groups[key] for key in sorted(groups)]


def _pairs_in(group: _Group) -> int:
    return sum(math.comb(len(photos), 2) for photos in group.values())


def _photos_in(group: _Group) -> int:
    return sum(map(len, group.values()))


def _possible(groups: Sequence[_Group]) -> tuple[int, int]:
    """Return how many mated and non-mated pairs there are."""
    sizes = [_photos_in(group) for group in groups]
    everyone = sum(sizes)
    return sum(map(_pairs_in, groups)), (everyone**2 - sum(size**2 for size in sizes)) // 2


def _dealt(groups: Sequence[_Group], folds: int, each: int, seed: int, disjoint: bool) -> list[list[_Group]]:
    """Deal people to folds: who gives the most mated pairs first, to the fold that lacks them most."""
    if not disjoint:
        return [list(groups)]
    shuffled = [groups[i] for i in np.random.default_rng([seed, 0]).permutation(len(groups))]
    worth = [min(_pairs_in(group), each) for group in shuffled]
    dealt: list[list[_Group]] = [[] for _ in range(folds)]
    have = [[0, 0] for _ in range(folds)]  # mated pairs, photos
    for i in sorted(range(len(shuffled)), key=lambda i: -worth[i]):
        to = min(
            range(folds), key=lambda fold: (min(have[fold][0], each), have[fold][1]) if worth[i] else have[fold][1:]
        )
        dealt[to].append(shuffled[i])
        have[to][0] += worth[i]
        have[to][1] += _photos_in(shuffled[i])
    return dealt


def _capacity(dealt: Sequence[Sequence[_Group]], folds: int, disjoint: bool) -> int:
    """Return how many pairs of each kind every fold can have."""
    least = min(min(_possible(groups)) for groups in dealt)
    return least if disjoint else least // folds


def _too_few(groups: Sequence[_Group], folds: int, each: int, seed: int, disjoint: bool) -> str:
    low, high = 0, each  # low is possible, high is not
    while high - low > 1:
        middle = (low + high) // 2
        fits = _capacity(_dealt(groups, folds, middle, seed, disjoint), folds, disjoint) >= middle
        low, high = (middle, high) if fits else (low, middle)
    several = sum(_pairs_in(group) > 0 for group in groups)
    have = f"{len(groups):,} people, {several:,} of them with two photos or more"
    if not low:
        what = f"not one pair of each kind in each of {folds}" if folds > 1 else "no pair of each kind"
        return f"{have}, give {what}{' folds that share nobody' if disjoint and folds > 1 else ''}; add photos"
    apart = " that share nobody" if disjoint and folds > 1 else ""
    return f"{have}, give at most {low:,} pairs of each kind in {folds} folds{apart}, not {each:,}"


def _mated(rng: np.random.Generator, groups: Sequence[_Group], number: int) -> list[_Pair]:
    """Draw mated pairs: a person each time, out of those who have pairs left."""
    people = [photos for group in groups for photos in group.values() if len(photos) > 1]
    totals = np.array([math.comb(len(photos), 2) for photos in people])
    taken = np.zeros(len(people), np.int64)
    missing = number
    while missing:
        left = np.flatnonzero(taken < totals)
        lucky = rng.choice(left, min(missing, len(left)), replace=False)
        taken[lucky] += 1
        missing -= len(lucky)
    pairs: list[_Pair] = []
    for photos, total, count in zip(people, totals, taken, strict=True):
        drawn = rng.choice(int(total), int(count), replace=False)
        pairs += [_unranked(photos, int(pair)) for pair in drawn]
    return sorted(pairs)


def _unranked(photos: Sequence[int], rank: int) -> _Pair:
    """Return the pair of that number: (0, 1), (0, 2), (1, 2), (0, 3), ..."""
    second = (1 + math.isqrt(1 + 8 * rank)) // 2
    return photos[rank - second * (second - 1) // 2], photos[second]


def _nonmated(rng: np.random.Generator, groups: Sequence[_Group], number: int) -> list[_Pair]:
    """Draw non-mated pairs: two people each time; where those are used up, of all pairs that are left."""
    photos = [[i for rows in group.values() for i in rows] for group in groups]
    found: set[_Pair] = set()
    for _ in range(_TRIES * number):
        if len(found) == number:
            break
        a, b = int(rng.integers(len(photos))), int(rng.integers(len(photos) - 1))
        b += b >= a
        one, two = (photos[k][int(rng.integers(len(photos[k])))] for k in (a, b))
        found.add((min(one, two), max(one, two)))
    if len(found) < number:
        found |= _from_all(rng, photos, found, number - len(found))
    return sorted(found)


def _from_all(rng: np.random.Generator, photos: Sequence[Sequence[int]], found: set[_Pair], number: int) -> set[_Pair]:
    """Draw from the non-mated pairs that are left: by chance while most are, else from a list of them."""
    who = np.repeat(np.arange(len(photos)), [len(rows) for rows in photos])
    rows = np.concatenate([np.asarray(part, np.intp) for part in photos])
    total = (len(rows) ** 2 - sum(len(part) ** 2 for part in photos)) // 2
    more: set[_Pair] = set()
    if total > 4 * (len(found) + number):
        weight = np.array([len(rows) - len(photos[k]) for k in who.tolist()], np.float64)
        ends = np.cumsum(weight) / weight.sum()
        while len(more) < number:
            a = min(int(np.searchsorted(ends, rng.random(), side="right")), len(rows) - 1)
            others = rows[who != who[a]]
            one, two = int(rows[a]), int(others[rng.integers(len(others))])
            pair = (min(one, two), max(one, two))
            if pair not in found:
                more.add(pair)
        return more
    left = [
        (min(int(a), int(b)), max(int(a), int(b))) for k, part in enumerate(photos) for a in part for b in rows[who > k]
    ]
    left = sorted(pair for pair in left if pair not in found)
    return {left[i] for i in rng.choice(len(left), number, replace=False)}


def fits_lfw(photos: Sequence[str], people: Sequence[str]) -> bool:
    """Tell whether photos have LFW's names, ``NAME_0001``, which its layout of pairs needs."""
    for photo, person in zip(photos, people, strict=True):
        found = _LFW_NAME.fullmatch(photo)
        if found is None or found[1] != person or f"{person}_{int(found[2]):04d}" != photo:
            return False
    return True


def lfw_text(pairs: Pairs, photos: Sequence[str], people: Sequence[str]) -> str:
    r"""Return pairs in the layout of LFW's ``pairs.txt``, words separated by tabs; `parse_pairs` reads it.

    The first line holds the number of folds and of pairs of each kind in a fold; of a single fold only the latter, as
    in LFW's ``pairsDevTrain.txt``.

    Raises
    ------
    InputError
        If a photo has no name of LFW's kind, or the folds are not alike.

    Examples
    --------
    >>> pairs = Pairs(np.array([[0, 1], [0, 2]]), np.array([True, False]), np.array([0, 0]))
    >>> lfw_text(pairs, ["Ada_0001", "Ada_0002", "Bob_0001"], ["Ada", "Ada", "Bob"])
    '1\nAda\t1\t2\nAda\t1\tBob\t1\n'
    """
    if not fits_lfw(photos, people):
        raise InputError("LFW's layout needs photos named NAME/NAME_0001.jpg; write a plain list of paths instead")
    folds = len(np.unique(pairs.folds))
    each = int(pairs.mated.sum()) // folds
    if not np.array_equal(pairs.mated, np.tile(np.repeat([True, False], each), folds)):
        raise InputError("LFW's layout has as many mated as non-mated pairs in every fold; write a plain list instead")
    lines = [f"{folds}\t{each}" if folds > 1 else str(each)]
    for (a, b), mated in zip(pairs.photos.tolist(), pairs.mated.tolist(), strict=True):
        first, second = (int(photos[i].rpartition("_")[2]) for i in (a, b))
        lines.append(f"{people[a]}\t{first}\t{second}" if mated else f"{people[a]}\t{first}\t{people[b]}\t{second}")
    return "\n".join(lines) + "\n"


def list_text(pairs: Pairs, photos: Sequence[str]) -> str:
    r"""Return pairs as a plain list: the two photos, 1 for mated or 0, and the fold from 0, separated by tabs.

    Raises
    ------
    InputError
        If a photo's name holds a tab or a line break.

    Examples
    --------
    >>> pairs = Pairs(np.array([[0, 1], [0, 2]]), np.array([True, False]), np.array([0, 0]))
    >>> list_text(pairs, ["a/x.jpg", "a/y.jpg", "b/x.jpg"])
    'a/x.jpg\ta/y.jpg\t1\t0\na/x.jpg\tb/x.jpg\t0\t0\n'
    """
    for i in np.unique(pairs.photos):
        if len(photos[i].splitlines()) != 1 or "\t" in photos[i]:
            raise InputError(f"{photos[i]!r} can't be in a list: its name holds a tab or a line break; rename it")
    rows = zip(pairs.photos.tolist(), pairs.mated.tolist(), pairs.folds.tolist(), strict=True)
    return "".join(f"{photos[a]}\t{photos[b]}\t{int(mated)}\t{fold}\n" for (a, b), mated, fold in rows)


def parse_list(text: str, photos: Sequence[str], missing: list[str] | None = None) -> Pairs:
    r"""Read a plain list of pairs: two photos, 1 for mated or 0, and perhaps the fold, separated by tabs.

    Where there is no tab, words are separated by spaces. ``missing`` is as in `visavis.datasets.lfw.parse_pairs`.

    Raises
    ------
    InputError
        If a line is no pair or names a photo that is not there; the message says which.

    Examples
    --------
    >>> parse_list("a.jpg\tb.jpg\t1\t0\n", ["a.jpg", "b.jpg"]).mated.tolist()
    [True]
    """
    where = {photo: i for i, photo in enumerate(photos)}
    found: list[_Pair] = []
    mated, folds = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        words = line.split("\t") if "\t" in line else line.split()
        if len(words) not in (3, 4) or words[2] not in ("0", "1") or not all(map(_FOLD.fullmatch, words[3:])):
            raise InputError(f"line {number} of the list is no pair, 'PHOTO PHOTO 0|1 FOLD': {line[:80]!r}")
        pair = resolved(words[:2], where, number, missing)
        if pair is None:
            continue
        found.append(pair)
        mated.append(words[2] == "1")
        folds.append(int(words[3]) if len(words) == 4 else 0)
    if not found:
        raise InputError("the list holds no pair whose photos are both there")
    return Pairs(np.array(found, np.intp), np.array(mated), np.array(folds, np.intp))
