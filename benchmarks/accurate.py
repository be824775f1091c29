"""Choose what the recognizer "accurate" joins, by person-disjoint nested cross-validation on lfw-dev, and report it.

    python benchmarks/accurate.py                  choose and report, as docs/accuracy.md shows
    python benchmarks/accurate.py --points yunet mtcnn --one-crop     also choose whose landmarks lay the crops
    python benchmarks/accurate.py --card           print the settings that the card carries
    python benchmarks/accurate.py --detour         how alike embeddings by the wide crop and from the photo are
    python benchmarks/accurate.py --cost           CPU milliseconds a face and memory, by recognizer
    python benchmarks/accurate.py --errors DIR     write the pairs that are decided wrongly as pictures, for you alone

Embeddings of the photos that pairs.txt names are made once (some ten minutes) and kept in --cache. All in f32, on one
thread. The recognizer cuts its parts' crops out of one wide crop, the search out of the photo: --detour says what
the difference is.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import psutil
from calibrate_lfw import ERRORS, tomllib
from lfw import Lfw, central

from visavis import Analyzer
from visavis.alignment import TEMPLATES, align, crop, similarity_transform
from visavis.evaluation.intervals import wilson
from visavis.evaluation.verification import ten_fold
from visavis.image import load_image
from visavis.models.loader import Loader
from visavis.models.session import EngineOptions
from visavis.models.store import Store
from visavis.recognition import fusion, open_recognizer

OPTIONS = EngineOptions("openvino", "cpu", "f32", 1)
SCALES = {"sface": (1.0, 0.92, 1.08), "mobilefacenet": (1.0, 0.92, 1.08), "dlib-resnet": (1.0,)}
FARS = (1e-2, 1e-3, 1e-4)
CHUNK = 64
Raw = dict[tuple[str, float, bool], np.ndarray]


# What is measured once: every part's raw vectors, by scale of the crop and side.


def photos_of(lfw: Lfw) -> np.ndarray:
    """Return the indices of the photos that the pairs name."""
    return np.unique(lfw.pairs()[0])


def collect(lfw: Lfw, cache: Path, detector: str, scales: Mapping[str, tuple[float, ...]]) -> Raw:
    """Return raw vectors ``(n, d)`` of the pairs' photos by part, scale and whether the crop is mirrored.

    A scale says how much larger than the template the face is in the crop; each is cut from the photo itself.
    """
    wanted = [(part, scale, side) for part, some in scales.items() for scale in some for side in (False, True)]
    cache = cache if detector == "yunet" else cache / detector
    files = {key: cache / f"{key[0]}-{key[1]}{'-mirrored' if key[2] else ''}.npy" for key in wanted}
    missing = [key for key in wanted if not files[key].is_file()]
    if missing:
        cache.mkdir(parents=True, exist_ok=True)
        loader = Loader(Store(), OPTIONS)
        sessions = {part: loader.session(part, batches=(1, 4)) for part in SCALES}
        rows: dict[tuple[str, float, bool], list[np.ndarray]] = {key: [] for key in missing}
        for images, landmarks in faces(lfw, detector):
            for part, scale, mirrored in missing:
                side, points = TEMPLATES[loader.store.card(part).alignment]
                matrices = similarity_transform(landmarks, (points - (side - 1) / 2) * scale + (side - 1) / 2)
                cuts = np.concatenate([crop(*row, side) for row in zip(images, matrices[:, None], strict=True)])
                (raw,) = sessions[part].run(np.ascontiguousarray(cuts[:, :, ::-1]) if mirrored else cuts).values()
                rows[part, scale, mirrored].append(raw)
        for key, parts in rows.items():
            np.save(files[key], np.concatenate(parts))
    return {key: np.load(file) for key, file in files.items()}


def faces(lfw: Lfw, detector: str = "yunet") -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """Yield the pairs' photos and the landmarks of their central faces, some at a time."""
    finder = Analyzer(detector, None, precision="f32", threads=1)
    found = finder.stream((lfw.read(int(i)) for i in photos_of(lfw)), keep_images=True)
    while chunk := list(itertools.islice(found, CHUNK)):
        central_faces = [central(analysis.faces) for analysis in chunk]
        if not all(map(len, central_faces)):
            raise SystemExit("a photo without a face: the search takes one from each")
        images = [analysis.image for analysis in chunk]
        yield images, np.concatenate([face.landmarks for face in central_faces])


