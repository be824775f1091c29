"""Measure what `visavis datasets clean` finds of label noise, put there on purpose and known to be there.

    python benchmarks/cleaning.py                 the tables of docs/building.md, on half of lfw-dev's people
    python benchmarks/cleaning.py --choose        the other half, on which the settings were chosen
    python benchmarks/cleaning.py --known         lfw-dev as it is: which of its known label errors are found
    ... --embeddings FILE.npz                     embeddings that were made before, as `Embedded.save` writes them

Into people without a known error noise is put by a seed: photos of one person go to the folder of another (of people
with two photos or more), and people are split in two.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from lfw import Lfw

from visavis.curation.cleaning import APART_FMR, SAME_FMR, find_suspects
from visavis.evaluation.verification import wilson
from visavis.pipeline import Analyzer
from visavis.protocols.embedding import Embedded, embed_photos
from visavis.recognition.compare import DEFAULT_FMR, threshold_at

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib  # type: ignore[no-redef]

ERRORS = Path(__file__).with_name("lfw_label_errors.toml")
SPLIT_SEED = 20261122
NOISE = (0.01, 0.03, 0.1)
SPLIT = 0.05
SEEDS = (11, 12, 13)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--known", action="store_true")
    parser.add_argument("--embeddings", type=Path)
    options = parser.parse_args()
    lfw, analyzer = Lfw.open(), Analyzer(precision="f32")
    made = Embedded.load(options.embeddings).at(lfw.photos) if options.embeddings else None
    made = made or embed_photos(lfw, analyzer, choose="central")
    table = analyzer.calibration
    levels = {"apart": APART_FMR, "same": SAME_FMR, "match": DEFAULT_FMR}
    settings = {name: threshold_at(table, fmr) for name, fmr in levels.items()}
    print(f"{analyzer.calibrated_as}: {', '.join(f'{name} {value:.3f}' for name, value in settings.items())}")
    people = np.array(lfw.people)
    if options.known:
        known(lfw, people, made, settings)
        return
    errors = tomllib.loads(ERRORS.read_text(encoding="utf-8"))
    wrong = {entry["photo"] for entry in errors["wrong_photo"]}
    wrong |= {photo for entry in errors["two_people"] for photo in entry["photos"]}
    torn = {name for entry in errors["same_person"] for name in entry["names"]}
    names = np.array(sorted(set(people)))
    order = np.random.default_rng(SPLIT_SEED).permutation(len(names))
    half = set(names[order[: len(names) // 2] if options.choose else order[len(names) // 2 :]])
    rows = [
        i
        for i, (person, photo) in enumerate(zip(people, lfw.photos, strict=True))
        if person in half and person not in torn and photo not in wrong and made.found[i]
    ]
    print(f"{len(rows):,} photos of {len(set(people[rows])):,} people")
    photos = [lfw.photos[i] for i in rows]
    for noise in NOISE:
        total = Counter()
        for seed in SEEDS:
            total += injected(photos, people[rows], made.vectors[rows], settings, noise, seed)
        report(noise, total)


def injected(photos, people, vectors, settings, noise: float, seed: int) -> Counter:
    rng = np.random.default_rng(seed)
    counts = Counter(people.tolist())
    several = sorted(name for name, number in counts.items() if number > 1)
    labels = people.astype(object)
    halves = set()
    for name in rng.choice(several, int(SPLIT * len(counts)), replace=False):
        rows = rng.permutation(np.flatnonzero(people == name))
        labels[rows[: int(rng.integers(1, len(rows)))]] = f"{name}#2"
        halves.add(name)
    whole = labels.copy()
    chosen = rng.choice(np.flatnonzero([counts[name] > 1 for name in people]), int(noise * len(people)), replace=False)
    labels[chosen] = labels[np.roll(chosen, 1)]
    moved = {photos[i] for i in np.flatnonzero(labels != whole)}
    found, _ = find_suspects(photos, labels.tolist(), vectors, np.ones(len(photos), bool), **settings)
    true = dict(zip(photos, people, strict=True))
    wrong = [s for s in found if s.reason == "wrong person"]
    unclear = [s for s in found if s.reason == "unlike each other"]
    merged = [s for s in found if s.reason == "same person"]
    right = [s for s in merged if s.person.partition("#")[0] == s.target.partition("#")[0]]
    return Counter(
        moved=len(moved),
        wrong=len(wrong),
        wrong_right=sum(s.photo in moved for s in wrong),
        unclear=len(unclear),
        unclear_right=sum(s.photo in moved for s in unclear),
        sent=sum(s.suggestion == "move" for s in wrong),
        sent_right=sum(s.suggestion == "move" and s.target.partition("#")[0] == true[s.photo] for s in wrong),
        halves=len(halves),
        merged=len(merged),
        merged_right=len({s.person.partition("#")[0] for s in right} & halves),
    )


def report(noise: float, total: Counter) -> None:
    def share(part: str, whole: str) -> str:
        low, high = wilson(total[part], total[whole])
        return f"{total[part] / total[whole]:.1%} ({low:.1%} to {high:.1%}; {total[part]} of {total[whole]})"

    print(f"\n{noise:.0%} of the photos in another's folder, {SPLIT:.0%} of the people split in two")
    print("  wrong person: precision", share("wrong_right", "wrong"))
    print("  wrong person: recall   ", share("wrong_right", "moved"))
    print(f"  unlike each other: {total['unclear']} photos, {total['unclear_right']} of them moved")
    print("  folder suggested is right", share("sent_right", "sent"))
    print("  same person: precision ", share("merged_right", "merged"))
    print("  same person: recall    ", share("merged_right", "halves"))


def known(lfw: Lfw, people: np.ndarray, made: Embedded, settings: dict[str, float]) -> None:
    errors = tomllib.loads(ERRORS.read_text(encoding="utf-8"))
    found, _ = find_suspects(lfw.photos, people.tolist(), made.vectors, made.found, **settings)
    photos = {s.photo: s for s in found if s.photo}
    merged = {frozenset((s.person, s.target)) for s in found if s.reason == "same person"}
    counts = Counter(people.tolist())
    for entry in errors["wrong_photo"]:
        suspect = photos.get(entry["photo"])
        alone = " (its folder has no other photo)" if counts[entry["photo"][:-5]] == 1 else ""
        said = "missed" + alone if suspect is None else f"{suspect.reason}: {suspect.suggestion} {suspect.target}"
        print(f"wrong photo  {entry['photo']}: {said}")
    for entry in errors["two_people"]:
        said = ", ".join(photos[photo].reason if photo in photos else "missed" for photo in entry["photos"])
        print(f"two people   {entry['photos'][0]}: {said}")
    for entry in errors["same_person"]:
        said = "found" if frozenset(entry["names"]) in merged else "missed"
        print(f"same person  {' and '.join(entry['names'])}: {said}")
    listed = {e["photo"] for e in errors["wrong_photo"]} | {p for e in errors["two_people"] for p in e["photos"]}
    pairs = {frozenset(e["names"]) for e in errors["same_person"]}
    print(f"other suspects: {sum(p not in listed for p in photos)} photos, {len(merged - pairs)} pairs of people")
    for s in found:
        if (s.photo and s.photo not in listed) or (not s.photo and frozenset((s.person, s.target)) not in pairs):
            print(f"  {s.reason}: {s.photo or s.person} {s.similarity} {s.target} {s.note}")


if __name__ == "__main__":
    main()
