"""How weights are fitted: optimizer, learning rate, moving average, gradient clipping, precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainers.training.schedule import factor

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from trainers.config import TrainingSection

_MOMENTUM = 0.9


def make_optimizer(model: nn.Module, section: TrainingSection, rate: float) -> Optimizer:
    """Make the optimizer of the parameters of ``model`` that are trained, with its highest learning rate."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [  # norms and biases are vectors
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": section.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    if section.optimizer == "adamw":
        return torch.optim.AdamW(groups, rate)
    return torch.optim.SGD(groups, rate, _MOMENTUM)


def make_schedule(optimizer: Optimizer, section: TrainingSection, steps: int) -> LambdaLR:
    """Make the learning rate schedule of a training of ``steps`` steps."""
    return LambdaLR(optimizer, lambda step: factor(step, steps, section))


def make_average(model: nn.Module, section: TrainingSection) -> AveragedModel | None:
    """Make the moving average of a model's weights, or None if the configuration has none."""
    if not section.ema:
        return None
    update = get_ema_multi_avg_fn(section.ema)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)


def clip_gradient(optimizer: Optimizer, scaler: torch.amp.GradScaler, clip_norm: float, device: torch.device) -> Tensor:
    """Clip the gradient; return its norm.

    The norm is 0 if nothing is clipped, and if the scaler, which skips a step whose gradient is not finite, is on.
    """
    if not clip_norm:
        return torch.zeros((), device=device)
    scaler.unscale_(optimizer)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
    return torch.zeros_like(norm) if scaler.is_enabled() else norm


def precision(section: TrainingSection, device: torch.device) -> torch.dtype:
    """Return the type that the forward pass computes in."""
    if section.precision != "auto":
        chosen: torch.dtype = getattr(torch, section.precision)
        return chosen
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def make_scaler(dtype: torch.dtype, device: torch.device) -> torch.amp.GradScaler:
    """Make the scaler that keeps small float16 gradients from vanishing; for other types it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
