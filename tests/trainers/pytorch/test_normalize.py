"""What enters the backbone is what torchvision's own transform would give, for images that have their size."""

import pytest
import torch
from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from trainers.pytorch.normalize import MEAN, STD, Prepare


def images(*sizes: tuple[int, int], seed: int = 0) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=draw).permute(2, 0, 1) for size in sizes]


@pytest.mark.parametrize("sizes", [[(64, 96)], [(50, 70), (61, 33)], [(1, 1)], [(700, 900), (320, 640)]])
def test_the_batch_is_torchvisions(sizes):
    """The numbers, padding and sizes of `GeneralizedRCNNTransform` without its resizing; memory is channels_last."""
    reference = GeneralizedRCNNTransform(1, 1, list(MEAN), list(STD), _skip_resize=True).train()
    expected, _ = reference([image / 255 for image in images(*sizes)])
    batch, targets = Prepare()(images(*sizes))
    torch.testing.assert_close(batch.tensors, expected.tensors, atol=1e-5, rtol=1e-5)
    assert batch.image_sizes == expected.image_sizes
    assert batch.tensors.is_contiguous(memory_format=torch.channels_last)
    assert targets is None


def test_a_smaller_batch_after_a_larger_has_nothing_of_it():
    """The memory is used again, and what was there before does not show, at the edges either."""
    prepare = Prepare()
    prepare(images((60, 60), (64, 64), seed=1))
    batch, _ = prepare(images((33, 40)))
    expected, _ = Prepare()(images((33, 40)))
    assert torch.equal(batch.tensors, expected.tensors)
    assert not batch.tensors[:, :, 33:].any()
    assert not batch.tensors[:, :, :, 40:].any()


def test_any_order_in_memory_gives_the_same():
    """An image whose memory is not channels_last is prepared all the same."""
    (image,) = images((20, 30))
    batch, _ = Prepare()([image.contiguous()])
    expected, _ = Prepare()([image])
    assert torch.equal(batch.tensors.clone(), expected.tensors)


def test_training_goes_on_after_an_evaluation_in_inference_mode():
    """The memory that an evaluation took serves a training step with gradients."""
    prepare, convolution = Prepare(), nn.Conv2d(3, 2, 3)
    with torch.inference_mode():
        convolution(prepare(images((32, 32)))[0].tensors)
    convolution(prepare(images((32, 32)))[0].tensors).sum().backward()
    assert convolution.weight.grad is not None


def test_a_batch_that_is_still_needed_is_not_overwritten_in_silence():
    """A backward pass that comes after the next batch fails, rather than use the wrong images."""
    prepare, convolution = Prepare(), nn.Conv2d(3, 2, 3)
    loss = convolution(prepare(images((32, 32)))[0].tensors).sum()
    prepare(images((32, 32)))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_weights_of_torchvision_fit():
    """It has nothing in the state_dict, as the transform that it takes the place of."""
    assert not Prepare().state_dict()
