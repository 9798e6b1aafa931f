"""For images of the right size, the input of the backbone equals that of torchvision's own transform."""

import pytest
import torch
from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from trainers.pytorch.normalize import MEAN, STD, NormalizeAndPad


def images(*sizes: tuple[int, int], seed: int = 0) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=draw).permute(2, 0, 1) for size in sizes]


@pytest.mark.parametrize("sizes", [[(64, 96)], [(50, 70), (61, 33)], [(1, 1)], [(700, 900), (320, 640)]])
def test_the_batch_equals_torchvisions(sizes):
    """Values, padding and sizes equal `GeneralizedRCNNTransform` without its resizing; memory is channels_last."""
    reference = GeneralizedRCNNTransform(1, 1, list(MEAN), list(STD), _skip_resize=True).train()
    expected, _ = reference([image / 255 for image in images(*sizes)])
    batch, targets = NormalizeAndPad().eval()(images(*sizes))
    torch.testing.assert_close(batch.tensors, expected.tensors, atol=1e-5, rtol=1e-5)
    assert batch.image_sizes == expected.image_sizes
    assert batch.tensors.is_contiguous(memory_format=torch.channels_last)
    assert targets is None


def test_a_tiny_image_alone_is_padded_for_a_batch_norm():
    """In training, a batch of one small image is padded to two squares of the backbone; the image stays the same."""
    prepare = NormalizeAndPad()
    alone, _ = prepare(images((24, 32)))
    assert alone.tensors.shape == (1, 3, 32, 64)
    assert alone.image_sizes == [(24, 32)]
    alone = alone.tensors.clone()
    assert not alone[:, :, :, 32:].any()
    evaluated, _ = prepare.eval()(images((24, 32)))
    assert torch.equal(evaluated.tensors, alone[:, :, :, :32])
    assert prepare.train()(images((24, 32), (9, 9)))[0].tensors.shape == (2, 3, 32, 32)


def test_a_smaller_batch_holds_nothing_of_a_larger_one():
    """The memory is reused, and no earlier values show, not even at the edges."""
    prepare = NormalizeAndPad()
    prepare(images((60, 60), (64, 64), seed=1))
    batch, _ = prepare(images((33, 40)))
    expected, _ = NormalizeAndPad()(images((33, 40)))
    assert torch.equal(batch.tensors, expected.tensors)
    assert not batch.tensors[:, :, 33:].any()
    assert not batch.tensors[:, :, :, 40:].any()


def test_the_memory_format_of_an_image_does_not_matter():
    """An image that is not in channels_last memory gives the same result."""
    (image,) = images((20, 30))
    batch, _ = NormalizeAndPad()([image.contiguous()])
    expected, _ = NormalizeAndPad()([image])
    assert torch.equal(batch.tensors.clone(), expected.tensors)


def test_training_continues_after_an_evaluation_in_inference_mode():
    """The memory that an evaluation allocated can be used in a training step with gradients."""
    prepare, convolution = NormalizeAndPad(), nn.Conv2d(3, 2, 3)
    with torch.inference_mode():
        convolution(prepare(images((32, 32)))[0].tensors)
    convolution(prepare(images((32, 32)))[0].tensors).sum().backward()
    assert convolution.weight.grad is not None


def test_a_batch_still_in_use_is_not_overwritten_silently():
    """A backward pass after the next batch fails instead of using the wrong images."""
    prepare, convolution = NormalizeAndPad(), nn.Conv2d(3, 2, 3)
    loss = convolution(prepare(images((32, 32)))[0].tensors).sum()
    prepare(images((32, 32)))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_weights_of_torchvision_fit():
    """The module adds nothing to the state_dict, like the transform that it replaces."""
    assert not NormalizeAndPad().state_dict()
