"""Seven layouts from `podium init` to a CSV: a dry run of the written files as they are, and a small real training."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from layouts import LAYOUTS, OPTIONS, draw
from sklearn.metrics import cohen_kappa_score, roc_auc_score

SMALL = [
    "*.backbone={name: SmallResNet, weights: none}",
    "*.stages=[{name: all, unfreeze: all, epochs: 12, batch_size: 16, image_size: 48, learning_rate: 3e-3,"
    " schedule: {kind: cosine, warmup_epochs: 1}}]",
    "*.augmentation=[HorizontalFlip]",
    "*.head={dropout: 0}",
    "*.precision=float32",
]
BETTER_THAN_CHANCE = {
    "text-label": 0.7,
    "class-folders": 0.7,
    "one-hot": 0.75,
    "separated-labels": 0.7,
    "regression": 0.7,
    "binary": 0.8,
    "patients": 0.5,
}


def score(name, truth, answers):
    """Of the submitted answers: chance is a third of the accuracy, half of an AUC or of the right cells, else 0."""
    if name in ("text-label", "class-folders"):
        return float((truth == answers).to_numpy().mean())
    if name in ("one-hot", "binary"):
        return roc_auc_score(truth, answers, average="macro")
    if name == "separated-labels":
        labels = sorted({label for text in truth.iloc[:, 0] for label in text.split()})
        cells = [
            [[label in str(text).split() for label in labels] for text in part.iloc[:, 0]] for part in (truth, answers)
        ]
        return float(np.equal(*map(np.array, cells)).mean())
    if name == "regression":
        return float(np.corrcoef(truth.iloc[:, 0], answers.iloc[:, 0])[0, 1])
    return cohen_kappa_score(truth.iloc[:, 0], answers.iloc[:, 0], weights="quadratic")


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_new_competition_learns(name, tmp_path, podium, record_property):
    data = draw(name, tmp_path / "data" / name, train=300, test=120)
    if name == "binary":
        Path("configs/competitions").mkdir(parents=True)
        data.with_name("own_metric.py").rename("configs/competitions/own_metric.py")
    ensemble = f"configs/ensembles/{name}.yaml"
    assert podium("init", f"data/{name}", *OPTIONS.get(name, []))[0] == 0
    code, out, err = podium("run", ensemble, "--dry-run")
    assert (code, "well-formed" in out) == (0, True), err
    settings = [part for setting in SMALL for part in ("--set", setting)]
    code, out, err = podium("run", ensemble, "--fold", 0, *settings)
    assert (code, "valid, ready to submit" in out) == (0, True), err
    written = re.findall(r"submissions/(\S+\.csv): valid", "".join(out.split("\n")))[-1]
    hidden = pd.read_csv(data.with_suffix(".hidden.csv"), index_col=0)
    answers = pd.read_csv(Path("submissions") / written).set_index(hidden.index.name).loc[hidden.index, hidden.columns]
    reached = score(name, hidden, answers)
    record_property("score", float(reached))  # workers of pytest-xdist send no numbers of NumPy
    assert reached > BETTER_THAN_CHANCE[name]