# What is chosen among.


@dataclass(frozen=True)
class Choice:
    """Settings of a fusion: the weight of each part, how many crops of each are added, whose mean is taken off.

    ``points`` is the detector whose landmarks lay the crops.
    """

    weights: Mapping[str, float]
    crops: int = 1
    centered: tuple[str, ...] = ()
    points: str = "yunet"

    def __str__(self) -> str:
        parts = " ".join(f"{part} {weight:.2f}" for part, weight in self.weights.items())
        centered = f"centered: {', '.join(self.centered) or 'none'}"
        return f"{parts}; {self.crops} crop{'s' * (self.crops > 1)}; {centered}; {self.points}"


def choices(points: Sequence[str], most_crops: int) -> list[Choice]:
    """Return the 40 that are compared, cheapest first; 20 a detector with one crop."""
    rows = []
    for laid, crops in itertools.product(points, (1, 3)[: 1 if most_crops == 1 else 2]):
        rows += [Choice({"sface": 1.0}, crops, centered, laid) for centered in ((), ("sface",))]
        for centered in ((), ("sface",), ("sface", "mobilefacenet")):
            for third in (0.0, 0.3):
                for share in (0.3, 0.4, 0.5):
                    weights = {"sface": (1 - third) * (1 - share), "mobilefacenet": (1 - third) * share}
                    rows.append(Choice({**weights, **({"dlib-resnet": third} if third else {})}, crops, centered, laid))
    return rows


class Embedded:
    """The pairs' photos with their raw vectors, and who is in which fold."""

    def __init__(self, lfw: Lfw, raw: Mapping[str, Raw], flip: bool) -> None:
        self.raw, self.flip = raw, flip
        photos = photos_of(lfw)
        self.names = [lfw.photos[i] for i in photos]
        row = np.full(len(lfw.members), -1)
        row[photos] = np.arange(len(photos))
        pairs, self.mated, self.fold = lfw.pairs()
        self.pairs = row[pairs]
        self.person = np.unique([lfw.people[i] for i in photos], return_inverse=True)[1]
        self.photo_fold = np.full(len(photos), -1)
        for side in (0, 1):
            self.photo_fold[self.pairs[:, side]] = self.fold
        folds_of = {(int(p), int(f)) for p, f in zip(self.person, self.photo_fold, strict=True)}
        assert len(folds_of) == len({p for p, _ in folds_of}), "a person is in one fold alone"

    def looks(self, part: str, choice: Choice) -> list[np.ndarray]:
        """Return a part's embeddings, an array a crop."""
        raw = self.raw[choice.points]
        scales = SCALES[part][: choice.crops]
        return [raw[part, s, False] + (raw[part, s, True] if self.flip else 0) for s in scales]

    def center(self, part: str, choice: Choice, among: np.ndarray) -> np.ndarray:
        """Return the mean of a part's embeddings over the photos in the mask ``among``."""
        return fusion.fused([self.looks(part, choice)], [1.0], [None])[among].mean(axis=0)

    def vectors(self, choice: Choice, among: np.ndarray) -> np.ndarray:
        """Return the fused embeddings, whose means are those of the photos in the mask ``among``."""
        parts = list(choice.weights)
        centers = [self.center(p, choice, among) if p in choice.centered else None for p in parts]
        return fusion.fused([self.looks(p, choice) for p in parts], list(choice.weights.values()), centers)


def tars(mated: np.ndarray, nonmated: np.ndarray) -> list[float]:
    """Return the share of mated pairs above the threshold for each of `FARS`."""
    most = int(FARS[0] * len(nonmated)) + 1
    top = np.sort(np.partition(nonmated, len(nonmated) - most)[-most:])[::-1]
    return [float((mated > top[int(far * len(nonmated))]).mean()) for far in FARS]


