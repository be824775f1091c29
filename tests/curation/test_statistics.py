"""Statistics of a small data set whose answers can be counted by hand."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.alignment import align
from visavis.analysis.quality import measure
from visavis.curation.inspection import Inspected, inspect_photos
from visavis.curation.statistics import _per_person, average_face, statistics_document, statistics_of
from visavis.datasets.photos import PeopleFolder, open_photos
from visavis.image import load_image
from visavis.pipeline import Analyzer
from visavis.reporting.document import Bars, Pictures, Table


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory, lfw: zipfile.ZipFile) -> Path:
    """Return three people with 3, 2 and 1 photos, of which one is plain gray, and a file that is none."""
    folder = tmp_path_factory.mktemp("album")
    for person, numbers in {"Abdullah": (1, 2, 3), "Aaron_Sorkin": (1, 2)}.items():
        (folder / person).mkdir()
        for number in numbers:
            data = lfw.read(f"lfw-dev/{person}/{person}_{number:04d}.jpg")
            (folder / person / f"{number}.jpg").write_bytes(data)
    (folder / "Nobody").mkdir()
    from PIL import Image

    Image.new("RGB", (300, 200), "gray").save(folder / "Nobody" / "gray.png")
    (folder / "Nobody" / "bad.jpg").write_bytes(b"nothing")
    return folder


@pytest.fixture
def seen(album: Path) -> Inspected:
    return inspect_photos(PeopleFolder.open(album), Analyzer(recognizer=None, threads=1, precision="f32"))


def test_counts_and_measures(album: Path, seen: Inspected) -> None:
    found = statistics_of(seen, duplicates=0)
    assert (found.photos, found.people, found.unreadable, found.without_face) == (7, 3, 1, 1)
    assert found.per_person.tolist() == [2, 2, 3]
    assert found.largest[0] == ("Abdullah", 3)
    told = found.to_dict()
    assert told["photos_per_person"] == {"2": 2, "3": 1}
    assert told["measures"]["photo_side_px"] | {"mean": 0} == {
        "measured": 6,
        "mean": 0,
        **dict.fromkeys(("p0", "p1", "p5", "p25"), pytest.approx(200, abs=60)),
        **dict.fromkeys(("p50", "p75", "p95", "p99", "p100"), 250.0),
    }
    # The measures of each photo are those of the library, taken one by one.
    analyzer = Analyzer(recognizer=None, threads=1, precision="f32")
    for i, photo in enumerate(seen.data.photos):
        if photo.startswith("Nobody"):
            assert np.isnan(seen.quality["sharpness"][i])
            continue
        image = load_image(album / photo)
        faces = analyzer.analyze(image)
        largest = int(np.argmax((faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(axis=1)))
        expected = measure(image, faces.landmarks)[largest]
        assert seen.quality["sharpness"][i] == pytest.approx(expected.sharpness, abs=1e-3)
        assert seen.quality["yaw_deg"][i] == pytest.approx(expected.yaw_deg, abs=0.5)
        height = faces.boxes[largest, 3] - faces.boxes[largest, 1]
        assert found.values["face_height_px"][i] == pytest.approx(height, abs=0.5)


def test_the_average_face_is_the_mean_of_crops(album: Path, seen: Inspected) -> None:
    face, number = average_face(seen)
    assert number == 5
    rows = [i for i, photo in enumerate(seen.data.photos) if not photo.startswith("Nobody")]
    crops = [
        align(load_image(album / seen.data.photos[i]), seen.landmarks[i : i + 1].astype(np.float32))[0] for i in rows
    ]
    assert face is not None
    assert np.abs(np.mean(crops, axis=0) - face).max() <= 0.5
    assert average_face(seen, most=2)[1] == 2


def test_the_page(seen: Inspected) -> None:
    document = statistics_document("album", seen, statistics_of(seen), [("face", "largest")])
    parts = [part for section in document.sections for part in section.parts]
    assert "7 photos of 3 people" in document.summary
    tables = [part for part in parts if isinstance(part, Table)]
    assert ["photos without a face", "1"] in tables[0].rows
    assert ["photos that are there more than once", "not looked"] in tables[0].rows
    (bars,) = [part for part in parts if isinstance(part, Bars)]
    assert dict(zip(bars.names, bars.values[0], strict=True)) == {"1": 0, "2": 2, "3-4": 1}
    ends = [part for part in parts if isinstance(part, Pictures) and part.captions]
    values = [[float(picture.caption.split(":")[0]) for picture in row] for part in ends for row in part.rows]
    assert all(row == sorted(row) or row == sorted(row, reverse=True) for row in values)
    assert document.results["without_face"] == 1


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=50))
def test_everybody_is_in_one_bar(counts: list[int]) -> None:
    names, values = _per_person(np.array(counts))
    assert sum(values) == len(counts)
    assert values[-1] > 0
    assert names[:2] == ["1", "2"][: len(names)]


def test_a_zip_is_read_too(lfw: zipfile.ZipFile, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "few.zip", "w") as few:
        for number in (1, 2):
            few.writestr(
                f"x/Abdullah/Abdullah_{number:04d}.jpg", lfw.read(f"lfw-dev/Abdullah/Abdullah_{number:04d}.jpg")
            )
    seen = inspect_photos(open_photos(tmp_path / "few.zip"), Analyzer(threads=1, precision="f32"), face="central")
    assert seen.found.all()
    assert seen.vectors[0] @ seen.vectors[1] > 0.4
