"""The learning rate by step."""

import pytest

from trainers.config import TrainingSection
from trainers.training.schedule import factor, highest_rate


def section(**keys) -> TrainingSection:
    return TrainingSection(**keys)


@pytest.mark.parametrize(
    ("keys", "replicas", "rate"),
    [({"batch_size": 16}, 1, 0.02), ({"batch_size": 4}, 1, 0.005), ({"batch_size": 8, "accumulate": 4}, 2, 0.08)],
)
def test_the_learning_rate_scales_with_the_images_of_a_step(keys, replicas, rate):
    """`learning_rate` is for 16 images per step, over all copies of the model."""
    assert highest_rate(section(learning_rate=0.02, **keys), replicas) == pytest.approx(rate)


def test_the_cosine_rises_and_falls():
    """It rises from a thousandth during the warm-up, then falls to a hundredth at the last step."""
    keys = section(warmup_steps=10)
    way = [factor(step, 200, keys) for step in range(201)]
    assert way[0] == 0.001
    assert way[5] == pytest.approx(0.5005)
    assert way[10] == 1.0
    assert way[105] == pytest.approx((1 + 0.01) / 2)
    assert way[200] == pytest.approx(0.01)
    assert way[10:] == sorted(way[10:], reverse=True)


def test_the_warm_up_is_at_most_a_third():
    """A short training is not all warm-up; a tiny one has none."""
    assert factor(32, 100, section(warmup_steps=1000)) < 1.0
    assert factor(33, 100, section(warmup_steps=1000)) == 1.0
    assert factor(0, 2, section(warmup_steps=1000)) == 1.0


def test_steps_go_down_at_each_milestone():
    """The rate drops to a tenth at each milestone, a share of the training."""
    keys = section(schedule="steps", milestones=[0.5, 0.75], warmup_steps=0)
    way = [factor(step, 8, keys) for step in range(8)]
    assert way == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