def goodness(data: Embedded, rows: list[Choice], among: np.ndarray) -> np.ndarray:
    """Return each choice's mean TAR at `FARS`, over all pairs of the photos in the mask ``among``: it decides."""
    person = data.person[among]
    upper = np.triu(np.ones((len(person),) * 2, bool), 1)
    same = person[:, None] == person[None, :]
    yes, no = upper & same, upper & ~same
    parts: dict[tuple[str, str, int, bool], tuple[np.ndarray, np.ndarray]] = {}

    def similarities(part: str, choice: Choice) -> tuple[np.ndarray, np.ndarray]:
        crops = min(choice.crops, len(SCALES[part]))
        key = choice.points, part, crops, part in choice.centered
        if key not in parts:
            alone = Choice({part: 1.0}, crops, (part,) if key[3] else (), choice.points)
            vectors = data.vectors(alone, among)[among]
            every = vectors @ vectors.T
            parts[key] = every[yes], every[no]
        return parts[key]

    found = []
    for choice in rows:
        each = [(weight, similarities(part, choice)) for part, weight in choice.weights.items()]
        mated, nonmated = (sum(np.float32(weight) * values[kind] for weight, values in each) for kind in (0, 1))
        found.append(np.mean(tars(mated, nonmated)))
    return np.array(found)


def goodness_of_pairs(data: Embedded, rows: list[Choice], folds: np.ndarray) -> np.ndarray:
    """Return each choice's accuracy on the official pairs of ``folds`` at its best threshold: the other rule tried."""
    test = np.isin(data.fold, folds)
    mated, among = data.mated[test], np.isin(data.photo_fold, folds)
    found = []
    for choice in rows:
        vectors = data.vectors(choice, among)
        similarity = np.einsum("ij,ij->i", vectors[data.pairs[test, 0]], vectors[data.pairs[test, 1]])
        candidates, yes, no = np.unique(similarity), np.sort(similarity[mated]), np.sort(similarity[~mated])
        right = len(yes) - np.searchsorted(yes, candidates) + np.searchsorted(no, candidates)
        found.append(right.max() / len(similarity))
    return np.array(found)


# What it comes to.


def outcome(data: Embedded, choice: Choice, held_out: int | None) -> tuple[np.ndarray, list[float], list[float]]:
    """Return what pairs are decided rightly, and TARs over all and over the official mated pairs.

    Of one fold, with means and threshold from the other nine; or of all ten, with means from them all.
    """
    photos = data.photo_fold != held_out if held_out is not None else np.ones(len(data.names), bool)
    vectors = data.vectors(choice, photos)
    similarity = np.einsum("ij,ij->i", vectors[data.pairs[:, 0]], vectors[data.pairs[:, 1]])
    if held_out is None:
        test, mine = np.ones(len(data.fold), bool), photos
        right = decided(similarity, data.mated, data.fold)
    else:
        test, mine = data.fold == held_out, ~photos
        right = decided(similarity, data.mated, data.fold)[test]
    own = vectors[mine]
    every = own @ own.T
    same = data.person[mine][:, None] == data.person[mine][None, :]
    upper = np.triu(np.ones_like(same), 1)
    nonmated = every[upper & ~same]
    return right, tars(every[upper & same], nonmated), tars(similarity[test & data.mated], nonmated)


