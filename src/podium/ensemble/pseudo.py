"""Labels by an ensemble for other models to train on, which tell them nothing about the rows that they validate on.

A fold's labels of the test images come only from models of that fold. How these are blended, sharpened or selected is
fitted on the out-of-fold predictions of the other folds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.config.competition import Competition
from podium.config.ensemble import EnsembleSettings
from podium.data.answers import answers, are_right, confidence, has_answers
from podium.data.target import Floats, Target, Truth
from podium.data.targets import target_of
from podium.ensemble.methods import best_temperature, make_method
from podium.ensemble.rows import BlendRows, metadata_of
from podium.errors import DataError, RunError
from podium.evaluation.metrics import metric_of
from podium.predictions import Predictions, concatenate, read_predictions

RIGHT = 0.95
"""By default, the lowest confidence is chosen from which on so many answers are right."""


@dataclass(frozen=True)
class FoldBlend:
    """The blended predictions of one fold's models, and those of other rows by a blend with the same weights."""

    oof: Predictions
    test: Predictions
    others: Floats
    """The out-of-fold predictions of the other folds, on which the blend was fitted."""
    others_truth: Truth


@dataclass(frozen=True)
class FoldLabels:
    labels: Predictions
    """Of the test images: probabilities, numbers, or answers in the form of predictions."""
    facts: dict[str, Any]


def blend_by_fold(
    folders: Mapping[str, Mapping[int, Path]], settings: EnsembleSettings, competition: Competition
) -> dict[int, FoldBlend]:
    """Blend the predictions of each fold's models, as was fitted on the other folds.

    `folders` are the folders of predictions by member and fold. A single fold has no others: its blend is the mean. So
    is that of ranks, which are no probabilities.
    """
    names, folds = list(folders), sorted(next(iter(folders.values())))
    if any(sorted(of_member) != folds for of_member in folders.values()):
        raise RunError("the members of the ensemble have predictions of different folds; expected the same folds")
    target, options = target_of(competition), settings.blending if len(folds) > 1 else {"method": "mean"}

    def read(fold: int, file: str) -> list[Predictions]:
        return [read_predictions(folders[name][fold] / file, target.outputs) for name in names]

    oof = {fold: read(fold, "oof.csv") for fold in folds}
    test = {fold: read(fold, "test.csv") for fold in folds}
    if options["method"] == "rank_mean":
        options["method"] = "mean"
    columns = metadata_of(options, competition)
    method = make_method(options.pop("method"), names, metric_of(competition), target, **options)
    blends = {}
    for fold in folds:
        others = [other for other in folds if other != fold] or [fold]
        truth = np.concatenate([target.truth(oof[other][0].known_truth) for other in others])
        by_member = zip(*(oof[other] for other in others), strict=True)
        rows = BlendRows.of([concatenate(parts) for parts in by_member], columns)
        method.fit(rows, truth)
        first, images = oof[fold][0], test[fold][0]
        blends[fold] = FoldBlend(
            Predictions(
                first.ids, first.outputs, method.predict(BlendRows.of(oof[fold], columns)), first.truth, first.folds
            ),
            Predictions(images.ids, images.outputs, method.predict(BlendRows.of(test[fold], columns))),
            method.predict(rows),
            truth,
        )
    return blends


def label_test_images(
    blends: Mapping[int, FoldBlend], competition: Competition, *, hard: bool, chosen: float | None = None
) -> dict[int, FoldLabels]:
    """The labels of each fold.

    Soft labels are the predictions with a temperature, hard ones the answers from a confidence on; both are `chosen`,
    or fitted on the rows of the other folds.
    """
    target = target_of(competition)
    if hard and not has_answers(target):
        raise DataError(f"predictions of {target.kind} are not right or wrong: hard labels need answers, omit --hard")
    make = _hard_labels if hard else _soft_labels
    return {fold: make(blend, target, chosen) for fold, blend in blends.items()}


def _soft_labels(blend: FoldBlend, target: Target, temperature: float | None) -> FoldLabels:
    values = blend.test.values
    facts: dict[str, Any] = {"images": len(blend.test.ids)}
    if target.kind != "regression":
        temperature = temperature or best_temperature(blend.others, blend.others_truth, target)
        values = target.with_temperature(values, temperature)
        facts |= {"temperature": temperature, **_right(blend.oof, target, 0.0)}
    return FoldLabels(Predictions(blend.test.ids, blend.test.outputs, values), facts)


def _hard_labels(blend: FoldBlend, target: Target, threshold: float | None) -> FoldLabels:
    if threshold is None:
        right = are_right(blend.others, blend.others_truth, target)
        threshold = choose_threshold(confidence(blend.others, target), right)
    kept = np.flatnonzero(confidence(blend.test.values, target) >= threshold)
    if not len(kept):
        raise DataError(
            f"no test image has a confidence of {threshold:.4f} or more: use soft labels, or a lower --threshold"
        )
    ids = [blend.test.ids[row] for row in kept]
    labels = Predictions(ids, blend.test.outputs, answers(blend.test.values[kept], target))
    return FoldLabels(labels, {"images": len(kept), "threshold": threshold, **_right(blend.oof, target, threshold)})


def _right(oof: Predictions, target: Target, threshold: float) -> dict[str, int]:
    """How many of a fold's rows have this confidence, and how many of their answers are right."""
    if not has_answers(target):
        return {}
    kept = confidence(oof.values, target) >= threshold
    right = are_right(oof.values, target.truth(oof.known_truth), target)
    return {"rows": int(kept.sum()), "right": int((right & kept).sum())}


def choose_threshold(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """The lowest confidence from which on a share RIGHT of the answers is right."""
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    shares = right[order].cumsum() / np.arange(1, len(order) + 1)
    is_last = np.append(ranked[1:] < ranked[:-1], True)  # of equal ones
    enough = np.flatnonzero((shares >= RIGHT) & is_last)
    if not len(enough):
        raise DataError(
            f"not even the surest out-of-fold answers are right in {RIGHT:.0%} of rows: use soft labels, or --threshold"
        )
    return float(ranked[enough[-1]])
