"""The losses of a step and their sums, as numbers."""

import pytest

from trainers.training.losses import StepLosses, Sums, summary


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_detected(value):
    """A loss or a gradient norm that is not finite makes its step not finite."""
    assert StepLosses(1, (0,), {"a": 1.0}, 2.0).is_finite
    assert not StepLosses(1, (0,), {"a": value}, 2.0).is_finite
    assert not StepLosses(1, (0,), {"a": 1.0}, value).is_finite


def test_an_epoch_is_summed_over_steps_and_processes():
    """Losses are averaged, images are added over all processes, and the wait is the longest one."""
    parts = [Sums(images=8, seconds=2.0, input_wait_s=0.25), Sums(images=6, seconds=1.5, input_wait_s=0.5)]
    for part, value in zip(parts, (1.0, 2.0), strict=True):
        part.add(StepLosses(1, (0,), {"a": value, "b": 0.0}, 0.0))
        part.add(StepLosses(2, (1,), {"a": 3.0, "b": 1.0}, 0.0))
    assert summary(parts) == {
        "loss": 2.75,
        "losses": {"a": 2.25, "b": 0.5},
        "images_per_second": 7.0,
        "input_wait_s": 0.5,
        "seconds": 2.0,
    }
