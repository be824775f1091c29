"""Duplicate and nearly duplicate photos: the same bytes, the same pixels, or the same picture made anew.

Nearly the same is a photo encoded again, resized, cropped by up to a tenth of its side, brightened, darkened, made
gray, or (if asked for) mirrored. Candidates come from a perceptual hash: the 256-bit difference hash of the package
ImageHash, of the whole photo and of 18 parts of it, so that a crop meets the part it was cut from. Each candidate is
then laid over the other photo and confirmed by the structural similarity of the two (SSIM: Wang et al., "Image quality
assessment: from error visibility to structural similarity", IEEE Transactions on Image Processing, 2004), which
scikit-image computes. Faces play no part in it.

Nothing is ever deleted or written.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from visavis.errors import EngineError, InputError, VisavisError
from visavis.files import reason, sha256_of
from visavis.image import load_image

__all__ = ["THRESHOLD", "Duplicate", "Fingerprint", "Group", "fingerprints", "group", "require_library", "structural"]

THRESHOLD = 0.9
"""Structural similarity from which two photos are taken for one; docs/datasets.md says what it was chosen on."""

_BITS = 16  # the hash has 16 x 16 bits
_RADIUS = 52  # bits in which hashes of candidates may differ
_SIDE = 96  # of the gray thumbnails that are hashed and compared
_PARTS = (0.95, 0.9)  # sides of the parts that are hashed too, each at nine places
_ASPECT = 1.3  # ratio of the proportions of candidates
_OVERLAP = 0.8  # of the smaller photo, which the other has to cover
_PLAIN = 3.0  # deviation of gray values below which a photo shows nothing to compare
_QUERIES = 256  # hashes looked up at once: bounds memory where thousands of photos are alike
_KEPT = 4096  # thumbnails held while candidates are confirmed: 38 MB

Kind = Literal["same file", "same pixels", "near", "mirrored"]
Gray = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is kept of a photo to compare it.

    Attributes
    ----------
    file
        Device and number of the file: two paths of one file are not two photos.
    size, digest
        Bytes of the file, and a hash of its bytes.
    pixels
        Hash of the upright picture.
    sharpness
        Variance of the Laplacian; higher is sharper, for photos of the same subject and size.
    hashes
        Uint8 ``(q, 32)``: the perceptual hash of the whole, then of its parts; then, where mirrored photos are looked
        for, all of them mirrored.
    """

    path: Path
    file: tuple[int, int]
    width: int
    height: int
    size: int
    digest: bytes
    pixels: bytes
    sharpness: float
    hashes: npt.NDArray[np.uint8]

    @property
    def rank(self) -> tuple[int, int, int, str]:
        """Sorts the one to keep first: the largest picture, then the sharpest, then the largest file."""
        steps = round(math.log(max(self.sharpness, 1e-3), 1.1))  # a tenth is no difference: encoding makes as much
        return -self.width * self.height, -steps, -self.size, str(self.path)


@dataclass(frozen=True)
class Duplicate:
    """A photo that another stands for, and why.

    ``similarity`` is the structural similarity to the nearest photo of its group, 0..1; 1 for the same pixels.
    """

    photo: Fingerprint
    kind: Kind
    similarity: float


@dataclass(frozen=True)
class Group:
    """Photos of one picture: the one suggested to keep, and the others, the likest first."""

    keep: Fingerprint
    others: tuple[Duplicate, ...]


def require_library() -> None:
    """Raise `EngineError`, which says what to install, where ImageHash or scikit-image is missing."""
    try:
        import imagehash  # noqa: F401
        import skimage.metrics  # noqa: F401
    except ImportError as error:
        raise EngineError(f"finding duplicates needs {error.name}: pip install 'visavis[datasets]'") from None


def fingerprints(
    paths: Iterable[Path], *, mirrored: bool = False, threads: int = 1
) -> Iterator[tuple[Path, Fingerprint | VisavisError]]:
    """Read photos one after the other in bounded memory; give each one's fingerprint, or why it can't be read.

    Parameters
    ----------
    mirrored
        Prepare to find mirrored photos too.
    threads
        How many photos to read at once.
    """
    require_library()
    rest = iter(paths)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[Path, Future[Fingerprint | VisavisError]]] = deque()
        try:
            for path in rest:
                waiting.append((path, pool.submit(_fingerprint, path, mirrored)))
                if len(waiting) > 2 * threads:
                    done, future = waiting.popleft()
                    yield done, future.result()
            for done, future in waiting:
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _fingerprint(path: Path, mirrored: bool) -> Fingerprint | VisavisError:
    try:
        image = load_image(path)
        status, digest = path.stat(), bytes.fromhex(sha256_of(path))
    except OSError as error:
        return InputError(f"{path} can't be read: {reason(error)}")
    except VisavisError as error:
        return error
    height, width = image.shape[:2]
    pixels = hashlib.sha256(f"{width}x{height}".encode())
    pixels.update(image.data)
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    thumb = _shrunk(gray)
    looks = [_hashed(part) for part in _parts(thumb)]
    if mirrored:
        looks += [_hashed(part) for part in _parts(np.ascontiguousarray(thumb[:, ::-1]))]
    return Fingerprint(
        path=path,
        file=(status.st_dev, status.st_ino),
        width=width,
        height=height,
        size=status.st_size,
        digest=digest,
        pixels=pixels.digest(),
        sharpness=float(cv2.Laplacian(gray, cv2.CV_32F).var()),
        hashes=np.stack(looks),
    )


