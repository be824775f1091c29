"""The functions of face_recognition 1.3.0: same names, arguments, box order and results; see docs/face_recognition.md.

Boxes are tuples ``(top, right, bottom, left)`` of whole pixels. An encoding is a float64 array of 128 numbers, as dlib
makes it, not of unit length; two of one person are usually less than 0.6 apart.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from visavis.compat.face_recognition.shapes import Detection, Landmarks, Rectangle
from visavis.errors import ImageTooLarge, InputError

__all__ = [
    "ArgumentError",
    "batch_face_locations",
    "compare_faces",
    "face_distance",
    "face_encodings",
    "face_landmarks",
    "face_locations",
    "load_image_file",
]

Box = tuple[int, int, int, int]
"""Top, right, bottom, left."""
Encoding = npt.NDArray[np.float64]

_FARTHEST = 1 << 20  # px: no picture has a face beyond
_POINTS_68 = {
    "chin": range(17),
    "left_eyebrow": range(17, 22),
    "right_eyebrow": range(22, 27),
    "nose_bridge": range(27, 31),
    "nose_tip": range(31, 36),
    "left_eye": range(36, 42),
    "right_eye": range(42, 48),
    "top_lip": (*range(48, 55), 64, 63, 62, 61, 60),
    "bottom_lip": (*range(54, 60), 48, 60, 67, 66, 65, 64),
}
_POINTS_5 = {"nose_tip": (4,), "left_eye": (2, 3), "right_eye": (0, 1)}


class ArgumentError(InputError, TypeError, RuntimeError):
    """An argument can't be used; a TypeError and a RuntimeError as well, which is what dlib raises."""


def load_image_file(file: str | os.PathLike[str] | IO[bytes], mode: str = "RGB") -> npt.NDArray[np.uint8]:
    """Read an image file into an array.

    Unlike `visavis.image.load_image` it leaves the picture as it was stored, though its EXIF tag may say that it is
    to be turned, and drops transparency, as programs written for face_recognition expect.

    Parameters
    ----------
    file
        A path, or a binary file open for reading.
    mode
        ``"RGB"``, ``"L"`` for gray, or None to keep the file's own.

    Returns
    -------
    Uint8 ``(h, w, 3)`` for ``"RGB"``, ``(h, w)`` for ``"L"``.

    Raises
    ------
    OSError
        If the file can't be read (`FileNotFoundError` and its like) or is no image (`PIL.UnidentifiedImageError`).
    ValueError
        If Pillow has no such mode.
    ImageTooLarge
        If its header claims more pixels than Pillow reads.
    """
    import PIL.Image

    try:
        with PIL.Image.open(file) as image:
            try:
                image.load()
            except OSError:
                whole = _mended(image)
                if whole is None:
                    raise
                return np.array(_converted(whole, mode))
            return np.array(_converted(image, mode))
    except PIL.Image.DecompressionBombError as error:
        raise ImageTooLarge(f"an image that claims more pixels than Pillow reads: {error}") from None


def _converted(image: Any, mode: str | None) -> Any:
    return image.convert(mode) if mode else image


def _mended(image: Any) -> Any:
    """Return a JPEG that was cut short, with an end put to it: what is missing is gray. None for another image."""
    import PIL.Image

    if image.format not in ("JPEG", "MPO") or image.fp is None:
        return None
    image.fp.seek(0)
    whole = PIL.Image.open(BytesIO(image.fp.read() + b"\xff\xd9"))
    whole.load()
    return whole


def face_locations(img: npt.NDArray[Any], number_of_times_to_upsample: int = 1, model: str = "hog") -> list[Box]:
    """Find the faces of an image.

    Parameters
    ----------
    img
        Uint8 ``(h, w, 3)`` RGB, or ``(h, w)`` gray.
    number_of_times_to_upsample
        How often the picture's sides are doubled before dlib's detectors look, which see faces from 80 px on. YuNet
        sees those of 20 px by itself; for it, 3 and more look for smaller ones.
    model
        ``"hog"``: dlib's detector of that name where dlib is installed, else YuNet. ``"cnn"``: dlib's network MMOD,
        with dlib or without. ``"yunet"``: YuNet in any case. As in face_recognition, any other name means ``"hog"``.

    Returns
    -------
    A tuple ``(top, right, bottom, left)`` a face, cut to the image.

    Raises
    ------
    ArgumentError
        If the image is no 8-bit gray or RGB array, or the number is not a whole one of at least 0.
    """
    shape = np.shape(img)
    return [
        _trim_css_to_bounds(_rect_to_css(face.rect), shape) for face in _faces(img, number_of_times_to_upsample, model)
    ]


