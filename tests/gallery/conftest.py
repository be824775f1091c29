"""What the gallery's tests share: made-up people as embeddings, and an empty gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from visavis.gallery import Gallery, open_gallery
from visavis.types import Embeddings

MODEL = "test-model"


@pytest.fixture
def person() -> Callable[..., Embeddings]:
    """Return a function (number, rows=1, model=...) -> templates of the person of that number, alike to 0.9."""

    def make(number: int, rows: int = 1, model: str = MODEL, dimension: int = 128, take: int = 0) -> Embeddings:
        center = np.random.default_rng([number, 1]).standard_normal(dimension)
        noise = np.random.default_rng([number, 2, take]).standard_normal((rows, dimension))
        return Embeddings.normalized(center + 0.3 * noise, model)

    return make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.db"


@pytest.fixture
def gallery(path: Path) -> Iterator[Gallery]:
    with open_gallery(path) as opened:
        yield opened
