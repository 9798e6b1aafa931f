"""KerasHub's RetinaNet beside torchvision's: the same weights and images give the same numbers, where they are defined
alike. `docs/guides/tensorflow.md` says where they are not."""

import functools

import numpy as np
import pytest
import safetensors.torch
import tensorflow as tf
from PIL import Image

torch = pytest.importorskip("torch")

from torchvision.models import resnet18  # noqa: E402
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor  # noqa: E402
from torchvision.models.detection.image_list import ImageList  # noqa: E402
from torchvision.models.detection.retinanet import RetinaNet, RetinaNetHead, _default_anchorgen  # noqa: E402
from torchvision.ops.feature_pyramid_network import LastLevelP6P7  # noqa: E402

from tests.trainers.havens import REEF  # noqa: E402
from tests.trainers.keras.tiny import NAME, tiny_config  # noqa: E402
from trainers.keras.anchors import LEVELS, anchors_of, make_generator  # noqa: E402
from trainers.keras.detections import select  # noqa: E402
from trainers.keras.losses import detection_losses  # noqa: E402
from trainers.keras.model import MEAN, STD, build_model, normalized  # noqa: E402
from trainers.keras.weights import load_initial, tensors  # noqa: E402
from trainers.log import Log  # noqa: E402

pytestmark = pytest.mark.torch
CATEGORIES, IMAGES = 4, 10


