"""Out-of-fold predictions that are wrong, the worst first."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.data.answers import answers, are_right, confidence, has_answers
from podium.data.target import Floats, Target, Truth
from podium.predictions import Predictions, align

SMALLEST = 1e-12


def list_mistakes(
    target: Target, oof: Predictions, members: Mapping[str, Predictions], names: Mapping[str, str]
) -> pd.DataFrame:
    """The columns id, true, predicted, confidence, of_true, fold, agree and loss; of numbers error, not confidence.

    `of_true` is the probability of the true class.

    `agree` counts the members that answer the same. `names` has the display names of classes. Numbers are never quite
    right, so all rows are listed.
    """
    truth = target.truth(oof.known_truth)
    table = pd.DataFrame({"id": oof.ids})
    if has_answers(target):
        wrong = np.flatnonzero(~are_right(oof.values, truth, target))
        given = answers(oof.values, target)
        table["true"] = as_text(target, target.encode(truth)[np.arange(len(truth))], names)
        table["predicted"] = as_text(target, given, names)
        table["confidence"] = confidence(oof.values, target)
        if target.head == "softmax":
            table["of_true"] = (oof.values * target.encode(truth)[np.arange(len(truth))]).sum(axis=1)
        same = [(answers(align(each, oof.ids).values, target) == given).all(axis=1) for each in members.values()]
    else:
        wrong = np.arange(len(truth))
        table["true"] = _numbers_as_text(truth)
        table["predicted"] = _numbers_as_text(oof.values)
        table["error"] = np.abs(oof.values - truth).max(axis=1)
        same = []
    table["fold"] = oof.folds
    if same:
        agree = np.sum(same, axis=0)
        table["agree"] = [f"{count} of {len(same)}" for count in agree]
    table["loss"] = losses(target, truth, oof.values)
    return table.iloc[wrong].sort_values("loss", ascending=False, kind="stable", ignore_index=True)


def losses(target: Target, truth: Truth, predictions: Floats) -> Floats:
    """How bad each prediction is: the cross-entropy of probabilities, the squared error of numbers."""
    if target.kind == "regression":
        spread = np.maximum(truth.std(axis=0), SMALLEST)
        return np.asarray((((predictions - truth) / spread) ** 2).mean(axis=1))
    encoded = target.encode(truth)[np.arange(len(truth))].astype(np.float64)
    known = predictions.clip(SMALLEST, 1)
    loss = -(encoded * np.log(known)).sum(axis=1)
    if target.head == "sigmoid":
        loss -= ((1 - encoded) * np.log((1 - predictions).clip(SMALLEST, 1))).sum(axis=1)
    return np.asarray(loss)


def as_text(target: Target, rows: NDArray[Any], names: Mapping[str, str]) -> list[str]:
    """The classes of each row of answers."""
    labels = [names.get(label, label) for label in target.labels]
    if target.kind == "binary":
        return [labels[int(row[0])] for row in rows]
    if target.head == "sigmoid":
        return [", ".join(labels[number] for number in np.flatnonzero(row)) or "none" for row in rows]
    return [labels[number] for number in rows.argmax(axis=1)]


def _numbers_as_text(rows: NDArray[Any]) -> list[str]:
    return [", ".join(f"{value:.4g}" for value in row) for row in rows]
