"""visavis calibrate on real photos: what it writes, who uses it then, how it goes again, and what it warns of."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run
from visavis.models.store import Store
from visavis.protocols.embedding import Embedded

PEOPLE = 12


@pytest.fixture
def own_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a home of this test's own that has the run's models, so that nothing of it reaches other tests."""
    own = tmp_path / "home"
    own.mkdir()
    Store(home).path("sface")
    Store(home).path("yunet")
    for folder in ("models", "compiled"):
        if (home / folder).exists():
            (own / folder).symlink_to(home / folder, target_is_directory=True)
    monkeypatch.setenv("VISAVIS_HOME", str(own))
    return own


@pytest.fixture(scope="module")
def staff(lfw: zipfile.ZipFile, lfw_names: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two photos of each of a dozen people."""
    folder = tmp_path_factory.mktemp("staff")
    by_person: dict[str, list[str]] = {}
    for name in lfw_names:
        by_person.setdefault(name.split("/")[1], []).append(name)
    several = [(person, names) for person, names in by_person.items() if len(names) >= 2][:PEOPLE]
    for person, names in several:
        (folder / person).mkdir()
        for name in names[:2]:
            (folder / person / Path(name).name.lower()).write_bytes(lfw.read(name))  # no longer LFW's own layout
    return folder


@pytest.fixture
def vectors(tmp_path: Path) -> tuple[Path, Path]:
    """Return embeddings of 200 made-up people with their labels: enough for rates down to 1e-4."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(200), 2)
    raw = rng.normal(size=(200, 128))[who] + 0.8 * rng.normal(size=(400, 128))
    names = tuple(f"p{i:03d}" for i in range(400))
    unit = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    Embedded(names, unit, np.ones(400, bool), "sface").save(tmp_path / "mine.npz")
    (tmp_path / "people.csv").write_text(
        "photo,person\n" + "".join(f"{name},person {owner}\n" for name, owner in zip(names, who, strict=True))
    )
    return tmp_path / "mine.npz", tmp_path / "people.csv"


@pytest.mark.usefixtures("own_home")
def test_photos_are_measured_used_by_another_process_and_forgotten(staff: Path, run: Run, outside: Run) -> None:
    made = run("calibrate", staff, "--name", "front door", "--fmr", "0.02", "--json")
    assert made.code == 0
    document = made.json
    assert (document["people"], document["photos"], document["model"]) == (PEOPLE, 2 * PEOPLE, "sface")
    assert document["nonmated_pairs"] == 2 * PEOPLE * (2 * PEOPLE - 2) // 2
    assert document["points"][-1]["fmr"] >= document["least_fmr"]
    assert document["written"] is True

    a, b = sorted(next(path for path in sorted(staff.iterdir())).iterdir())
    second = outside("verify", a, b, "--fmr", "0.05")
    facts = dict(second.rows[1:])
    assert facts["FMR of threshold"].endswith("pairs of different people, measured on front door")
    point = next(point for point in document["points"] if point["fmr"] == 0.05)
    assert float(facts["threshold"]) == pytest.approx(point["threshold"], abs=1e-3)
    assert "was not measured" in outside("verify", a, b).err  # the default of 1e-4 is beyond a dozen people
    assert "sface on front door" in outside("models", "show", "sface").out

    assert run("calibrate", "--remove", "sface", "--name", "front door").code == 0
    assert dict(run("verify", a, b).rows[1:])["FMR of threshold"].endswith("on lfw-dev")
    assert run("calibrate", "--remove", "sface").code == 2


@pytest.mark.usefixtures("own_home")
def test_what_the_data_can_not_support_is_told(staff: Path, run: Run) -> None:
    result = run("calibrate", staff, "--dry-run")
    assert result.code == 0
    assert "an FMR of 0.0001 can't be shown by 264 pairs" in result.err
    assert "30,000 would be needed" in result.err
    assert f"only {PEOPLE} people" in result.err
    assert Store().calibrations("sface") == ()
    assert [float(row[0]) for row in result.rows] == sorted((float(row[0]) for row in result.rows), reverse=True)


@pytest.mark.usefixtures("own_home")
def test_a_photo_under_two_names_and_one_that_can_not_be_read(staff: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "staff"
    shutil.copytree(staff, folder)
    first, second = sorted(folder.iterdir())[:2]
    shutil.copy(next(first.iterdir()), second / "copied.jpg")
    (second / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    page = tmp_path / "report.html"
    result = run("calibrate", folder, "--dry-run", "--report", page)
    assert result.code == 1
    assert "skipped" in result.err
    assert f"suspicious: {first.name}/" in result.err
    assert "copied.jpg, similarity 1.000" in result.err
    written = json.loads(page.with_suffix(".json").read_text("utf-8"))
    assert "copied.jpg" in json.dumps(written)
    assert "Suspicious pairs" in page.read_text("utf-8")


@pytest.mark.usefixtures("own_home")
def test_embeddings_of_any_making_with_labels(vectors: tuple[Path, Path], run: Run) -> None:
    file, labels = vectors
    result = run("calibrate", "--embeddings", file, "--labels", labels, "--name", "lab", "--json")
    assert result.code == 0
    (table,) = Store().calibrations("sface")
    assert (table.model, table.data, table.people) == ("sface", "lab", 200)
    strictest = result.json["points"][-1]["fmr"]
    assert strictest == table.fmr[-1] == 5e-5  # of the rates in the table the last above 3 in 79,600
    again = run("calibrate", "--embeddings", file, "--labels", labels, "--name", "lab two", "--flip")
    assert again.code == 2
    assert "holds embeddings of 'sface'" in again.err
    assert run("calibrate", "--embeddings", file, "--labels", labels, "--recognizer", "dlib-resnet").code == 2


@pytest.mark.usefixtures("own_home")
def test_identify_says_what_it_was_measured_on(
    vectors: tuple[Path, Path], staff: Path, tmp_path: Path, run: Run
) -> None:
    file, labels = vectors
    assert run("calibrate", "--embeddings", file, "--labels", labels, "--name", "lab").code == 0
    people = tmp_path / "people.db"
    person = sorted(staff.iterdir())[0]
    photos = sorted(person.iterdir())
    assert run("enroll", "ada", photos[0], "-g", people, "--force").code == 0
    document = run("identify", photos[1], "-g", people, "--json").json
    assert document["fmr_measured"]["data"] == "lab"


@pytest.mark.usefixtures("own_home")
def test_a_damaged_file_is_told_and_the_built_in_table_counts(
    own_home: Path, vectors: tuple[Path, Path], staff: Path, run: Run
) -> None:
    file, labels = vectors
    arguments = ("calibrate", "--embeddings", file, "--labels", labels, "--name", "lab")
    assert run(*arguments).code == 0
    path = own_home / "calibrations" / "sface.toml"
    path.write_text(path.read_text("utf-8")[:200], "utf-8")
    photos = sorted(sorted(staff.iterdir())[0].iterdir())
    result = run("verify", *photos)
    assert "are damaged" in result.err
    assert "warning" in result.err
    assert dict(result.rows[1:])["FMR of threshold"].endswith("on lfw-dev")
    assert "are damaged" in run("models", "ls").err
    refused = run(*arguments)
    assert refused.code == 2
    assert "visavis calibrate --remove sface" in refused.err
    assert run("calibrate", "--remove", "sface").code == 0
    assert run(*arguments).code == 0


@pytest.mark.usefixtures("own_home")
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda v: v[:18], "too few"),
        (lambda v: np.repeat(v[:1], len(v), axis=0), "tell nobody apart"),
        (lambda v: np.where(np.arange(len(v))[:, None] == 3, np.nan, v), "NaN"),
        (lambda v: v * 0, "too few"),
        (lambda v: v[:, :64], "128"),
    ],
)
def test_embeddings_that_say_nothing_are_refused(
    harm: object, said: str, vectors: tuple[Path, Path], tmp_path: Path, run: Run
) -> None:
    file, labels = vectors
    with np.load(file) as arrays:
        columns = dict(arrays)
    harmed = harm(columns["vectors"])  # type: ignore[operator]
    n = len(harmed)
    np.savez(
        tmp_path / "bad.npz", names=columns["names"][:n], vectors=harmed, found=columns["found"][:n], model="sface"
    )
    result = run("calibrate", "--embeddings", tmp_path / "bad.npz", "--labels", labels)
    assert result.code == 2
    assert said in result.err
    assert not Store().calibrations("sface")


@pytest.mark.usefixtures("own_home")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give DATA"),
        (["{staff}", "--fmr", "2"], "between 0 and 1"),
        (["--labels", "{labels}"], "give that too"),
        (["{staff}", "--labels", "{labels}", "--embeddings", "{file}"], "give DATA, or --labels"),
        (["{staff}", "--embeddings", "{file}"], "none of the photos"),
        (["{staff}", "--remove", "sface"], "leave out DATA"),
        (["--remove", "nobody"], "nothing was measured"),
        (["--embeddings", "{labels}", "--labels", "{labels}"], "holds no embeddings"),
        (["--embeddings", "{file}", "--labels", "{file}"], "UTF-8"),
        (["--embeddings", "{file}", "--labels", "{labels}", "--name", "a\tb"], "printable"),
        (["{staff}", "--report", "page.txt"], "HTML"),
        (["{staff}/nowhere"], "no data set"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], said: str, staff: Path, vectors: tuple[Path, Path], run: Run
) -> None:
    file, labels = vectors
    result = run("calibrate", *(text.format(staff=staff, file=file, labels=labels) for text in arguments))
    assert result.code == 2
    assert said in result.err
    assert len(result.err.splitlines()) == 1
