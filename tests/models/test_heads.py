"""The last layers and the losses of every kind of target."""

import keras
import numpy as np
import pytest

from podium.config.backbone_settings import BackboneSettings
from podium.config.loss import LOSSES
from podium.config.member import Head, MemberSettings
from podium.config.stage import Stage, Unfreeze
from podium.data.targets import (
    BinaryTarget,
    MultiLabelTarget,
    OrdinalTarget,
    RegressionTarget,
    SingleLabelTarget,
    SoftLabelTarget,
)
from podium.models.classifier import build_classifier
from podium.models.devices import precision_scope
from podium.models.heads import OrderedClasses, output_layers, start_from_rows
from podium.models.losses import make_loss, of_rows, training_loss

ABC = ["a", "b", "c"]
TARGETS = [
    SingleLabelTarget(ABC),
    BinaryTarget(["no", "yes"]),
    MultiLabelTarget(ABC),
    OrdinalTarget(ABC),
    RegressionTarget([], ["x", "y"]),
    RegressionTarget([], ["x"], [10.0, 20.0]),
    SoftLabelTarget(ABC),
]
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
RANDOM = np.random.default_rng(1)


def settings(**changes):
    stage = Stage(name="all", unfreeze=Unfreeze(layers=1.0), epochs=1, batch_size=8, image_size=96, learning_rate=1e-3)
    backbone = BackboneSettings(name="SmallResNet", weights="none", alpha=0.25)
    return MemberSettings(competition="-", backbone=backbone, head=Head(l2=0.01), stages=[stage], **changes)


def output_model(target):
    """A model of the last layers alone, on four features."""
    features = keras.Input((4,))
    outputs = features
    for layer in output_layers(target, None):
        outputs = layer(outputs)
    return keras.Model(features, outputs)


def loss_of(target, truth, predictions, **changes):
    """The training loss by Keras."""
    encoded = target.encode(truth)[np.arange(len(truth))]
    loss = make_loss(settings(**changes), target, output_model(target))
    return float(loss(encoded, np.asarray(predictions, dtype=np.float32)))


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.kind}-{target.head}")
def test_predictions_of_a_new_model_have_the_form_of_the_target(target, precision):
    with precision_scope(precision):
        model = build_classifier(settings(), target, image_size=32)
    if target.kind == "regression":
        start_from_rows(model, target, RANDOM.uniform(10, 20, (9, len(target.outputs))))
    predictions = np.asarray(model(IMAGES, training=False))
    assert predictions.shape == (6, len(target.outputs))
    assert predictions.dtype == np.float32
    np.testing.assert_allclose(target.normalize(predictions.astype(np.float64)), predictions, atol=1e-6)


def test_numbers_start_at_the_mean_of_the_training_rows():
    target = RegressionTarget([], ["year", "mass"])
    truth = np.column_stack([RANDOM.normal(2000, 10, 500), RANDOM.normal(0.001, 0.0001, 500)])
    model = output_model(target)
    start_from_rows(model, target, truth)
    predictions = np.asarray(model(np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)))
    assert predictions.mean(axis=0) == pytest.approx(truth.mean(axis=0), rel=0.1)
    assert (predictions.std(axis=0) / truth.std(axis=0)).min() > 0.1
    assert (predictions.std(axis=0) / truth.std(axis=0)).max() < 10
    assert [weight.name for weight in model.non_trainable_weights] == ["offset", "scale"]


def test_bounded_numbers_stay_in_their_range():
    target = RegressionTarget([], ["x"], [10.0, 20.0])
    model = output_model(target)
    start_from_rows(model, target, np.array([[11.0], [12.0]]))
    predictions = np.asarray(model(1e3 * np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)))
    assert predictions.min() >= 10
    assert predictions.max() <= 20
    assert predictions.max() - predictions.min() > 9


def test_ordered_classes_start_with_the_shares_of_the_training_rows():
    target = OrdinalTarget(list("abcd"))
    model = output_model(target)
    start_from_rows(model, target, np.repeat([0, 1, 2, 3], [50, 30, 15, 5]))
    assert np.asarray(model(np.zeros((1, 4))))[0] == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=1e-5)


def test_ordered_classes_without_rows_keep_a_small_probability():
    layer = OrderedClasses(4)
    layer.build((None, 1))
    layer.start_from_shares(np.array([0.5, 0.0, 0.5, 0.0]))
    probabilities = np.asarray(layer(np.zeros((1, 1), np.float32)))[0]
    assert probabilities.min() > 0
    assert probabilities.sum() == pytest.approx(1)


