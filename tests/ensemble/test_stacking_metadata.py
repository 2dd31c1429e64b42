"""A stack that takes metadata: what it can learn from it, and that its score stays honest."""

import numpy as np
import pytest

from podium.data.targets import SingleLabelTarget
from podium.ensemble.blend import members_that_add_nothing, nested_score
from podium.ensemble.methods import make_method
from podium.ensemble.rows import BlendRows
from podium.evaluation.metrics import METRICS

ACCURACY = METRICS["accuracy"]
CLASSES = SingleLabelTarget(list("abcd"))
SIZES = [0, 3]


def pairs(rows=400, seed=0):
    """Two members that see the pair of a class, ab or cd, but not which of the two; and the classes."""
    random = np.random.default_rng(seed)
    labels = random.integers(4, size=rows)
    logits = random.normal(size=(2, rows, 4)) + 3 * np.eye(2)[labels // 2].repeat(2, axis=1)
    odds = np.exp(logits)
    return odds / odds.sum(axis=2, keepdims=True), labels


def metadata_of(labels, telling):
    """A number in thousands and a category, each missing or unknown for some rows. If `telling`, the number is larger
    for b and d."""
    random = np.random.default_rng(1)
    number = 1000.0 * random.normal(size=len(labels)) + 4000 * telling * (labels % 2)
    category = random.integers(3, size=len(labels)).astype(float)
    number[::10], category[::7] = np.nan, np.nan
    return np.column_stack([number, category]).astype(np.float32)


def scores(telling, **options):
    predictions, labels = pairs()
    rows = BlendRows(predictions, metadata_of(labels, telling), SIZES)
    stack = make_method("stacking", ["one", "two"], ACCURACY, CLASSES, **options)
    mean = make_method("mean", ["one", "two"], ACCURACY, CLASSES)
    return [nested_score(method, rows, labels, ACCURACY, seed=0) for method in (stack, mean)]


@pytest.mark.parametrize(
    "options", [{}, {"model": "boosting"}, {"calibrate": True}, {"select": "auto"}], ids=lambda options: str(options)
)
def test_metadata_that_no_member_sees_decides(options):
    stack, mean = scores(telling=True, **options)
    assert mean.score == pytest.approx(0.5, abs=0.08)
    assert stack.score > mean.score + 0.3


@pytest.mark.parametrize("model", ["regression", pytest.param("boosting", marks=pytest.mark.slow)])
def test_noise_as_metadata_does_not_raise_the_nested_score(model):
    stack, mean = scores(telling=False, model=model)
    assert stack.score < mean.score + 2 * mean.standard_error
    assert stack.optimistic > stack.score


def test_a_missing_number_is_learned_from_too():
    predictions, labels = pairs()
    number = np.where(labels % 2, np.nan, 5).astype(np.float32)[:, None]
    method = make_method("stacking", ["one", "two"], ACCURACY, CLASSES)
    assert nested_score(method, BlendRows(predictions, number, [0]), labels, ACCURACY, seed=0).score > 0.8


def test_members_that_add_nothing_are_named_beside_metadata():
    predictions, labels = pairs()
    noise = np.random.default_rng(5).dirichlet(np.ones(4), len(labels))
    rows = BlendRows(np.stack([predictions[0], noise]), metadata_of(labels, telling=True), SIZES)

    def make(names):
        return make_method("stacking", names, ACCURACY, CLASSES)

    assert members_that_add_nothing(make, ["one", "noise"], rows, labels) == ["noise"]


def test_groups_of_rows_are_not_split_by_the_estimate():
    """Each site has one class, which says nothing about other sites."""
    random = np.random.default_rng(0)
    sites = random.integers(40, size=400)
    labels = random.permutation(np.arange(40) % 4)[sites]
    oof = random.dirichlet(np.ones(4), (2, 400))
    stack = make_method("stacking", ["one", "two"], ACCURACY, CLASSES, C=1.0)
    metadata, folds = sites[:, None].astype(np.float32), (sites % 5).astype(str)
    split, whole = (BlendRows(oof, metadata, [40], groups) for groups in (None, folds))
    assert nested_score(stack, split, labels, ACCURACY, seed=0).score > 0.9
    assert nested_score(stack, whole, labels, ACCURACY, seed=0).score < 0.4
    assert stack.score_of_fit(split, labels)[0] > 0.9 > 0.4 > stack.score_of_fit(whole, labels)[0]
