"""Following real faces: a clip of one person, photos moved by hand; a gallery that changes meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from visavis import open_gallery
from visavis.errors import CalibrationError, GalleryBusy, InputError, ModelMismatch
from visavis.events.event import Event
from visavis.events.timeline import visits
from visavis.gallery import Gallery
from visavis.image import load_image, resize
from visavis.models.store import Store
from visavis.pipeline import Analyzer
from visavis.types import Embeddings, Faces, Image
from visavis.video.following import Follower, Following, Seen, smallest_face, video_analyzer
from visavis.video.frames import Frame, frames
from visavis.video.identity import UNSEEN, Naming
from visavis.video.lookout import Lookout
from visavis.video.naming import require_names
from visavis.video.places import Line, Zone

START = datetime(2026, 5, 1, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def store_(home: Path) -> Store:
    return Store(home)


@pytest.fixture(scope="module")
def analyzer(store_: Store) -> Analyzer:
    return Analyzer(threads=1, precision="f32", min_face=28, store=store_)


@pytest.fixture(scope="module")
def clip(store_: Store) -> list[Frame]:
    """Return the first two seconds of the carphone clip."""
    return [frame for frame in frames(store_.path("carphone")) if frame.number < 60]


@pytest.fixture(scope="module")
def found(clip: list[Frame], analyzer: Analyzer) -> list[Faces]:
    return [analyzer.detect([frame.image])[0] for frame in clip]


@pytest.fixture(scope="module")
def photo(store_: Store) -> Callable[[str], Image]:
    """Return a function: a sample photo, 300 pixels high."""

    def load(name: str) -> Image:
        image = load_image(store_.path(name))
        return resize(image, round(image.shape[1] * 300 / image.shape[0]), 300)

    return load


@pytest.fixture
def people(tmp_path: Path, analyzer: Analyzer) -> Iterator[Gallery]:
    with open_gallery(tmp_path / "people.db", analyzer=analyzer) as gallery:
        yield gallery


def still(image: Image, number: int, start: float = 0.0, rate: float = 10.0) -> list[Frame]:
    """Return frames in which nothing moves."""
    return [Frame(i, start + i / rate, image) for i in range(number)]


def run(follower: Follower, source: list[Frame], faces: list[Faces] | None = None) -> list[Seen]:
    return [follower.step(frame, faces and faces[i]) for i, frame in enumerate(source)] + [follower.finish()]


def subjects(seen: Seen) -> list[str | None]:
    return [seen.people[track].subject for track in sorted(seen.people)]


def test_one_person_is_one_track_with_one_name_and_few_embeddings(
    clip: list[Frame], found: list[Faces], analyzer: Analyzer, people: Gallery
) -> None:
    people.enroll("ada", clip[50].image)
    seen = run(Follower(analyzer, people), clip, found)
    assert {track for one in seen for track in one.people} == {1}
    names = [one.people[1].subject for one in seen if 1 in one.people]
    assert names == [None] * names.count(None) + ["ada"] * names.count("ada"), "no name goes"
    assert names.index("ada") <= 10, "known within 0.3 s"
    assert sum(one.embedded for one in seen) <= 6
    assert seen[-1].people[1].fmr <= 1e-5
    assert [track.id for one in seen for track in one.ended] == [1]
    assert seen[0].size == (193, 144), "square pixels"


def test_without_a_recognizer_tracks_have_no_names(clip: list[Frame], store_: Store, people: Gallery) -> None:
    people.enroll("ada", clip[50].image)
    eyes = Analyzer(recognizer=None, threads=1, precision="f32", min_face=28, store=store_)
    seen = run(Follower(eyes, people), clip[:12])
    assert seen[-2].people == {1: UNSEEN}
    assert sum(one.embedded for one in seen) == 0


def test_faces_are_looked_for_in_every_nth_frame(clip: list[Frame], analyzer: Analyzer) -> None:
    seen = run(Follower(analyzer, None, Following(detect_every=3)), clip[:30])
    assert [one.looked for one in seen[:-1]] == [i % 3 == 0 for i in range(30)]
    between = [one for one in seen[10:-1] if not one.looked]
    assert all(one.faces.track_ids is not None and one.faces.track_ids.tolist() == [1] for one in between)
    near = analyzer.detect([clip[28].image])[0].boxes[0]
    assert np.abs(seen[28].faces.boxes[0] - near).max() < 6


def test_frames_without_faces(analyzer: Analyzer, people: Gallery, photo: Callable[[str], Image]) -> None:
    people.enroll("obama", photo("obama"))
    empty = np.zeros((120, 160, 3), np.uint8)
    for one in run(Follower(analyzer, people), still(empty, 5)):
        assert (len(one.faces), one.people, one.ended, one.embedded) == (0, {}, (), 0)


def test_a_person_enrolled_meanwhile_is_recognized(
    clip: list[Frame], found: list[Faces], analyzer: Analyzer, people: Gallery, photo: Callable[[str], Image]
) -> None:
    people.enroll("obama", photo("obama"))
    follower = Follower(analyzer, people)
    before = [follower.step(*one) for one in zip(clip[:30], found[:30], strict=True)]
    assert before[-1].people[1].known
    assert subjects(before[-1]) == [None]
    with open_gallery(people._database.path, analyzer=analyzer) as other:  # as another process would
        other.enroll("ada", clip[50].image)
    after = follower.step(clip[30], found[30])
    assert subjects(after) == ["ada"]
    assert after.people[1].corrects is None, "nobody was named before"


def test_an_erased_persons_name_goes_from_running_tracks(
    clip: list[Frame], found: list[Faces], analyzer: Analyzer, people: Gallery, photo: Callable[[str], Image]
) -> None:
    people.enroll("ada", clip[50].image)
    people.enroll("obama", photo("obama"))
    watched = Lookout("car", analyzer, people, start=START)
    events = [e for f, faces in zip(clip[:20], found[:20], strict=True) for e in watched.step(f, faces=faces)[1]]
    assert [event.subject for event in events if event.kind == "identified"] == ["ada"]
    people.erase("ada")
    later = [watched.step(f, faces=faces) for f, faces in zip(clip[20:], found[20:], strict=True)]
    later.append(watched.finish())
    assert not any("ada" in subjects(seen) for seen, _ in later)
    assert not any("ada" in event.to_dict().values() for _, events in later for event in events)
    assert [event.kind for _, events in later for event in events] == ["left"]


def test_a_renamed_person_has_the_new_name(
    clip: list[Frame], found: list[Faces], analyzer: Analyzer, people: Gallery
) -> None:
    people.enroll("ada", clip[50].image)
    follower = Follower(analyzer, people)
    assert subjects([follower.step(*one) for one in zip(clip[:20], found[:20], strict=True)][-1]) == ["ada"]
    people.rename("ada", "countess")
    assert subjects(follower.step(clip[20], found[20])) == ["countess"]


def test_a_gallery_that_vanishes_is_told_and_comes_back(
    clip: list[Frame], found: list[Faces], analyzer: Analyzer, people: Gallery, tmp_path: Path
) -> None:
    people.enroll("ada", clip[50].image)
    follower = Follower(analyzer, people)
    place = tmp_path / "people.db"
    assert follower.step(clip[0], found[0]).problem is None
    place.rename(tmp_path / "away.db")
    away = [follower.step(*one) for one in zip(clip[1:20], found[1:20], strict=True)]
    assert {one.problem for one in away} == {f"{place}: the gallery is gone or can't be read; put it back"}
    assert subjects(away[-1]) == [None]
    assert len(away[-1].faces) == 1, "tracks go on"
    (tmp_path / "away.db").rename(place)
    back = [follower.step(*one) for one in zip(clip[20:], found[20:], strict=True)]
    assert back[-1].problem is None
    assert subjects(back[-1]) == ["ada"]


def test_a_gallery_made_anew_in_its_place_is_taken(
    clip: list[Frame], found: list[Faces], analyzer: Analyzer, people: Gallery, tmp_path: Path
) -> None:
    people.enroll("ada", clip[50].image)
    follower = Follower(analyzer, people)
    follower.step(clip[0], found[0])
    (tmp_path / "people.db").unlink()
    follower.step(clip[1], found[1])
    with open_gallery(tmp_path / "people.db", analyzer=analyzer) as other:
        other.enroll("bea", clip[50].image)
    rest = [follower.step(*one) for one in zip(clip[2:], found[2:], strict=True)]
    assert rest[-1].problem is None
    assert subjects(rest[-1]) == ["bea"]


def test_a_busy_gallery_is_asked_again_a_second_later(
    clip: list[Frame], found: list[Faces], analyzer: Analyzer, people: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.enroll("ada", clip[50].image)
    asked: list[float] = []

    def locked(*_: object, **__: object) -> None:
        asked.append(follower._last)
        raise GalleryBusy("people.db: another process holds the gallery")

    follower = Follower(analyzer, people)
    with monkeypatch.context() as busy:
        busy.setattr(Gallery, "identify", locked)
        during = [follower.step(*one) for one in zip(clip[:40], found[:40], strict=True)]
    assert during[-1].problem == "people.db: another process holds the gallery"
    assert subjects(during[-1]) == [None]
    assert len(asked) == 2, "not in each frame"
    assert 1.0 <= asked[1] - asked[0] < 1.1
    rest = [follower.step(*one) for one in zip(clip[40:], found[40:], strict=True)]
    assert subjects(rest[-1]) == [None], "its second is not over"
    later = follower.step(replace(clip[59], time=clip[59].time + 0.7), found[59])
    assert (later.problem, subjects(later)) == (None, ["ada"])


def test_a_closed_gallery_is_a_problem_and_no_crash(
    clip: list[Frame], found: list[Faces], analyzer: Analyzer, people: Gallery
) -> None:
    people.enroll("ada", clip[50].image)
    follower = Follower(analyzer, people)
    people.close()
    seen = run(follower, clip[:12], found)
    assert all("closed" in str(one.problem) for one in seen[:-1])
    assert subjects(seen[-2]) == [None]


def test_a_gallery_of_another_model_is_refused_at_the_start(tmp_path: Path, analyzer: Analyzer) -> None:
    with open_gallery(tmp_path / "people.db") as people:
        require_names(people, analyzer)  # people may come
        people.enroll("ada", Embeddings(np.eye(1, 128, dtype=np.float32), "dlib-resnet"))
        with pytest.raises(ModelMismatch, match=r"holds templates of dlib-resnet, none of 'sface'"):
            require_names(people, analyzer)
        people.enroll("ada", Embeddings(np.eye(1, 128, dtype=np.float32), "sface"))
        require_names(people, analyzer)
        require_names(people, analyzer, Naming(threshold=0.5))
        with pytest.raises(CalibrationError):
            require_names(people, analyzer, Naming(fmr=1e-12))
        with pytest.raises(InputError):
            require_names(people, analyzer, Naming(threshold=2.0))


def test_one_name_is_one_face_of_a_frame(analyzer: Analyzer, people: Gallery, photo: Callable[[str], Image]) -> None:
    people.enroll("obama", photo("obama"))
    both = np.concatenate([photo("obama2"), photo("obama")], axis=1)
    watched = Lookout("desk", analyzer, people, start=START)
    steps = [watched.step(frame) for frame in still(both, 12)]
    seen = steps[-1][0]
    assert len(seen.faces) == 2
    assert sorted(subjects(seen), key=str) == [None, "obama"]
    same = next(track for track, person in seen.people.items() if person.subject)
    box = seen.faces.boxes[seen.faces.track_ids.tolist().index(same)]  # type: ignore[union-attr]
    assert box[0] > photo("obama2").shape[1], "the very photo that was enrolled is the more similar"
    assert [event.subject for _, events in steps for event in events if event.kind == "identified"] == ["obama"]


def test_a_name_given_to_two_while_apart_stays_with_the_more_similar(
    analyzer: Analyzer, people: Gallery, photo: Callable[[str], Image]
) -> None:
    """First the one who looks like obama alone, then the enrolled face alone, then both in one frame."""
    people.enroll("obama", photo("obama"))
    one, other = photo("obama2"), photo("obama")
    parts = [(one, np.zeros_like(other)), (np.zeros_like(one), other), (one, other)]
    pictures = [np.concatenate(part, axis=1) for part in parts]
    watched = Lookout("desk", analyzer, people, start=START)
    source = [Frame(i, i / 10, pictures[0 if i < 5 else 1 if i < 10 else 2]) for i in range(16)]
    events = [event for frame in source for event in watched.step(frame)[1]]
    named = [(e.kind, e.track, e.subject, e.corrects) for e in events if e.kind in ("identified", "unknown")]
    if len({track for _, track, *_ in named}) == 1:
        pytest.fail("one track went over to the other face, which resembles it")
    assert named == [("identified", 1, "obama", None), ("identified", 2, "obama", None), ("unknown", 1, None, "obama")]
    assert [visit.subject for visit in visits(events)] == [None, "obama"]


def test_when_time_goes_back_all_begins_anew(clip: list[Frame], found: list[Faces], analyzer: Analyzer) -> None:
    watched = Lookout("car", analyzer, None, start=START)
    twice = [*zip(clip[:10], found[:10], strict=True)] * 2
    events = [event for frame, faces in twice for event in watched.step(frame, faces=faces)[1]]
    events += watched.finish()[1]
    assert [(event.kind, event.track) for event in events] == [
        ("appeared", 1),
        ("left", 1),
        ("appeared", 2),
        ("left", 2),
    ]


def test_when_time_leaps_ahead_the_track_has_ended(clip: list[Frame], found: list[Faces], analyzer: Analyzer) -> None:
    follower = Follower(analyzer)
    seen = run(follower, [*clip[:10], *(replace(frame, time=frame.time + 60) for frame in clip[10:20])], found)
    assert [track.id for track in seen[10].ended] == [1]
    assert {track for one in seen[11:] for track in one.people} == {2}


def test_when_the_frame_changes_its_size_all_begins_anew(clip: list[Frame], analyzer: Analyzer) -> None:
    small = clip[:8]
    large = [replace(frame, image=resize(frame.image, 352, 288)) for frame in clip[8:16]]
    seen = run(Follower(analyzer), [*small, *large])
    assert [track.id for track in seen[8].ended] == [1]
    assert seen[8].size == (352, 288)
    assert {track for one in seen[9:] for track in one.people} == {2}


def test_after_the_end_frames_may_come_again(clip: list[Frame], found: list[Faces], analyzer: Analyzer) -> None:
    follower = Follower(analyzer)
    first = run(follower, clip[:6], found)
    again = run(follower, clip[:6], found)
    assert [track.id for track in first[-1].ended] == [1]
    assert [track.id for track in again[-1].ended] == [2]


def test_a_whole_visit_with_places(clip: list[Frame], found: list[Faces], analyzer: Analyzer, people: Gallery) -> None:
    people.enroll("ada", clip[50].image)
    whole = Zone("car", ((0, 0), (1, 0), (1, 1), (0, 1)), 1.0)
    watched = Lookout("car", analyzer, people, start=START, zones=[whole], lines=[Line("far", (0.01, 0), (0.01, 1))])
    events: list[Event] = []
    for frame, faces in zip(clip, found, strict=True):
        events += watched.step(frame, 1_777_600_000.0 + frame.time, faces)[1]
    events += watched.finish()[1]
    assert [event.kind for event in events] == ["appeared", "identified", "dwell", "left"]
    assert [event.place for event in events] == [None, None, "car", None]
    assert events[-1].time.timestamp() == pytest.approx(1_777_600_000.0 + clip[-1].time, abs=1e-3)
    assert len({event.run for event in events}) == 1


def test_the_smallest_face_looked_for_goes_by_the_frame(store_: Store) -> None:
    sizes = [smallest_face(w, h) for w, h in ((176, 144), (1280, 720), (1080, 1920), (7680, 4320))]
    assert sizes == pytest.approx([28, 37.33, 56, 224], abs=0.01)
    assert smallest_face(1920, 1080, share=10) == 108
    made = video_analyzer(1920, 1080, recognizer=None, store=store_)
    assert made._settings["min_face"] == 56
    assert made.options.threads == 1
    assert video_analyzer(1920, 1080, min_face=20, store=store_)._settings["min_face"] == 20


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="detect_every"):
        Following(detect_every=0)
    with pytest.raises(InputError, match="time zone"):
        Lookout("car", None, start=datetime(2026, 5, 1))  # type: ignore[arg-type]


def test_a_cut_to_somebody_else_in_the_same_place_begins_another_track(
    analyzer: Analyzer, store_: Store, tmp_path: Path, lfw_photo: Callable[[str, int], bytes]
) -> None:
    people = {"Colin_Powell": (1, 2), "Hugo_Chavez": (3, 4)}
    with open_gallery(tmp_path / "people.db", analyzer=analyzer) as gallery:
        for name, (enrolled, _) in people.items():
            gallery.enroll(name, load_image(lfw_photo(name, enrolled)))
        lookout = Lookout("film", analyzer, gallery, start=START)
        events: list[Event] = []
        for number in range(150):
            name = "Colin_Powell" if number < 60 else "Hugo_Chavez"
            image = load_image(lfw_photo(name, people[name][1]))
            events += lookout.step(Frame(number, number / 25, image))[1]
        events += lookout.finish()[1]
    found = visits(events)
    assert [(visit.subject, round((visit.start - START).total_seconds(), 1)) for visit in found] == [
        ("Colin_Powell", 0.0),
        ("Hugo_Chavez", 2.4),
    ]
    assert (found[0].end - START).total_seconds() == pytest.approx(59 / 25)
    assert sum(event.kind == "left" for event in events) == 2


def test_a_light_switched_on_ends_no_track(analyzer: Analyzer, lfw_photo: Callable[[str, int], bytes]) -> None:
    follower = Follower(analyzer)
    image = load_image(lfw_photo("Colin_Powell", 1))
    dark = (image * 0.5).astype(np.uint8)
    assert float(np.abs(image.astype(int) - dark).mean()) > 30, "as much as at a cut"
    ids = set()
    for number in range(40):
        seen = follower.step(Frame(number, number / 25, dark if 15 <= number < 30 else image))
        ids |= set([] if seen.faces.track_ids is None else seen.faces.track_ids.tolist())
    assert ids == {1}
