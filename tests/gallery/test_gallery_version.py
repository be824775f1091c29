"""A gallery that is used for long: its version tells of every change, and its file may be put away and back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from visavis import open_gallery
from visavis.errors import GalleryError
from visavis.gallery import Gallery
from visavis.types import Embeddings

AXES = Embeddings(np.eye(4, dtype=np.float32), "toy")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "people.db"


@pytest.fixture
def gallery(place: Path) -> Iterator[Gallery]:
    with open_gallery(place) as made:
        made.enroll("ada", AXES[0])
        yield made


def test_every_change_is_another_version(gallery: Gallery, place: Path) -> None:
    versions = [gallery.version()]
    with open_gallery(place) as other:
        for change in (
            lambda: other.enroll("bob", AXES[1]),
            lambda: gallery.enroll("cid", AXES[2]),
            lambda: other.rename("bob", "bea"),
            lambda: other.erase("bea"),
            lambda: gallery.remove("cid"),
        ):
            assert gallery.version() == versions[-1]
            change()
            versions.append(gallery.version())
    assert len(set(versions)) == len(versions)
    assert gallery.identify(AXES[0], threshold=0.5).best == ("ada",)


def test_a_file_put_away_is_an_error_until_it_is_back(gallery: Gallery, place: Path) -> None:
    version = gallery.version()
    away = place.with_name("away.db")
    place.rename(away)
    for _ in range(2):
        with pytest.raises(GalleryError, match="is gone or can't be read; put it back"):
            gallery.version()
    away.rename(place)
    assert gallery.version() == version


def test_a_gallery_made_anew_is_opened(gallery: Gallery, place: Path) -> None:
    version = gallery.version()
    assert gallery.identify(AXES[0], threshold=0.5).best == ("ada",)
    place.unlink()
    with open_gallery(place) as other:
        other.enroll("zoe", AXES[0])
    assert gallery.version() != version
    assert gallery.identify(AXES[0], threshold=0.5).best == ("zoe",)


def test_a_file_put_in_its_place_beside_the_old_log_is_refused(gallery: Gallery, place: Path) -> None:
    """SQLite would mix the two: the new file, and what the old one's log holds."""
    with open_gallery(place.with_name("new.db")) as other:
        other.enroll("zoe", AXES[0])
    gallery.enroll("bob", AXES[1])
    gallery.version()
    place.rename(place.with_name("old.db"))
    place.with_name("new.db").rename(place)
    with pytest.raises(GalleryError, match="was replaced while it was in use"):
        gallery.version()


def test_what_is_no_gallery_is_refused_and_a_gallery_then_taken(gallery: Gallery, place: Path, tmp_path: Path) -> None:
    place.unlink()
    place.write_bytes(b"holiday photos")
    for _ in range(2):
        with pytest.raises(GalleryError, match="not a gallery"):
            gallery.version()
    place.unlink()
    with open_gallery(place) as other:
        other.enroll("zoe", AXES[0])
    gallery.version()
    assert gallery.identify(AXES[0], threshold=0.5).best == ("zoe",)


def test_a_gallery_that_may_only_be_read_follows_its_file(
    gallery: Gallery, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.close()
    with monkeypatch.context() as forbidden:
        forbidden.setattr(os, "access", lambda *_: False)
        reader = open_gallery(place)
        version = reader.version()
    with open_gallery(place) as writer:
        writer.enroll("bob", AXES[1])
    with reader, monkeypatch.context() as forbidden:
        forbidden.setattr(os, "access", lambda *_: False)
        assert reader.version() != version
        assert reader.identify(AXES[1], threshold=0.5).best == ("bob",)


def test_a_closed_gallery_has_no_version(gallery: Gallery) -> None:
    gallery.close()
    with pytest.raises(GalleryError, match="closed"):
        gallery.version()