def batch_face_locations(
    images: Sequence[npt.NDArray[Any]], number_of_times_to_upsample: int = 1, batch_size: int = 128
) -> list[list[Box]]:
    """Find the faces of images of one size by the detector ``"cnn"``: a list as `face_locations` gives for each.

    ``batch_size`` changes nothing here.

    Raises
    ------
    ArgumentError
        As `face_locations`, or if the images differ in size.
    """
    found = _raw_face_locations_batched(images, number_of_times_to_upsample, batch_size)
    return [[_trim_css_to_bounds(_rect_to_css(face.rect), np.shape(images[0])) for face in faces] for faces in found]


def face_landmarks(
    face_image: npt.NDArray[Any], face_locations: Iterable[Sequence[int]] | None = None, model: str = "large"
) -> list[dict[str, list[tuple[int, int]]]]:
    """Find the points of faces.

    Parameters
    ----------
    face_image
        Uint8 ``(h, w, 3)`` RGB, or ``(h, w)`` gray.
    face_locations
        Boxes ``(top, right, bottom, left)``; None looks for faces with `face_locations`' defaults.
    model
        ``"large"``: 68 points. Commercial use of that model is not allowed, so its license is to be accepted
        first: ``visavis models fetch dlib-68 --accept-license``, or ``VISAVIS_ACCEPT_LICENSES=dlib-68``.
        ``"small"``: 5 points, free for any use.

    Returns
    -------
    A dict a face, from the name of a part to its points ``(x, y)``: ``chin``, ``left_eyebrow``, ``right_eyebrow``,
    ``nose_bridge``, ``nose_tip``, ``left_eye``, ``right_eye``, ``top_lip``, ``bottom_lip``; of the small model
    ``nose_tip``, ``left_eye`` and ``right_eye``.

    Raises
    ------
    ModelError
        If the license of the large model was not accepted.
    ValueError
        If there is no such model.
    ArgumentError
        If the image or a box can't be used.
    """
    if model not in ("large", "small"):
        raise InputError("Invalid landmarks model type. Supported models are ['small', 'large'].")
    parts = _POINTS_68 if model == "large" else _POINTS_5
    found = []
    for landmarks in _raw_face_landmarks(face_image, face_locations, model):
        points: list[tuple[int, int]] = [tuple(point) for point in landmarks.points.tolist()]
        found.append({name: [points[i] for i in indices] for name, indices in parts.items()})
    return found


def face_encodings(
    face_image: npt.NDArray[Any],
    known_face_locations: Iterable[Sequence[int]] | None = None,
    num_jitters: int = 1,
    model: str = "small",
) -> list[Encoding]:
    """Turn each face of an image into 128 numbers, equal to dlib's to about 1e-6 for the same box.

    Parameters
    ----------
    face_image
        Uint8 ``(h, w, 3)`` RGB, or ``(h, w)`` gray.
    known_face_locations
        Boxes ``(top, right, bottom, left)``; None looks for faces with `face_locations`' defaults.
    num_jitters
        Above 1: the mean of that many random variations of the face. They are the same in each call.
    model
        Which points align the face: ``"small"`` 5, any other name 68, as in face_recognition; see `face_landmarks`.

    Returns
    -------
    A float64 array ``(128,)`` a face.

    Raises
    ------
    ArgumentError, ModelError
        As `face_landmarks`.
    """
    from visavis.compat.face_recognition.chips import face_chip, jittered
    from visavis.compat.face_recognition.models import default

    jitters = _whole(num_jitters, "num_jitters")
    image = _rgb(face_image)
    encodings = []
    for landmarks in _raw_face_landmarks(image, known_face_locations, model):
        chip = face_chip(image, landmarks.points)
        encodings.append(default().encoding(jittered(chip, jitters) if jitters > 1 else [chip]))
    return encodings


