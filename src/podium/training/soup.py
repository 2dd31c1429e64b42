"""A greedy soup: the mean of the weights of several trainings, chosen on the validation rows.

Wortsman et al., https://arxiv.org/abs/2203.05482
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.config.stage import Stage
from podium.errors import DataError
from podium.files import atomic_write
from podium.models.devices import make_repeatable, precision_scope
from podium.training.averaging import mean_weights
from podium.training.classification import ClassificationTask

Rows = NDArray[np.int64]
Chosen = tuple[int, ...]
"""The numbers of the trainings in a soup, in rising order."""


@dataclass(frozen=True)
class Soup:
    """What was chosen, and its scores."""

    chosen: Chosen
    score: float
    honest_score: float
    """Of each half of the rows, with the soup chosen on the other half."""
    scores: list[float]
    """Of each training alone."""


def choose_greedily(count: int, score: Callable[[Chosen], float]) -> Chosen:
    """From the best of `count` trainings on, add the next best if the score does not fall; higher is better."""
    first, *others = sorted(range(count), key=lambda number: -score((number,)))
    chosen: Chosen = (first,)
    best = score(chosen)
    for other in others:
        more = tuple(sorted((*chosen, other)))
        if (reached := score(more)) >= best:
            chosen, best = more, reached
    return chosen


def write_soup(
    task: ClassificationTask,
    files: Sequence[Path],
    stage: Stage,
    image_size: int,
    precision: str,
    halves: Rows,
    out: Path,
) -> Soup:
    """Choose a soup of these weights files, and write its weights to `out` and its reports beside it.

    `halves` says which half each validation row belongs to, 0 or 1.
    """
    make_repeatable(0)
    with precision_scope(precision):
        model = task.build(image_size, pretrained=False)
    predictor = _Predictor(task, model, stage, [_weights_in(file, task, model, image_size) for file in files])
    rows = np.arange(len(halves))

    def choose(rows: Rows) -> Chosen:
        return choose_greedily(len(files), lambda chosen: predictor.score(chosen, rows))

    unseen = np.empty_like(predictor.predict((0,)))
    for half in (0, 1):
        unseen[halves == half] = predictor.predict(choose(rows[halves != half]))[halves == half]
    chosen = choose(rows)
    predictor.mix(chosen)
    task.validate(model, stage)
    with atomic_write(out) as temporary:
        task.uncompiled(model).save_weights(temporary, overwrite=True)
    task.write_reports(out.parent)
    scores = [task.score(predictor.predict((number,)), rows) for number in range(len(files))]
    return Soup(chosen, task.score(predictor.predict(chosen), rows), task.score(unseen, rows), scores)


def _weights_in(file: Path, task: ClassificationTask, model: Any, image_size: int) -> list[NDArray[Any]]:
    task.load_weights(model, file, image_size)
    weights: list[NDArray[Any]] = model.get_weights()
    return weights


@dataclass
class _Predictor:
    """Predicts the validation rows with soups, each once."""

    task: ClassificationTask
    model: Any
    stage: Stage
    weights: Sequence[Sequence[NDArray[Any]]]

    def __post_init__(self) -> None:
        self._predictions: dict[Chosen, NDArray[np.float64]] = {}

    def mix(self, chosen: Chosen) -> None:
        """Set the model's weights to their mean."""
        self.model.set_weights(mean_weights(self.weights[number] for number in chosen))

    def predict(self, chosen: Chosen) -> NDArray[np.float64]:
        if chosen not in self._predictions:
            self.mix(chosen)
            self._predictions[chosen] = self.task.predict_validation(self.model, self.stage)
        return self._predictions[chosen]

    def score(self, chosen: Chosen, rows: Rows) -> float:
        """Higher is better; -inf where the score is undefined, such as that of rows of one class."""
        try:
            return self.task.score(self.predict(chosen), rows) * (1 if self.task.mode == "max" else -1)
        except DataError:
            return -math.inf
