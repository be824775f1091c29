"""Models of several files: companions beside the member, parts that are cards of their own, and libraries."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from visavis.errors import FetchError, HashMismatch, InputError
from visavis.models import store as store_module
from visavis.models.cards import ModelCard, builtin_cards, parse_cards
from visavis.models.store import Store


def card(name: str, **fields: object) -> ModelCard:
    row = {"id": name, "task": "detection", "title": name, "license": "MIT", "commercial_use": True}
    return ModelCard(**{**row, "member_sha256": "", **fields})  # type: ignore[arg-type]


@pytest.fixture
def carried(monkeypatch, cards):
    """Return a function that makes cards known for a test."""

    def carry(*more: ModelCard) -> None:
        known = {**cards, **{c.id: c for c in more}}
        monkeypatch.setattr(store_module, "builtin_cards", lambda: known)

    return carry


def test_a_model_of_parts_is_as_ready_as_they_are(carried, archives, tmp_path):
    carried(card("pair", parts=("yunet", "sface")))
    store = Store(tmp_path)
    assert store.state("pair").state == "absent"
    assert store.fetch("pair", source_dir=archives) is None
    held = store.state("pair")
    assert (held.state, held.path) == ("ready", None)
    assert held.size == store.state("yunet").size + store.state("sface").size
    with pytest.raises(InputError, match="no file of its own; it runs yunet, sface"):
        store.path("pair")
    store.path("sface").write_bytes(b"torn")
    assert store.verify("pair").state == "damaged"
    store.remove("pair")
    assert store.state("yunet").state == "ready", "a part that is a model of its own stays"


def test_parts_that_serve_one_model_alone_go_with_it(carried, archives, tmp_path, cards):
    part = replace(cards["yunet"], id="half", task="part")
    carried(part, card("whole", parts=("half",)))
    store = Store(tmp_path)
    store.fetch("whole", source_dir=archives)
    assert store.path("half").is_file()
    store.remove("whole")
    assert store.state("half").state == "absent"


def test_a_license_is_accepted_for_the_parts_too(carried, archives, tmp_path, cards):
    part = replace(cards["yunet"], id="half", task="part", commercial_use=False)
    carried(part, card("whole", parts=("half",)))
    store = Store(tmp_path)
    with pytest.raises(Exception, match="'half' may not be used commercially"):
        store.fetch("whole", source_dir=archives)
    store.accept_license("whole")
    store.fetch("whole", source_dir=archives)
    assert store.state("whole").state == "ready"


def test_a_library_that_is_missing_is_named(carried, tmp_path):
    carried(card("elsewhere", library="no_such_library"), card("here", library="json"))
    store = Store(tmp_path)
    assert store.state("here").state == "ready"
    assert store.state("elsewhere").state == "absent"
    with pytest.raises(FetchError, match=r"needs the library no_such_library: pip install 'visavis\[no_such"):
        store.fetch("elsewhere")
    assert not any(tmp_path.iterdir())


class TestCompanions:
    @pytest.fixture
    def sample(self, cards):
        """Return a sample photo's card that has another photo of its package as companion."""
        other = cards["obama2"]
        return replace(
            cards["obama"],
            id="pictures",
            converter="joined",
            companions={other.sources[0].member.rpartition("/")[2]: other.member_sha256},
        )

    @pytest.fixture(autouse=True)
    def joined(self, monkeypatch, tmp_path):
        """Give a converter that says what it was handed."""
        (tmp_path / "joining.py").write_text(
            "import json\n"
            "def joined(data, companions):\n"
            "    return json.dumps({n: len(b) for n, b in {'': data, **companions}.items()}).encode()\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        from visavis.models import convert

        monkeypatch.setitem(convert.CONVERTERS, "joined", ("joining:joined", ".json"))

    def test_reach_the_converter(self, carried, sample, archives, tmp_path, store):
        carried(sample)
        path = Store(tmp_path / "home").fetch("pictures", source_dir=archives)
        assert path is not None
        assert path.name == "pictures.json"
        sizes = {"": store.path("obama").stat().st_size, "obama2.jpg": store.path("obama2").stat().st_size}
        assert json.loads(path.read_bytes()) == sizes

    def test_are_pinned(self, carried, sample, archives, tmp_path):
        carried(replace(sample, companions={"obama2.jpg": "0" * 64}))
        with pytest.raises(HashMismatch, match=r"obama2\.jpg .* is not the pinned file"):
            Store(tmp_path / "home").fetch("pictures", source_dir=archives)
        carried(sample)
        own = Store(tmp_path / "home")
        own.fetch("pictures", source_dir=archives)
        carried(replace(sample, companions={"obama2.jpg": "0" * 64}))
        assert own.state("pictures").state == "outdated"


def test_a_card_must_have_something_to_run():
    with pytest.raises(InputError, match="nothing to run"):
        card("empty")
    with pytest.raises(InputError, match="name of a module"):
        card("odd", library="cv2", code="os.path")
    with pytest.raises(InputError, match="in the folder of the member"):
        card("odd", library="cv2", companions={"../etc/passwd": hashlib.sha256(b"").hexdigest()})


def test_the_card_of_a_user_names_no_code_of_ours():
    text = (
        '[mine]\ntask = "recognition"\ntitle = "mine"\nlicense = "MIT"\ncode = "network"\nparts = ["sface"]\n'
        f'library = "os"\nmember_sha256 = "{"0" * 64}"\n'
    )
    mine = parse_cards(text, user_added=True)["mine"]
    assert (mine.code, mine.parts, mine.library) == ("", (), "")


def test_every_part_is_there():
    known = builtin_cards()
    for one in known.values():
        assert set(one.parts) <= known.keys(), one.id


@pytest.mark.parametrize("name", [c.id for c in builtin_cards().values() if c.parts])
def test_parts_do_not_run_in_a_circle(name):
    def below(one: str, above: tuple[str, ...]) -> None:
        assert one not in above
        for part in builtin_cards()[one].parts:
            below(part, (*above, one))

    below(name, ())


def test_files_of_the_catalog_are_in_the_package():
    import visavis.models

    folder = Path(visavis.models.__file__).parent / "catalog"
    assert len(list(folder.glob("*.toml"))) >= 4
