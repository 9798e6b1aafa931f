"""The input of torchvision's reference for training detectors, built anew: what people use today.

As it is by default: pictures are decoded by Pillow in every epoch, in the worker processes of a DataLoader; flipped one
time in two; made tensors, then float32; collated into tuples; and normalised, resized and padded by the model's own
`GeneralizedRCNNTransform`. Its groups of like shapes are left out: the pictures here all have one shape.
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
    """Return the batches of an epoch that goes over the pictures so many ``times``."""
    pictures = CocoDetection(str(images), str(annotations), transforms=_transform)
    dataset = torch.utils.data.ConcatDataset([pictures] * times)
    return DataLoader(dataset, batch_size=batch_size, shuffle=True, num_workers=workers, collate_fn=_collate)


def prepared(batches: Iterable[tuple[Sequence[Tensor], Sequence[dict[str, Tensor]]]]) -> Iterator[Tensor]:
    """Give what enters the backbone."""
    transform = GeneralizedRCNNTransform(800, 1333, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]).train()
    for images, targets in batches:
        yield transform(list(images), list(targets))[0].tensors


def _collate(batch: list[Any]) -> tuple[Any, ...]:
    return tuple(zip(*batch, strict=True))


def _transform(picture: Any, annotations: list[dict[str, Any]]) -> tuple[Tensor, dict[str, Tensor]]:
    """Make tensors of a picture of Pillow's and its COCO annotations; flip both, one time in two."""
    width, height = picture.size
    kept = [row for row in annotations if not row.get("iscrowd")]
    boxes = torch.as_tensor([row["bbox"] for row in kept], dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes[:, 0::2].clamp_(min=0, max=width)
    boxes[:, 1::2].clamp_(min=0, max=height)
    labels = torch.tensor([row["category_id"] for row in kept], dtype=torch.int64)
    shown = (boxes[:, 3] > boxes[:, 1]) & (boxes[:, 2] > boxes[:, 0])
    boxes, labels = boxes[shown], labels[shown]
    if torch.rand(1) < 0.5:
        picture = F.hflip(picture)
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    image = F.convert_image_dtype(F.pil_to_tensor(picture), torch.float32)
    return image, {"boxes": boxes, "labels": labels}
