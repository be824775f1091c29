"""What the name of a track is worth: error rates of templates of several looks, and what embedding a few looks saves.

    python benchmarks/track_identity.py rates [--embedded FILE.npz]
    python benchmarks/track_identity.py looks [--embedded FILE.npz] [--people N]
    python benchmarks/track_identity.py schedule [--films N] [--half 1] [--all]
    python benchmarks/track_identity.py speed [--seconds S] [--faces 5]

rates: SFace on lfw-dev, label errors left out. Thresholds of the FMRs asked for are found on all pairs of single photos
of one half of the people, as calibration does; looks and gallery are the other half's, then the other way around. A
look is a photo: templates of 1 to 5 of them, of people with 6 or more, against single photos of everybody else (at most
10 of each) and against the photos of the person that were not looked at. "one vector" is the mean of the looks brought
to length 1, "mean similarity" the mean of the looks' similarities, "any look" the most similar look, "any time" a
decision after the second look and each further one by the mean similarity. Intervals are 95 %, by 400 draws of people.
Then: of names said after two looks, right and wrong ones, how many fall below the threshold with four or five.

looks: a photo each of N people, shrunk, blurred and smeared, against another of theirs and one of everybody else: FNMR
and FMR by what the look is worth, its sharpness and size.

schedule: films of crowds (tests/crowd_video.py, 12 s of 4 to 8 people, each with 6 photos or more) and the real clip
carphone. Enrolled is every other person of a film, by two photos that it does not show, and 500 others. Names of tracks
of a second and more, and how many faces were embedded, where that is done when it gains something, and in each frame;
--all: with other settings. What was chosen was chosen on --half 0, whose people are not those of half 1.

speed: a film of 1920x1080 with five faces that move, drawn before the clock starts: time a frame of detection and of
all that follows, of the processor, by the smallest face looked for and how often is looked. One thread.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from calibrate_lfw import ERRORS, tomllib, wrong_pairs, wrong_photos
from contender import DATA
from lfw import ROOT, Lfw, embeddings

from visavis import Analyzer, Faces, open_gallery
from visavis.analysis.quality import measure as measure_quality
from visavis.analysis.quality import worth
from visavis.datasets.lfw import central
from visavis.evaluation.calibration import measure
from visavis.gallery import Gallery
from visavis.geometry import iou
from visavis.image import load_image, resize
from visavis.models.store import Store
from visavis.protocols.embedding import Embedded
from visavis.recognition.compare import threshold_at
from visavis.video.following import Follower, Following, video_analyzer
from visavis.video.frames import Frame, frames
from visavis.video.identity import Naming

NOMINAL = (1e-2, 1e-3, 1e-4, 1e-5)
LOOKS = (1, 2, 3, 4, 5)
SPARE = 1  # photos of a person that are never looked at, at least
ORDERS = 6  # in which a person's photos are looked at
MOST = 10  # photos of a person in the gallery
DRAWS = 400
WAYS = ("one vector", "mean similarity", "any look", "any time")


def photos(path: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """Return vectors, names and people of lfw-dev without photos of somebody else, and the pairs to leave out."""
    lfw = Lfw.open()
    names, people = np.array(lfw.photos), np.array(lfw.people)
    known = tomllib.loads(ERRORS.read_text("utf-8"))
    if path is None:
        found, kept = embeddings(lfw, Analyzer(precision="f32"))
        vectors = found.vectors
    else:
        given = Embedded.load(path).at([str(name) for name in names])
        kept = np.flatnonzero(given.found)
        vectors = given.vectors[kept]
    names, people = names[kept], people[kept]
    right = ~wrong_photos(names, known)
    return vectors[right], names[right], people[right], wrong_pairs(names[right], people[right], known)


def compared(looks: np.ndarray, gallery: np.ndarray) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Give, of 1 to 5 of the looks ``(5, d)``, the similarities with each photo of the gallery, for each way."""
    single = looks @ gallery.T
    means = np.cumsum(single, axis=0) / np.arange(1, len(looks) + 1)[:, None]
    for k in LOOKS:
        length = np.linalg.norm(looks[:k].mean(axis=0))
        best = means[0] if k == 1 else means[1:k].max(axis=0)
        yield (
            k,
            {
                "one vector": means[k - 1] / length,
                "mean similarity": means[k - 1],
                "any look": single[:k].max(axis=0),
                "any time": best,
            },
        )


