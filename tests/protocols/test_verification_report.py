"""What the report of verification shows, against the result it was made from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from visavis.errors import InputError
from visavis.evaluation.rates import Scores
from visavis.protocols.verification import Verified, verify_scores
from visavis.protocols.verification_report import verification_document
from visavis.reporting.document import Document, Figure, Table
from visavis.reporting.page import write

FARS = (0.1, 0.01)


def scores(seed: int = 0, shift: float = 2.5) -> Scores:
    rng = np.random.default_rng(seed)
    mated = np.arange(1200) % 2 == 0
    return Scores(rng.normal(mated * shift, 1) / 10, mated, folds=np.arange(1200) // 120)


@pytest.fixture(scope="module")
def verified() -> Verified:
    return verify_scores("mine <b>", scores(), FARS)


@pytest.fixture(scope="module")
def document(verified: Verified) -> Document:
    return verification_document([verified], "my scores", [("command", "visavis evaluate verification")])


def _figure(document: Document, title: str) -> Figure:
    parts = [part for section in document.sections for part in section.parts]
    return next(part for part in parts if isinstance(part, Figure) and part.title.startswith(title))


def test_curves_are_those_of_the_pairs(document: Document) -> None:
    given = scores()
    similarities, mated = np.asarray(given.similarities), np.asarray(given.mated)
    roc = _figure(document, "Receiver").curves[0]
    far = np.array([(similarities[~mated] >= t).mean() for t in np.unique(similarities)])
    tar = np.array([(similarities[mated] >= t).mean() for t in np.unique(similarities)])
    points = {(round(a, 9), round(b, 9)) for a, b in zip(far.tolist(), tar.tolist(), strict=True)}
    assert len(roc.x) > 50
    assert {(round(a, 9), round(b, 9)) for a, b in zip(roc.x.tolist(), roc.y.tolist(), strict=True)} <= points
    for curve in _figure(document, "Error rates").curves:
        kind = ~mated if curve.name == "FMR" else mated
        for threshold, rate in list(zip(curve.x.tolist(), curve.y.tolist(), strict=True))[::25]:
            accepted = (similarities[kind] >= threshold).mean()
            assert rate == pytest.approx(accepted if curve.name == "FMR" else 1 - accepted, abs=1e-9)


def test_histograms_hold_every_pair(document: Document) -> None:
    for curve in _figure(document, "Similarities").curves:
        assert curve.y.min() >= 0
        assert curve.y.sum() == pytest.approx(1, abs=0.02)


def test_the_table_says_what_was_measured(document: Document, verified: Verified) -> None:
    tables = [part for section in document.sections for part in section.parts if isinstance(part, Table)]
    rows = next(table.rows for table in tables if table.title == "TAR at a FAR")
    for row, rate in zip(rows, verified.result.rates, strict=True):
        assert rate.tar is not None
        assert row[3].startswith(f"{100 * rate.tar.value:.2f} %")


def test_page_and_json(tmp_path: Path, document: Document, verified: Verified) -> None:
    write(document, tmp_path / "r.html")
    assert "mine &lt;b&gt;" in (tmp_path / "r.html").read_text("utf-8")
    found = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert str(verified.result.eer.value) in json.dumps(found["results"])
    assert "NaN" not in (tmp_path / "r.json").read_text("utf-8")


def test_constant_scores_are_shown(tmp_path: Path) -> None:
    one = verify_scores("same", Scores(np.full(40, 0.5), np.arange(40) % 2 == 0), FARS)
    write(verification_document([one], "constant", []), tmp_path / "r.html")
    assert "NaN" not in (tmp_path / "r.json").read_text("utf-8")


def test_what_is_no_evaluation() -> None:
    with pytest.raises(InputError):
        verify_scores("nan", Scores(np.array([0.1, np.nan]), np.array([True, False])), FARS)
    with pytest.raises(InputError):
        verify_scores("one", Scores(np.array([0.1, 0.2]), np.array([True, True])), FARS)
