"""Every kind of target on the same images: each has one colour, on which its truth depends."""

from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import yaml

from podium.config.loading import load_competition
from podium.data.targets import target_of
from podium.training.classification import ClassificationTask, LabelledImages

NAMES = ["red", "green", "blue"]


@dataclass(frozen=True)
class Kind:
    """The keys of a competition file, and the columns of its table from colours as (rows, 3) from 0 to 1."""

    keys: dict
    columns: object
    label: str | None = "answer"
    metric: str = "accuracy"


KINDS = {
    "single_label": Kind(
        {"classes": NAMES}, lambda colours: {"answer": [NAMES[number] for number in colours.argmax(axis=1)]}
    ),
    "binary": Kind(
        {"target": "binary", "classes": [0, 1]}, lambda colours: {"answer": (colours[:, 0] > 0.5).astype(int)}
    ),
    "words": Kind(
        {"target": {"kind": "multi_label", "separator": "space"}, "classes": NAMES},
        lambda colours: {
            "answer": [" ".join(name for name, on in zip(NAMES, row, strict=True) if on) for row in colours > 0.5]
        },
    ),
    "one_hot": Kind(
        {"target": "multi_label", "classes": NAMES},
        lambda colours: dict(zip(NAMES, (colours > 0.5).astype(int).T, strict=True)),
        label=None,
    ),
    "ordinal": Kind(
        {"target": "ordinal", "classes": ["low", "middle", "high"]},
        lambda colours: {"answer": np.array(["low", "middle", "high"])[(colours[:, 0] * 3).astype(int)]},
    ),
    "number": Kind(
        {"target": "regression"}, lambda colours: {"answer": np.round(1900 + 80 * colours[:, 0], 2)}, metric="rmse"
    ),
    "numbers": Kind(
        {"target": {"kind": "regression", "columns": ["mass", "height"], "range": [0, 9]}},
        lambda colours: {"mass": np.round(9 * colours[:, 0], 3), "height": np.round(9 * colours[:, 2], 3)},
        label=None,
        metric="rmse",
    ),
    "soft_label": Kind(
        {"target": "soft_label", "classes": NAMES},
        lambda colours: dict(zip(NAMES, np.round(10 * colours + 0.5).astype(int).T, strict=True)),
        label=None,
        metric="kl_divergence",
    ),
}


def draw_images(folder, count, seed, size=24):
    """`count` images in this folder; their names and their colours."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    colours = random.random((count, 3))
    names = [f"{seed}-{number:03}.png" for number in range(count)]
    for name, colour in zip(names, colours, strict=True):
        noise = random.integers(-15, 16, (size, size, 3))
        image = np.clip(20 + 215 * colour[::-1] + noise, 0, 255).astype(np.uint8)
        assert cv2.imwrite(str(folder / name), image)
    return names, colours


def write_competition(root, name, train=48, test=8, **changes):
    """The data and the competition file of a kind, in root/data and root/competition.yaml."""
    kind, data = KINDS[name], root / "data"
    names, colours = draw_images(data / "train", train, 1)
    columns = kind.columns(colours)
    pd.DataFrame({"id": names, **columns}).to_csv(data / "train.csv", index=False)
    test_names, _ = draw_images(data / "test", test, 2)
    sample = pd.DataFrame({"id": test_names, **dict.fromkeys(columns, 0)})
    sample.to_csv(data / "sample_submission.csv", index=False)
    label = {"label": kind.label} if kind.label else {}
    content = {
        "slug": f"colours-{name.replace('_', '-')}",
        "train": {"table": "train.csv", "id": "id", **label, "images": "train/{id}"},
        "test": {"images": "test/{id}"},
        "metric": kind.metric,
        "submission": {"sample": "sample_submission.csv", "id": "id", **label},
        "folds": {"kind": "stratified", "count": 3},
        **kind.keys,
        **changes,
    }
    path = root / "competition.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def labelled_images(root, name, train=48, share=3):
    """The target of a kind, its training images and its validation images: one of every `share` rows."""
    competition = load_competition(write_competition(root, name, train))
    target = target_of(competition)
    table = pd.read_csv(root / "data" / "train.csv", dtype=str, keep_default_na=False)
    truth = target.truth(target.parse(table, competition.train, root / "data" / "train.csv"))
    paths = [root / "data" / "train" / row for row in table["id"]]
    held_out = np.arange(train) % share == 0
    parts = [
        LabelledImages([path for path, chosen in zip(paths, rows, strict=True) if chosen], truth[rows])
        for rows in (~held_out, held_out)
    ]
    return target, *parts


def loss_metric(target):
    """The validation loss as a competition's metric."""

    class Error(SimpleNamespace):
        def __call__(self, truth, predictions):
            return target.loss(truth, predictions)

    return Error(name="error", higher_is_better=False)


def task_of(settings, target, training, validation, *, eager=True, cache=None):
    return ClassificationTask(
        settings, target, loss_metric(target), training, validation, fold=0, eager=eager, cache=cache
    )
