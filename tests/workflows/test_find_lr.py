"""What a range test suggests, on drawn curves."""

import numpy as np
import pytest

from podium.config.stage import Stage
from podium.workflows.find_lr import FoundRate

STAGE = Stage(name="all", unfreeze="all", epochs=2, batch_size=8, image_size=32, learning_rate=0.1)
RATES = np.geomspace(1e-6, 10, 200)


def found(loss, until=None):
    """The test of a stage whose loss at a rate, given by its logarithm, is this function, with some noise."""
    losses = np.array([loss(position) for position in np.log10(RATES)])[:until]
    noise = np.random.default_rng(0).normal(0, 0.05, len(losses))
    return FoundRate("tiny", 0, STAGE, RATES, losses + noise)


def valley(position):
    """5 up to 1e-4, down to 2 at 0.01, and above 5 from 0.1 on."""
    return 5.0 if position < -4 else 2 + 0.75 * (position + 2) ** 2 if position < -2 else 2 + 3 * (position + 2)


def test_suggested_rate_is_half_of_the_one_with_the_lowest_loss():
    curve = found(valley)
    assert curve.rate_of_lowest == pytest.approx(0.01, rel=0.5)
    assert curve.suggested == pytest.approx(curve.rate_of_lowest / 2, rel=0.05)
    assert (curve.start, curve.lowest) == pytest.approx((5, 2), abs=0.15)
    assert curve.diverging_from == pytest.approx(0.1, rel=0.3)


def test_loss_that_explodes_or_becomes_nan_does_not_move_the_minimum():
    curve = found(lambda position: valley(position) if position < -0.9 else float("nan"), until=147)
    assert curve.losses[-1] != curve.losses[-1]
    assert curve.rate_of_lowest == pytest.approx(0.01, rel=0.5)
    exploding = found(lambda position: valley(position) if position < -0.9 else 1e9, until=147)
    assert exploding.rate_of_lowest == curve.rate_of_lowest


@pytest.mark.parametrize(
    ("loss", "problem"),
    [
        (lambda position: 5.0, "the loss did not fall"),
        (lambda position: 5.0 if position < -2 else 5 + position + 2, "the loss did not fall"),
        (lambda position: -position, "the loss still falls at 10: test higher rates"),
    ],
)
def test_curve_without_a_minimum_suggests_nothing(loss, problem):
    curve = found(loss)
    assert curve.problem.startswith(problem)
    assert curve.suggested is None
