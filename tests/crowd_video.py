"""Seeded films of a crowd with the truth about it: who is where in each frame, and how much of them can be seen.

Faces are cut-outs of lfw-dev photos, several of one person where there are, faded one into the other as time goes on.
They move on smooth paths that cross, tilt, grow and shrink, are blurred and lit differently, pass before and behind
each other and behind pillars, leave and come back. The people of ``half`` 0 and 1 are never the same: what is tuned on
one is measured on the other.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from films import film

from visavis.alignment import TEMPLATES, similarity_transform
from visavis.evaluation.tracking import Trajectories
from visavis.image import load_image
from visavis.pipeline import Analyzer

WIDTH, HEIGHT, RATE = 640, 480, 25
HIDDEN = 0.6  # a face of which more can't be seen does not count
_PATCH = (152, 176)  # width and height of a cut-out
_POINTS = TEMPLATES["arcface-112"][1] + np.array([20, 30], np.float32)  # where its landmarks lie
_FADE = 0.6  # seconds from one look to the next
_LEAST_PHOTOS, _MOST_PHOTOS = 2, 4

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Person:
    """Cut-outs ``(k, h, w, 3)`` with the same landmarks, the ellipse shown of them, and the face's box in it."""

    name: str
    looks: Image
    mask: Image
    box: npt.NDArray[np.float64]


def cast(archive: zipfile.ZipFile, finder: Analyzer, number: int, seed: int, half: int = 0) -> list[Person]:
    """Return people of one half of those with several photos."""
    photos: dict[str, list[str]] = {}
    for name in sorted(archive.namelist()):
        if name.endswith(".jpg"):
            photos.setdefault(name.split("/")[1], []).append(name)
    several = [name for name, of in photos.items() if len(of) >= _LEAST_PHOTOS]
    mine = np.random.default_rng(0).permutation(several)[half::2]
    found: list[Person] = []
    for name in np.random.default_rng([seed, half, 1]).permutation(mine):
        images = [load_image(archive.read(photo)) for photo in photos[str(name)][:_MOST_PHOTOS]]
        if person := _person(str(name), images, finder):
            found.append(person)
        if len(found) == number:
            break
    return found


def _person(name: str, images: list[Image], finder: Analyzer) -> Person | None:
    looks, boxes = [], []
    for image, faces in zip(images, finder.detect(images), strict=True):
        if not len(faces):
            return None
        middle = np.abs(faces.boxes.reshape(-1, 2, 2).mean(axis=1) - 125).max(axis=1).argmin()
        matrix = similarity_transform(faces.landmarks[[middle]], _POINTS)[0]
        looks.append(cv2.warpAffine(image, matrix, _PATCH, borderMode=cv2.BORDER_REPLICATE))
        x1, y1, x2, y2 = faces.boxes[middle]
        center = matrix @ [(x1 + x2) / 2, (y1 + y2) / 2, 1]
        size = np.array([x2 - x1, y2 - y1]) * np.hypot(*matrix[0, :2])
        boxes.append(np.concatenate([center - size / 2, center + size / 2]))
    box = np.mean(boxes, axis=0)
    mask = np.zeros(_PATCH[::-1], np.uint8)
    center, axes = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * [1.15, 1.12]
    cv2.ellipse(mask, (tuple(center), tuple(2 * axes), 0), 255, -1, cv2.LINE_AA)
    return Person(name, np.stack(looks), cv2.GaussianBlur(mask, (5, 5), 0), box)


