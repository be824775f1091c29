"""Work in processes: every unit is answered once, errors come through, and nothing is left running."""

from __future__ import annotations

import subprocess

import pytest

from visavis.curation import workers
from visavis.curation.workers import WorkerDied, run_units
from visavis.errors import InputError, StorageError

PICK = "operator:itemgetter"  # made with "name", it gives unit["name"]


@pytest.mark.parametrize("number", [1, 0, 3])
def test_every_unit_is_answered_once(number: int) -> None:
    units = [{"name": [i, "\udcff \u7167\u7247"]} for i in range(40)]
    done = list(run_units(PICK, "name", units, workers=number))  # type: ignore[arg-type]
    assert all(answer == unit["name"] for unit, answer in done)
    assert sorted(answer[0] for _, answer in done) == list(range(40))
    assert list(run_units(PICK, "name", [], workers=number)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [InputError, StorageError])
def test_errors_keep_their_class(kind: type[Exception], monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "failing.py").write_text(
        "from visavis import errors\n"
        "def make(settings):\n"
        "    def work(unit):\n"
        "        print('noise of a library')\n"
        "        if unit == 3: raise getattr(errors, settings)('what was wrong')\n"
        "        return unit\n"
        "    return work\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(kind, match="what was wrong"):
        list(run_units("failing:make", kind.__name__, range(10), workers=2))  # type: ignore[arg-type]


def test_a_process_that_ends_is_told_and_others_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "dying.py").write_text(
        "import os\ndef make(settings):\n    return lambda unit: os._exit(9) if unit % 4 == 1 else unit\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    done = dict(run_units("dying:make", {}, range(10), workers=2))
    assert {unit for unit, answer in done.items() if isinstance(answer, WorkerDied)} == {1, 5, 9}
    assert all(answer == unit for unit, answer in done.items() if unit % 4 != 1)


def test_nothing_is_left_running_when_the_caller_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def noted(*arguments, **more):  # type: ignore[no-untyped-def]
        children.append(start(*arguments, **more))
        return children[-1]

    monkeypatch.setattr(workers.subprocess, "Popen", noted)
    work = run_units(PICK, "name", ({"name": i} for i in range(10**9)), workers=2)  # type: ignore[arg-type]
    for _ in range(20):
        next(work)
    work.close()  # type: ignore[attr-defined]
    assert len(children) == 2
    assert all(child.poll() == 0 for child in children)
