from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from visavis.errors import InputError
from visavis.models.cards import InputSpec, ModelCard, parse_cards
from visavis.models.convert import CONVERTERS

CARD = """
[toy]
task = "recognition"
title = "Toy"
license = "MIT"
commercial_use = true
member_sha256 = "{sha}"
[[toy.sources]]
registry = "pypi"
package = "toy"
version = "1"
kind = "wheel"
member = "toy/a.onnx"
sha256 = "{sha}"
[toy.input]
size = [112, 112]
[toy.calibration."toy+flip"]
data = "lfw"
mated_pairs = 10
nonmated_pairs = 100
points = [[0.1, 1e-1, 0.09, 0.11], [0.3, 1e-3, 0.0009, 0.0011]]
""".replace("{sha}", "ab" * 32)


def test_built_in_cards_are_complete(cards: dict[str, ModelCard]) -> None:
    assert {"yunet", "sface", "noto-sans-cjk", "obama", "biden", "six-people"} <= cards.keys()
    members: dict[str, str] = {}
    for name, card in cards.items():
        assert card.id == name
        assert card.sources or card.parts or card.library, name
        assert card.title and card.license and card.license_note, name  # noqa: PT018
        assert card.homepage or card.parts, name
        assert not card.converter or card.converter in CONVERTERS
        if card.task in ("detection", "recognition"):
            assert card.input is not None or not card.sources
            assert card.output and card.figures, name  # noqa: PT018
        for source in card.sources:
            assert source.sha256 and source.size, name  # noqa: PT018
            archive = f"{source.package} {source.version} {source.kind}"
            assert members.setdefault(archive, source.sha256) == source.sha256
    assert cards["sface"].dimension == 128
    assert cards["yunet"].input == InputSpec((0, 0), "bgr", multiple=32)


def test_a_card_and_its_calibration_are_read() -> None:
    card = parse_cards(CARD)["toy"]
    assert card.filename == "a.onnx"
    assert card.input == InputSpec((112, 112))
    table = card.calibrations["toy+flip"]
    assert (table.model, table.mated_pairs) == ("toy+flip", 10)
    np.testing.assert_array_equal(table.similarities, [0.1, 0.3])
    assert table.fmr_high is not None
    plain = card.to_dict()
    assert plain["calibration"]["toy+flip"]["points"][1] == [0.3, 1e-3, 0.0009, 0.0011]
    assert plain["sources"][0]["member"] == "toy/a.onnx"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('task = "recognition"', 'task = "magic"', "task 'magic' is none of detection"),
        ('title = "Toy"', "", "lacks or misstates 'title'"),
        ("[toy]", "[Toy]", "'Toy' is no model name"),
        ("commercial_use = true", 'commercial_use = "yes"', "commercial_use is true, false or left out"),
        ('member_sha256 = "a', 'member_sha256 = "x', "member_sha256 must be 64"),
        ('\nsha256 = "ab', '\nsha256 = "', "needs a SHA-256"),
        ('kind = "wheel"', 'kind = "tarball"', "'pypi' has no packages of kind 'tarball'"),
        ('version = "1"', "", "lacks or misstates"),
        ('version = "1"', 'version = "1"\nextra = 1', "lacks or misstates"),
        ("size = [112, 112]", "size = [112]", "lacks or misstates"),
        ("size = [112, 112]", "size = [112, -1]", "input size"),
        ("size = [112, 112]", "size = [112, 1e9]", "input size"),
        ("size = [112, 112]", 'size = [112, 112]\nlayout = "chwn"', "layout nchw or nhwc"),
        ("size = [112, 112]", "size = [112, 112]\nmean = [1, 2]", "one number or three"),
        ("size = [112, 112]", "size = [112, 112]\nscale = nan", "must be finite"),
        ("[0.3, 1e-3", "[0.05, 1e-3", "rising similarities"),
        ("[0.3, 1e-3", "[0.3, 1e-1", "falling rates"),
        ('[toy.calibration."toy+flip"]', "[toy.calibration]", "lacks or misstates"),
        ("[toy]", "[toy", "not valid TOML"),
        ('[[toy.sources]]\nregistry = "pypi"', '[toy.sources]\nregistry = "pypi"', "lacks or misstates"),
    ],
)
def test_a_wrong_card_is_named(before: str, after: str, message: str) -> None:
    assert before in CARD
    text = CARD.replace(before, after)
    if "[Toy]" in text:
        text = text.replace("toy.", "Toy.")
    with pytest.raises(InputError, match=message):
        parse_cards(text)


@pytest.mark.parametrize("row", [1, "x", [], [1], {}, {"task": 3}])
def test_tables_that_are_none(row: Any) -> None:
    from visavis.models.cards import parse_card

    with pytest.raises(InputError, match="model card 'toy'"):
        parse_card("toy", row)
