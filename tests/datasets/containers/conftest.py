"""Small generated photos, and samples of them."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from visavis.datasets.containers import staging
from visavis.datasets.containers.samples import Sample


def picture(shade: int, suffix: str = ".jpg") -> bytes:
    """Return an encoded 8x8 picture, another for each shade."""
    image = np.full((8, 8, 3), shade % 256, np.uint8)
    image[2:6, 2:6] = 255 - shade % 256
    return cv2.imencode(suffix, image)[1].tobytes()


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Leave out what only a power cut would show: thousands of small files are written here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging.os, "fsync", lambda number: None)
        yield


@pytest.fixture
def people() -> list[Sample]:
    """Return 7 photos of 3 people, one after the other: JPEG and PNG, names in other scripts, with dots and spaces."""
    names = ["Ada Lovelace/1", "Ada Lovelace/v1.5 b", "Ada Lovelace/3", "王芳/一", "王芳/二", "bob/x", "bob/y"]
    suffixes = [".jpg", ".png"]
    return [Sample(key, picture(i, suffixes[i % 2]), key.partition("/")[0]) for i, key in enumerate(names)]


@pytest.fixture
def pair_samples() -> list[Sample]:
    """Return the photos of three pairs, as a ``.bin`` file names them."""
    kinds = ["mated", "nonmated", "mated"]
    return [
        Sample(f"{i:06d}-{kind}-{side}", picture(2 * i + n))
        for i, kind in enumerate(kinds)
        for n, side in enumerate("ab")
    ]