def test_a_higher_score_means_a_higher_class():
    layer = OrderedClasses(4)
    probabilities = np.asarray(layer(np.linspace(-6, 6, 25, dtype=np.float32)[:, None]))
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(25))
    assert probabilities.min() >= 0
    assert (np.diff(probabilities @ np.arange(4)) > 0).all()
    assert set(probabilities.argmax(axis=1)) >= {0, 3}


def predictions_for(target, rows=8):
    raw = RANDOM.uniform(0.05, 0.95, (rows, len(target.outputs)))
    return target.normalize(raw)


@pytest.mark.parametrize(
    ("target", "truth"),
    [
        (SingleLabelTarget(ABC), RANDOM.integers(0, 3, 8)),
        (BinaryTarget(["no", "yes"]), RANDOM.integers(0, 2, 8)),
        (MultiLabelTarget(ABC), RANDOM.integers(0, 2, (8, 3)).astype(float)),
        (OrdinalTarget(ABC), RANDOM.integers(0, 3, 8)),
        (SoftLabelTarget(ABC), RANDOM.dirichlet([1, 1, 1], 8)),
        (RegressionTarget([], ["x"], [0.0, 4.0]), RANDOM.uniform(0, 4, (8, 1))),
    ],
    ids=lambda part: getattr(part, "kind", ""),
)
def test_default_training_loss_is_the_validation_loss(target, truth):
    predictions = predictions_for(target)
    model = output_model(target)
    start_from_rows(model, target, truth)
    loss = make_loss(settings(), target, model)(target.encode(truth)[np.arange(8)], predictions.astype(np.float32))
    assert float(loss) == pytest.approx(target.loss(truth, predictions), rel=1e-4)


def test_losses_of_numbers_are_on_the_scale_of_the_training_rows():
    target, truth = RegressionTarget([], ["x"]), np.array([[100.0], [300.0]])
    model = output_model(target)
    start_from_rows(model, target, truth)
    predictions = np.array([[150.0], [300.0]], np.float32)  # an error of half a standard deviation, and none
    encoded = target.encode(truth)[:]

    def loss(kind):
        return float(make_loss(settings(loss=kind), target, model)(encoded, predictions))

    assert loss("mse") == pytest.approx(0.125)
    assert loss("mae") == pytest.approx(0.25)
    assert loss({"kind": "huber", "delta": 0.1}) == pytest.approx((0.1 * 0.5 - 0.005) / 2)


def test_binary_crossentropy_of_numbers_in_a_range():
    target, truth = RegressionTarget([], ["x"], [10.0, 20.0]), np.array([[12.5]])
    model = output_model(target)
    start_from_rows(model, target, truth)
    loss = make_loss(settings(loss="binary_crossentropy"), target, model)
    expected = -(0.25 * np.log(0.5) + 0.75 * np.log(0.5))
    assert float(loss(target.encode(truth)[:], np.array([[15.0]], np.float32))) == pytest.approx(expected)


def test_asymmetric_loss_ignores_easy_negatives():
    target, negative, positive = BinaryTarget(["no", "yes"]), np.array([0]), np.array([1])
    asymmetric = {"loss": "asymmetric"}
    assert loss_of(target, negative, [[0.04]], **asymmetric) == pytest.approx(0, abs=1e-6)
    assert loss_of(target, negative, [[0.55]], **asymmetric) == pytest.approx(-(0.5**4) * np.log(0.5), rel=1e-4)
    assert loss_of(target, positive, [[0.5]], **asymmetric) == pytest.approx(-0.5 * np.log(0.5), rel=1e-4)
    plain = {"loss": {"kind": "asymmetric", "gamma_negative": 0, "gamma_positive": 0, "margin": 0}}
    assert loss_of(target, negative, [[0.3]], **plain) == pytest.approx(loss_of(target, negative, [[0.3]]), rel=1e-4)