def rates(path: str | None) -> None:
    vectors, _, people, excluded = photos(path)
    subjects, number = np.unique(people, return_inverse=True)
    rng = np.random.default_rng(1)
    half = rng.permutation(len(subjects)) % 2
    apart = {(int(number[i]), int(number[j])) for i, j in excluded}
    apart |= {(j, i) for i, j in apart}
    shape = (len(WAYS), len(LOOKS), len(NOMINAL))
    # Of each person as probe and each as gallery: pairs that reach the threshold, and pairs.
    hits: dict[tuple[int, int], np.ndarray] = {}
    size = np.zeros(len(subjects), np.int64)
    missed, mated = np.zeros((len(subjects), *shape)), np.zeros(len(subjects))
    for side in (0, 1):
        mine, other = (np.flatnonzero(half[number] == s) for s in (side, 1 - side))
        where = {int(row): i for i, row in enumerate(other)}
        out = [(where[i], where[j]) for i, j in excluded if i in where and j in where]
        _, owner = np.unique(number[other], return_inverse=True)
        table = measure(vectors[other], owner, rates=NOMINAL, excluded=out, repeats=2)
        at = np.array([point.threshold for point in table.points])
        assert len(at) == len(NOMINAL)
        print(f"half {side}: thresholds of the other half {at.round(4).tolist()}", file=sys.stderr)
        shown = np.concatenate([rng.permutation(mine[number[mine] == p])[:MOST] for p in np.unique(number[mine])])
        owners = number[shown]
        size += np.bincount(owners, minlength=len(subjects))
        for p in np.unique(number[mine]):
            own = mine[number[mine] == p]
            if len(own) < LOOKS[-1] + SPARE:
                continue
            no = (owners != p) & ~np.isin(owners, [j for i, j in apart if i == p])
            for _ in range(ORDERS):
                order = rng.permutation(own)
                looks, rest = vectors[order[: LOOKS[-1]]], order[LOOKS[-1] :][:MOST]
                mated[p] += len(rest)
                pairs = zip(compared(looks, vectors[shown[no]]), compared(looks, vectors[rest]), strict=True)
                for (k, strangers), (_, same) in pairs:
                    for w, way in enumerate(WAYS):
                        missed[p, w, k - 1] += (same[way][:, None] < at).sum(axis=0)
                        for row in np.flatnonzero(strangers[way] >= at.min()):
                            cell = hits.setdefault((p, int(owners[no][row])), np.zeros(shape))
                            cell[w, k - 1] += strangers[way][row] >= at
    probes = np.flatnonzero(mated)
    first, second = (np.array(column) for column in zip(*hits, strict=True))
    cells = np.stack(list(hits.values()))
    same_half = (half[:, None] == half[None, probes]).astype(float)

    def fmr(weight: np.ndarray) -> np.ndarray:
        # Pairs a person as probe makes: ORDERS times everybody else's photos of the half.
        total = ORDERS * (weight[probes] * ((weight * size) @ same_half - (weight * size)[probes])).sum()
        found: np.ndarray = np.tensordot(weight[first] * weight[second], cells, 1) / total
        return found

    def fnmr(weight: np.ndarray) -> np.ndarray:
        each = missed[probes] / mated[probes, None, None, None]
        found: np.ndarray = np.tensordot(weight[probes], each, 1) / weight[probes].sum()
        return found

    ones = np.ones(len(subjects))
    drawn = [np.bincount(rng.integers(0, len(ones), len(ones)), minlength=len(ones)) for _ in range(DRAWS)]
    pairs = ORDERS * int(((size @ same_half) - size[probes]).sum())
    print(f"{len(probes)} people looked at, {ORDERS} times each; {pairs:,} non-mated comparisons\n")
    for title, rate, text in (("FMR", fmr, "{:.1e}"), ("FNMR, mean of people", fnmr, "{:.2%}")):
        value = rate(ones)
        low, high = np.quantile([rate(weight.astype(float)) for weight in drawn], (0.025, 0.975), axis=0)
        for w, way in enumerate(WAYS):
            print(f"\n{title}, {way}\n\n| looks | " + " | ".join(f"at {n:.0e}" for n in NOMINAL) + " |")
            print("|---:|" + "---|" * len(NOMINAL))
            for k in LOOKS:
                row = [
                    text.format(value[w, k - 1, n])
                    + f" ({text.format(low[w, k - 1, n])} to {text.format(high[w, k - 1, n])})"
                    for n in range(len(NOMINAL))
                ]
                print(f"| {k} | " + " | ".join(row) + " |")


