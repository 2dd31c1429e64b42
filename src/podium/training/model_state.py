"""All that changes while a model trains, taken down as arrays, and taken up again."""

import math
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from podium.errors import RunError
from podium.models import devices
from podium.models.backbone import all_layers
from podium.training.checkpoints import Arrays, Checkpoint
from podium.training.task import StageSetup


def taken_down(learner: StageSetup) -> Arrays:
    """Everything that changes while a compiled model trains. Random seeds are among a model's variables.

    Of the whole model, whatever part of it is fitted: so it does not matter which part goes on.

    Where several devices train it, each counts its own part of the metrics, and rounds it. `devices` has those parts;
    going on with another number of devices, the sums are enough.
    """
    model = learner.model
    parts = {
        "model": learner.whole.variables,
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
    }
    arrays = {
        f"{part}/{number:05d}": keras.ops.convert_to_numpy(variable)
        for part, variables in parts.items()
        for number, variable in enumerate(variables)
    }
    if devices.are_several(model):
        counted = enumerate(model.metrics_variables)
        arrays |= {f"devices/{number:05d}": devices.on_each(model, variable) for number, variable in counted}
    return arrays


def size_of(learner: StageSetup) -> int:
    """Bytes of what is taken down, all but a few being four a number."""
    variables = (*learner.whole.variables, *learner.model.optimizer.variables)
    return sum(4 * math.prod(variable.shape) for variable in variables)


def weights_file_size(model: Any) -> int:
    """At the most, with HDF5's own bookkeeping."""
    sizes: list[int] = [4 * math.prod(weight.shape) + 4096 for weight in model.weights]
    return 65_536 + sum(sizes)


def seeds_of(model: Any) -> Arrays:
    """What a next stage takes over besides the best weights."""
    weights = {id(weight) for weight in model.weights}
    return {
        f"model/{number:05d}": keras.ops.convert_to_numpy(variable)
        for number, variable in enumerate(model.variables)
        if id(variable) not in weights
    }


def all_finite(arrays: Iterable[NDArray[Any]]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays if array.dtype.kind == "f")


def take_up_model(model: Any, saved: Checkpoint) -> None:
    _assign(model.variables, saved.part("model"), saved)
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it works with copies of its variables


def take_up_optimizer(model: Any, saved: Checkpoint) -> None:
    with devices.scope_of(model):
        model.optimizer.build(model.trainable_variables)
    _assign(model.optimizer.variables, saved.part("optimizer"), saved)


def take_up_metrics(model: Any, saved: Checkpoint) -> None:
    variables = model.metrics_variables
    _assign(variables, saved.part("metrics"), saved)
    for number, values in saved.part("devices").items():
        if devices.are_several(model) and len(values) == model.distribute_strategy.num_replicas_in_sync:
            devices.put_on_each(model, variables[number], values)


def _assign(variables: list[Any], arrays: dict[int, NDArray[Any]], saved: Checkpoint) -> None:
    shapes = {number: tuple(variable.shape) for number, variable in enumerate(variables)}
    strange = [number for number, array in arrays.items() if shapes.get(number) != array.shape]
    if strange:
        raise RunError(
            f"the checkpoint {saved.path} is of another model ({len(strange)} of its {len(arrays)} arrays do not fit"
            " this config's); go on with the versions it was made with (versions.json), or move the run folder away to"
            " start anew"
        )
    for number, array in arrays.items():
        variables[number].assign(array)
