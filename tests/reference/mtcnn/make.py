"""Write what facenet-pytorch's MTCNN finds: faces.json and networks.npz, beside this file.

    python -m venv torch && torch/bin/pip install torch==2.13.0 numpy pillow
    pip download --no-deps facenet-pytorch==2.6.0 && unzip facenet_pytorch-2.6.0-py3-none-any.whl -d facenet
    torch/bin/python tests/reference/mtcnn/make.py facenet lfw-dev.zip six-people.jpg

Five hundred photos of lfw-dev, drawn with a seed, and the sample photo of the card six-people; its defaults
(min_face_size=20, thresholds 0.6, 0.7, 0.7, factor 0.709), all faces kept. A face is a row of fifteen numbers: the box
x1, y1, x2, y2, the five landmarks x, y, and the probability. networks.npz holds inputs and outputs of the networks.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path

import facenet
import numpy as np
import torch
from PIL import Image

COUNT, SEED = 500, 2016
HERE = Path(__file__).resolve().parent


def main() -> None:
    folder, archive, group = sys.argv[1:]
    torch.set_num_threads(1)
    module = facenet.load(folder)
    mtcnn = module.MTCNN(keep_all=True, device="cpu")

    def faces(data: bytes) -> list[list[float]]:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        boxes, probabilities, points = mtcnn.detect(np.asarray(image), landmarks=True)
        if boxes is None:
            return []
        rows = np.concatenate([boxes, points.reshape(-1, 10), probabilities[:, None]], axis=1).astype(float)
        return [[*(round(v, 2) for v in row[:14]), round(row[14], 5)] for row in rows.tolist()]

    with zipfile.ZipFile(archive) as photos:
        names = sorted(name for name in photos.namelist() if name.endswith(".jpg"))
        chosen = sorted(np.random.default_rng(SEED).choice(len(names), COUNT, replace=False).tolist())
        found = {Path(names[i]).stem: faces(photos.read(names[i])) for i in chosen}
    found["six-people"] = faces(Path(group).read_bytes())
    rows = [f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in found.items()]
    (HERE / "faces.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")

    rng = np.random.default_rng(1)
    arrays = {}
    for name, shape in (("pnet", (2, 37, 44, 3)), ("rnet", (6, 24, 24, 3)), ("onet", (3, 48, 48, 3))):
        pixels = rng.integers(0, 256, shape, np.uint8)
        inputs = torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.float32)).sub(127.5).mul(0.0078125)
        with torch.no_grad():
            outputs = getattr(mtcnn, name)(inputs)
        arrays[f"{name}_pixels"] = pixels
        for output, value in zip(
            ("reg", "prob") if len(outputs) == 2 else ("reg", "points", "prob"), outputs, strict=True
        ):
            arrays[f"{name}_{output}"] = value.numpy()
    np.savez_compressed(HERE / "networks.npz", **arrays)


if __name__ == "__main__":
    main()
