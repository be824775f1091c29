"""Names of crops: each photo one of its own, on file systems that know no case too."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from visavis.curation.naming import free_names

FILES = st.sampled_from(["a", "A", "b", "a~2", "a~face2", "a.jpg", "a.png", "a.jpg~2"])
PATHS = st.builds(
    "{}{}{}".format, st.sampled_from(["", "a/", "a.jpg/", "b/"]), FILES, st.sampled_from([".jpg", ".png"])
)


@given(st.sets(PATHS, max_size=12), st.integers(0, 3))
def test_no_crop_replaces_another(sources: set[str], given_before: int) -> None:
    files = {source for source in sources if not any(other.startswith(f"{source}/") for other in sources)}
    names = free_names(sorted(files))
    assert names.keys() == files
    kept = dict(list(names.items())[:given_before])
    assert free_names(sorted(files), kept).keys() == files
    for suffix in (".jpg", ".png"):
        crops = [f"{name}{face}{suffix}".casefold() for name in names.values() for face in ("", "~face2", "~face3")]
        assert len(set(crops)) == len(crops)
        folders = {crop.rpartition("/")[0] for crop in crops}
        assert not folders & set(crops)


def test_names_stay_where_they_can() -> None:
    assert free_names(["a/x.jpg", "a/X.png", "a/y~2.jpg", "a/y~face2.jpg"]) == {
        "a/x.jpg": "a/x",
        "a/X.png": "a/X~2",
        "a/y~2.jpg": "a/y~2",
        "a/y~face2.jpg": "a/y~face2~",
    }
