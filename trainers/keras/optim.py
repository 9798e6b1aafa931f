"""How weights are fitted: the optimizer, gradient clipping, the scale of a loss in float16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.config import TrainingSection

_NAME = "optimizer"  # Keras would give each one another, and a checkpoint has the names
_MOMENTUM = 0.9
_EPSILON = 1e-8  # as in PyTorch; Keras has 1e-7

_FIRST_SCALE = 2.0**16  # as in PyTorch's GradScaler, and the three below
_GROWTH, _BACKOFF = 2.0, 0.5
_GROWTH_STEPS = 2000


def make_optimizer(variables: Sequence[Any], section: TrainingSection) -> Any:
    """Make the optimizer of some variables of a model; the caller sets its learning rate at each step."""
    if section.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(0.0, weight_decay=section.weight_decay, epsilon=_EPSILON, name=_NAME)
        optimizer.exclude_from_weight_decay(var_list=[variable for variable in variables if not decays(variable)])
    else:
        optimizer = keras.optimizers.SGD(0.0, momentum=_MOMENTUM, name=_NAME)
    optimizer.build(variables)
    return optimizer


def decays(variable: Any) -> bool:
    """Whether weight decay is for this variable; norms and biases are vectors."""
    return len(variable.shape) > 1


class GradientUpdate:
    """Takes the steps of an optimizer; to be called within `tf.function`, outside of a strategy's replicas.

    Keras's `LossScaleOptimizer` is not used for float16: it clips scaled gradients, each copy of the model its own.

    Args:
        variables: what is trained.
        section: which optimizer, and how it is used.
        scaled: whether the loss is scaled, so that small gradients do not vanish in float16.
    """

    def __init__(self, variables: Sequence[Any], section: TrainingSection, *, scaled: bool) -> None:
        self.variables, self.section, self.scaled = list(variables), section, scaled
        self.optimizer = make_optimizer(variables, section)
        self.scale = tf.Variable(_FIRST_SCALE if scaled else 1.0, trainable=False)
        self.good_steps = tf.Variable(0, trainable=False)

    @property
    def state(self) -> dict[str, Any]:
        """All that changes, by name."""
        named = {f"{at}.{variable.path}": variable for at, variable in enumerate(self.optimizer.variables)}
        return {**named, "scale": self.scale, "good_steps": self.good_steps}

    def apply(self, gradients: Sequence[Any]) -> Any:
        """Take a step along scaled gradients; return the norm of the gradient.

        The norm is 0 if nothing is clipped, and if the loss is scaled: a step whose gradient is not finite is skipped.
        """
        gradients = [gradient / self.scale for gradient in gradients]
        norm = tf.zeros(())
        if self.section.clip_norm:
            gradients, norm = tf.clip_by_global_norm(gradients, self.section.clip_norm)
        if not self.scaled:
            self._step(gradients)
            return norm
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
        tf.cond(finite, lambda: self._step(gradients), tf.no_op)
        self._rescale(finite)
        return tf.zeros(())

    def _step(self, gradients: Sequence[Any]) -> Any:
        # the sum over copies fails in the branch of a `cond` for tensors from outside of it
        gradients = [tf.identity(gradient) for gradient in gradients]
        if self.section.optimizer == "sgd" and self.section.weight_decay:  # part of the gradient, as in PyTorch
            gradients = [
                gradient + self.section.weight_decay * variable.value if decays(variable) else gradient
                for gradient, variable in zip(gradients, self.variables, strict=True)
            ]
        self.optimizer.apply(gradients, self.variables)
        return tf.no_op()

    def _rescale(self, finite: Any) -> None:
        """Lower the scale after a gradient that is not finite, and raise it after many that are."""
        good = tf.where(finite, self.good_steps + 1, 0)
        grows = good >= _GROWTH_STEPS
        self.scale.assign(self.scale * tf.where(finite, tf.where(grows, _GROWTH, 1.0), _BACKOFF))
        self.good_steps.assign(tf.where(grows, 0, good))