def decided(similarity: np.ndarray, mated: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return for each pair whether the threshold that is best on the other folds decides it rightly.

    The threshold is that of `ten_fold`, which gives shares alone.
    """
    right = np.zeros(len(fold), bool)
    for held_out in np.unique(fold):
        train, test = fold != held_out, fold == held_out
        candidates = np.unique(similarity[train])
        yes, no = np.sort(similarity[train & mated]), np.sort(similarity[train & ~mated])
        score = len(yes) - np.searchsorted(yes, candidates) + np.searchsorted(no, candidates)
        best = candidates[score == score.max()]
        right[test] = (similarity[test] >= best[len(best) // 2]) == mated[test]
    shares = [right[fold == f].mean() for f in np.unique(fold)]
    assert np.allclose(shares, ten_fold(similarity, mated, fold))
    return right


def line(name: str, right: np.ndarray, every: list[float], official: list[float], fold: np.ndarray) -> str:
    """Return a row of the table of docs/accuracy.md."""
    shares = np.array([right[fold == f].mean() for f in np.unique(fold)])
    low, high = wilson(int(right.sum()), len(right))
    rates = " | ".join(f"{a:.2%} / {o:.2%}" for a, o in zip(every, official, strict=True))
    error = shares.std(ddof=1) / len(shares) ** 0.5
    return f"| {name} | {right.mean():.2%} | {error:.2%} | {low:.2%} to {high:.2%} | {int((~right).sum())} | {rates} |"


def report(lfw: Lfw, raw: Mapping[str, Raw], most_crops: int) -> None:
    print("\nTAR: of all mated pairs of the photos / of the 1,500 official ones, at FARs over all non-mated pairs.\n")
    print("| recognizer | 10-fold | standard error | 95 % interval | errors | TAR at FAR 1e-2 | 1e-3 | 1e-4 |")
    print("|---|---:|---:|---|---:|---:|---:|---:|")
    rows = choices(list(raw), most_crops)
    pools = {"any": rows}
    if most_crops > 1:
        pools["one crop"] = [row for row in rows if row.crops == 1]
    if len(raw) > 1:
        pools |= {f"points of {points}": [row for row in rows if row.points == points] for points in raw}
    for flip in (False, True):
        data, mark = Embedded(lfw, raw, flip), "+flip" * flip
        for part, points in itertools.product(SCALES, raw):
            found = outcome(data, Choice({part: 1.0}, points=points), None)
            print(line(f"{part}{mark}, points of {points}", *found, data.fold), flush=True)
        folds = np.unique(data.fold)
        others = {int(fold): folds[folds != fold] for fold in folds} | {-1: folds}
        rules = {
            "TAR": {k: goodness(data, rows, np.isin(data.photo_fold, among)) for k, among in others.items()},
            "accuracy": {k: goodness_of_pairs(data, rows, among) for k, among in others.items()},
        }
        for (rule, good), (title, pool) in itertools.product(rules.items(), pools.items()):
            among = [rows.index(row) for row in pool]
            picks = {k: rows[among[int(values[among].argmax())]] for k, values in good.items()}
            best = picks.pop(-1)
            right, rates = np.zeros(len(data.fold), bool), []
            for fold, pick in picks.items():
                right[data.fold == fold], *found = outcome(data, pick, fold)
                rates.append(found)
            every, official = np.mean(rates, axis=0)
            name = f"by {rule}, {title}{mark}"
            print(line(f"{name}, nested", right, list(every), list(official), data.fold), flush=True)
            print(line(f"{name}, plain", *outcome(data, best, None), data.fold))
            print(f"    plain: {best}")
            for text in sorted({str(pick) for pick in picks.values()}):
                print(
                    f"    nested, {sum(str(pick) == text for pick in picks.values())} folds of 10: {text}", flush=True
                )


# The recognizer that is shipped.

SHIPPED = Choice({"sface": 0.49, "mobilefacenet": 0.21, "dlib-resnet": 0.30}, 1, ("sface", "mobilefacenet"))
"""What the report chooses by TAR, with one crop a part and flip, on all ten folds."""


def card(data: Embedded) -> str:
    """Return the settings of the card as TOML."""
    weights = "".join(f"{part} = {weight}\n" for part, weight in SHIPPED.weights.items())
    everyone = np.ones(len(data.names), bool)
    centers = "".join(
        f"{part} = [{', '.join(f'{v:.4f}' for v in data.center(part, SHIPPED, everyone))}]\n"
        for part in SHIPPED.centered
    )
    return f"[accurate.settings.weights]\n{weights}\n[accurate.settings.centers]\n{centers}"


def label_error(first: str, second: str) -> bool:
    """Tell whether lfw_label_errors.toml knows the label of a pair of photos to be wrong."""
    known = tomllib.loads(ERRORS.read_text("utf-8"))
    people = {name.rpartition("_")[0] for name in (first, second)}
    return (
        any(row["photo"] in (first, second) for row in known["wrong_photo"])
        or any(set(row["photos"]) == {first, second} for row in known["two_people"])
        or any(set(row["names"]) == people for row in known["same_person"])
    )


def errors(lfw: Lfw, data: Embedded, folder: Path) -> None:
    """List the pairs that are decided wrongly, and write their pictures into ``folder``."""
    vectors = data.vectors(replace(SHIPPED, points=next(iter(data.raw))), np.ones(len(data.names), bool))
    similarity = np.einsum("ij,ij->i", vectors[data.pairs[:, 0]], vectors[data.pairs[:, 1]])
    print("| pair | is | similarity | label |\n|---|---|---:|---|")
    cells = []
    for k in np.flatnonzero(~decided(similarity, data.mated, data.fold)):
        names = [data.names[i] for i in data.pairs[k]]
        kind = "mated" if data.mated[k] else "non-mated"
        print(f"| {names[0]}, {names[1]} | {kind} | {similarity[k]:.3f} | {'error' * label_error(*names)} |")
        photos = [load_image(lfw.read(lfw.photos.index(name))) for name in names]
        cell = np.hstack(photos)
        text = f"{k}: {names[0]} {names[1]} {kind} {similarity[k]:.2f}"
        cells.append(cv2.putText(np.ascontiguousarray(cell), text, (4, 12), 0, 0.32, (255, 255, 0), 1, cv2.LINE_AA))
    folder.mkdir(parents=True, exist_ok=True)
    for page in range(0, len(cells), 8):
        some = cells[page : page + 8] + [np.zeros_like(cells[0])] * (-len(cells[page:]) % 2)
        sheet = np.vstack([np.hstack(some[i : i + 2]) for i in range(0, len(some) - 1, 2)])
        cv2.imwrite(str(folder / f"errors-{page // 8 + 1}.png"), sheet[..., ::-1])


def detour(lfw: Lfw) -> None:
    """Print the cosine between embeddings of crops cut from the wide crop and from the photo, of 320 photos."""
    loader = Loader(Store(), OPTIONS)
    recognizers = {part: fusion.network.load(loader.store.card(part), loader) for part in SCALES}
    found: dict[str, list[np.ndarray]] = {part: [] for part in SCALES}
    for images, landmarks in itertools.islice(faces(lfw), 5):
        for image, points in zip(images, landmarks[:, None], strict=True):
            wide = align(image, points, "wide-224")
            for part, recognizer in recognizers.items():
                by_wide = fusion.cut(wide, fusion.between("wide-224", recognizer), recognizer.size)
                both = [align(image, points, recognizer.alignment), by_wide]
                a, b = (recognizer.embed(crops).vectors for crops in both)
                found[part].append((a * b).sum())
    for part, cosines in found.items():
        print(f"{part}: mean {np.mean(cosines):.5f}, lowest {np.min(cosines):.5f}")


def cost() -> None:
    """Print CPU milliseconds a face, in batches of 8 crops, and what loading it adds to memory, by recognizer."""
    crops = np.random.default_rng(0).integers(0, 255, (8, 224, 224, 3), np.uint8)
    process = psutil.Process()
    loaded = []
    for name, flip in itertools.product(("sface", "mobilefacenet", "dlib-resnet", "accurate"), (False, True)):
        for precision in ("f32", "auto"):
            before = process.memory_info().rss
            recognizer = open_recognizer(name, Store(), EngineOptions.choose(precision=precision, threads=1), flip=flip)
            mine = np.ascontiguousarray(crops[:, : recognizer.size, : recognizer.size])
            recognizer.embed(mine)
            loaded.append((recognizer, precision, mine, (process.memory_info().rss - before) / 2**20, []))
    for _ in range(8):  # in turns, so that a busy moment hits all alike
        for recognizer, _, mine, _, times in loaded:
            start = time.process_time()
            recognizer.embed(mine)
            times.append((time.process_time() - start) / len(mine) * 1000)
    print("| recognizer | precision | ms a face | MB |\n|---|---|---:|---:|")
    for recognizer, precision, _, memory, times in loaded:
        print(f"| {recognizer.model} | {precision} | {np.min(times):.1f} | {memory:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "visavis-accurate")
    parser.add_argument("--points", nargs="+", default=["yunet"], metavar="DETECTOR", help="whose landmarks to try")
    parser.add_argument("--one-crop", action="store_true", help="leave out settings of three crops a part")
    parser.add_argument("--flip", action="store_true", help="with --errors: those of accurate+flip")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--card", action="store_true")
    kind.add_argument("--detour", action="store_true")
    kind.add_argument("--cost", action="store_true")
    kind.add_argument("--errors", type=Path, metavar="DIR")
    options = parser.parse_args()
    if options.cost:
        return cost()
    lfw = Lfw.open()
    if options.detour:
        return detour(lfw)
    scales = {part: some[: 1 if options.one_crop else None] for part, some in SCALES.items()}
    raw = {detector: collect(lfw, options.cache, detector, scales) for detector in options.points}
    if options.card:
        print(card(Embedded(lfw, raw, True)))
    elif options.errors is not None:
        errors(lfw, Embedded(lfw, raw, options.flip), options.errors)
    else:
        report(lfw, raw, 1 if options.one_crop else 3)
    return None


if __name__ == "__main__":
    main()