def looks(path: str | None, people: int) -> None:
    vectors, names, owners, _ = photos(path)
    lfw, analyzer = Lfw.open(), Analyzer(precision="f32", threads=1)
    where = {name: i for i, name in enumerate(lfw.photos)}
    rng = np.random.default_rng(3)
    subjects, counts = np.unique(owners, return_counts=True)
    pairs = [rng.permutation(np.flatnonzero(owners == p))[:2] for p in rng.permutation(subjects[counts > 1])[:people]]
    chosen = {str(owners[a]) for a, _ in pairs}
    others = vectors[[int(np.flatnonzero(owners == p)[0]) for p in subjects if str(p) not in chosen]]
    ways: dict[str, tuple[float, np.ndarray | None]] = {"as it is": (1.0, None)}
    ways |= {f"{eyes} px between the eyes": (eyes / 42, None) for eyes in (24, 20, 16, 12, 10, 8, 6)}
    for sigma in (1.5, 2, 2.5, 3, 4):
        line = cv2.getGaussianKernel(int(6 * sigma) | 1, sigma)
        ways[f"Gaussian blur, sigma {sigma:g} px"] = (1.0, line @ line.T)
    for length in (7, 11, 15, 21):
        ways[f"motion, {length} px"] = (1.0, np.eye(length)[length // 2][:, None] * np.ones((1, length)) / length)
    images = [load_image(lfw.read(where[str(names[a])])) for a, _ in pairs]
    shown = [central(faces) for faces in analyzer.detect(images)]
    rows = []
    print("| look | worth, median | FNMR at 1e-4 | FMR at 1e-3 | FMR at 1e-4 |\n|---|--:|--:|--:|--:|")
    at = [threshold_at(analyzer.calibration, fmr) for fmr in (1e-4, 1e-3)]
    for way, (scale, kernel) in ways.items():
        part = []
        for image, faces, (_, b) in zip(images, shown, pairs, strict=True):
            if not len(faces):
                continue
            poor = image if kernel is None else cv2.filter2D(image, -1, kernel)
            poor = cv2.resize(poor, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            faces = faces.replace(landmarks=faces.landmarks * scale)
            quality = measure_quality(poor, faces.landmarks)[0]
            vector = analyzer.embed(analyzer.crop(poor, faces)).vectors[0]
            strangers = others @ vector
            shares = [(strangers >= threshold).mean() for threshold in at]
            size, sharp = quality.eye_distance_px, quality.sharpness
            part.append((worth(quality), vectors[b] @ vector, *shares, size, sharp, abs(quality.yaw_deg)))
        value, mated, strict, loose, *_ = np.array(part).T
        missed = (mated < at[0]).mean()
        print(f"| {way} | {np.median(value):.2f} | {missed:.1%} | {loose.mean():.1e} | {strict.mean():.1e} |")
        rows += part
    value, mated, strict, _, size, sharp, yaw = np.array(rows).T
    groups = (
        ("sharpness, 20 px and more", sharp, size >= 20, (0, 0.22, 0.26, 0.3, 0.33, 0.36, 0.4, 0.5, 1)),
        ("px between the eyes, sharpness 0.3 and more", size, sharp >= 0.3, (4, 6, 8, 9, 10, 12, 14, 16, 20, 30)),
        ("yaw, 14 px and 0.33 and more", yaw, (size >= 14) & (sharp >= 0.33), (0, 20, 30, 40, 50, 60)),
    )
    for title, column, mask, edges in groups:
        print(f"\n| {title} | looks | FNMR at 1e-4 |\n|---|--:|--:|")
        for low, high in pairwise(edges):
            inside = mask & (column >= low) & (column < high)
            if inside.sum() >= 20:
                print(f"| {low:g} to {high:g} | {inside.sum()} | {(mated[inside] < at[0]).mean():.0%} |")
    for title, gate in (("usable", Naming().usable), ("clear", Naming().clear)):
        good = (size >= gate.min_eye_distance_px) & (sharp >= gate.min_sharpness) & (yaw <= gate.max_yaw_deg)
        rates = [(mated[some] < at[0]).mean() for some in (good, ~good)]
        print(f"\n{title}: {good.mean():.0%} of these looks; FNMR {rates[0]:.1%}, of the others {rates[1]:.1%}")


SETTINGS = {
    "where it gains something": Naming(),
    "each frame, the best 5 kept": Naming(apart=0.0),
    "each frame, all kept": Naming(apart=0.0, keep=10_000),
}
OTHERS = {
    "better 1.1": Naming(better=1.1),
    "better 1.5": Naming(better=1.5),
    "better never": Naming(better=1e9),
    "apart 0.1 s": Naming(apart=0.1),
    "apart 0.5 s": Naming(apart=0.5),
    "keep 3": Naming(keep=3),
    "keep 10": Naming(keep=10),
    "looks 1": Naming(looks=1),
    "looks 3": Naming(looks=3),
}


def schedule(films: int, half: int, *, every_setting: bool) -> None:
    sys.path.append(str(ROOT / "tests"))
    from crowd_video import Crowd, cast

    lfw, analyzer = Lfw.open(), Analyzer(threads=1, precision="f32", min_face=28)
    photos: dict[str, list[int]] = {}
    for i, person in enumerate(lfw.people):
        photos.setdefault(person, []).append(i)
    strangers = [of[0] for name, of in sorted(photos.items()) if len(of) == 1][:500]
    settings = {**dict([*SETTINGS.items()][:1]), **OTHERS} if every_setting else SETTINGS
    totals = {name: np.zeros(8) for name in settings}
    with zipfile.ZipFile(DATA / "lfw-dev.zip") as archive, tempfile.TemporaryDirectory() as folder:
        several = {f"/{name}/" for name, of in photos.items() if len(of) > 5}
        crowds = [cast(Some(archive, several), analyzer, 4 + seed % 5, seed, half) for seed in range(films)]
        with open_gallery(Path(folder) / "people.db", analyzer=analyzer) as gallery:
            enroll(gallery, lfw, analyzer, [(f"stranger {i}", i) for i in strangers])
            known = {p.name for people in crowds for p in people[::2]}
            enroll(gallery, lfw, analyzer, [(name, i) for name in sorted(known) for i in photos[name][4:6]])
            print(
                f"{len(known)} of {sum(map(len, crowds))} people enrolled, with {len(strangers)} others",
                file=sys.stderr,
            )
            for seed, people in enumerate(crowds):
                crowd = Crowd(people, seed)
                shown = list(crowd.frames())
                found = [analyzer.detect([one.image])[0] for one in shown]
                names = {i + 1: p.name if p.name in known else None for i, p in enumerate(people)}
                for setting, naming in settings.items():
                    totals[setting] += followed(shown, found, names, analyzer, gallery, naming)
                print(f"film {seed} done", file=sys.stderr)
    head = "tracks | named rightly | of those to name | wrongly named | embeddings a track | a face and frame"
    head += " | seconds to a name | ms a frame beside detection"
    print(f"| embedded | {head} |\n|---|" + "--:|" * 8)
    for setting, (tracks, right, toname, wrong, embedded, faces, wait, spent) in totals.items():
        print(
            f"| {setting} | {tracks:.0f} | {right:.0f} | {toname:.0f} | {wrong:.0f} | {embedded / tracks:.1f} | "
            f"{embedded / faces:.1%} | {wait / max(right, 1):.2f} | {1e3 * spent / films / 300:.1f} |"
        )
    carphone(analyzer)


def falling(path: str | None) -> None:
    """Print how many names said after two looks fall below the threshold by a margin with four or five."""
    vectors, _, people, excluded = photos(path)
    subjects, number = np.unique(people, return_inverse=True)
    apart = {int(number[i]) for i, j in excluded if number[i] != number[j]}
    rng = np.random.default_rng(5)
    shown = np.concatenate([rng.permutation(np.flatnonzero(number == p))[:MOST] for p in range(len(subjects))])
    margins = (0.0, 0.02, 0.05, 0.1)
    print(
        "\n| threshold of FMR | names | said after two looks | "
        + " | ".join(f"then {m:g} below" for m in margins)
        + " |"
    )
    print("|--:|---|--:|" + "--:|" * len(margins))
    for fmr in (1e-2, 1e-3, 1e-4):
        threshold = threshold_at(Analyzer().calibration, fmr)
        said, fell = np.zeros(2, int), np.zeros((2, len(margins)), int)
        for p in np.flatnonzero(np.bincount(number) > LOOKS[-1]):
            if int(p) in apart:
                continue
            others = vectors[shown[number[shown] != p]]
            for _ in range(ORDERS):
                order = rng.permutation(np.flatnonzero(number == p))
                looks = vectors[order[: LOOKS[-1]]]
                for which, gallery in enumerate((vectors[order[LOOKS[-1] :][:MOST]], others)):
                    means = np.cumsum(looks @ gallery.T, axis=0) / np.arange(1, 6)[:, None]
                    named = means[1] >= threshold
                    said[which] += named.sum()
                    lowest = means[3:, named].min(axis=0)
                    fell[which] += (lowest[:, None] < threshold - np.array(margins)).sum(axis=0)
        for which, title in enumerate(("right", "wrong")):
            shares = " | ".join(f"{count / said[which]:.1%}" for count in fell[which])
            print(f"| {fmr:.0e} | {title} | {said[which]:,} | {shares} |")


class Some:
    """An archive of photos of some people only."""

    def __init__(self, archive: zipfile.ZipFile, folders: set[str]) -> None:
        self._archive, self._folders = archive, folders

    def namelist(self) -> list[str]:
        names = self._archive.namelist()
        return [name for name in names if name[name.find("/") : name.rfind("/") + 1] in self._folders]

    def read(self, name: str) -> bytes:
        return self._archive.read(name)


def enroll(gallery: Gallery, lfw: Lfw, analyzer: Analyzer, rows: list[tuple[str, int]]) -> None:
    for name, i in rows:
        faces = central(analyzer.analyze(load_image(lfw.read(i))))
        if len(faces) and faces.embeddings is not None:
            gallery.enroll(name, faces.embeddings)


def followed(
    shown: list, found: list[Faces], names: dict[int, str | None], analyzer: Analyzer, gallery: Gallery, naming: Naming
) -> np.ndarray:
    """Return tracks of a second and more, named rightly, to be named, wrongly named, embeddings, faces, waits, time."""
    follower = Follower(analyzer, gallery, Following(naming=naming))
    who: dict[int, list[int]] = {}
    first: dict[int, float] = {}
    named: dict[int, tuple[str, float]] = {}
    ends: dict[int, float] = {}
    embedded = faces = 0
    start = time.perf_counter()
    steps = [follower.step(Frame(one.number, one.time, one.image), f) for one, f in zip(shown, found, strict=True)]
    spent = time.perf_counter() - start
    for one, seen in zip(shown, steps, strict=True):
        embedded += seen.embedded
        faces += len(seen.faces)
        overlap = iou(seen.faces.boxes, one.boxes.astype(np.float32)) if len(seen.faces) and len(one.ids) else None
        for row, track in enumerate(seen.faces.track_ids.tolist()):
            first.setdefault(track, seen.time)
            ends[track] = seen.time
            if overlap is not None and overlap[row].max() >= 0.4:
                who.setdefault(track, []).append(int(one.ids[overlap[row].argmax()]))
            if (subject := seen.people[track].subject) is not None:
                since = named[track][1] if track in named and named[track][0] == subject else seen.time
                named[track] = subject, since
    totals = np.zeros(8)
    for track, ids in who.items():
        if ends[track] - first[track] < 1.0:
            continue
        right = names[max(set(ids), key=ids.count)]
        got, since = named.get(track, (None, 0.0))
        hit = got is not None and got == right
        totals[:4] += 1, hit, right is not None, got is not None and got != right
        totals[6] += since - first[track] if hit else 0
    totals[[4, 5, 7]] = embedded, faces, spent
    return totals


def carphone(analyzer: Analyzer) -> None:
    """Print the same of the one real clip, whose person is enrolled from its last frame."""
    clip = list(frames(Store().path("carphone")))
    found = [analyzer.detect([frame.image])[0] for frame in clip]
    with tempfile.TemporaryDirectory() as folder, open_gallery(Path(folder) / "g.db", analyzer=analyzer) as gallery:
        gallery.enroll("driver", clip[-1].image)
        for setting, naming in SETTINGS.items():
            follower = Follower(analyzer, gallery, Following(naming=naming))
            seen = [follower.step(frame, faces) for frame, faces in zip(clip, found, strict=True)]
            names = {seen[-1].people[track].subject for track in seen[-1].people}
            at = next(one.time for one in seen if any(p.subject for p in one.people.values()))
            print(f"carphone, {setting}: {names}, {sum(one.embedded for one in seen)} embeddings, named at {at:.2f} s")


def speed(seconds: float, faces: int) -> None:
    """Print the time of a frame of 1920x1080."""
    lfw = Lfw.open()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(1)
    pieces = [resize(load_image(lfw.read(int(i))), 270, 270) for i in rng.choice(len(lfw.photos), faces, replace=False)]
    ground = cv2.resize(rng.integers(40, 190, (9, 16, 3)).astype(np.uint8), (1920, 1080), interpolation=cv2.INTER_CUBIC)
    pictures = []
    for i in range(round(25 * seconds)):
        picture = ground.copy()
        for k, piece in enumerate(pieces):
            x, y = 70 + 370 * k + round(60 * np.sin(i / 9 + k)), 300 + round(200 * np.sin(i / 17 + 2 * k))
            picture[y : y + 270, x : x + 270] = piece
        pictures.append(picture)
    head = ("smallest face", "looked for in", "detection, ms a frame", "all the rest", "frames/s", "embeddings")
    print(f"| {' | '.join(head)} |\n|" + "--:|" * len(head))
    with tempfile.TemporaryDirectory() as folder:
        plain = Analyzer(threads=1)
        with open_gallery(Path(folder) / "g.db", analyzer=plain) as gallery:
            enroll(gallery, lfw, plain, [(str(i), i) for i in range(0, 600, 3)])
            for size, every in ((None, 1), (28, 1), (36, 1), (48, 1), (56, 1), (84, 1), (56, 2), (56, 3)):
                analyzer = video_analyzer(1920, 1080, min_face=size) if size else Analyzer(threads=1)
                spent = [0.0]

                def detect(images: list, analyzer: Analyzer = analyzer, spent: list = spent) -> list[Faces]:
                    start = time.process_time()
                    found = Analyzer.detect(analyzer, images)
                    spent[0] += time.process_time() - start
                    return found

                analyzer.detect = detect  # type: ignore[method-assign]
                follower = Follower(analyzer, gallery, Following(every))
                for i in range(6):  # everything is loaded
                    follower.step(Frame(i, i / 25, pictures[i]))
                follower.finish()
                spent[0], start = 0.0, time.process_time()
                seen = [follower.step(Frame(i, i / 25, picture)) for i, picture in enumerate(pictures)]
                whole = time.process_time() - start
                tracks = {track for one in seen for track in one.people}
                n = len(seen)
                print(
                    f"| {size or 'as for photos'} | every {every} | {1e3 * spent[0] / n:.1f} | "
                    f"{1e3 * (whole - spent[0]) / n:.1f} | {n / whole:.0f} | "
                    f"{sum(s.embedded for s in seen)} of {len(tracks)} tracks |"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("rates")
    two = parts.add_parser("looks")
    two.add_argument("--people", type=int, default=400)
    for part in (one, two):
        part.add_argument("--embedded", help="embeddings of lfw-dev made before (SFace, YuNet, f32); else made here")
    three = parts.add_parser("schedule")
    three.add_argument("--films", type=int, default=8)
    three.add_argument("--half", type=int, default=1, choices=(0, 1))
    three.add_argument("--all", action="store_true")
    four = parts.add_parser("speed")
    four.add_argument("--seconds", type=float, default=8.0)
    four.add_argument("--faces", type=int, default=5)
    options = parser.parse_args()
    if options.part == "rates":
        rates(options.embedded)
        falling(options.embedded)
    elif options.part == "looks":
        looks(options.embedded, options.people)
    elif options.part == "schedule":
        schedule(options.films, options.half, every_setting=options.all)
    else:
        speed(options.seconds, options.faces)


if __name__ == "__main__":
    main()