def face_distance(face_encodings: Any, face_to_compare: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the Euclidean distance of each of a list of encodings from one.

    Examples
    --------
    >>> import numpy as np
    >>> face_distance([np.zeros(128), np.full(128, 0.5)], np.zeros(128)).round(3).tolist()
    [0.0, 5.657]
    >>> face_distance([], np.zeros(128)).shape
    (0,)
    """
    if len(face_encodings) == 0:
        return np.empty(0)
    try:
        distances: npt.NDArray[np.float64] = np.linalg.norm(np.asarray(face_encodings) - face_to_compare, axis=1)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"give a list of encodings and one of the same length: {error}") from None
    return distances


def compare_faces(
    known_face_encodings: Any, face_encoding_to_check: npt.ArrayLike, tolerance: float = 0.6
) -> list[np.bool_]:
    """Tell for each of a list of encodings whether it is within ``tolerance`` of one.

    Examples
    --------
    >>> import numpy as np
    >>> [bool(same) for same in compare_faces([np.zeros(128), np.full(128, 0.5)], np.zeros(128))]
    [True, False]
    """
    return list(face_distance(known_face_encodings, face_encoding_to_check) <= tolerance)


# What face_recognition keeps to itself; its own tests, and some programs, call it.


def _rect_to_css(rect: Any) -> Box:
    return rect.top(), rect.right(), rect.bottom(), rect.left()


def _css_to_rect(css: Sequence[int]) -> Rectangle:
    try:
        top, right, bottom, left = (operator.index(side) for side in tuple(css)[:4])
    except (TypeError, ValueError):
        raise ArgumentError(f"a box is four whole numbers, top, right, bottom, left, not {css!r:.80}") from None
    if max(abs(top), abs(right), abs(bottom), abs(left)) > _FARTHEST:
        raise ArgumentError(f"the box {css!r:.80} lies outside of any picture")
    return Rectangle(left, top, right, bottom)


def _trim_css_to_bounds(css: Box, image_shape: Sequence[int]) -> Box:
    return max(css[0], 0), min(css[1], image_shape[1]), min(css[2], image_shape[0]), max(css[3], 0)


def _raw_face_locations(
    img: npt.NDArray[Any], number_of_times_to_upsample: int = 1, model: str = "hog"
) -> list[Rectangle] | list[Detection]:
    found = _faces(img, number_of_times_to_upsample, model)
    return found if model == "cnn" else [face.rect for face in found]


def _raw_face_locations_batched(
    images: Sequence[npt.NDArray[Any]], number_of_times_to_upsample: int = 1, batch_size: int = 128
) -> list[list[Detection]]:
    _whole(batch_size, "batch_size", least=1)
    if len({np.shape(image) for image in images}) > 1:
        raise ArgumentError("Images in list must all have the same dimensions.")
    return [_faces(image, number_of_times_to_upsample, "cnn") for image in images]


def _raw_face_landmarks(
    face_image: npt.NDArray[Any], face_locations: Iterable[Sequence[int]] | None = None, model: str = "large"
) -> list[Landmarks]:
    from visavis.compat.face_recognition.models import default

    image = _rgb(face_image)
    if face_locations is None:
        rectangles = [face.rect for face in _faces(image, 1, "hog")]
    else:
        rectangles = [_css_to_rect(box) for box in face_locations]
    return default().landmarks(image, rectangles, "dlib-5" if model == "small" else "dlib-68") if rectangles else []


def _faces(image: npt.NDArray[Any], upsample: int, model: str) -> list[Detection]:
    from visavis.compat.face_recognition.models import default
    from visavis.image import MAX_PIXELS

    times = _whole(upsample, "number_of_times_to_upsample", least=0)
    pixels = _rgb(image)
    height, width = pixels.shape[:2]
    if height * width * 4**times > MAX_PIXELS:
        raise ImageTooLarge(
            f"{width}x{height} pixels, enlarged {times} times, are more than {MAX_PIXELS}; enlarge less"
        )
    return default().faces(pixels, times, model)


def _rgb(image: Any) -> npt.NDArray[np.uint8]:
    """Return an image as contiguous RGB: gray gets three channels, one without pixels becomes a black pixel."""
    if not isinstance(image, np.ndarray):
        raise ArgumentError(f"an image is a numpy array, as load_image_file gives it, not {type(image).__name__}")
    gray = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1)
    if image.dtype != np.uint8 or not (gray or (image.ndim == 3 and image.shape[2] == 3)):
        raise ArgumentError(
            f"Unsupported image type, must be 8bit gray or RGB image. It is {image.dtype} {image.shape}; "
            "load_image_file gives the right one"
        )
    if not image.size:
        return np.zeros((1, 1, 3), np.uint8)
    if gray:
        image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(image)


def _whole(value: Any, name: str, least: int | None = None) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(f"{name} must be a whole number, not {value!r:.40}") from None
    if least is not None and number < least:
        raise ArgumentError(f"{name} must be at least {least}, not {number}")
    return number
