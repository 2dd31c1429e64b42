"""The second input of a model: arithmetic of its features, and models of every target with it."""

import keras
import numpy as np
import pytest

from podium.config.backbone_settings import BackboneSettings
from podium.config.member import Head, MemberSettings
from podium.config.metadata import MetadataSettings
from podium.config.stage import Stage, Unfreeze
from podium.data.metadata import Metadata
from podium.data.targets import BinaryTarget, MultiLabelTarget, OrdinalTarget, RegressionTarget, SingleLabelTarget
from podium.models.classifier import build_classifier, split_classifier
from podium.models.devices import _pad, precision_scope
from podium.models.metadata import METADATA, MetadataFeatures

ABC = ["a", "b", "c"]
TARGETS = [
    SingleLabelTarget(ABC),
    BinaryTarget(["no", "yes"]),
    MultiLabelTarget(ABC),
    OrdinalTarget(ABC),
    RegressionTarget([], ["x", "y"]),
]
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
NAN = np.nan
COLUMNS = Metadata({"age": None, "sex": ["f", "m", "x"], "dose": None})
TRAINING = np.array([[20, 0, 1], [40, 1, 3], [NAN, 1, 5]], np.float32)
ROWS = np.array([[40, 1, 3], [NAN, 2, NAN], [50, NAN, 5]] * 2, np.float32)


def layer_of(training, sizes=COLUMNS.sizes, **options):
    layer = MetadataFeatures(sizes, **options)
    layer.build([(None, 1), (None, len(sizes))])
    layer.start_from_rows(training)
    return layer


def test_numbers_are_scaled_by_the_training_rows_and_missing_ones_are_the_mean():
    ages = [[1, 0], [0, 1], [2, 0]]  # a mean of 30 and a deviation of 10; the second one is missing
    sexes = [[0, 1, 0], [0, 0, 0], [0, 0, 0]]  # no training row has x, and the last one has none
    doses = [[0, 0], [0, 0], [2 / np.sqrt(8 / 3), 0]]  # no training row lacks a dose
    found = layer_of(TRAINING).encode(ROWS[:3])
    np.testing.assert_allclose(found, np.concatenate([ages, sexes, doses], axis=1), rtol=1e-6)


def test_constant_and_always_missing_columns_are_zero():
    found = layer_of(np.array([[7, NAN], [7, NAN]], np.float32), [0, 0]).encode(
        np.array([[7, 3], [7, NAN]], np.float32)
    )
    np.testing.assert_array_equal(found, np.zeros((2, 4)))


def model_of(target, metadata):
    keras.utils.set_random_seed(1)
    stage = Stage(name="all", unfreeze=Unfreeze(layers=1.0), epochs=1, batch_size=8, image_size=32, learning_rate=1e-3)
    backbone = BackboneSettings(name="SmallResNet", weights="none", alpha=0.25)
    settings = MemberSettings(
        competition="-", backbone=backbone, head=Head(l2=0.01, dense=[16]), stages=[stage], metadata=metadata
    )
    return build_classifier(settings, target, 32, metadata=COLUMNS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "precision"),
    [*((target, "float32") for target in TARGETS), (TARGETS[0], "mixed_bfloat16")],
    ids=lambda value: getattr(value, "kind", value),
)
def test_a_model_of_every_target_takes_metadata(target, precision):
    with precision_scope(precision):
        model = model_of(target, MetadataSettings(units=[16, 8]))
    predictions = np.asarray(model((IMAGES, ROWS), training=False))
    assert predictions.shape == (6, len(target.outputs))
    assert predictions.dtype == np.float32
    other = np.asarray(model((IMAGES, ROWS[::-1]), training=False))
    assert np.abs(other - predictions).max() > 0
    feature_model = (parts := split_classifier(model)).feature_model()
    same = parts.head_model(feature_model)((np.asarray(feature_model(IMAGES)), ROWS), training=False)
    np.testing.assert_allclose(same, predictions, rtol=1e-4)
    np.testing.assert_allclose(parts.full_model()((IMAGES, ROWS), training=False), predictions, rtol=1e-4)


def test_facts_of_the_training_rows_are_saved_and_restored(tmp_path):
    model, again = (model_of(TARGETS[0], MetadataSettings(units=[])) for _ in range(2))
    model.get_layer(METADATA).start_from_rows(TRAINING)
    model.save_weights(tmp_path / "model.weights.h5")
    again.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(again((IMAGES, ROWS)), model((IMAGES, ROWS)))


def test_members_without_metadata_have_the_same_model_as_before():
    names = [layer.name for layer in model_of(TARGETS[0], None).layers]
    assert names == ["images", "scaling", "backbone", "pooling", "head_dense_0", "probabilities"]


def test_a_batch_for_two_devices_is_padded_with_its_metadata():
    (images, metadata), targets, weights = _pad(((IMAGES[:3], ROWS[:3]), np.arange(3)), 2)
    np.testing.assert_array_equal(images, IMAGES[[0, 1, 2, 0]])
    np.testing.assert_array_equal(metadata, ROWS[[0, 1, 2, 0]])
    assert (targets.tolist(), weights.tolist()) == ([0, 1, 2, 0], [1, 1, 1, 0])