def make_torchvision():
    """Make torchvision's `retinanet_resnet50_fpn_v2` with a ResNet-18, in its training mode."""
    backbone = _resnet_fpn_extractor(resnet18(), 5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(512, 256))
    generator = _default_anchorgen()
    norm = functools.partial(torch.nn.GroupNorm, 32)
    head = RetinaNetHead(256, generator.num_anchors_per_location()[0], CATEGORIES + 1, norm_layer=norm)
    head.regression_head._loss_type = "giou"
    model = RetinaNet(
        backbone, CATEGORIES + 1, anchor_generator=generator, head=head, score_thresh=0.05, detections_per_img=100
    )
    with torch.no_grad():  # so that scores differ, and many of them are high enough for a detection
        for parameter in model.head.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.02 * torch.randn_like(parameter))
        head.classification_head.cls_logits.bias.fill_(-2)
    return model


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Both models, with the same weights: KerasHub's are loaded from a file with torchvision's."""
    torch.manual_seed(0)
    theirs = make_torchvision()
    path = tmp_path_factory.mktemp("weights") / "retinanet.safetensors"
    safetensors.torch.save_file(theirs.state_dict(), path)
    config = tiny_config()
    ours = build_model(config, CATEGORIES, "float32", pretrained=False)
    load_initial(ours, path, NAME, Log(quiet=True))
    bias = theirs.head.classification_head.cls_logits
    per_anchor = bias.weight.detach().numpy().reshape(-1, CATEGORIES + 1, 256, 3, 3)[:, 1:]  # 0 is the background
    kernel = np.transpose(per_anchor.reshape(-1, 256, 3, 3), (2, 3, 1, 0))
    tensors(ours)["classification_head/logits_layer/kernel"].assign(kernel)
    tensors(ours)["classification_head/logits_layer/bias"].assign(np.full(kernel.shape[-1], -2.0, np.float32))
    return ours, theirs


@pytest.fixture(scope="module")
def images():
    """Ten images of the reef, 160 pixels wide and high: each level of the pyramid but the last has an odd size."""
    paths = sorted((REEF / "images").iterdir())[:IMAGES]
    return np.stack([np.asarray(Image.open(path).convert("RGB").resize((160, 160))) for path in paths])


def theirs_of(model, images):
    """Return torchvision's outputs for normalised images."""
    batch = torch.tensor(images).permute(0, 3, 1, 2)
    batch = (batch / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    features = list(model.backbone(batch).values())
    return model.head(features), model.anchor_generator(ImageList(batch, [batch.shape[2:]] * len(batch)), features)


def both(pair, images):
    ours, theirs = pair
    sizes = np.array([images.shape[1:3]] * len(images), np.int32)
    theirs.eval()
    with torch.no_grad():
        found, anchors = theirs_of(theirs, images)
    return ours(normalized(images, sizes), training=False), found, anchors


@pytest.mark.parametrize("size", [(160, 160), (128, 192), (96, 224), (800, 1344)])
def test_anchors_are_the_same(size):
    """Both have the same anchors in the same order, for any size of a batch."""
    generator = _default_anchorgen()
    features = [torch.zeros(1, 1, -(-size[0] // 2**level), -(-size[1] // 2**level)) for level in LEVELS]
    theirs = generator(ImageList(torch.zeros(1, 3, *size), [size]), features)[0]
    ours, counts = anchors_of(make_generator(), *size)
    np.testing.assert_array_equal(ours, theirs.numpy())
    assert counts.tolist() == [feature.shape[2] * feature.shape[3] * 9 for feature in features]


def test_the_outputs_for_ten_images_are_the_same(pair, images):
    """The same weights give the same scores and boxes, but for rounding."""
    ours, theirs, _ = both(pair, images)
    logits = theirs["cls_logits"].numpy()[..., 1:]
    np.testing.assert_allclose(ours["cls_logits"].numpy(), logits, atol=2e-3)
    np.testing.assert_allclose(ours["bbox_regression"].numpy(), theirs["bbox_regression"].numpy(), atol=2e-3)
    assert np.ptp(logits) > 1  # they are not all alike


def test_the_coarsest_levels_differ_where_a_size_is_even(pair, images):
    """TensorFlow pads an even size on one side, PyTorch on both: the two levels that the pyramid adds are shifted."""
    wide = np.concatenate([images, images[:, :, :32]], axis=2)[:2]  # 160 x 192: 5 x 6 cells in level 5
    ours, theirs, _ = both(pair, wide)
    difference = np.abs(ours["cls_logits"].numpy() - theirs["cls_logits"].numpy()[..., 1:]).max(axis=(0, 2))
    counts = anchors_of(make_generator(), 160, 192)[1]
    levels = [level.max() for level in np.split(difference, np.cumsum(counts)[:-1])]
    assert max(levels[:3]) < 2e-3
    assert min(levels[3:]) > 1e-2


def boxes_for(count, draw):
    """Draw boxes of all sizes, one of them too small for any anchor, and one between two thresholds."""
    corners = draw.uniform(0, 100, (count, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(3, 60, (count, 2))], axis=1)
    return boxes.astype(np.float32), draw.integers(1, CATEGORIES + 1, count)


def test_the_losses_of_ten_images_are_the_same(pair, images):
    """Boxes are assigned to the same anchors, and the focal loss and the loss of boxes are the same numbers."""
    _, theirs, anchors = both(pair, images)
    draw = np.random.default_rng(0)
    targets = [boxes_for(count, draw) for count in (0, 1, 2, 3, 5, 8, 13, 1, 1, 4)]
    given = [{"boxes": torch.tensor(boxes), "labels": torch.tensor(labels)} for boxes, labels in targets]
    expected = pair[1].compute_loss(given, theirs, anchors)
    most = max(len(labels) for _, labels in targets)
    padded = [(np.pad(b, ((0, most - len(b)), (0, 0))), np.pad(la, (0, most - len(la)))) for b, la in targets]
    outputs = {"cls_logits": tf.constant(theirs["cls_logits"].numpy()[..., 1:])}
    outputs["bbox_regression"] = tf.constant(theirs["bbox_regression"].numpy())
    found = detection_losses(
        outputs,
        tf.constant(anchors[0].numpy()),
        tf.constant(np.stack([boxes for boxes, _ in padded])),
        tf.constant(np.stack([labels for _, labels in padded]), tf.int32),
        tf.constant([len(labels) for _, labels in targets], tf.int32),
    )
    # torchvision's classifier also learns that nothing is of its category 0: what it loses there is in its sum alone
    background = {**theirs, "cls_logits": theirs["cls_logits"].clone()}
    background["cls_logits"][..., 0] = -100
    assert float(expected["classification"]) > float(found["classification"])
    expected = pair[1].compute_loss(given, background, anchors)
    assert float(found["classification"]) == pytest.approx(float(expected["classification"]), rel=1e-4)
    assert float(found["bbox_regression"]) == pytest.approx(float(expected["bbox_regression"]), rel=1e-4)


def test_the_detections_in_ten_images_are_the_same(pair, images):
    """The same outputs give the same boxes, labels and scores, whatever their number."""
    _, theirs, anchors = both(pair, images)
    theirs["cls_logits"][..., 0] = -100
    counts = anchors_of(make_generator(), 160, 160)[1]
    split = {name: list(values.split(counts.tolist(), dim=1)) for name, values in theirs.items()}
    levels = [list(anchors[0].split(counts.tolist())) for _ in images]
    sizes = [(150, 140)] * len(images)  # smaller than the batch
    expected = pair[1].postprocess_detections(split, levels, sizes)
    outputs = {
        "cls_logits": theirs["cls_logits"].numpy()[..., 1:],
        "bbox_regression": theirs["bbox_regression"].numpy(),
    }
    boxes, labels, scores, found = select(
        {name: tf.constant(values) for name, values in outputs.items()},
        tf.constant(anchors[0].numpy()),
        tf.constant(counts),
        tf.constant(np.array(sizes, np.int32)),
        100,
    )
    assert max(found.numpy()) == 100
    for number, one in enumerate(expected):
        count = int(found[number])
        assert count == len(one["scores"])
        np.testing.assert_allclose(scores[number, :count], one["scores"].numpy(), rtol=1e-4)
        np.testing.assert_array_equal(labels[number, :count], one["labels"].numpy())
        np.testing.assert_allclose(boxes[number, :count], one["boxes"].numpy(), atol=1e-2)
