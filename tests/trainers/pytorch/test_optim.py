"""The optimizer, the learning rate by step, and the moving average."""

import pytest
import torch
from torch import nn

from tests.trainers.tiny import tiny_config
from trainers.pytorch.optim import make_average, make_optimizer, make_scaler, make_schedule, precision
from trainers.training.schedule import factor

CPU = torch.device("cpu")


def section(**keys):
    return tiny_config(**keys).training


@pytest.fixture
def model():
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1))
    layers[2].weight.requires_grad_(False)
    return layers


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_norms_and_biases_do_not_decay(model, name, kind):
    """Weights decay, norms and biases do not, and frozen parameters are not in the optimizer."""
    optimizer = make_optimizer(model, section(optimizer=name, weight_decay=0.3), 0.02)
    assert type(optimizer) is kind
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    expected = {name: 0.3 if name == "0.weight" else 0.0 for name, _ in model.named_parameters() if name != "2.weight"}
    assert {name: decay[id(p)] for name, p in model.named_parameters() if id(p) in decay} == expected


def test_the_schedule_follows_the_factor(model):
    """At each step the optimizer has the rate of `factor`, also after the schedule was set to a step."""
    keys = section(learning_rate=0.16, warmup_steps=3)
    optimizer = make_optimizer(model, keys, 0.16)
    schedule = make_schedule(optimizer, keys, 40)
    for step in range(40):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.16 * factor(step, 40, keys))
        optimizer.step()
        schedule.step()


def test_the_average_follows_the_weights(model):
    """The moving average starts with the weights and then takes a tenth of each change; buffers too."""
    assert make_average(model, section(ema=0.0)) is None
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    average = make_average(model, section(ema=0.9))
    average.update_parameters(model)
    before = model[0].weight.item()
    with torch.no_grad():
        model[0].weight += 10
        model[1].running_mean += 10
    average.update_parameters(model)
    assert average.module[0].weight.item() == pytest.approx(before + 1)
    assert average.module[1].running_mean.item() == pytest.approx(1)


@pytest.mark.parametrize(("name", "dtype"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_auto_precision_is_float32_on_a_cpu(name, dtype):
    """`auto` does not slow a CPU down; any other setting is used as it is."""
    assert precision(section(precision=name), CPU) is dtype


def test_only_float16_is_scaled():
    """Small gradients vanish in float16 only."""
    assert make_scaler(torch.float16, CPU).is_enabled()
    assert not make_scaler(torch.bfloat16, CPU).is_enabled()
