"""Which trainings a greedy soup takes."""

import pytest

from podium.training.soup import choose_greedily


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ({(0,): 0.7, (1,): 0.9, (2,): 0.8, (1, 2): 0.95, (0, 1, 2): 0.94}, (1, 2)),
        ({(0,): 0.7, (1,): 0.9, (2,): 0.8, (1, 2): 0.85, (0, 1): 0.9}, (0, 1)),  # equal is enough
        ({(0,): 0.9, (1,): 0.9, (0, 1): 0.1}, (0,)),
    ],
)
def test_next_best_joins_if_the_score_does_not_fall(scores, chosen):
    assert choose_greedily(len({*sum(scores, ())}), scores.__getitem__) == chosen
