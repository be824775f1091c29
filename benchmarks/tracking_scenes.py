"""Scenes of benchmarks/tracking.py: films of crowds, what YuNet finds in them, and what each face looks like to SFace.

Made once and kept in benchmarks/.cache, as NumPy files of plain arrays, which another environment can read too.
"""

from __future__ import annotations

import sys
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache" / "tracking"
VERSION = 1  # of the films: raised when the generator changes
LEAST = 0.3  # score from which faces are kept: trackers that take two stages use low ones


@dataclass(frozen=True, eq=False)
class Scene:
    """Columns of the truth (t_) and of the faces found (d_), a row a face."""

    frames: np.ndarray  # () how many
    t_frame: np.ndarray
    t_id: np.ndarray
    t_box: np.ndarray
    t_ignored: np.ndarray
    d_frame: np.ndarray
    d_box: np.ndarray
    d_score: np.ndarray
    d_worth: np.ndarray
    d_vector: np.ndarray

    @classmethod
    def load(cls, path: Path) -> Scene:
        with np.load(path) as file:
            return cls(**{field.name: file[field.name] for field in fields(cls)})

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, **{field.name: getattr(self, field.name) for field in fields(self)})
        part.replace(path)


def scene(half: int, seed: int, seconds: float) -> tuple[Path, Scene]:
    """Return a scene of people of one half, four to eight of them, and where it is kept."""
    path = CACHE / f"{VERSION}-{half}-{seed}-{seconds:g}.npz"
    if not path.is_file():
        made(half, seed, seconds).save(path)
    return path, Scene.load(path)


def made(half: int, seed: int, seconds: float) -> Scene:
    sys.path.append(str(HERE.parent / "tests"))
    from contender import DATA
    from crowd_video import Crowd, cast

    from visavis.analysis.quality import measure, worth
    from visavis.pipeline import Analyzer
    from visavis.types import Faces

    analyzer = Analyzer(threads=1, precision="f32", score=LEAST)
    with zipfile.ZipFile(DATA / "lfw-dev.zip") as archive:
        crowd = Crowd(cast(archive, analyzer, 4 + seed % 5, seed, half), seed, seconds=seconds)
    shown, found, worths, vectors = [], [], [], []
    for frame in crowd.frames():
        faces = analyzer.detect([frame.image])[0]
        shown.append(frame)
        found.append(faces)
        worths += [worth(quality) for quality in measure(frame.image, faces.landmarks)]
        vectors.append(analyzer.embed(analyzer.crop(frame.image, faces)).vectors)
    truth, faces = crowd.truth(shown), Faces.concat(found)
    return Scene(
        np.array(len(crowd)),
        truth.frames,
        truth.ids,
        truth.boxes,
        truth.ignored,
        np.concatenate([np.full(len(part), i) for i, part in enumerate(found)]),
        faces.boxes,
        faces.scores,
        np.array(worths),
        np.concatenate(vectors),
    )


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        half, seed, seconds = argument.split("-")
        print(scene(int(half), int(seed), float(seconds))[0])
