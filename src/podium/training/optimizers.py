"""The optimizer of a stage: one of Keras, with `layer_decay`, `ema`, `accumulate` and `clip_norm` of the stage."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import keras
import tensorflow as tf

from podium.config.stage import Stage
from podium.errors import ConfigError
from podium.models.backbone import layer_groups


def make_optimizer(stage: Stage, backbone: Any) -> Any:
    """`backbone` is the model whose layer groups have rates of their own with `layer_decay`."""
    name = stage.optimizer.name
    arguments = {"learning_rate": stage.learning_rate, "global_clipnorm": stage.clip_norm, **stage.optimizer.arguments}
    kind = getattr(keras.optimizers, name)
    if stage.layer_decay or stage.ema or stage.accumulate:
        kind = _with_stage_keys(kind)
        arguments |= {"gradient_accumulation_steps": stage.accumulate, "use_ema": stage.ema is not None}
        arguments |= {"ema_momentum": stage.ema} if stage.ema else {}
    try:
        optimizer = kind(**arguments)
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"stage {stage.name}: {name} does not accept {stage.optimizer.arguments} ({reason});"
            f" see keras.optimizers.{name} for its arguments"
        ) from None
    _reduce_only_several(optimizer)
    if stage.layer_decay:
        optimizer.rate_factors = rate_factors(backbone, stage.layer_decay)
    if stage.optimizer.decay_kernels_only:
        optimizer.exclude_from_weight_decay(var_names=["^(?!.*kernel)"])
    return optimizer


def _reduce_only_several(optimizer: Any) -> None:
    """Add up the gradients of several devices, but not those of one.

    TensorFlow registers a function for the sum's own gradient for good, and with it the graph of the whole step:
    without this, a process keeps 30 MB or more of every training.
    """
    add_up = optimizer._all_reduce_sum_gradients

    def of_devices(pairs: Any) -> Any:
        return add_up(pairs) if tf.distribute.get_strategy().num_replicas_in_sync > 1 else pairs

    optimizer._all_reduce_sum_gradients = of_devices


def rate_factors(backbone: Any, decay: float) -> dict[int, float]:
    """The share of the learning rate for each trainable weight of the backbone, by its `id`.

    Each group of layers has the rate of the next one times `decay`; the last has the head's times `decay`.
    """
    groups = list(layer_groups(backbone).values())
    return {
        id(weight): decay ** (len(groups) - number)
        for number, layers in enumerate(groups)
        for layer in layers
        for weight in layer.trainable_weights
    }


def describe_optimizer(stage: Stage, backbone: Any) -> str:
    """For example ", learning rates 2.1e-05 to 1.0e-03, an update every 4 batches"; empty without these keys."""
    parts = []
    if stage.layer_decay:
        lowest = min(rate_factors(backbone, stage.layer_decay).values(), default=1.0) * stage.learning_rate
        parts.append(f"learning rates {lowest:.1e} to {stage.learning_rate:.1e}")
    if stage.accumulate:
        parts.append(f"an update every {stage.accumulate} batches")
    return "".join(f", {part}" for part in parts)


def compile_model(model: Any, **arguments: Any) -> None:
    """Compile for `fit`, with the optimizer's variables: TensorFlow traces a first step that creates any twice."""
    model.compile(**arguments)
    model.optimizer.build(model.trainable_variables)


@cache
def _with_stage_keys(kind: Any) -> Any:
    return type(kind.__name__, (StageOptimizer, kind), {})


class StageOptimizer(keras.optimizers.Optimizer):  # type: ignore[misc]  # Keras has no types
    """The base class that adds to an optimizer of Keras what Keras lacks: rates by layer, averages that forget the
    initial weights of a short stage, and accumulated gradients on several devices.
    """

    rate_factors: dict[int, float] = {}  # noqa: RUF012  # replaced, never changed
    """By the `id` of a weight; 1 for all others."""
    weight_decay: float | None

    # Rates by layer

    def build(self, variables: Sequence[Any]) -> None:
        super().build(variables)
        self._factors = [self.rate_factors.get(id(variable), 1.0) for variable in variables]
        names = ("weight_decay", "adam_weight_decay")  # Muon has both, for two kinds of weights
        self._decays = {name: decay for name in names if (decay := getattr(self, name, None)) is not None}

    def _factor(self, variable: Any) -> float:
        return float(self._factors[self._get_variable_index(variable)])

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient, variable, learning_rate * self._factor(variable))

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Keras's, which multiplies it by the learning rate, for the weights of each rate."""
        for factor in sorted(set(self._factors)):
            for name, decay in self._decays.items():
                setattr(self, name, decay * factor)
            super()._apply_weight_decay([variable for variable in variables if self._factor(variable) == factor])
        for name, decay in self._decays.items():
            setattr(self, name, decay)

    # Averages

    @property
    def ema_momentum(self) -> Any:
        """Lower in the first updates, so that an average is never mostly the initial weights: after 100 updates they
        have no weight, while a momentum of 0.999 alone would leave them 90 %. Unchanged between two updates.
        """
        updates = keras.ops.cast(self.iterations, "float32")
        momentum = keras.ops.minimum(self._ema_momentum, (1.0 + updates) / (10.0 + updates))
        if not self.gradient_accumulation_steps:
            return momentum
        return keras.ops.where(self._is_update(), momentum, 1.0)

    @ema_momentum.setter
    def ema_momentum(self, momentum: float) -> None:
        self._ema_momentum = momentum

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ema_momentum": self._ema_momentum}

    # Accumulated gradients

    def _is_update(self) -> Any:
        return (self._iterations + 1) % self.gradient_accumulation_steps == 0

    def _backend_apply_gradients(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        if not self.gradient_accumulation_steps or not _shares_variables():
            super()._backend_apply_gradients(gradients, variables)
            return
        tf.distribute.get_replica_context().merge_call(self._accumulate, args=(gradients, variables))
        if self.use_ema:
            self._update_model_variables_moving_average(self._trainable_variables)

    def _accumulate(self, strategy: Any, gradients: Any, variables: Any) -> None:
        """Keras branches on each device, where variables that they share cannot be updated."""

        def on_devices(function: Callable[..., None]) -> Callable[[], None]:
            return lambda: strategy.extended.call_for_each_replica(function, args=(gradients, variables))

        keras.ops.cond(self._is_update(), on_devices(self._update), on_devices(self._add))

    def _update(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        pairs = zip(self._accumulators(variables), gradients, strict=True)
        means = [(earlier + gradient) / self.gradient_accumulation_steps for earlier, gradient in pairs]
        self._apply_weight_decay(variables)
        self._backend_update_step(self._clip_gradients(means), variables, self.learning_rate)
        self._backend_reset_gradient_accumulators()

    def _add(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        self._backend_increment_gradient_accumulators(gradients, self._accumulators(variables))

    def _accumulators(self, variables: Sequence[Any]) -> list[Any]:
        return [self._accumulated_gradients[self._get_variable_index(variable)] for variable in variables]


def _shares_variables() -> bool:
    """Whether several devices update variables together, outside of their own steps."""
    return tf.distribute.has_strategy() and not tf.__internal__.distribute.strategy_supports_no_merge_call()
