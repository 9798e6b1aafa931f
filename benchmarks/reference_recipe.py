"""The input of torchvision's reference for training detectors, rebuilt here: what people use today.

It has the defaults of the reference: Pillow decodes the images in every epoch, in the worker processes of a DataLoader;
half of them are flipped; they become tensors, then float32; they are collated into tuples; and the model's own
`GeneralizedRCNNTransform` normalises, resizes and pads them. Grouping by aspect ratio is not needed, as all
images here have the same shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import CocoDetection
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms import functional as F  # noqa: N812 - its name in torchvision's own documentation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor


def loader(images: Path, annotations: Path, *, batch_size: int, workers: int, times: int = 1) -> DataLoader[Any]:
    """Return the batches of an epoch that uses each image ``times`` times."""
    once = CocoDetection(str(images), str(annotations), transforms=_transform)
    dataset = torch.utils.data.ConcatDataset([once] * times)
    return DataLoader(dataset, batch_size=batch_size, shuffle=True, num_workers=workers, collate_fn=_collate)


def prepared(batches: Iterable[tuple[Sequence[Tensor], Sequence[dict[str, Tensor]]]]) -> Iterator[Tensor]:
    """Yield the input of the backbone."""
    transform = GeneralizedRCNNTransform(800, 1333, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]).train()
    for images, targets in batches:
        yield transform(list(images), list(targets))[0].tensors


def _collate(batch: list[Any]) -> tuple[Any, ...]:
    return tuple(zip(*batch, strict=True))


def _transform(opened: Any, annotations: list[dict[str, Any]]) -> tuple[Tensor, dict[str, Tensor]]:
    """Convert a Pillow image and its COCO annotations to tensors; flip both, half of the time."""
    width, height = opened.size
    kept = [row for row in annotations if not row.get("iscrowd")]
    boxes = torch.as_tensor([row["bbox"] for row in kept], dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes[:, 0::2].clamp_(min=0, max=width)
    boxes[:, 1::2].clamp_(min=0, max=height)
    labels = torch.tensor([row["category_id"] for row in kept], dtype=torch.int64)
    shown = (boxes[:, 3] > boxes[:, 1]) & (boxes[:, 2] > boxes[:, 0])
    boxes, labels = boxes[shown], labels[shown]
    if torch.rand(1) < 0.5:
        opened = F.hflip(opened)
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    image = F.convert_image_dtype(F.pil_to_tensor(opened), torch.float32)
    return image, {"boxes": boxes, "labels": labels}