def test_focal_loss_counts_sure_predictions_less():
    abc, yes_no = SingleLabelTarget(ABC), BinaryTarget(["no", "yes"])
    one = {"loss": {"kind": "focal", "gamma": 2.0}}
    assert loss_of(abc, np.array([0]), [[0.8, 0.1, 0.1]], **one) == pytest.approx(-(0.2**2) * np.log(0.8), rel=1e-4)
    assert loss_of(yes_no, np.array([0]), [[0.3]], **one) == pytest.approx(-(0.3**2) * np.log(0.7), rel=1e-4)
    weighted = {"loss": {"kind": "focal", "gamma": 0.0, "alpha": 0.9}}
    assert loss_of(yes_no, np.array([1]), [[0.3]], **weighted) == pytest.approx(-0.9 * np.log(0.3), rel=1e-4)
    plain = {"loss": {"kind": "focal", "gamma": 0.0}, "label_smoothing": 0.1}
    smoothed = loss_of(abc, np.array([2]), [[0.2, 0.3, 0.5]], label_smoothing=0.1)
    assert loss_of(abc, np.array([2]), [[0.2, 0.3, 0.5]], **plain) == pytest.approx(smoothed, rel=1e-5)


def weighted_loss(target, truth, predictions, **changes):
    loss = training_loss(settings(**changes), target, output_model(target), truth)
    encoded = np.asarray(target.encode(truth)[np.arange(len(truth))])
    predictions = np.asarray(predictions, np.float32)
    rows = np.asarray(of_rows(loss)(encoded, predictions))
    assert float(loss(encoded, predictions)) == pytest.approx(rows.mean(), rel=1e-5)
    return rows


def test_rows_count_by_the_weight_of_their_class():
    truth, predictions = np.array([0, 0, 0, 1]), [[0.5, 0.25, 0.25]] * 4
    rows = weighted_loss(SingleLabelTarget(ABC), truth, predictions, class_weights={"b": 3.0})
    assert rows == pytest.approx([np.log(2)] * 3 + [3 * np.log(4)], rel=1e-5)
    balanced = weighted_loss(SingleLabelTarget(ABC), truth, predictions, class_weights="balanced")
    assert balanced[:3].sum() / np.log(2) == pytest.approx(balanced[3] / np.log(4))
    soft = weighted_loss(SoftLabelTarget(ABC), np.array([[0.5, 0.5, 0]]), [[0.5, 0.5, 0]], class_weights={"b": 3.0})
    assert soft == pytest.approx([0], abs=1e-6)  # of the Kullback-Leibler divergence
    ordinal = weighted_loss(OrdinalTarget(ABC), np.array([0, 2]), [[0.5, 0.25, 0.25]] * 2, class_weights={"c": 2.0})
    alike = weighted_loss(OrdinalTarget(ABC), np.array([0, 2]), [[0.5, 0.25, 0.25]] * 2, class_weights={"c": 1.0})
    assert ordinal == pytest.approx(alike * [1, 2])


def test_outputs_count_by_the_weight_of_yes_and_no():
    yes = weighted_loss(BinaryTarget(["no", "yes"]), np.array([0, 1]), [[0.5], [0.5]], class_weights={"yes": 4.0})
    assert yes == pytest.approx(np.array([1, 4]) * np.log(2), rel=1e-4)
    truth = np.array([[1.0, 0.0, 1.0]])
    for loss in ("binary_crossentropy", "asymmetric", "focal"):
        each = weighted_loss(MultiLabelTarget(ABC), truth, [[0.5, 0.5, 0.5]], loss=loss, class_weights={"a": 1.0})
        more = weighted_loss(MultiLabelTarget(ABC), truth, [[0.5, 0.5, 0.5]], loss=loss, class_weights={"a": 7.0})
        positive = weighted_loss(MultiLabelTarget(["a"]), truth[:, :1], [[0.5]], loss=loss, class_weights={"a": 1.0})
        assert more - each == pytest.approx(6 * positive / 3, rel=1e-4)


def test_label_smoothing_of_binary_crossentropy():
    smoothed = loss_of(BinaryTarget(["no", "yes"]), np.array([1]), [[0.8]], label_smoothing=0.2)
    assert smoothed == pytest.approx(-(0.9 * np.log(0.8) + 0.1 * np.log(0.2)), rel=1e-4)


@pytest.mark.parametrize("kind", LOSSES)
def test_every_loss_has_a_value_for_each_row_and_a_config(kind):
    """Several GPUs need both: they weight rows, and make the loss anew."""
    target = next(target for target in reversed(TARGETS) if target.kind == kind)
    for name in LOSSES[kind]:
        loss = make_loss(settings(loss=name), target, output_model(target))
        copy = type(loss).from_config({**loss.get_config(), "reduction": "none"})
        rows = copy(predictions_for(target).astype(np.float32), predictions_for(target).astype(np.float32))
        assert rows.shape == (8,)
