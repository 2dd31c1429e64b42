"""Tables about predictions, which a training writes beside its best weights."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Reports = dict[str, pd.DataFrame]
"""Tables by the names of their files."""
Floats = NDArray[np.float64]


def class_reports(classes: Sequence[str], truth: NDArray[np.int64], answers: NDArray[np.int64]) -> Reports:
    """Precision, recall and F1 of every class, and the confusion matrix (a row for each true class)."""
    from sklearn.metrics import classification_report, confusion_matrix

    numbers, names = list(range(len(classes))), list(classes)
    report = classification_report(
        truth, answers, labels=numbers, target_names=names, output_dict=True, zero_division=0
    )
    table = pd.DataFrame([{"class": name, **figures} for name, figures in report.items() if isinstance(figures, dict)])
    confusion = pd.DataFrame(confusion_matrix(truth, answers, labels=numbers), columns=names)
    confusion.insert(0, "true class", names)
    return {"classification_report.csv": table, "confusion_matrix.csv": confusion}


def label_reports(classes: Sequence[str], truth: Floats, predictions: Floats) -> Reports:
    """Precision, recall and F1 at a probability of 0.5, and the ROC AUC, of each class."""
    from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

    answers = predictions >= 0.5
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, answers, average=None, zero_division=0
    ) if len(classes) > 1 else precision_recall_fscore_support(
        truth[:, 0], answers[:, 0], labels=[1], average=None, zero_division=0
    )  # fmt: skip
    auc = [
        float(roc_auc_score(column, predictions[:, number])) if 0 < column.mean() < 1 else np.nan
        for number, column in enumerate(truth.T)
    ]
    table = {"class": list(classes), "precision": precision, "recall": recall, "f1-score": f1, "roc_auc": auc}
    return {"classification_report.csv": pd.DataFrame({**table, "support": support})}


def error_reports(columns: Sequence[str], truth: Floats, predictions: Floats) -> Reports:
    """The errors of every column of numbers, in its own unit."""
    errors = predictions - truth
    spread = truth.std(axis=0)
    table = {
        "column": list(columns),
        "rmse": np.sqrt((errors**2).mean(axis=0)),
        "mae": np.abs(errors).mean(axis=0),
        "largest error": np.abs(errors).max(axis=0),
        "mean error": errors.mean(axis=0),
        "r2": 1 - (errors**2).mean(axis=0) / np.where(spread > 0, spread, np.nan) ** 2,
    }
    return {"errors.csv": pd.DataFrame(table)}
