"""A user's own calibrations: kept beside the card, read with it, dropped again; and what a damaged file does."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.models.test_added import ARCFACE, network
from visavis.errors import InputError, UnknownModel
from visavis.models.calibrations import CalibrationFileWarning, read_calibrations
from visavis.models.cards import Calibration, builtin_cards
from visavis.models.store import Store

HOME = Path("calibrations")


def table(model: str = "sface", data: str = "front door", shift: float = 0.0) -> Calibration:
    return Calibration(
        model,
        data,
        mated_pairs=400,
        nonmated_pairs=90_000,
        similarities=np.array([0.1, 0.3, 0.5]) + shift,
        fmr=np.array([0.1, 0.01, 1e-3]),
        fmr_low=np.array([0.09, 0.005, 1e-4]),
        fmr_high=np.array([0.11, 0.02, 2e-3]),
        note='photos of "us", 王芳\x7f\n',
        people=120,
        measured="2026-11-22 06:10 UTC",
    )


@pytest.fixture
def own(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_what_was_kept_comes_back_with_the_card(own: Store) -> None:
    built_in = own.card("sface").calibrations
    own.calibrate("sface", table())
    card = own.card("sface")
    found = card.calibrations["sface"]
    assert found.to_dict() == table().to_dict()
    assert found.model == "sface"
    assert card.calibrations["sface+flip"] is built_in["sface+flip"]
    assert own.cards()["sface"].calibrations["sface"].data == "front door"
    assert builtin_cards()["sface"].calibrations["sface"].data == "lfw-dev"


def test_the_newest_of_a_variant_counts_and_the_same_data_replaces(own: Store) -> None:
    for data, shift in (("front door", 0.0), ("gate", 0.1), ("front door", 0.2)):
        own.calibrate("sface", table(data=data, shift=shift))
    own.calibrate("sface", table("sface@mtcnn", "gate"))
    assert [(t.model, t.data) for t in own.calibrations("sface")] == [
        ("sface", "gate"),
        ("sface", "front door"),
        ("sface@mtcnn", "gate"),
    ]
    assert own.card("sface").calibrations["sface"].similarities[0] == pytest.approx(0.3)
    assert own.forget_calibrations("sface", "front door") == 1
    assert own.card("sface").calibrations["sface"].data == "gate"
    assert own.forget_calibrations("sface", "nowhere") == 0
    assert own.forget_calibrations("sface") == 2
    assert own.card("sface").calibrations["sface"].data == "lfw-dev"
    assert own.forget_calibrations("sface") == 0


def test_a_table_of_another_network_is_not_used(own: Store) -> None:
    own.calibrate("sface", table())
    path = own.home / HOME / "sface.toml"
    path.write_text(path.read_text("utf-8").replace(builtin_cards()["sface"].member_sha256, "0" * 64), "utf-8")
    assert own.card("sface").calibrations["sface"].data == "lfw-dev"


def test_a_model_of_ones_own_is_calibrated_and_takes_it_along_when_it_goes(own: Store, tmp_path: Path) -> None:
    file = tmp_path / "mine.onnx"
    file.write_bytes(network())
    own.add(file, name="mine", **ARCFACE)
    assert own.card("mine").calibrations == {}
    own.calibrate("mine", table("mine+flip@mtcnn"))
    assert own.card("mine").calibrations["mine+flip@mtcnn"].data == "front door"
    assert own.cards()["mine"].calibrations["mine+flip@mtcnn"].people == 120
    own.remove("mine")
    own.add(file, name="mine", **ARCFACE)  # whatever comes under that name next starts without
    assert own.card("mine").calibrations == {}


def test_models_that_are_none_are_refused(own: Store) -> None:
    with pytest.raises(UnknownModel):
        own.calibrate("nobody", table("nobody"))
    with pytest.raises(UnknownModel, match="not a recognizer"):
        own.calibrate("yunet", table("yunet"))
    with pytest.raises(InputError, match="none of"):
        own.calibrate("sface", table("dlib-resnet"))
    assert not (own.home / HOME).exists()


@pytest.mark.parametrize(
    "harm",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "\x00\x01",
        lambda text: text.replace("0.001,", "nan,"),
        lambda text: text.replace("[0.1, 0.1,", "[7.0, 0.1,"),
        lambda text: text.replace("points = [", "points = 3\nothers = ["),
        lambda text: text.replace('data = "front door"', "data = 3"),
        lambda text: text.replace("people = 120", 'people = "many"'),
        lambda text: text.replace('variant = "sface"', ""),
        lambda text: "calibration = 5",
    ],
)
def test_a_damaged_file_is_told_and_the_built_in_table_stays_usable(own: Store, harm: object) -> None:
    own.calibrate("sface", table())
    path = own.home / HOME / "sface.toml"
    text = path.read_text("utf-8")
    harmed = harm(text)  # type: ignore[operator]
    assert harmed != text
    path.write_text(harmed, "utf-8")
    with pytest.warns(CalibrationFileWarning, match="damaged"):
        card = own.card("sface")
    assert card.calibrations["sface"].data == "lfw-dev"
    assert any("calibrate --remove sface" in problem for problem in own.problems())
    with pytest.raises(InputError, match="damaged"):
        own.calibrate("sface", table())
    with pytest.raises(InputError, match="damaged"):
        own.forget_calibrations("sface", "front door")
    assert path.read_text("utf-8") == harmed
    assert own.forget_calibrations("sface") == 1
    assert not own.problems()
    own.calibrate("sface", table())
    assert own.card("sface").calibrations["sface"].data == "front door"


def test_a_second_process_sees_it_and_a_change_of_the_file_is_noticed(own: Store) -> None:
    own.calibrate("sface", table())
    script = "from visavis.models.store import calibration_of as c; t = c('sface'); print(t.data, t.people)"
    environment = {**os.environ, "VISAVIS_HOME": str(own.home)}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["front", "door", "120"]
    assert own.card("sface").calibrations["sface"].people == 120
    other = Store(own.home)
    other.calibrate("sface", replace(table(), people=12345))
    assert own.card("sface").calibrations["sface"].people == 12345


def test_no_file_is_no_tables(tmp_path: Path) -> None:
    assert read_calibrations(tmp_path / "none.toml") == ()
