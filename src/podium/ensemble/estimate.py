"""What a blend is worth on rows it was not fitted on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.ensemble.blend import Floats, Labels, Method
from podium.errors import DataError
from podium.evaluation.metrics import Metric
from podium.evaluation.statistics import bootstrap_error


@dataclass(frozen=True, eq=False)
class NestedScore:
    """An honest score beside the flattering one.

    `score` pools the rows each scored by a blend that had not seen them; `optimistic` fits and scores on the same rows.
    The distance between the two is how much the blend overfits. `probs` are the honest probabilities.
    """

    score: float
    standard_error: float
    optimistic: float
    probs: Floats


def nested_score(
    method: Method, oof: Floats, labels: Labels, metric: Metric, *, folds: int = 5, seed: int
) -> NestedScore:
    """Fit the blend on all folds but one, apply it to that one, and score all the held-out rows together once."""
    if not 2 <= folds <= len(labels):
        raise DataError(
            f"Cannot estimate a blend of {len(labels)} rows with {folds} folds; expected at least 2 folds and a row "
            "for each: use fewer folds or more rows"
        )
    outer = _deal(labels, folds, seed)
    honest = np.empty(np.shape(oof)[1:])
    for fold in range(folds):
        held_out = outer == fold
        honest[held_out] = method.fit(oof[:, ~held_out], labels[~held_out]).apply(oof[:, held_out])
    return NestedScore(
        score=metric(labels, honest),
        standard_error=bootstrap_error(metric, labels, honest, seed=seed),
        optimistic=metric(labels, method.fit(oof, labels).apply(oof)),
        probs=honest,
    )


def _deal(labels: Labels, folds: int, seed: int) -> NDArray[np.integer[Any]]:
    """A fold a row: rows shuffled within their class, then dealt out in turn like cards.

    So every class is spread as evenly as it can be, even one with fewer rows than folds, which scikit-learn's
    StratifiedKFold warns about or refuses.
    """
    shuffled = np.random.default_rng(seed).random(len(labels))
    dealt = np.empty(len(labels), dtype=np.int64)
    dealt[np.lexsort((shuffled, labels))] = np.arange(len(labels)) % folds
    return dealt
