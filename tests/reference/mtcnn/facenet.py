"""facenet-pytorch 2.6.0's MTCNN on a current torch, without installing its pins.

The package asks for torch 2.2 and torchvision. Its code runs on torch 2.13 once the two names that its detector
takes from torchvision are there; they are supplied here, as torchvision documents them.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch


def batched_nms(boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy suppression within each class, best score first over all, as `torchvision.ops.batched_nms`."""
    if not len(boxes):
        return torch.empty(0, dtype=torch.int64)
    # torchvision moves each class to a place of its own and then runs one greedy suppression over all.
    moved = boxes + (idxs.to(boxes) * (boxes.max() + 1))[:, None]
    order = scores.sort(stable=True, dim=0, descending=True)[1].numpy()
    x1, y1, x2, y2 = moved.numpy()[order].T
    area = (x2 - x1) * (y2 - y1)
    left = np.arange(len(order))
    kept = []
    while len(left):
        i, left = left[0], left[1:]
        kept.append(i)
        width = np.minimum(x2[i], x2[left]) - np.maximum(x1[i], x1[left])
        height = np.minimum(y2[i], y2[left]) - np.maximum(y1[i], y1[left])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        left = left[shared / (area[i] + area[left] - shared) <= iou_threshold]
    return torch.from_numpy(order[kept])


def load(folder: str | Path) -> Any:
    """Return the module `facenet_pytorch.models.mtcnn` of an unpacked wheel."""
    for name in ("torchvision", "torchvision.transforms", "torchvision.ops", "torchvision.ops.boxes"):
        sys.modules[name] = types.ModuleType(name)
    functional = types.ModuleType("torchvision.transforms.functional")
    functional.to_tensor = lambda array: torch.from_numpy(array).permute(2, 0, 1)  # type: ignore[attr-defined]
    sys.modules["torchvision.transforms"].functional = functional  # type: ignore[attr-defined]
    sys.modules[functional.__name__] = functional
    sys.modules["torchvision.ops.boxes"].batched_nms = batched_nms  # type: ignore[attr-defined]
    package = types.ModuleType("facenet_pytorch")  # its own __init__ loads its recognizer and downloads
    package.__path__ = [str(Path(folder) / "facenet_pytorch")]
    sys.modules["facenet_pytorch"] = package
    from facenet_pytorch.models import mtcnn

    return mtcnn
