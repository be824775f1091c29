"""Names of tracks: once said, once corrected at most, and what a template of several looks is worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import InputError
from visavis.video.identity import UNSEEN, Answer, Candidate, Identity, Naming, Person

HOW = Naming()
THRESHOLD = 0.45


def answer(**similarities: float) -> Answer:
    ranked = sorted(similarities.items(), key=lambda one: -one[1])
    return Answer(tuple(Candidate(name, value, 10 ** (-10 * value)) for name, value in ranked), THRESHOLD)


def looked(number: int, how: Naming = HOW, quality: float = 0.4, *, clear: bool = True) -> Identity:
    track = Identity()
    look(track, number, how, quality, clear=clear)
    return track


def look(track: Identity, number: int, how: Naming = HOW, quality: float = 0.4, *, clear: bool = True) -> None:
    for _ in range(number):
        track.add(
            quality, np.array([1.0, 0.0], np.float32), track.looked + 1 if track.embedded else 0.0, how, clear=clear
        )


def test_a_name_needs_two_looks() -> None:
    track = looked(1)
    track.hear(answer(ada=0.7), HOW)
    assert track.person == UNSEEN
    look(track, 1)
    track.hear(answer(ada=0.7, bob=0.3), HOW)
    assert track.person == Person("ada", 0.7, pytest.approx(1e-7), known=True)


def test_below_the_threshold_is_no_name() -> None:
    track = looked(2)
    track.hear(answer(ada=0.449), HOW)
    assert track.person == UNSEEN
    track.hear(answer(ada=0.45), HOW)
    assert track.person.subject == "ada"


def test_unknown_needs_three_looks_one_of_them_clear() -> None:
    for number, clear, known in ((2, True, False), (3, True, True), (9, False, False)):
        track = looked(number, clear=clear)
        track.hear(answer(ada=0.1), HOW)
        assert track.person == Person(known=known), (number, clear)


def test_a_name_may_come_after_unknown_and_corrects_nothing() -> None:
    track = looked(3)
    track.hear(answer(), HOW)
    assert track.person.known
    track.hear(answer(ada=0.6), HOW)
    assert (track.person.subject, track.person.corrects) == ("ada", None)


def test_a_correction_needs_a_margin_and_further_looks() -> None:
    track = looked(2)
    track.hear(answer(ada=0.5), HOW)
    track.hear(answer(bob=0.9, ada=0.2), HOW)
    assert track.person.subject == "ada", "no further look"
    look(track, 2)
    track.hear(answer(bob=0.59, ada=0.5), HOW)
    assert track.person.subject == "ada", "no margin"
    track.hear(answer(bob=0.61, ada=0.5), HOW)
    assert track.person == Person("bob", 0.61, pytest.approx(10**-6.1), known=True, corrects="ada")
    look(track, 9)
    track.hear(answer(cid=0.99, bob=0.1), HOW)
    assert track.person.subject == "bob", "corrected once already"


def test_a_name_not_among_the_candidates_is_less_similar_than_they() -> None:
    track = looked(2)
    track.hear(answer(ada=0.5), HOW)
    look(track, 2)
    track.hear(answer(bob=0.6, cid=0.55), HOW)
    assert track.person.subject == "ada", "it may be as similar as cid"
    track.hear(answer(bob=0.66, cid=0.55), HOW)
    assert track.person.subject == "bob"


def test_a_name_whose_similarity_falls_far_is_taken_back() -> None:
    track = looked(2)
    track.hear(answer(ada=0.5), HOW)
    track.hear(answer(ada=0.2), HOW)
    assert (track.person.subject, track.person.similarity) == ("ada", 0.2), "no further look"
    look(track, 2)
    track.hear(answer(ada=0.41), HOW)
    assert track.person.subject == "ada", "not far below the threshold"
    track.hear(answer(ada=0.39), HOW)
    assert track.person == Person(known=True, corrects="ada")
    track.hear(answer(ada=0.9), HOW)
    assert track.person.subject is None, "it doesn't come back"


def test_a_name_that_none_answers_stays() -> None:
    track = looked(9)
    track.hear(answer(ada=0.5), HOW)
    look(track, 9)
    track.hear(answer(), HOW)
    assert track.person.subject == "ada"


def test_the_name_of_a_face_beside_it_is_got_by_a_margin_only() -> None:
    track = looked(2)
    track.hear(answer(ada=0.6, bob=0.5), HOW, {"ada": 0.55})
    assert track.person.subject == "bob", "it can't be ada, who is there"
    track = looked(3)
    track.hear(answer(ada=0.7, bob=0.5), HOW, {"ada": 0.8})
    assert track.person == Person(known=True), "a photo of ada is not bob"
    track = looked(2)
    track.hear(answer(ada=0.66, bob=0.5), HOW, {"ada": 0.55})
    assert track.person.subject == "ada"
    track = looked(3)
    track.hear(answer(ada=0.9), HOW, {"ada": float("inf")})
    assert track.person == Person(known=True)


def test_who_gives_way_gets_no_name_again() -> None:
    track = looked(3)
    track.hear(answer(ada=0.5), HOW)
    assert track.can_give_way
    track.give_way()
    assert track.person == Person(known=True, corrects="ada")
    look(track, 5)
    track.hear(answer(bob=0.9), HOW)
    assert track.person.subject is None
    assert not track.can_give_way


def test_nothing_is_left_of_who_was_erased() -> None:
    track = looked(4)
    track.hear(answer(ada=0.5), HOW)
    track.forget()
    assert track.person == Person(known=True)
    track.hear(answer(bob=0.6), HOW)
    assert track.person == Person("bob", 0.6, pytest.approx(1e-6), known=True)


NAMES = st.sampled_from(["ada", "bob", "cid"])
ANSWERS = st.dictionaries(NAMES, st.floats(-1, 1), max_size=3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("look"), st.floats(0.01, 1), st.booleans()),
        st.tuples(
            st.just("hear"), ANSWERS, st.dictionaries(NAMES, st.floats(-1, 1) | st.just(float("inf")), max_size=2)
        ),
        st.tuples(st.just("give way")),
    ),
    max_size=60,
)


@given(steps=STEPS, margin=st.floats(0, 0.5), more=st.integers(0, 4))
def test_a_name_is_said_once_and_corrected_once_at_most(steps: list[tuple], margin: float, more: int) -> None:
    how = Naming(margin=margin, more=more)
    track, said, was_known = Identity(), [], False
    before = track.person
    for what, *given_ in steps:
        if what == "look":
            look(track, 1, how, given_[0], clear=given_[1])
        elif what == "hear":
            track.hear(answer(**given_[0]), how, given_[1])
        elif track.can_give_way:
            track.give_way()
        person = track.person
        if person.subject != before.subject:
            said.append(person.subject)
            if len(said) > 1:
                assert person.corrects == said[0]
            else:
                assert person.corrects is None
        assert person.known or not was_known, "what was known stays so"
        assert person.subject is None or person.known
        assert (person.similarity is None) == (person.subject is None)
        was_known, before = person.known, person
    assert len(said) <= 2
    assert len(set(said)) == len(said), "no name comes back"
    assert not said or said[0] is not None


@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.integers(0, 9)), min_size=1, max_size=9),
    st.integers(1, 6),
    st.integers(0, 99),
)
def test_similarity_with_the_template_is_the_mean_of_the_best_looks(looks: list, keep: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(11, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    how, track = Naming(keep=keep), Identity()
    for i, (quality, which) in enumerate(looks):
        track.add(quality, vectors[which], float(i), how)
    unit, length = track.template()
    assert np.linalg.norm(unit) == pytest.approx(1, abs=1e-5)
    best = sorted(looks, key=lambda one: -one[0])[:keep]
    expected = np.average([vectors[w] @ vectors[10] for _, w in best], weights=[q for q, _ in best])
    assert length <= 1 + 1e-6
    assert unit @ vectors[10] * length == pytest.approx(expected, abs=1e-5)


def test_looks_that_cancel_out_leave_the_best() -> None:
    track = Identity()
    track.add(0.5, np.array([1.0, 0.0], np.float32), 0.0, HOW)
    track.add(0.5, np.array([-1.0, 0.0], np.float32), 1.0, HOW)
    unit, length = track.template()
    assert unit.tolist() == [1.0, 0.0]
    assert length == 1.0


def test_looks_grow_rare() -> None:
    """0.2 s after the first, twice as long after each further one: nine in a minute, where none is better."""
    track, times = Identity(), []
    for frame in range(60 * 25):
        if track.wants(0.4, frame / 25, HOW):
            track.add(0.4, np.array([1.0, 0.0], np.float32), frame / 25, HOW)
            times.append(frame / 25)
    assert times[:5] == pytest.approx([0.0, 0.2, 0.6, 1.4, 3.0], abs=0.05)
    assert len(times) == 9


def test_a_better_look_is_wanted_at_once() -> None:
    track = looked(5, quality=0.4)
    assert not track.wants(0.49, track.looked + 0.04, HOW)
    assert track.wants(0.51, track.looked + 0.04, HOW)
    assert track.improves(0.41, HOW)
    assert not track.improves(0.4, HOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"looks": 0},
        {"keep": 0},
        {"more": -1},
        {"apart": -1},
        {"apart": float("inf")},
        {"margin": float("nan")},
        {"fall": -0.1},
        {"better": 0.9},
        {"fmr": 1e-4, "threshold": 0.5},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Naming(**wrong)  # type: ignore[arg-type]