@dataclass(frozen=True, eq=False)
class Shown:
    """A frame, and of all who are in it or near: ids, amodal boxes ``(n, 4)``, and which share of each can be seen."""

    number: int
    time: float
    image: Image
    ids: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    visible: npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Walk:
    """How one person moves: place, height in pixels, tilt in degrees, blur and look, as functions of time."""

    person: int
    wanders: bool
    height: float
    numbers: npt.NDArray[np.float64] = field(repr=False)  # what else is random: 16 of them, 0..1
    visits: tuple[tuple[float, float, bool], ...] = ()  # from when to when they cross the picture, and to which side

    def at(self, time: float) -> tuple[float, float, float] | None:
        """Return x and y of the face's center and its height, or None while the person is away."""
        r = self.numbers
        wave = lambda k, period: np.sin(2 * np.pi * (time / period + r[k]))  # noqa: E731
        height = self.height * (1 + 0.15 * wave(0, 5 + 4 * r[1]))
        y = HEIGHT * (0.3 + 0.4 * r[2]) + 40 * wave(3, 4 + 4 * r[4]) + 0.06 * height * wave(5, 0.55 + 0.2 * r[6])
        if self.wanders:
            x = WIDTH * (0.35 + 0.3 * r[7]) + WIDTH * (0.2 + 0.2 * r[8]) * wave(9, 4 + 6 * r[10])
            return x, y, height
        for start, end, right in self.visits:
            if start <= time < end:
                share = (time - start) / (end - start)
                share += 0.08 * np.sin(2 * np.pi * (2 * share + r[11]))  # now faster, now slower
                x = -0.15 * WIDTH + 1.3 * WIDTH * (share if right else 1 - share)
                return x, y, height
        return None

    def tilt(self, time: float) -> float:
        return float(14 * np.sin(2 * np.pi * (time / (3 + 3 * self.numbers[12]) + self.numbers[13])))

    def blur(self, time: float) -> float:
        return float(max(1.8 * np.sin(2 * np.pi * (time / (3 + 4 * self.numbers[14]) + self.numbers[15])), 0))


