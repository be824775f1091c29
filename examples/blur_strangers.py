"""Blur everybody in a photo but one person. Run: python examples/blur_strangers.py ME.jpg PHOTO.jpg SAFE.jpg"""

import sys

import cv2

import visavis as vv
from visavis.image import load_image, save_image
from visavis.pipeline import only_face
from visavis.recognition.compare import similarity, threshold_at


def main(me: str, photo: str, safe: str) -> None:
    analyzer = vv.Analyzer()
    wanted = only_face(analyzer.analyze(me), me).embeddings
    image = load_image(photo).copy()
    faces = analyzer.analyze(image)
    same = similarity(wanted, faces.embeddings)[0] >= threshold_at(analyzer.calibration, fmr=1e-4)

    height, width = image.shape[:2]
    for face in faces[~same]:
        margin = 0.2 * face.height
        x1, y1 = (max(int(v - margin), 0) for v in face.box[:2])
        x2, y2 = min(int(face.box[2] + margin), width), min(int(face.box[3] + margin), height)
        tiny = cv2.resize(image[y1:y2, x1:x2], (6, 6), interpolation=cv2.INTER_AREA)  # averaged: can't be undone
        image[y1:y2, x1:x2] = cv2.resize(tiny, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
    save_image(safe, image)
    print(f"{len(faces)} faces, {int((~same).sum())} of them blurred")


if __name__ == "__main__":
    main(*sys.argv[1:4])
