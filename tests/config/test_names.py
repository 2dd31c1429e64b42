"""The names in configs are those of the libraries."""

import importlib
import inspect
import pkgutil

import efficientnet.tfkeras
import keras
import pytest

from podium.config.backbones import BACKBONES
from podium.config.stage import OPTIMIZERS

NOT_FOR_A_STAGE = {
    "Optimizer", "LossScaleOptimizer", "MultiOptimizer", "OptimizerMap", "ScheduleFreeAdamW",
}  # fmt: skip
"""The base class, wrappers around other optimizers, and one that the locked Keras lacks."""


def classifiers_of_keras():
    """Every function of keras.applications and its modules that builds a classifier."""
    modules = [keras.applications]
    modules += [
        importlib.import_module(f"keras.applications.{found.name}")
        for found in pkgutil.iter_modules(keras.applications.__path__)
    ]
    return {
        name
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if {"include_top", "classes"} <= set(inspect.signature(function).parameters)
    }


def test_all_optimizers_of_keras_are_listed():
    offered = {name for name, _ in inspect.getmembers(keras.optimizers, inspect.isclass)}
    assert set(OPTIMIZERS) == offered - NOT_FOR_A_STAGE


def test_all_classifiers_of_keras_are_in_the_table():
    ours = {name for name, row in BACKBONES.items() if row.package == "keras.applications"}
    assert ours == classifiers_of_keras()
    assert "MobileNetV3Small" in ours


def test_all_efficientnets_of_the_package_are_in_the_table():
    ours = {name for name in BACKBONES if name.startswith("efficientnet.")}
    assert ours == {f"efficientnet.EfficientNetB{size}" for size in range(8)}
    for name in ours:
        assert callable(getattr(efficientnet.tfkeras, name.rpartition(".")[2]))


@pytest.mark.parametrize("name", BACKBONES)
def test_constructors_of_backbones_exist_and_take_alpha_as_in_the_table(name):
    package = importlib.import_module(BACKBONES[name].package)
    parameters = inspect.signature(getattr(package, name.rpartition(".")[2])).parameters
    assert ("alpha" in parameters) == BACKBONES[name].widths


def test_every_family_has_preprocess_input():
    for row in BACKBONES.values():
        assert callable(importlib.import_module(row.family).preprocess_input)