class Crowd:
    """A film: the same for the same people and seed."""

    def __init__(self, people: list[Person], seed: int, *, seconds: float = 12.0, pillars: int = 2) -> None:
        rng = np.random.default_rng([seed, 2])
        self.people, self.seconds = people, seconds
        self._walks = [_walk(i, rng, seconds) for i in range(len(people))]
        self._changes = rng.uniform(1.8, 4.0, len(people))  # seconds that a look lasts
        self._light = rng.uniform(0, 1, 3)
        ground = rng.integers(40, 190, (6, 8, 3)).astype(np.uint8)
        self._ground = cv2.resize(ground, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        self._noise = rng.normal(0, 4, (HEIGHT + 64, WIDTH + 64, 3)).astype(np.int16)
        # Who is larger than a pillar's nearness stands before it.
        self._pillars = [
            (round(WIDTH * (k + rng.uniform(0.35, 0.65)) / pillars), int(rng.integers(45, 85)), rng.uniform(70, 120))
            for k in range(pillars)
        ]

    def __len__(self) -> int:
        return round(self.seconds * RATE)

    def frames(self, every: int = 1) -> Iterator[Shown]:
        """Give all frames, or every so many."""
        for number in range(0, len(self), every):
            yield self._frame(number)

    def truth(self, shown: list[Shown]) -> Trajectories:
        """Return who was where; faces hidden too far are there, to be ignored."""
        return Trajectories(
            np.concatenate([np.full(len(s.ids), s.number) for s in shown]),
            np.concatenate([s.ids for s in shown]),
            np.concatenate([s.boxes for s in shown]),
            np.concatenate([s.visible for s in shown]) < 1 - HIDDEN,
        )

    def write(self, path: Path) -> Path:
        """Encode the film."""
        return film(path, (shown.image for shown in self.frames()), rate=RATE)

    def _frame(self, number: int) -> Shown:
        time = number / RATE
        canvas = self._ground.copy()
        owner = np.zeros((HEIGHT, WIDTH), np.uint8)
        there = [(walk, place) for walk in self._walks if (place := walk.at(time)) is not None]
        layers = [(place[2], walk, place) for walk, place in there]
        layers += [(near, None, (float(x), float(width), 0.0)) for x, width, near in self._pillars]
        shown: list[tuple[int, npt.NDArray[np.float64], float]] = []
        for _, walk, place in sorted(layers, key=lambda layer: layer[0]):
            if walk is None:
                left, right = (int(np.clip(place[0] + s * place[1] / 2, 0, WIDTH)) for s in (-1, 1))
                canvas[:, left:right] = np.linspace(70, 120, right - left, dtype=np.uint8)[None, :, None]
                owner[:, left:right] = 255
            else:
                shown.append((walk.person, *self._draw(canvas, owner, walk, place, time)))
        pixels = np.bincount(owner.ravel(), minlength=256)
        image = self._lit(canvas, time, number)
        return Shown(
            number,
            time,
            image,
            np.array([who + 1 for who, _, _ in shown], np.int64),
            np.array([box for _, box, _ in shown], np.float64).reshape(-1, 4),
            np.array([pixels[who + 1] / whole for who, _, whole in shown]),
        )

    def _draw(
        self, canvas: Image, owner: Image, walk: _Walk, place: tuple[float, float, float], time: float
    ) -> tuple[npt.NDArray[np.float64], float]:
        """Draw a face; return its box, and how many pixels it has."""
        person = self.people[walk.person]
        x, y, height = place
        size = person.box[2:] - person.box[:2]
        scale = height / size[1]
        middle = (person.box[:2] + person.box[2:]) / 2
        side = int(np.ceil(np.hypot(*_PATCH) * scale / 2)) * 2
        left, top = round(x) - side // 2, round(y) - side // 2
        matrix = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), walk.tilt(time), scale)
        matrix[:, 2] += np.array([x - left, y - top]) - middle
        patch = cv2.warpAffine(self._look(person, walk.person, time), matrix, (side, side), flags=cv2.INTER_AREA)
        mask = cv2.warpAffine(person.mask, matrix, (side, side))
        if (sigma := walk.blur(time) * height / 80) > 0.3:
            patch = cv2.GaussianBlur(patch, (0, 0), sigma)
        inside = np.s_[max(top, 0) : max(min(top + side, HEIGHT), 0), max(left, 0) : max(min(left + side, WIDTH), 0)]
        part = np.s_[max(-top, 0) : max(HEIGHT - top, 0), max(-left, 0) : max(WIDTH - left, 0)]
        alpha = mask[part][..., None].astype(np.uint16)
        if alpha.size:
            canvas[inside] = (patch[part] * alpha + canvas[inside] * (255 - alpha) + 127) // 255
            owner[inside][mask[part] > 127] = walk.person + 1
        center, half = np.array([x, y]), size * scale / 2
        return np.concatenate([center - half, center + half]), float((mask > 127).sum())

    def _look(self, person: Person, who: int, time: float) -> Image:
        turn, since = divmod(time, self._changes[who])
        now, before = (person.looks[int(k) % len(person.looks)] for k in (turn, turn - 1))
        if turn < 1 or since >= _FADE:
            return now
        return cv2.addWeighted(now, since / _FADE, before, 1 - since / _FADE, 0)

    def _lit(self, canvas: Image, time: float, number: int) -> Image:
        """Change the light slowly, from one side, and add the noise of a sensor."""
        a, b, c = self._light
        gain = 1 + 0.2 * np.sin(2 * np.pi * (time / 7 + a))
        slope = 0.3 * (2 * b - 1) * np.linspace(-1, 1, WIDTH) + gain - 0.08 * c
        y, x = (number * 29) % 64, (number * 41) % 64
        lit = canvas * slope[None, :, None].astype(np.float32) + self._noise[y : y + HEIGHT, x : x + WIDTH]
        return np.clip(lit, 0, 255).astype(np.uint8)


def _walk(person: int, rng: np.random.Generator, seconds: float) -> _Walk:
    numbers = rng.uniform(0, 1, 16)
    height = float(rng.uniform(45, 110))
    if person % 2:
        return _Walk(person, True, height, numbers)
    visits, start, right = [], float(rng.uniform(-3, 2)), bool(rng.integers(2))
    while start < seconds:
        end = start + 1.3 * WIDTH / rng.uniform(90, 260)
        visits.append((start, end, right))
        start, right = end + rng.uniform(0.5, 3.0), not right if rng.random() < 0.7 else right
    return _Walk(person, False, height, numbers, tuple(visits))
