"""Videos to a folder of faces, a sub-folder a person, with a manifest; one video after the other, each all or nothing.

::

    faces/
      manifest.csv, manifest.jsonl     a row a face, of all videos
      videos/NAME.json                 what was done with a video; one that has it is not done again
      ada/NAME_t003_f000120.jpg        of a gallery's subject; without a gallery NAME/track-003/...
      unknown/...
      frames/NAME_f000120.jpg          whole frames, where asked for
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from visavis.cells import harmless
from visavis.clustering import cluster
from visavis.curation.video_faces import Rotate, VideoFace, faces_of_video
from visavis.errors import InputError, StorageError
from visavis.files import reason
from visavis.gallery.gallery import Gallery
from visavis.image import save_image
from visavis.models.durable import new_file, only_writer, write_whole
from visavis.pipeline import Analyzer
from visavis.types import Embeddings
from visavis.video.frames import video
from visavis.video.orientation import Orientation, orientation

__all__ = ["COLUMNS", "Recipe", "VideoResult", "folder_name", "name_videos", "videos_to_folder"]

FORMAT = 1
_LONGEST = 200  # bytes of a name
_RESERVED = ("unknown", "frames", "videos", "manifest.csv", "manifest.jsonl")
COLUMNS = (
    *("file", "person", "similarity", "video", "time", "frame", "track", "seen", "x1", "y1", "x2", "y2", "score"),
    *("turned", "worth", "eye_distance_px", "sharpness", "yaw_deg", "pitch_deg", "picture"),
)
"""Columns of ``manifest.csv``, and names in ``manifest.jsonl``, which has ``landmarks`` besides. In the CSV, names that
a spreadsheet would compute begin with an apostrophe."""


@dataclass(frozen=True)
class Recipe:
    """How faces are taken out of videos; the fields are those of `faces_of_video`.

    Attributes
    ----------
    cluster
        Similarity from which tracks of one video are joined into a person, where no gallery says who they are.
    suffix
        Of the crops: ``.jpg`` or ``.png``.
    """

    every: float = 0.5
    rotate: Rotate = "auto"
    per_track: int = 1
    size: int = 112
    min_worth: float = 0.0
    whole: bool = False
    gap: float = 2.0
    cluster: float | None = None
    suffix: str = ".jpg"


@dataclass(frozen=True)
class VideoResult:
    """What came of a video.

    Attributes
    ----------
    faces
        Rows of the manifest.
    turned, container
        Degrees clockwise by which frames were turned: beyond what the container says, and what it says.
    problem
        Why it could not be read, or not to its end.
    done_before
        Whether an earlier run had done it.
    """

    source: str
    name: str
    faces: list[dict[str, Any]] = field(default_factory=list)
    turned: int = 0
    votes: dict[str, float] = field(default_factory=dict)
    container: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    done_before: bool = False


def videos_to_folder(
    paths: Sequence[Path],
    out: Path,
    analyzer: Analyzer,
    recipe: Recipe,
    *,
    gallery: Gallery | None = None,
    fpir: float | None = None,
    made_with: dict[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[VideoResult]:
    """Take the faces out of videos into a folder; give what came of each, and write the manifest at the end.

    A video that was done before with the same settings and is unchanged is not done again. One whose work was cut
    short leaves nothing but a hidden folder, which the next run removes.

    Parameters
    ----------
    out
        Exists and can be written.
    gallery, fpir
        Says who the faces are; see `Gallery.identify`.
    made_with
        What else changes the outcome, such as the detector: with other settings, a video is done again.

    Raises
    ------
    StorageError
        If the folder can't be written, or another run is writing into it.
    """
    settings = {**asdict(recipe), **(made_with or {}), "format": FORMAT}
    try:
        with only_writer(out, out / ".visavis-lock"):
            for path, name in name_videos(paths, out):
                record = out / "videos" / f"{name}.json"
                stamp = _stamp(path)
                before = _read(record)
                if before is not None and before["stamp"] == stamp and before["settings"] == settings:
                    yield VideoResult(**before["result"], done_before=True)
                    continue
                result = _one(path, name, out, analyzer, recipe, gallery, fpir, before, say)
                if stamp is not None and (result.problem is None or result.faces):
                    record.parent.mkdir(exist_ok=True)
                    plain = {key: value for key, value in asdict(result).items() if key != "done_before"}
                    kept = {"stamp": stamp, "settings": settings, "result": plain}
                    write_whole(record, json.dumps(kept).encode())
                else:
                    record.unlink(missing_ok=True)  # its files are gone
                yield result
            _write_manifest(out)
    except OSError as error:
        raise StorageError(f"{out} can't be written: {reason(error)}; check the folder and the disk") from None


def name_videos(paths: Sequence[Path], out: Path) -> Iterator[tuple[Path, str]]:
    """Give each video the name its files begin with: that of the file; with a hash of its path where two share it."""
    used: set[str] = set()
    for path in paths:
        name = folder_name(path.stem)
        before = _read(out / "videos" / f"{name}.json")
        if name.lower() in used or (before is not None and before["result"]["source"] != str(path)):
            name = f"{name}-{_short(str(path.resolve()))}"
        used.add(name.lower())
        yield path, name


def folder_name(name: str, reserved: Sequence[str] = ()) -> str:
    """Return a name as one that any file system takes; where it had to be changed, with a hash that keeps it apart.

    Examples
    --------
    >>> folder_name("王芳"), folder_name("../a:b")
    ('王芳', '_.._a_b-7b2665')
    """
    safe = _shortened(re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name)[:80]).rstrip(". ")
    plain = safe == name and not safe.startswith(".") and safe.lower() not in reserved
    devices = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
    device = safe.split(".")[0].rstrip().lower() in devices  # with a suffix too
    if plain and safe and not device:
        return safe
    return f"{'_' if device or safe.startswith('.') else ''}{safe}-{_short(name)}"


def _shortened(name: str) -> str:
    """Return the beginning that leaves room, in a name of 255 bytes, for a track, a frame and a hash."""
    encoded = name.encode("utf-8", "surrogateescape")
    return name if len(encoded) <= _LONGEST else encoded[:_LONGEST].decode("utf-8", "ignore")


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:6]


def _stamp(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _read(record: Path) -> dict[str, Any] | None:
    """Return what an earlier run wrote of a video; None where it is missing or none of ours."""
    try:
        found = json.loads(record.read_bytes())
        VideoResult(**found["result"])
        return {"stamp": found["stamp"], "settings": found["settings"], "result": found["result"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _one(
    path: Path,
    name: str,
    out: Path,
    analyzer: Analyzer,
    recipe: Recipe,
    gallery: Gallery | None,
    fpir: float | None,
    before: dict[str, Any] | None,
    say: Callable[[str], None] | None,
) -> VideoResult:
    work = out / f".work-{name}"
    shutil.rmtree(work, ignore_errors=True)
    problem, faces, vectors = None, [], []
    how, container = Orientation(0), {}
    try:
        container = asdict(video(path))
        how = (
            orientation(path, analyzer, every=recipe.every, threads=analyzer.options.threads)
            if recipe.rotate == "auto"
            else Orientation(recipe.rotate)
        )
        if recipe.rotate != "auto" or how.found:
            work.mkdir()
            for face in _faces(path, analyzer, recipe, how, say):
                faces.append(_stored(face, name, work, recipe.suffix))
                vectors.append(face.embedding.vectors[0])
    except InputError as error:
        problem = str(error)
    if before is not None:
        for row in before["result"]["faces"]:
            for key in ("file", "picture"):
                _remove(out, row.get(key))
    _name_people(faces, vectors, analyzer, gallery, fpir, recipe.cluster, name)
    for row in faces:
        _place(work, out, row)
        row["video"] = str(path)
    shutil.rmtree(work, ignore_errors=True)
    votes = {str(turn): score for turn, score in how.votes.items()}
    return VideoResult(str(path), name, faces, how.turned, votes, container, problem)


def _faces(
    path: Path, analyzer: Analyzer, recipe: Recipe, how: Orientation, say: Callable[[str], None] | None
) -> Iterator[VideoFace]:
    return faces_of_video(
        path,
        analyzer,
        every=recipe.every,
        rotate=how,
        per_track=recipe.per_track,
        size=recipe.size,
        min_worth=recipe.min_worth,
        whole=recipe.whole,
        gap=recipe.gap,
        threads=analyzer.options.threads,
        say=say,
    )


def _stored(face: VideoFace, name: str, work: Path, suffix: str) -> dict[str, Any]:
    """Write a face into the work folder, and return its row."""
    file = f"{name}_t{face.track:03d}_f{face.frame:06d}{suffix}"
    save_image(work / file, face.crop, quality=95)
    picture = None
    if face.picture is not None:
        picture = f"{name}_f{face.frame:06d}.jpg"
        (work / picture).write_bytes(face.picture)
    box = [round(float(value), 2) for value in face.box]
    return {
        "file": file,
        "person": None,
        "similarity": None,
        "video": "",
        "time": face.time,
        "frame": face.frame,
        "track": face.track,
        "seen": face.seen,
        **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
        "score": round(face.score, 4),
        "turned": face.turned,
        "worth": face.worth,
        **face.quality.to_dict(),
        "picture": picture,
        "landmarks": [[round(float(v), 2) for v in point] for point in face.landmarks],
    }


def _name_people(
    rows: list[dict[str, Any]],
    vectors: list[Any],
    analyzer: Analyzer,
    gallery: Gallery | None,
    fpir: float | None,
    threshold: float | None,
    name: str,
) -> None:
    """Say of each row whose face it is, and the folder it goes to."""
    if gallery is not None and rows:
        who = gallery.identify(Embeddings(np.stack(vectors), analyzer.model), top=1, fpir=fpir)
        for i, (row, person) in enumerate(zip(rows, who.best, strict=True)):
            row["person"] = person
            row["similarity"] = round(float(who.similarities[i, 0]), 4) if who.subjects[i] else None
            row["folder"] = "unknown" if person is None else folder_name(person, _RESERVED)
        return
    groups = [row["track"] for row in rows]
    if threshold is not None and rows:
        groups = [int(label) + 1 for label in cluster(np.stack(vectors), threshold=threshold, min_faces=1)]
    kind = "track" if threshold is None else "person"
    inside = folder_name(name, _RESERVED)
    for row, number in zip(rows, groups, strict=True):
        row["folder"] = f"{inside}/{kind}-{number:03d}"


def _place(work: Path, out: Path, row: dict[str, Any]) -> None:
    """Move a row's files to where they belong."""
    target = f"{row.pop('folder')}/{row['file']}"
    (out / target).parent.mkdir(parents=True, exist_ok=True)
    (work / row["file"]).replace(out / target)
    row["file"] = target
    if row["picture"] is not None:
        target = f"frames/{row['picture']}"
        (out / target).parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # several faces of one frame share it
            (work / row["picture"]).replace(out / target)
        row["picture"] = target


def _remove(out: Path, name: str | None) -> None:
    """Remove a file that an earlier run wrote; never one outside of the folder."""
    if not isinstance(name, str) or os.path.isabs(name) or ".." in Path(name).parts:  # noqa: PTH117 (of any platform)
        return
    with contextlib.suppress(OSError):
        (out / name).unlink()
        (out / name).parent.rmdir()


def _write_manifest(out: Path) -> None:
    """Write what all videos gave as one CSV and one JSONL, a video at a time."""
    with new_file(out / "manifest.csv", text="surrogateescape") as table, new_file(out / "manifest.jsonl") as lines:
        writer = csv.DictWriter(table, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for record in sorted((out / "videos").glob("*.json")):
            found = _read(record)
            for row in [] if found is None else found["result"]["faces"]:
                writer.writerow({column: harmless(value) for column, value in row.items()})
                lines.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n")
