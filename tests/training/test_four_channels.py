"""Training on four channels, of which only the last one shows the class."""

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

import podium

CHANNELS = ["red", "green", "blue", "yellow"]


def draw(folder, names, classes):
    """A file for each channel: noise, and in the yellow one a bright square on the left or on the right."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name, number in zip(names, classes, strict=True):
        pixels = random.integers(0, 120, (32, 32, 4), dtype=np.uint8)
        pixels[8:24, 18 * number + 2 : 18 * number + 12, 3] = 250
        for channel, plane in zip(CHANNELS, np.moveaxis(pixels, 2, 0), strict=True):
            assert cv2.imwrite(str(folder / f"{name}_{channel}.png"), plane)


@pytest.mark.slow
def test_the_class_is_learned_from_the_fourth_channel(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, classes = [f"cell{number:02}" for number in range(60)], np.arange(60) % 2
    draw(tmp_path / "data" / "train", names[:48], classes[:48])
    draw(tmp_path / "data" / "test", names[48:], classes[48:])
    pd.DataFrame({"Id": names[:48], "Category": classes[:48]}).to_csv("data/train.csv", index=False)
    pd.DataFrame({"Id": names[48:], "Category": 0}).to_csv("data/sample_submission.csv", index=False)
    competition = {
        "slug": "cells",
        "train": {"table": "train.csv", "images": "train/{id}_{channel}.png"},
        "test": {"images": "test/{id}_{channel}"},
        "classes": [0, 1],
        "metric": "accuracy",
        "folds": {"kind": "holdout", "share": 0.25},
        "channels": CHANNELS,
    }
    stage = {"name": "all", "unfreeze": "all", "epochs": 8, "batch_size": 8, "image_size": 32, "learning_rate": 0.005}
    member = {
        "competition": "cells.yaml",
        "backbone": {"name": "SmallResNet", "weights": "none", "alpha": 0.25, "freeze_batchnorm": False},
        "stages": [stage],
        "tta": ["identity", {"scale": 1.1}],
    }
    for name, content in (("cells", competition), ("member", member)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    console = Console(quiet=True)
    run = podium.train(podium.load_member("member.yaml"), data="data", console=console)
    predictions = podium.predict(run, console=console)
    assert predictions.score >= 0.9
    assert (predictions.test.to_numpy().argmax(axis=1) == classes[48:]).mean() >= 0.9
    assert run.load_model().inputs[0].shape == (None, 32, 32, 4)