def _shrunk(gray: Any) -> Gray:
    return np.asarray(cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _places() -> list[tuple[float, float, float]]:
    """Return the parts of a photo that are hashed: side, left and top, as shares of the photo's."""
    places = [(1.0, 0.0, 0.0)]
    return places + [(s, (1 - s) * x / 2, (1 - s) * y / 2) for s in _PARTS for y in range(3) for x in range(3)]


def _parts(thumb: Gray) -> Iterator[Gray]:
    for side, left, top in _places():
        x, y, length = (round(_SIDE * share) for share in (left, top, side))
        yield thumb[y : y + length, x : x + length]


def _hashed(gray: Gray) -> npt.NDArray[np.uint8]:
    import imagehash
    from PIL import Image

    return np.packbits(imagehash.dhash(Image.fromarray(gray), hash_size=_BITS).hash)


def group(
    photos: Sequence[Fingerprint],
    *,
    threshold: float = THRESHOLD,
    say: Callable[[str], None] | None = None,
) -> list[Group]:
    """Group photos that are the same, the largest groups first.

    A group is connected: each photo is like some other of it, though perhaps not like all.

    Parameters
    ----------
    photos
        What `fingerprints` gave; mirrored photos are found where it was told to prepare for them.
    threshold
        Structural similarity from which two photos are one, 0..1.
    say
        Called with what is under way.

    Raises
    ------
    InputError
        If the threshold is not in 0..1.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"the threshold is a structural similarity above 0, at most 1, not {threshold}")
    require_library()
    photos = _once_a_file(photos)
    links = _Links(len(photos))
    first: dict[bytes, int] = {}
    for i, photo in enumerate(photos):
        if (other := first.setdefault(photo.pixels, i)) != i:
            links.join(other, i, 1.0, mirrored=False)
    single = np.array(sorted(first.values()), np.intp)
    for a, b, place, flipped in _candidates(photos, single, links, say or _silence):
        similarity = structural(_thumb(photos[a].path), _thumb(photos[b].path), place, flipped=flipped)
        if similarity >= threshold:
            links.join(a, b, similarity, mirrored=flipped)
    _thumb.cache_clear()
    groups = [_group(photos, members, links) for members in links.groups()]
    return sorted(groups, key=lambda found: (-len(found.others), str(found.keep.path)))


def _once_a_file(photos: Sequence[Fingerprint]) -> list[Fingerprint]:
    """Leave out links to files that are there: a list of what may go must never name the only copy."""
    by_file: dict[tuple[int, int], Fingerprint] = {}
    for photo in sorted(photos, key=lambda photo: (photo.path.is_symlink(), str(photo.path))):
        by_file.setdefault(photo.file, photo)
    return sorted(by_file.values(), key=lambda photo: str(photo.path))


class _Links:
    """Which photos are connected, whether mirrored, and how alike each is to the likest (union-find)."""

    def __init__(self, number: int) -> None:
        self._parent = list(range(number))
        self._mirrored = [False] * number  # against the parent
        self.best = [0.0] * number

    def find(self, i: int) -> tuple[int, bool]:
        """Return the photo that stands for the group of i, and whether i is mirrored against it."""
        mirrored = False
        while self._parent[i] != i:
            above = self._parent[i]
            self._mirrored[i] ^= self._mirrored[above]
            self._parent[i] = self._parent[above]
            mirrored ^= self._mirrored[i]
            i = self._parent[i]
        return i, mirrored

    def join(self, a: int, b: int, similarity: float, *, mirrored: bool) -> None:
        (top_a, flip_a), (top_b, flip_b) = self.find(a), self.find(b)
        if top_a != top_b:
            self._parent[top_b] = top_a
            self._mirrored[top_b] = flip_a ^ flip_b ^ mirrored
        for i in (a, b):
            self.best[i] = max(self.best[i], similarity)

    def groups(self) -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for i in range(len(self._parent)):
            found.setdefault(self.find(i)[0], []).append(i)
        return [members for members in found.values() if len(members) > 1]


def _group(photos: Sequence[Fingerprint], members: list[int], links: _Links) -> Group:
    first, *rest = sorted(members, key=lambda i: photos[i].rank)
    keep = photos[first]
    others = []
    for i in rest:
        photo = photos[i]
        kind: Kind = "mirrored" if links.find(i)[1] != links.find(first)[1] else "near"
        if photo.pixels == keep.pixels:
            kind = "same file" if photo.digest == keep.digest else "same pixels"
        others.append(Duplicate(photo, kind, links.best[i]))
    return Group(keep, tuple(sorted(others, key=lambda other: (-other.similarity, str(other.photo.path)))))


def _candidates(
    photos: Sequence[Fingerprint], single: npt.NDArray[np.intp], links: _Links, say: Callable[[str], None]
) -> Iterator[tuple[int, int, int, bool]]:
    """Yield pairs of photos that are not yet connected, whose hashes are near: the second lies in a part of the first.

    The part is a number of `_places`, in the first photo mirrored where the last value says so.
    """
    import faiss

    if len(single) < 2:
        return
    index = faiss.IndexBinaryFlat(_BITS * _BITS)
    index.add(np.stack([photos[i].hashes[0] for i in single]))
    aspects = np.array([photos[i].width / photos[i].height for i in single])
    places = len(_places())
    looks = len(photos[single[0]].hashes)
    step = max(_QUERIES // looks, 1)
    for start in range(0, len(single), step):
        if start % (64 * step) == 0:
            say(f"comparing: {start:,} of {len(single):,} photos")
        block = single[start : start + step]
        ends, _, near = index.range_search(np.concatenate([photos[i].hashes for i in block]), _RADIUS + 1)
        query = np.repeat(np.arange(len(block) * looks), np.diff(ends.astype(np.int64)))
        a, look = start + query // looks, query % looks
        alike = np.maximum(aspects[a], aspects[near]) <= _ASPECT * np.minimum(aspects[a], aspects[near])
        wanted = alike & (a != near)
        order = np.argsort(look[wanted], kind="stable")  # wholes before parts
        for x, y, part in zip(single[a[wanted][order]], single[near[wanted][order]], look[wanted][order], strict=True):
            if links.find(int(x))[0] != links.find(int(y))[0]:
                yield int(x), int(y), int(part % places), bool(part >= places)


@lru_cache(maxsize=_KEPT)
def _thumb(path: Path) -> Gray | None:
    try:
        return _shrunk(cv2.cvtColor(load_image(path), cv2.COLOR_RGB2GRAY))
    except VisavisError:
        return None  # it went or changed since it was read


def structural(a: Gray | None, b: Gray | None, place: int = 0, *, flipped: bool = False) -> float:
    """Return how alike two gray thumbnails are once they lie on each other: 0, unlike, to 1, the same.

    Parameters
    ----------
    a, b
        Uint8 ``(96, 96)`` each; b is looked for in a.
    place
        Which part of a is thought to show b: the search begins there.
    flipped
        Mirror a first.

    Notes
    -----
    b is laid on a by an affine transform that maximizes their correlation (Evangelidis and Psarakis, "Parametric image
    alignment using enhanced correlation coefficient maximization", PAMI 2008), then brightness and contrast are
    equalized, so that neither counts as a difference. Where the photos overlap too little, or would have to be turned
    or stretched, or one shows nothing but a plain area, the answer is 0.
    """
    from skimage.metrics import structural_similarity

    if a is None or b is None:
        return 0.0
    a = np.ascontiguousarray(a[:, ::-1]) if flipped else a
    side, left, top = _places()[place]
    warp = np.array([[side, 0, left * _SIDE], [0, side, top * _SIDE]], np.float32)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-4)
    try:
        _, fitted = cv2.findTransformECC(b, a, warp, cv2.MOTION_AFFINE, stop, None, 5)  # type: ignore[call-overload]
    except cv2.error:  # nothing to hold on to, or it did not converge
        fitted = warp
    matrix = np.asarray(fitted, np.float64)[:, :2]
    scales = np.hypot(*matrix)
    turned = abs(matrix[0, 1]) + abs(matrix[1, 0])
    if not (scales.min() > 0.7 and scales.max() < 1.4 and turned < 0.1):
        return 0.0
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(a, fitted, (_SIDE, _SIDE), flags=how, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.full_like(a, 255), fitted, (_SIDE, _SIDE), flags=how) > 250
    if inside.mean() < _OVERLAP:
        return 0.0
    if min(laid[inside].std(), b[inside].std()) < _PLAIN:
        return 0.0
    first, second = (_equalized(image, inside) for image in (laid, b))
    similarity: Any = structural_similarity
    _, local = similarity(first, second, data_range=255.0, full=True)
    return float(np.clip(local[inside].mean(), 0, 1))


def _equalized(image: Any, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return the image with a mean of 128 and a deviation of 50 where ``inside``."""
    values = image.astype(np.float32)
    part = values[inside]
    return np.asarray((values - part.mean()) * (50 / part.std()) + 128, np.float32)


def _silence(_: str) -> None:
    pass
